"""Know when to keep silent: beyond the caps of a thread and of a day."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from handlers.context import Context, Settings
from storage import messages

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_DAY: Final = 86_400_000


class Cap(Enum):
    """What is used up: the answers in one public thread, or those to one account in a day."""

    THREAD = "thread"
    DAY = "day"


class Answered:
    """How many messages were answered within a day: to each account, and in each thread."""

    def __init__(self, to: Mapping[str, int], within: Mapping[str, int]) -> None:
        self._to: Final = Counter(to)
        self._within: Final = Counter(within)

    def count(self, account_id: str, thread_key: str) -> None:
        """Count one more."""
        self._to[account_id] += 1
        self._within[thread_key] += 1

    def cap_reached(self, settings: Settings, account_id: str, thread_key: str, *, public: bool) -> Cap | None:
        """Tell whether no more is answered to one account in a day, or in one public thread.

        A DM is no thread others would have to scroll through.
        """
        if self._to[account_id] >= settings.replies_per_day:
            return Cap.DAY
        if public and self._within[thread_key] >= settings.replies_per_thread:
            return Cap.THREAD
        return None


async def answered(
    connection: "AsyncConnection", now: int, account_ids: Collection[str], thread_keys: Collection[str]
) -> Answered:
    """Look up what was answered to these accounts, and in these threads."""
    since = now - _DAY
    return Answered(
        await messages.answered_to(connection, account_ids, since),
        await messages.answered_in(connection, thread_keys, since),
    )


def hush(context: Context, cap: Cap) -> None:
    """Take back what would be too much: nothing more in the thread or, for today, no answer at all.

    What is told to others stays.
    """
    if cap is Cap.DAY:
        context.speeches[:] = [each for each in context.speeches if each.notice]
    else:
        context.speeches[:] = [replace(each, acknowledge=False) for each in context.speeches if not each.public]
