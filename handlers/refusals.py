"""Why a follow was not made, in words."""

from collections.abc import Mapping
from typing import Final

from handlers.context import Context
from handlers.texts import N_

_REASONS: Final[Mapping[str, str]] = {
    "blocked": N_("one of you blocks the other"),
    "gone": N_("the account is gone, or cannot be found from yours"),
    "grant_lost": N_("your consent there has ended: connect gives it anew"),
    "unreachable": N_("the server did not answer for days"),
    "stopped": N_("you had told me to stop"),
    "undone": N_("you took it back"),
    "auto_off": N_("you ended auto before its turn came"),
    "skipped": N_("you skipped them"),
    "cancelled": N_("it was called off"),
    "contact_gone": N_("they cannot be found here any more"),
    "forbidden": N_("your server does not allow it"),
    "invalid": N_("the network did not accept it"),
}


def explain(ctx: Context, reason: str | None) -> str:
    """Say a reason in the person's language; one we have no words for is told as the network gave it."""
    known = _REASONS.get(reason or "")
    if known is not None:
        return ctx.text(known)
    return ctx.text("the network says no ({reason})", reason=(reason or "?").replace("@", "")[:60])
