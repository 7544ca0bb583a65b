"""What it costs that somebody arrives whom very many waited for, and whether anybody else notices.

    python -m bench.arrivals [--quick] [--followers 200000] [--database-url URL]

So many people are in already, each with a short list on which the newcomer stands. Told are what the arrival itself
costs (one row), how long the steps hold the write lock that note who is to be told, what it costs to tell some of them,
and how long others wait for an answer who write meanwhile, one by one. Prints one JSON object.
"""

import asyncio
import json
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

from bench.links import Locks, resident_mb
from bench.pipeline import Bench
from bot.announcing import Announcing
from bot.app import epoch_ms
from storage import accounts, arrivals, claims, links, segments
from storage.accounts import Met
from storage.database import Database
from storage.keys import distinct
from storage.records import Direction, Evidence, NetworkName
from storage.tables import person, told

_QUICK: Final = 10_000
_LOADED_AT_ONCE: Final = 500
_LIST: Final = 6
_NEWCOMER: Final = 44
_OTHERS: Final = 2_000_000
_DELAY_MS: Final = 3_600_000  # longer than what is told of a newcomer is gathered for
_MESSAGES: Final = 200
_BETWEEN_SECONDS: Final = 0.01
_TOLD: Final = 20_000


class Town:
    """A Reflock with a crowd in it, whose clock can be put forward."""

    def __init__(self, database: Database, followers: int) -> None:
        self.database = database
        self.followers = followers
        self.ahead = 0
        self.written = 0
        self.bench = Bench(database, clock=lambda: epoch_ms() + self.ahead)
        self.announcing = Announcing(self.bench.events)
        self.keys = self.bench.events.world.keys

    async def load(self) -> None:
        """Let everybody hand their lists over."""
        chance = np.random.default_rng(1)
        for first in range(0, self.followers, _LOADED_AT_ONCE):
            people = range(first, min(first + _LOADED_AT_ONCE, self.followers))
            met = [Met(NetworkName.BLUESKY, f"did:plc:person{each}", f"person{each}.example") for each in people]
            others = self.keys.of_ids(chance.integers(1_000, _OTHERS, (len(met), _LIST - 1), np.uint64).ravel())
            awaited = self.keys.of_ids(np.array([_NEWCOMER], np.uint64))
            async with self.database.transaction() as connection:
                await accounts.meet_all(connection, met, epoch_ms())
                known = await accounts.with_persons(connection, [each.actor for each in met])
                for each, some in zip(met, others.reshape(len(met), -1), strict=True):
                    _, person = known[each.actor]
                    listed = distinct(np.append(awaited, some))
                    await links.add(
                        connection, person.id, links.TYPED, Direction.FOLLOWING, listed, epoch_ms(), replace=True
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

    async def messages(self, over: Callable[[list[float]], bool]) -> list[float]:
        """Let people write one by one until that is over; return how many milliseconds each waited."""
        waited: list[float] = []
        while not over(waited):
            self.bench.writes(self.written % self.followers, "status")
            self.written += 1
            begun = time.perf_counter()
            await self.bench.inbox.turn()
            waited.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(_BETWEEN_SECONDS)
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

    async def beside(self, steps: Callable[[], Coroutine[Any, Any, None]]) -> dict[str, Any]:
        """Do something while people write; return how long it took, and how long everybody waited for an answer."""
        locks, done, begun = Locks(self.database), asyncio.Event(), time.perf_counter()
        other = asyncio.create_task(self.messages(lambda _: done.is_set()))
        await steps()
        seconds = time.perf_counter() - begun
        done.set()
        waited = await other
        return {
            "seconds": round(seconds, 2),
            "messages": len(waited),
            "others_wait_ms": _spread(waited),
            "write_lock_ms": locks.figures(),
        }


async def measure(url: str, followers: int) -> dict[str, Any]:
    """Load a crowd, let the newcomer arrive, and tell those who waited."""
    database = Database(url)
    try:
        await database.upgrade()
        town = Town(database, followers)
        await town.load()
        await town.messages(_some)
        figures: dict[str, Any] = {
            "followers": followers,
            "others_alone_wait_ms": _spread(await town.messages(_some)),
            "arrival_ms": round(await town.arrive(), 2),
        }

        async def note() -> None:
            while await town.announcing.turn():
                pass

        figures["noting"] = await town.beside(note)
        figures["noting"] |= {"noted": await town.noted(), "rss_mb": resident_mb()}

        wanted = min(_TOLD, followers)

        async def tell() -> None:
            while await town.told() < wanted and await town.announcing.turn():
                pass

        town.ahead = _DELAY_MS
        figures["telling"] = await town.beside(tell)
        done = await town.told()
        figures["telling"] |= {"told": done, "ms_each": round(figures["telling"]["seconds"] * 1000 / done, 2)}
    finally:
        await database.close()
    return figures | {"peak_rss_mb": resident_mb(peak=True)}


def _some(waited: list[float]) -> bool:
    return len(waited) == _MESSAGES


def _spread(ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(ms, n=100, method="inclusive")
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
