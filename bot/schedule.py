"""The fixed ticks: newcomers, retention, wiping, census. APScheduler keeps them in memory; what is due stands in the database."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from bot.announcing import Announcing
from bot.config import Loaded
from bot.events import Events
from handlers import privacy, stats

_log = structlog.get_logger()

_STEPS_A_TICK: Final = 20
_DAY_MS: Final = 86_400_000


def make_schedule(events: Events, announcing: Announcing, loaded: Loaded) -> Any:
    """Return the scheduler, not yet started; it needs a running event loop."""
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

    async def announce() -> None:
        for _ in range(_STEPS_A_TICK):
            if not await announcing.turn():
                return

    async def retain() -> None:
        keep = loaded.config.privacy
        async with events.database.transaction() as connection:
            await privacy.retention(
                connection,
                events.clock(),
                keep_ms=keep.keep_days * _DAY_MS,
                keep_failed_ms=keep.keep_failed_days * _DAY_MS,
                keep_unclaimed_ms=keep.keep_unclaimed_days * _DAY_MS,
            )

    async def wipe() -> None:
        await privacy.wipe(events.database)

    async def census() -> None:
        await stats.take_census(events.database, events.clock())

    scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
    seconds = loaded.config.notices.tick_seconds
    scheduler.add_job(_logged(announce), "interval", seconds=seconds, id="newcomers")
    scheduler.add_job(_logged(retain), "cron", hour=3, minute=17, id="retention")
    scheduler.add_job(_logged(wipe), "interval", minutes=loaded.config.privacy.wipe_minutes, id="wipe")
    # At the end of each hour, so that the last time of a day is at its end.
    scheduler.add_job(_logged(census), "cron", minute=59, id="census")
    return scheduler


def _logged(tick: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        try:
            await tick()
        except Exception as error:  # noqa: BLE001  # the next tick comes, and the database still knows what is due
            _log.exception("tick failed", tick=tick.__name__, error=type(error).__name__)

    return run
