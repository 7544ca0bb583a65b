"""Work off arrivals in bounded steps, and tell those whose turn it is of their newcomers."""

from collections.abc import Sequence
from typing import Final

import structlog

from bot.events import Events
from bot.portions import Portion
from handlers import notices
from storage import accounts
from storage.database import is_trouble, patiently

_log = structlog.get_logger()

_PERSONS_A_TURN: Final = 50
_AFTER_A_MISTAKE: Final = 3_600_000


class Announcing:
    """From one event row per arrival to a word for everybody who waited; resumable after every step."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._portion = Portion()

    async def turn(self) -> bool:
        """Take one bounded step; tell whether there may be more to do."""
        more = await patiently(self._step)
        async with self._events.database.reading() as connection:
            due = await notices.due_persons(connection, self._events.clock(), _PERSONS_A_TURN)
            voices = await accounts.voices_of(connection, due)
        left = list(voices.items())
        while left:
            some, left = left[: self._portion.size], left[self._portion.size :]
            with self._portion.taken(len(some)):
                await self._tell(some)
        return more or len(due) == _PERSONS_A_TURN

    async def _step(self) -> bool:
        # A step looks into the index, which may have to come from the disk.
        async with self._events.database.transaction(long=True) as connection:
            return await notices.arrival_step(connection, self._events.world, self._events.clock())

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
