"""What we said ourselves, as our server shows it: the one memory left when nobody else remembers.

Not by threads: where the server of one is gone, GoToSocial looks for it for minutes before it shows the thread.
"""

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bot.networks.errors import Refused
from bot.networks.mastodon_pages import PAGE, down_to, is_older
from bot.networks.mastodon_statuses import MALFORMED

if TYPE_CHECKING:
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_statuses import Ourselves

_HOME: Final = "/api/v1/timelines/home"


async def on_our_profile(line: "MastodonClient", us: "Ourselves", since: int) -> list[Any]:
    """Return our statuses since a moment (epoch milliseconds), newest first."""
    return await _ours(line, us, f"/api/v1/accounts/{us.id}/statuses", since)


async def at_home(line: "MastodonClient", us: "Ourselves", since: int) -> list[Any]:
    """Return them likewise from where alone Takahē shows the private ones; nothing where a server refuses to show it."""
    with contextlib.suppress(Refused):
        return await _ours(line, us, _HOME, since)
    return []


async def answered_by_us(line: "MastodonClient", us: "Ourselves", since: int) -> set[str]:
    """Return the ids of the statuses that we answered since a moment (epoch milliseconds)."""
    answers = await on_our_profile(line, us, since) + await at_home(line, us, since)
    return {str(status["in_reply_to_id"]) for status in answers if status.get("in_reply_to_id")}


async def _ours(line: "MastodonClient", us: "Ourselves", path: str, since: int) -> list[Any]:
    shown, _ = await down_to(partial(_page, line, path), PAGE, lambda status: is_older(status, since))
    return [status for status in shown if _is_by(status, us)]


async def _page(line: "MastodonClient", path: str, oldest: str | None, size: int) -> Any:
    query = {"limit": str(size)} | ({"max_id": oldest} if oldest else {})
    return await line.send("own statuses", "GET", path, params=query)


def _is_by(status: Any, us: "Ourselves") -> bool:
    try:
        return str(status["account"]["id"]) == us.id
    except MALFORMED:
        return False
