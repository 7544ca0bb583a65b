"""The link store under the reference load: how fast lists are stored, indexed, found and deleted, and what they take.

    python -m bench.links [--quick] [--people 33000] [--database-url URL] [--no-beside-at-size]

Everything goes through the application's own functions. Beside it, length by length: raw sqlite3 executemany, equally durable,
into an empty table of links and into one as large as the load, whose pages the system was made to forget; on PostgreSQL,
COPY into nodes and edges. Loading and looking up are done by processes of their own, whose memory is told.
Times are medians in milliseconds unless named otherwise. Prints one JSON object.
"""

import asyncio
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import sqlalchemy as sa

from bench import links_beside, links_beside_postgres, links_import
from bench.links_graph import PEOPLE, Graph, Ids, write_lists
from storage import links, segment_states, segments, segments_check
from storage.database import Database
from storage.engines import parse_url
from storage.keys import Keys, Keys64
from storage.records import Direction
from storage.tables import person

_QUICK_PEOPLE: Final = 2_000
_LISTS_A_TRANSACTION: Final = 10
# How many lists of which lengths are stored one by one.
_LENGTHS: Final = {2_000: 51, 20_000: 15, 100_000: 7}
_LOOKS: Final = 200
_ROWS: Final = "rows.sqlite3"
# Whom the marginal lists belong to: numbers beyond everybody's.
_FIRST_NEW: Final = 10_000_000
_KEYS: Final = Keys("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", [Keys.generate()[1]])  # the same every time


Store = Callable[[int, Keys64], Awaitable[float]]
"""Store a list for a number of somebody's, and tell how many milliseconds that took."""


class Locks:
    """How long transactions that write held what others wait for, in milliseconds: from their beginning to after COMMIT.

    On SQLite others wait for the one connection that writes; on PostgreSQL for nothing but rows.
    """

    def __init__(self, database: Database) -> None:
        self.held: list[float] = []
        self._begun: dict[int, float] = {}
        pool = database._writer.sync_engine.pool  # noqa: SLF001  # what is measured
        sa.event.listen(pool, "checkout", self._taken)
        sa.event.listen(pool, "checkin", self._given_back)

    def _taken(self, _driver: object, record: object, _proxy: object) -> None:
        self._begun[id(record)] = time.perf_counter()

    def _given_back(self, _driver: object, record: object) -> None:
        self.held.append(1000 * (time.perf_counter() - self._begun.pop(id(record))))

    def figures(self) -> dict[str, float]:
        """Return what most and the longest took."""
        return {"transactions": len(self.held), **spread(self.held), "max": round(max(self.held), 2)}


def spread(times: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile."""
    ordered = sorted(times)
    return {"p50": round(statistics.median(ordered), 4), "p99": round(ordered[int(len(ordered) * 0.99)], 4)}


def resident_mb(*, peak: bool = False) -> float:
    """Return the memory of this process."""
    if peak:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


async def timed(act: Callable[[], Awaitable[Any]]) -> float:
    """Return how many milliseconds something takes."""
    begun = time.perf_counter()
    await act()
    return 1000 * (time.perf_counter() - begun)


# Loading.


async def load(url: str, people: int, lists: Path) -> dict[str, Any]:
    """Store everybody's lists, while the index is tended beside it, as in the bot."""
    database = Database(url)
    await database.upgrade()
    await populate(database, people)
    locks = Locks(database)
    ends = np.load(lists.with_suffix(".ends.npy"))
    loading = True

    async def tend() -> float:
        busy = 0.0
        while True:
            before = time.perf_counter()
            if await segments.tend(database):
                busy += time.perf_counter() - before
            elif loading:
                await asyncio.sleep(0.01)
            else:
                return busy

    begun, cpu_before = time.perf_counter(), time.process_time()
    tending = asyncio.create_task(tend())
    with lists.open("rb") as file:
        for first in range(0, people, _LISTS_A_TRANSACTION):
            last = min(first + _LISTS_A_TRANSACTION, people)
            async with database.transaction() as connection:
                for number in range(first, last):
                    start = int(ends[number - 1]) if number else 0
                    keys = np.fromfile(file, np.uint64, int(ends[number]) - start)
                    await links.add(connection, number + 1, "archive:1", Direction.FOLLOWING, keys, 1, replace=True)
    stored = time.perf_counter() - begun
    loading = False
    busy = await tending
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu_before
    total = int(ends[-1])
    size = await used_bytes(database)
    async with database.reading() as connection:
        levels = [each.level for each in await segment_states.live_segments(connection)]
    await database.close()
    return {
        "links": total,
        "seconds": round(seconds, 1),
        "seconds_until_stored": round(stored, 1),
        "seconds_of_upkeep": round(busy, 1),
        "cpu_seconds": round(cpu, 1),
        "links_a_second": round(total / seconds),
        "bytes_a_link": round(size / total, 2),
        "segments_by_level": {str(level): levels.count(level) for level in sorted(set(levels))},
        "write_lock_ms": locks.figures(),
        "peak_rss_mb": resident_mb(peak=True),
    }


async def populate(database: Database, people: int) -> None:
    """Have so many persons, who have not said anything."""
    values = {
        "language_chosen": False,
        "cadence": "now",
        "discoverable": "everyone",
        "auto": False,
        "stopped": False,
        "seen_seq": 0,
        "unanswered": 0,
        "created_at": 0,
        "last_heard_at": 0,
    }
    async with database.transaction() as connection:
        for first in range(0, people, 1000):
            rows = [{"id": number + 1, **values} for number in range(first, min(first + 1000, people))]
            await connection.execute(sa.insert(person), rows)


async def used_bytes(database: Database) -> int:
    """Return what lists and index take on disk, without what is free for others."""
    async with database.reading() as connection:
        if not database.is_sqlite:
            return sum(
                [
                    int(await connection.scalar(sa.text(f"SELECT pg_total_relation_size('{table}')")) or 0)
                    for table in ("upload", "posting", "segment")
                ]
            )
        pages, free, page = [
            int(await connection.scalar(sa.text(f"PRAGMA {name}")) or 0)
            for name in ("page_count", "freelist_count", "page_size")
        ]
    return (pages - free) * page


async def check(url: str) -> dict[str, int]:
    """Hold the index against all lists, as `reflock db verify` does; return in how many ways it differs."""
    database = Database(url)
    problems = await segments_check.verify(database, lambda _done, _of: None)
    await database.close()
    return {"differences": len(problems)}


# Looking up, and single lists.


async def look(url: str, people: int, folder: Path) -> dict[str, Any]:
    """Look arrivals up, import, match and delete single lists; in a process that did not load them."""
    database = Database(url)
    wanted = await followed_by(database, {"0": 0, "10": 10, "1k": 1_000, "20k": 20_000}, people)
    figures: dict[str, Any] = {"rss_mb_before": resident_mb(), "followers": {}}
    for name, (keys, followers) in wanted.items():
        cold = [await cold_look(url, key) for key in keys[:5]] if database.is_sqlite else []
        warm: list[float] = []
        async with database.reading() as connection:
            for turn in range(_LOOKS):
                key = keys[turn % len(keys) : turn % len(keys) + 1]
                warm.append(await timed(partial(segments.slots_with, connection, key)))
        pages = [await timed(partial(all_pages, database, key)) for key in keys[:5, None]]
        figures["followers"][name] = {
            "followers": followers,
            "slots_ms": spread(warm),
            **({"slots_cold_ms": round(statistics.median(cold), 3)} if cold else {}),
            "people_ms": round(statistics.median(pages), 3),
        }
    figures["rss_mb"] = resident_mb()
    figures["lists"] = await single_lists(database, people, folder)
    await database.close()
    return figures


async def followed_by(database: Database, wanted: dict[str, int], people: int) -> dict[str, tuple[Keys64, int]]:
    """Find accounts that so many of those who are here followed, by looking from the most popular one on."""
    ranks = np.unique(np.geomspace(1, 25_000_000, 400).astype(np.int64)) - 1
    counts = np.empty(len(ranks), np.int64)
    keys = _KEYS.of_ids(np.array([Graph.popular(int(rank)) for rank in ranks], np.uint64))
    async with database.reading() as connection:
        for place in range(len(ranks)):
            counts[place] = len((await segments.slots_with(connection, keys[place : place + 1]))[0])
    chosen: dict[str, tuple[Keys64, int]] = {}
    for name, followers in wanted.items():
        # A smaller crowd has fewer followers for everybody.
        aim = followers * people / PEOPLE if followers > 10 else followers
        nearest = np.argsort(np.abs(counts - aim), kind="stable")[:5]
        chosen[name] = (keys[nearest], int(np.median(counts[nearest])))
    return chosen


async def all_pages(database: Database, key: Keys64) -> None:
    """Find everybody who followed an account, page by page, as an arrival is worked off."""
    slot: int | None = 0
    while slot is not None:
        async with database.reading() as connection:
            page = await links.followers_of(connection, key, after_slot=slot)
        slot = page.next_slot


async def cold_look(url: str, key: np.uint64) -> float:
    """Look an account up with nothing of the database in memory."""
    forget_pages(url.removeprefix("sqlite:///"))
    database = Database(url)
    async with database.reading() as connection:
        await connection.execute(sa.text("SELECT 1"))
        taken = await timed(lambda: segments.slots_with(connection, np.array([key])))
    await database.close()
    return taken


def forget_pages(path: str) -> None:
    """Have the system forget what it keeps in memory of a database."""
    for name in (path, f"{path}-wal"):
        if Path(name).exists():
            with Path(name).open("rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def single_lists(database: Database, people: int, folder: Path) -> dict[str, Any]:
    """Import, match and delete lists of certain lengths, each in a transaction of its own, beside other ways to store them."""
    registry = await links_import.register(database, _KEYS, people)
    sources = itertools.count(people)
    figures: dict[str, Any] = {}
    if database.is_sqlite:
        forget_pages(str(database.url.database))
    async with other_ways(database, folder) as others:
        for length, count in _LENGTHS.items():
            ids = new_ids(people, length, count)
            lists = [_KEYS.of_ids(each) for each in ids]
            store = [await timed(partial(keep, database, number, keys)) for number, keys in enumerate(lists)]
            beside = {
                name: [await store_ms(next(sources), keys) for keys in lists] for name, store_ms in others.items()
            }
            match: list[float] = []
            for keys in lists:
                own = np.sort(keys)
                begun = time.perf_counter()
                registry.matches(own)
                match.append(1000 * (time.perf_counter() - begun))
            delete = [await timed(partial(drop, database, number)) for number in range(count)]
            median = statistics.median(store)
            figures[str(length)] = {
                "store_ms": round(median, 3),
                "beside_ms": {name: round(statistics.median(times), 2) for name, times in beside.items()},
                "times_as_quick_as": {
                    name: round(statistics.median(times) / median, 1) for name, times in beside.items()
                },
                "match_ms": round(statistics.median(match), 3),
                "delete_ms": round(statistics.median(delete), 3),
                "from_archive": await links_import.figures(
                    database, _KEYS, registry, [links_import.archive(each) for each in ids[:21]]
                ),
            }
    return figures


async def keep(database: Database, number: int, keys: Keys64) -> None:
    """Store one list, as an upload is stored."""
    async with database.transaction() as connection:
        await links.add(connection, number + 1, "archive:2", Direction.FOLLOWING, keys, 1, replace=True)


async def drop(database: Database, number: int) -> None:
    """Delete one list."""
    async with database.transaction() as connection:
        await links.remove(connection, number + 1, "archive:2")


# Beside it.


@asynccontextmanager
async def other_ways(database: Database, folder: Path) -> AsyncIterator[dict[str, Store]]:
    """Give the other ways to store a list, as far as `fill` has prepared them, by their names."""
    if not database.is_sqlite:
        nodes = await links_beside_postgres.Beside.opened(database.url)
        yield {"nodes_and_edges": nodes.store_ms}
        await nodes.close()
        return

    async def into_empty_table(source: int, keys: Keys64) -> float:
        connection = links_beside.opened(folder / f"empty-{source}.sqlite3")
        with closing(connection):
            return links_beside.store_ms(connection, source, keys)

    ways: dict[str, Store] = {"executemany_into_empty_table": into_empty_table}
    path = folder / _ROWS
    if not path.exists():
        yield ways
        return
    forget_pages(str(path))
    connection = links_beside.opened(path)

    async def into_link_table(source: int, keys: Keys64) -> float:
        return links_beside.store_ms(connection, source, keys)

    with closing(connection):
        yield {**ways, "link_table": into_link_table}


def fill(url: str, folder: Path, lists: Path) -> dict[str, Any]:
    """Store everybody's links with a row for each: a table on SQLite, nodes and edges on PostgreSQL."""
    ends, popular = np.load(lists.with_suffix(".ends.npy")), _KEYS.of_ids(np.array([Graph.popular(0)], np.uint64))[0]
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return links_beside.fill(folder / _ROWS, lists, ends, popular)
    registered = _KEYS.of_ids(np.array([Graph.popular(3 * number) for number in range(len(ends))], np.uint64))
    return asyncio.run(links_beside_postgres.filled(parsed, lists, ends, registered, popular))


# The whole.


def new_ids(people: int, length: int, count: int) -> list[Ids]:
    """Return so many single lists of a length."""
    graph = Graph(people)
    return [graph.list_as_long(_FIRST_NEW + number, 4 * length, length) for number in range(count)]


def in_own_process(*arguments: str) -> dict[str, Any]:
    """Have a part of this done by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.links", "--part", *arguments], check=True, stdout=subprocess.PIPE
    )
    figures: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return figures


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help=f"Only {_QUICK_PEOPLE:,} people.")
@click.option("--people", default=PEOPLE, show_default=True, type=click.IntRange(100, 2_000_000))
@click.option("--database-url", default=None, help="An empty database, instead of SQLite in a temporary folder.")
@click.option(
    "--beside-at-size/--no-beside-at-size",
    "at_size",
    default=True,
    show_default=True,
    help="Also store into what has a row for each link of the load, which takes minutes if that is large.",
)
@click.option("--part", type=click.Choice(["graph", "load", "check", "fill", "look"]), hidden=True)
@click.argument("arguments", nargs=-1)
def main(
    quick: bool,
    people: int,
    database_url: str | None,
    at_size: bool,
    part: str | None,
    arguments: tuple[str, ...],
) -> None:
    """Read the options, measure, and print the figures."""
    if part == "graph":
        write_lists(Path(arguments[0]), Graph(int(arguments[1])), _KEYS)
        return
    if part == "load":
        figures = asyncio.run(load(arguments[0], int(arguments[1]), Path(arguments[2])))
    elif part == "check":
        figures = asyncio.run(check(arguments[0]))
    elif part == "fill":
        figures = fill(arguments[0], Path(arguments[1]), Path(arguments[2]))
    elif part == "look":
        figures = asyncio.run(look(arguments[0], int(arguments[1]), Path(arguments[2])))
    else:
        with tempfile.TemporaryDirectory(prefix="reflock-links-") as folder:
            crowd = str(_QUICK_PEOPLE if quick else people)
            url = database_url or f"sqlite:///{Path(folder) / 'links.sqlite3'}"
            lists = str(Path(folder) / "lists")
            in_own_process("graph", lists, crowd)
            figures = {
                "people": int(crowd),
                "load": in_own_process("load", url, crowd, lists),
                "index": in_own_process("check", url),
                "beside": in_own_process("fill", url, folder, lists) if at_size else {},
                "look": in_own_process("look", url, crowd, folder),
            }
    json.dump(figures, sys.stdout)
    print()


if __name__ == "__main__":
    main()
