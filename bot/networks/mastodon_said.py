"""Look for what we said ourselves: not every server honours the idempotency key, and none for long."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bot.networks.errors import Refused
from bot.networks.mastodon_pages import PAGE, SMALLEST_PAGE, id_of, is_older
from bot.networks.mastodon_statuses import Ourselves, Thread, epoch_ms, says

if TYPE_CHECKING:
    from bot.networks import Say
    from bot.networks.mastodon_client import MastodonClient

_CLOCK_SLACK_MS: Final = 5_000
_LOOK_BACK_PAGES: Final = 10
_MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError)


async def ours_below(line: "MastodonClient", us: Ourselves, status: Any) -> list[Any]:
    """Return our own statuses below a status; none when it is gone."""
    try:
        context = await line.call("contexts", lambda sdk: sdk.status_context(status))
        return [one for one in context["descendants"] if str(one["account"]["id"]) == us.id]
    except (Refused, *_MALFORMED):
        return []


async def said_already(
    line: "MastodonClient", us: Ourselves, say: "Say", thread: Thread | None, text: str
) -> str | None:
    """Return the id of the status in which an earlier attempt said it, if it did."""
    since = say.first_at - _CLOCK_SLACK_MS
    below = await ours_below(line, us, thread.status) if thread is not None else []
    # Takahē shows private ones of our own in the home timeline only.
    for look in (partial(_statuses_of, us.id), _home):
        for status in [*below, *await _latest(line, look, since)]:
            with contextlib.suppress(*_MALFORMED):
                ours = str(status["account"]["id"]) == us.id and epoch_ms(status["created_at"]) >= since
                if ours and says(status, text):
                    return str(status.get("uri") or status["id"])
    return None


async def _latest(line: "MastodonClient", look: Callable[..., Any], since: int) -> list[Any]:
    found: list[Any] = []
    oldest: str | None = None
    for _ in range(_LOOK_BACK_PAGES):
        page = await line.call("own statuses", partial(look, max_id=oldest))
        found += page
        if len(page) < SMALLEST_PAGE or is_older(page[-1], since):
            break
        oldest = id_of(page[-1])
    return found


def _statuses_of(number: str, sdk: Any, max_id: str | None) -> Any:
    return sdk.account_statuses(number, limit=PAGE, max_id=max_id)


def _home(sdk: Any, max_id: str | None) -> Any:
    return sdk.timeline_home(limit=PAGE, max_id=max_id)
