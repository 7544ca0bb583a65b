"""The fixed ticks: newcomers, retention, wiping, the index of lists, census.

APScheduler keeps them in memory; what is due stands in the database.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from bot.announcing import Announcing
from bot.config import Loaded
from bot.events import Events
from bot.outage import Outage
from handlers import privacy, stats
from storage import segments
from storage.engines import DatabaseError

_log = structlog.get_logger()

Tick = Callable[[], Coroutine[Any, Any, None]]

_STEPS_A_TICK: Final = 20
_DAY_MS: Final = 86_400_000
_INDEX_SECONDS: Final = 10


class Ticks:
    """What is done at fixed times; each is a method."""

    def __init__(self, events: Events, announcing: Announcing, loaded: Loaded) -> None:
        self._events = events
        self._announcing = announcing
        self._keep = loaded.config.privacy

    async def newcomers(self) -> None:
        """Work arrivals off, and tell people of newcomers."""
        for _ in range(_STEPS_A_TICK):
            if not await self._announcing.turn():
                return

    async def retention(self) -> None:
        """Let go of what is old."""
        async with self._events.database.transaction(long=True) as connection:
            await privacy.retention(
                connection,
                self._events.clock(),
                keep_ms=self._keep.keep_days * _DAY_MS,
                keep_failed_ms=self._keep.keep_failed_days * _DAY_MS,
                keep_unclaimed_ms=self._keep.keep_unclaimed_days * _DAY_MS,
            )

    async def wipe(self) -> None:
        """Take deleted bytes off the disk."""
        await privacy.wipe(self._events.database)

    async def index(self) -> None:
        """Look after the index of lists."""
        while await segments.tend(self._events.database):
            pass

    async def purge(self) -> None:
        """Take links of lists that are gone out of the index."""
        if gone := await segments.purge(self._events.database):
            _log.info("purged the index", links=gone)

    async def census(self) -> None:
        """Note how much there is of everything."""
        await stats.take_census(self._events.database, self._events.clock())


def make_schedule(events: Events, announcing: Announcing, loaded: Loaded) -> Any:
    """Return the scheduler, not yet started; it needs a running event loop."""
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    ticks = Ticks(events, announcing, loaded)
    scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})

    def add(tick: Tick, trigger: str, **when: float) -> None:
        scheduler.add_job(_logged(tick, events.outage), trigger, id=tick.__name__, **when)

    def alone(tick: Tick, task: str | None = None) -> Tick:
        """Have a tick done by one process at a time, however many work on the database."""

        async def run() -> None:
            async with events.database.only_one(task or f"tick {tick.__name__}") as only:
                if only:
                    try:
                        await only.during(tick())
                    except DatabaseError as error:
                        _log.warning("tick ended early", tick=tick.__name__, why=str(error))

        run.__name__ = tick.__name__
        return run

    # Arrivals are shared out among all workers, row by row.
    add(ticks.newcomers, "interval", seconds=loaded.config.notices.tick_seconds)
    add(alone(ticks.retention), "cron", hour=3, minute=17)
    add(alone(ticks.purge, segments.TASK), "cron", hour=3, minute=47)
    add(alone(ticks.wipe), "interval", minutes=loaded.config.privacy.wipe_minutes)
    add(alone(ticks.index, segments.TASK), "interval", seconds=_INDEX_SECONDS)
    # At the end of each hour, so that the last time of a day is at its end.
    add(alone(ticks.census), "cron", minute=59)
    return scheduler


def _logged(tick: Tick, outage: Outage) -> Tick:
    async def run() -> None:
        try:
            await tick()
        except asyncio.CancelledError:
            return  # who was told to stop; APScheduler would log it as a failure
        except Exception as error:  # noqa: BLE001  # the next tick comes, and the database still knows what is due
            if not outage.met(f"tick {tick.__name__}", error):
                _log.exception("tick failed", tick=tick.__name__, error=type(error).__name__)
        else:
            outage.passed(f"tick {tick.__name__}")

    return run
