"""Look for what we said ourselves: not every server honours the idempotency key, and none for long."""

import contextlib
from typing import TYPE_CHECKING, Any

from bot.networks.clocks import SLACK_AHEAD_MS
from bot.networks.mastodon_own import at_home, on_our_profile
from bot.networks.mastodon_statuses import MALFORMED, Ourselves, Thread, epoch_ms, names, says

if TYPE_CHECKING:
    from bot.networks import Say
    from bot.networks.mastodon_client import MastodonClient


async def said_already(
    line: "MastodonClient", us: Ourselves, say: "Say", thread: Thread | None, text: str, visibility: str
) -> str | None:
    """Return the id of the status in which an earlier attempt said it, if it did."""
    since = say.first_at - SLACK_AHEAD_MS
    for look in (on_our_profile, at_home):
        for status in await look(line, us, since):
            with contextlib.suppress(*MALFORMED):
                fresh = epoch_ms(status["created_at"]) >= since
                if fresh and status["visibility"] == visibility and _is_it(status, us, say, thread, text):
                    return str(status.get("uri") or status["id"])
    return None


def _is_it(status: Any, us: Ourselves, say: "Say", thread: Thread | None, text: str) -> bool:
    """Tell whether a status says the words to the one whom they are for, where they belong, as far as it tells."""
    parent = status.get("in_reply_to_id")
    # What was answered may be gone; then the answer belongs nowhere.
    elsewhere = parent and str(parent) != (thread.status if thread is not None else "")
    return not elsewhere and says(status, text) and names(status, say.handle, us)
