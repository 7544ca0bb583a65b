"""Go on with what workers left that died, and leave alone what the living do."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from bot.loops import forever
from bot.outage import Outage
from storage import lanes
from storage.database import Database

_log = structlog.get_logger()

# Whoever lost its connection, with the server or alone, holds its name again within six seconds (`Only.lost`, and the
# longest pause of a loop): dead is who was found without it for longer than that, at one look after the other.
_LOOK_SECONDS: Final = 1.5
_LOOKS: Final = 6


async def stand_in(database: Database, name: str, on_recovered: Callable[[], None], outage: Outage) -> None:
    """Give back what others leased that died, for as long as the worker of this name lives."""
    missing: dict[str, int] = {}

    async def turn() -> None:
        nonlocal missing
        before, missing = missing, {}  # a look that fails begins the count anew: nobody could take their name meanwhile
        await asyncio.sleep(_LOOK_SECONDS)
        found, recovered = dict[str, int](), 0
        async with database.transaction() as connection:
            for worker in await lanes.holders(connection):
                if worker != name and await database.is_missing(connection, worker):
                    found[worker] = before.get(worker, 0) + 1
                    if found[worker] >= _LOOKS:
                        recovered += await lanes.release_worker(connection, worker)
        missing = found
        if recovered:
            _log.warning("another worker died", lanes_recovered=recovered)
            on_recovered()

    await forever("standing in for workers that died", turn, outage)
