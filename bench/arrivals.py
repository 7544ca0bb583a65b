"""What it costs that somebody arrives whom very many waited for, and whether anybody else notices.

    python -m bench.arrivals [--quick] [--followers 200000] [--database-url URL]

So many people are in already, each with a short list on which the newcomer stands. Told are what the arrival itself
costs (one row), how long each step holds the write lock that notes who is to be told, what it costs to tell one of them,
and how long others wait who write meanwhile: messages that come one by one, beside a bot that does nothing else. Prints
one JSON object.
"""

import asyncio
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import sqlalchemy as sa

from bench.links import Locks
from bench.pipeline import Bench
from bot.announcing import Announcing
from bot.app import epoch_ms
from storage import accounts, arrivals, claims, links, segments
from storage.database import Database
from storage.records import Direction, Evidence, NetworkName
from storage.tables import person, told

_QUICK: Final = 10_000
_LOADED_AT_ONCE: Final = 500
_LIST: Final = 6
_NEWCOMER: Final = 44
_OTHERS: Final = 2_000_000
_DELAY_MS: Final = 3_600_000  # longer than what is told of a newcomer is gathered for
_MESSAGES: Final = 200
_TOLD: Final = 2_000


class Town:
    """A Reflock with a crowd in it, whose clock can be put forward."""

    def __init__(self, database: Database, followers: int) -> None:
        self.database = database
        self.followers = followers
        self.ahead = 0
        self.bench = Bench(database, clock=lambda: epoch_ms() + self.ahead)
        self.announcing = Announcing(self.bench.events)
        self.keys = self.bench.events.world.keys

    async def load(self) -> None:
        """Let everybody hand their lists over."""
        chance = random.Random(1)
        for first in range(0, self.followers, _LOADED_AT_ONCE):
            async with self.database.transaction() as connection:
                for number in range(first, min(first + _LOADED_AT_ONCE, self.followers)):
                    actor = f"did:plc:person{number}"
                    _, met = await accounts.meet(
                        connection, NetworkName.BLUESKY, actor, f"person{number}.example", epoch_ms()
                    )
                    ids = {_NEWCOMER, *(chance.randrange(1_000, _OTHERS) for _ in range(_LIST - 1))}
                    listed = np.sort(self.keys.of_ids(np.array(sorted(ids), np.uint64)))
                    await links.add(
                        connection, met.id, links.TYPED, Direction.FOLLOWING, listed, epoch_ms(), replace=True
                    )
        while await segments.tend(self.database):
            pass

    async def arrive(self) -> float:
        """Let the newcomer arrive; return what that takes, in milliseconds."""
        async with self.database.transaction() as connection:
            _, met = await accounts.meet(
                connection, NetworkName.BLUESKY, "did:plc:newcomer", "newcomer.example", epoch_ms()
            )
            declared = await claims.declare(connection, self.keys, met.id, "newcomer", epoch_ms())
            outcome = await claims.raise_evidence(
                connection,
                self.keys,
                declared,
                x_id=_NEWCOMER,
                x_handle="newcomer",
                evidence=Evidence.POST,
                now=epoch_ms(),
            )
            begun = time.perf_counter()
            await arrivals.arrive(connection, outcome.claim, epoch_ms())
            return (time.perf_counter() - begun) * 1000

    async def messages(self) -> list[float]:
        """Let people write one by one; return how long each waited for the promise of an answer, in milliseconds."""
        waited = []
        for number in range(_MESSAGES):
            self.bench.writes(number, "status")
            begun = time.perf_counter()
            await self.bench.inbox.turn()
            waited.append((time.perf_counter() - begun) * 1000)
        return waited

    async def noted(self) -> int:
        """Return how many are to be told."""
        async with self.database.reading() as connection:
            return int(
                await connection.scalar(
                    sa.select(sa.func.count()).select_from(person).where(person.c.notice_due_at.is_not(None))
                )
                or 0
            )

    async def told(self) -> int:
        """Return how many were told of somebody."""
        async with self.database.reading() as connection:
            return int(await connection.scalar(sa.select(sa.func.count()).select_from(told)) or 0)


async def beside(
    others: Callable[[], Coroutine[Any, Any, list[float]]], steps: Callable[[], Coroutine[Any, Any, None]]
) -> dict[str, Any]:
    """Do one thing while another goes on; return how long the first took, and how long everybody waited in the other."""
    other, begun = asyncio.create_task(others()), time.perf_counter()
    await steps()
    seconds = time.perf_counter() - begun
    return {"seconds": round(seconds, 2), "others_wait_ms": _spread(await other)}


async def measure(url: str, followers: int) -> dict[str, Any]:
    """Load a crowd, let the newcomer arrive, and tell those who waited."""
    database = Database(url)
    try:
        await database.upgrade()
        town = Town(database, followers)
        await town.load()
        await town.messages()
        figures: dict[str, Any] = {"followers": followers, "others_alone_wait_ms": _spread(await town.messages())}
        figures["arrival_ms"] = round(await town.arrive(), 2)

        async def note() -> None:
            while await town.announcing.turn():
                pass

        locks = Locks(database)
        figures["noting"] = await beside(town.messages, note)
        figures["noting"] |= {"write_lock_ms": locks.figures(), "noted": await town.noted()}

        wanted = min(_TOLD, followers)

        async def tell() -> None:
            while await town.told() < wanted and await town.announcing.turn():
                pass

        town.ahead, locks = _DELAY_MS, Locks(database)
        figures["telling"] = await beside(town.messages, tell)
        done = await town.told()
        figures["telling"] |= {
            "write_lock_ms": locks.figures(),
            "told": done,
            "ms_each": round(figures["telling"]["seconds"] * 1000 / done, 2),
        }
    finally:
        await database.close()
    return figures | {"peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}


def _spread(ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(ms, n=100)
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "max": round(max(ms), 2)}


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help=f"Only {_QUICK} followers.")
@click.option("--followers", default=200_000, show_default=True, type=click.IntRange(500, 10_000_000))
@click.option("--database-url", default=None, help="An empty database, instead of SQLite in a temporary folder.")
def main(quick: bool, followers: int, database_url: str | None) -> None:
    """Read the options, measure, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="reflock-arrivals-") as folder:
        url = database_url or f"sqlite:///{Path(folder) / 'reflock.sqlite3'}"
        json.dump(asyncio.run(measure(url, _QUICK if quick else followers)), sys.stdout)
    print()


if __name__ == "__main__":
    main()
