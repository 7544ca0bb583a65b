"""Work off arrivals in bounded steps, and tell those whose turn it is of their newcomers."""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Final

import structlog

from bot.events import Events
from bot.portions import Portion
from handlers import notices
from storage import accounts, links
from storage.database import patiently
from storage.trouble import is_trouble

_log = structlog.get_logger()

_LISTS_A_TURN: Final = 2_000
_NOTED_AT_ONCE: Final = 500
_PERSONS_A_TURN: Final = 50
# How many links of those who are told together are read at once (4 MB), unless one person's lists are longer.
_LINKS_AT_ONCE: Final = 500_000
_AFTER_A_MISTAKE: Final = 3_600_000


class Announcing:
    """From one event row per arrival to a word for everybody who waited; resumable after every step."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._noted = Portion(_NOTED_AT_ONCE)
        self._told = Portion(_PERSONS_A_TURN)

    async def turn(self) -> bool:
        """Take one bounded step; tell whether there may be more to do."""
        more = await self._note_some()
        return await self._tell_some() or more

    async def _note_some(self) -> bool:
        """Look where some arrivals stand, while others may write, and note who waited for them, a few at a time."""
        async with self._events.database.reading() as connection:
            left = await notices.who_waits(connection, _LISTS_A_TURN)
        more = left is not None
        while left is not None:
            some, left = left.divided(self._noted.size)
            with self._noted.taken(len(some.slots)):
                if not await patiently(partial(self._note, some)):
                    break
        return more

    async def _note(self, waiting: notices.Waiting) -> bool:
        async with self._events.database.transaction() as connection:
            return await notices.note(connection, self._events.world, waiting, self._events.clock())

    async def _tell_some(self) -> bool:
        async with self._events.database.reading() as connection:
            due = await notices.due_persons(connection, self._events.clock(), _PERSONS_A_TURN)
            voices = await accounts.voices_of(connection, due) if due else {}
            lengths = await links.lengths(connection, due) if due else {}
        left = [each for each in due if each in voices]
        while left:
            n = _fitting([lengths.get(each, 0) for each in left[: self._told.size]])
            some, left = left[:n], left[n:]
            with self._told.taken(n):
                await self._tell([(each, voices[each]) for each in some])
        return len(due) == _PERSONS_A_TURN

    async def _tell(self, voices: Sequence[tuple[int, str]]) -> None:
        """Tell persons, each by an account, together or, if anything gets in the way of one of them, each alone."""
        now = self._events.clock()
        about = {account_id: f"newcomers:{person_id}:{now}" for person_id, account_id in voices}
        try:
            await self._events.decide_together(about, notices.newcomers)
        except Exception as error:  # what fails for one person must not keep the others from being told
            if is_trouble(error):
                raise
            if len(voices) > 1:
                for each in voices:
                    await self._tell([each])
                return
            ((person_id, _),) = voices
            _log.exception("somebody could not be told", person=person_id, error=type(error).__name__)
            async with self._events.database.transaction() as connection:
                await accounts.change(connection, person_id, notice_due_at=now + _AFTER_A_MISTAKE)


def _fitting(lengths: Sequence[int]) -> int:
    """Return how many of the first ones are together no longer than is read at once; at least one."""
    return max(1, sum(total <= _LINKS_AT_ONCE for total in accumulate(lengths)))
