"""Work off arrivals in bounded steps, and tell those whose turn it is of their newcomers."""

from typing import Final

import structlog

from bot.events import Events
from handlers import notices
from storage import accounts

_log = structlog.get_logger()

_PERSONS_A_TURN: Final = 50
_AFTER_A_MISTAKE: Final = 3_600_000


class Announcing:
    """From one event row per arrival to a word for everybody who waited; resumable after every step."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def turn(self) -> bool:
        """Take one bounded step; tell whether there may be more to do."""
        async with self._events.database.transaction() as connection:
            more = await notices.arrival_step(connection, self._events.world, self._events.clock())
        async with self._events.database.reading() as connection:
            due = await notices.due_persons(connection, self._events.clock(), _PERSONS_A_TURN)
            voices = await accounts.voices_of(connection, due)
        for person_id, account_id in voices.items():
            await self._tell(person_id, account_id)
        return more or len(due) == _PERSONS_A_TURN

    async def _tell(self, person_id: int, account_id: str) -> None:
        now = self._events.clock()
        try:
            await self._events.decide(f"newcomers:{person_id}:{now}", account_id, notices.newcomers)
        except Exception as error:  # noqa: BLE001  # what fails for one person must not keep the others from being told
            _log.exception("somebody could not be told", person=person_id, error=type(error).__name__)
            async with self._events.database.transaction() as connection:
                await accounts.change(connection, person_id, notice_due_at=now + _AFTER_A_MISTAKE)
