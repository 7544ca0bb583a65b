"""Cut a page out of a list that grows at its end, as `max_id`, `since_id` and `min_id` ask for."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from bot.sandbox.mastodon.api import Call

T = TypeVar("T")


def page(
    call: Call, entries: Sequence[T], number: Callable[[T], int], keep: Callable[[T], bool], default: int, most: int
) -> list[T]:
    """Return the newest entries first, and point to the pages around them.

    `since_id` gives the newest of what is newer, `min_id` the oldest of it: a gap is filled with the latter.
    """
    min_id, since_id, max_id = call.number("min_id"), call.number("since_id"), call.number("max_id")
    after = max(min_id or 0, since_id or 0)
    low = bisect_right(entries, after, key=number) if after else 0
    high = bisect_left(entries, max_id, key=number) if max_id is not None else len(entries)
    order: Iterable[int] = range(high - 1, low - 1, -1) if min_id is None else range(low, high)
    found = list(islice((entries[at] for at in order if keep(entries[at])), call.limit(default, most)))
    if min_id is not None:
        found.reverse()
    call.link_pages([number(entry) for entry in found])
    return found
