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
    quirks = call.sandbox.quirks
    min_id, since_id, max_id = call.id("min_id"), call.id("since_id"), call.id("max_id")
    after = max(min_id or 0, (since_id or 0) if quirks.since_id else 0)
    low = bisect_right(entries, after, key=number) if after else 0
    high = bisect_left(entries, max_id, key=number) if max_id is not None and quirks.max_id else len(entries)
    upwards = min_id is not None and not quirks.jumping_min_id
    order: Iterable[int] = range(low, high) if upwards else range(high - 1, low - 1, -1)
    found = list(islice((entries[at] for at in order if keep(entries[at])), call.limit(default, most)))
    if upwards:
        found.reverse()
    call.link_pages([call.sandbox.world.write_id(number(entry)) for entry in found])
    return found
