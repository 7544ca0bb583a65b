"""Page through lists, newest first, as every Mastodon-API server gives them."""

from typing import Any, Final

from bot.networks.mastodon_statuses import epoch_ms

PAGE: Final = 40  # the most that every version gives
SMALLEST_PAGE: Final = 20  # a server that gives fewer than are asked for gives as many as this, if it has them


def id_of(entry: Any) -> str:
    """Return an entry's id; nothing for a malformed one."""
    return str(entry.get("id") or "") if isinstance(entry, dict) else ""


def is_older(entry: Any, moment: int) -> bool:
    """Tell whether an entry is from before a moment (epoch milliseconds); a malformed one is not."""
    try:
        return epoch_ms(entry["created_at"]) < moment
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
