"""Why a follow was not made, in words."""

from collections.abc import Mapping
from typing import Final

from handlers.context import Context
from handlers.texts import N_
from storage.follows import Followed
from storage.records import DeliveryState

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

# Of what was begun, by what became of it.
_BEGUN: Final[Mapping[DeliveryState, str]] = {
    DeliveryState.CANCELLED: N_("no answer came, so I cannot tell whether the follow was made"),
    DeliveryState.REFUSED: N_("the server did not answer for days, so I cannot tell whether the follow was made"),
}


def explain(ctx: Context, followed: Followed) -> str:
    """Say the reason in the person's language; one we have no words for is told as the network gave it."""
    if followed.begun:
        return ctx.text(_BEGUN[followed.state])
    reason = followed.outcome or "cancelled"
    known = _REASONS.get(reason)
    if known is not None:
        return ctx.text(known)
    return ctx.text("the network says no ({reason})", reason=reason.replace("@", "")[:60])
