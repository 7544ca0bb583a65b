"""Page through lists, newest first, as every Mastodon-API server gives them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from bot.networks.mastodon_statuses import MALFORMED, epoch_ms

_log = structlog.get_logger()

# The most statuses that every version gives (https://docs.joinmastodon.org/methods/accounts/#statuses).
PAGE: Final = 40
# The least that servers give who are asked for more and have it: what they give by themselves (likewise, "default").
_SMALLEST_PAGE: Final = 20
# No list that ends anywhere is longer than so many pages.
_MOST_PAGES: Final = 100


async def down_to(
    ask: Callable[[str | None, int], Awaitable[Any]], size: int, is_end: Callable[[Any], bool]
) -> tuple[list[Any], Any | None]:
    """Return the entries above the one that is the end, newest first, each once; and that one, if it was met.

    `ask` returns a page of those below an id, so many at most. Where that is the first page again, whatever is asked,
    only a larger one shows more.
    """
    found: dict[str, Any] = {}
    oldest: str | None = None
    for _ in range(_MOST_PAGES):
        answer = await ask(oldest, size)
        page = answer if isinstance(answer, list) else []
        # An entry without an id cannot be paged by; nothing else is asked of one here.
        entries = [entry for entry in page if id_of(entry)]
        known = len(found)
        for entry in entries:
            if is_end(entry):
                return list(found.values()), entry
            found.setdefault(id_of(entry), entry)
        if not entries or len(page) < _SMALLEST_PAGE:
            break
        if len(found) == known:
            if len(page) < size:
                break
            size *= 2
        oldest = id_of(entries[-1])
    else:
        _log.warning("stopped reading a list without an end", entries=len(found))
    return list(found.values()), None


def id_of(entry: Any) -> str:
    """Return an entry's id; nothing for a malformed one."""
    return str(entry.get("id") or "") if isinstance(entry, dict) else ""


def moment_of(entry: Any) -> int | None:
    """Return when an entry was made (epoch milliseconds); None for a malformed one."""
    try:
        return epoch_ms(entry["created_at"])
    except MALFORMED:
        return None


def is_older(entry: Any, moment: int) -> bool:
    """Tell whether an entry is from before a moment (epoch milliseconds); a malformed one is not."""
    made = moment_of(entry)
    return made is not None and made < moment
