"""Look for what we said ourselves: not every server honours the idempotency key, and none for long."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from bot.networks.clocks import SLACK_AHEAD_MS
from bot.networks.errors import Refused
from bot.networks.mastodon_pages import PAGE, down_to, is_older
from bot.networks.mastodon_statuses import MALFORMED, Ourselves, Thread, epoch_ms, names, says
from bot.networks.mastodon_threads import is_by, surroundings

if TYPE_CHECKING:
    from bot.networks import Say
    from bot.networks.mastodon_client import MastodonClient


async def said_already(
    line: "MastodonClient", us: Ourselves, say: "Say", thread: Thread | None, text: str, visibility: str
) -> str | None:
    """Return the id of the status in which an earlier attempt said it, if it did."""
    since = say.first_at - SLACK_AHEAD_MS

    def first(statuses: Sequence[Any]) -> str | None:
        for status in statuses:
            with contextlib.suppress(*MALFORMED):
                ours = is_by(status, us) and epoch_ms(status["created_at"]) >= since
                if ours and status["visibility"] == visibility and _is_it(status, us, say, thread, text):
                    return str(status.get("uri") or status["id"])
        return None

    async def latest(look: Callable[[str | None, int], Awaitable[Any]]) -> list[Any]:
        return (await down_to(look, PAGE, lambda status: is_older(status, since)))[0]

    async def own(oldest: str | None, size: int) -> Any:
        return await line.call("own statuses", lambda sdk: sdk.account_statuses(us.id, limit=size, max_id=oldest))

    async def home(oldest: str | None, size: int) -> Any:
        return await line.call("own statuses", lambda sdk: sdk.timeline_home(limit=size, max_id=oldest))

    if thread is not None and (said := first((await surroundings(line, thread.status))[1])):
        return said
    if said := first(await latest(own)):
        return said
    # Takahē shows private ones of our own in the home timeline only; others may refuse to show it at all.
    with contextlib.suppress(Refused):
        return first(await latest(home))
    return None


def _is_it(status: Any, us: Ourselves, say: "Say", thread: Thread | None, text: str) -> bool:
    """Tell whether a status says the words to the one whom they are for, where they belong, as far as it tells."""
    parent = status.get("in_reply_to_id")
    # What was answered may be gone; then the answer belongs nowhere.
    elsewhere = parent and str(parent) != (thread.status if thread is not None else "")
    return not elsewhere and says(status, text) and names(status, say.handle, us)
