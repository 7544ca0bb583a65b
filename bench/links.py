"""The link store under the reference load: how fast lists are stored, indexed, found and deleted, and what they take.

    python -m bench.links [--quick] [--people 33000] [--database-url URL]

Everything goes through the application's own functions. Beside it, in the same run: raw sqlite3 executemany into an empty
table of links, and a table of links as large as the load. Loading and looking up are done by processes of their own, whose
memory is told. Times are medians in milliseconds unless named
otherwise. Prints one JSON object.
"""

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import sqlalchemy as sa

from bench import links_beside
from bench.links_graph import PEOPLE, Graph
from storage import links, segments
from storage.database import Database
from storage.keys import Keys, Keys64
from storage.records import Direction
from storage.tables import person

_QUICK_PEOPLE: Final = 2_000
_LISTS_A_TRANSACTION: Final = 20
_LENGTHS: Final = (2_000, 20_000, 100_000)
_LISTS_A_LENGTH: Final = 7
_LOOKS: Final = 200
# Whom the marginal lists belong to: numbers beyond everybody's.
_FIRST_NEW: Final = 10_000_000
_KEYS: Final = Keys("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", [Keys.generate()[1]])  # the same every time


class Locks:
    """How long transactions that write held what others wait for, in milliseconds."""

    def __init__(self, database: Database) -> None:
        self.held: list[float] = []
        self._begun = 0.0
        engine = database._writer.sync_engine  # noqa: SLF001  # what is measured
        sa.event.listen(engine, "begin", self._begin)
        sa.event.listen(engine, "commit", self._commit)

    def _begin(self, _connection: sa.Connection) -> None:
        self._begun = time.perf_counter()

    def _commit(self, _connection: sa.Connection) -> None:
        self.held.append(1000 * (time.perf_counter() - self._begun))

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


def keys_of(graph: Graph, someone: int) -> Keys64:
    """Return somebody's list as it is stored."""
    return _KEYS.of_ids(graph.list_of(someone))


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

    begun = time.perf_counter()
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
    seconds = time.perf_counter() - begun
    total = int(ends[-1])
    size = await used_bytes(database)
    async with database.reading() as connection:
        levels = [each.level for each in await segments.live_segments(connection)]
    await database.close()
    return {
        "links": total,
        "seconds": round(seconds, 1),
        "seconds_until_stored": round(stored, 1),
        "seconds_of_upkeep": round(busy, 1),
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


# Looking up, and single lists.


async def look(url: str, people: int) -> dict[str, Any]:
    """Look arrivals up, import, match and delete single lists; in a process that did not load them."""
    database = Database(url)
    graph = Graph(people)
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
    figures["lists"] = await single_lists(database, graph, people)
    figures["rss_mb_at_the_end"] = resident_mb()
    figures["rss_mb_peak"] = resident_mb(peak=True)
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


async def single_lists(database: Database, graph: Graph, people: int) -> dict[str, Any]:
    """Import, match and delete lists of certain lengths, each in a transaction of its own."""
    registered = np.sort(_KEYS.of_ids(np.array([Graph.popular(rank) for rank in range(0, 3 * people, 3)], np.uint64)))
    figures: dict[str, Any] = {}
    for length in _LENGTHS:
        store: list[float] = []
        match: list[float] = []
        for number in range(_LISTS_A_LENGTH):
            keys = _KEYS.of_ids(graph.list_as_long(_FIRST_NEW + number, 4 * length, length))
            store.append(await timed(partial(keep, database, number, keys)))
            own = np.sort(keys)
            begun = time.perf_counter()
            links.hold(own, registered)
            match.append(1000 * (time.perf_counter() - begun))
        delete = [await timed(partial(drop, database, number)) for number in range(_LISTS_A_LENGTH)]
        figures[str(length)] = {
            "store_ms": round(statistics.median(store), 3),
            "match_ms": round(statistics.median(match), 3),
            "delete_ms": round(statistics.median(delete), 3),
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


def beside(folder: Path, lists: Path, people: int) -> dict[str, Any]:
    """Do the same with a row for each link."""
    graph, ends = Graph(people), np.load(lists.with_suffix(".ends.npy"))
    connection, figures = links_beside.filled(folder / "rows.sqlite3", lists, ends)
    figures["lists"] = {}
    for length in _LENGTHS:
        new = [_KEYS.of_ids(graph.list_as_long(_FIRST_NEW + n, 4 * length, length)) for n in range(_LISTS_A_LENGTH)]
        empty = links_beside.into_empty_table(folder, new)
        large = [links_beside.store_ms(connection, people + n, keys) for n, keys in enumerate(new)]
        figures["lists"][str(length)] = {
            "store_ms_empty_table": round(statistics.median(empty), 2),
            "store_ms": round(statistics.median(large), 2),
        }
    popular = _KEYS.of_ids(np.array([Graph.popular(0)], np.uint64))[0]
    figures["most_popular_ms"] = round(
        statistics.median(links_beside.look_up_ms(connection, popular) for _ in range(20)), 2
    )
    connection.close()
    return figures


def ratios(figures: dict[str, Any]) -> dict[str, Any]:
    """Return how many times as quick a list is stored."""
    ours, theirs = figures["look"]["lists"], figures["beside"]["lists"]
    return {
        length: {
            "of_executemany_into_empty_table": round(
                theirs[length]["store_ms_empty_table"] / ours[length]["store_ms"], 1
            ),
            "of_link_table": round(theirs[length]["store_ms"] / ours[length]["store_ms"], 1),
        }
        for length in ours
    }


# The whole.


def write_lists(path: Path, people: int) -> None:
    """Write everybody's keys into one file, with where each list ends beside it."""
    graph = Graph(people)
    ends = np.empty(people, np.int64)
    total = 0
    with path.open("wb") as file:
        for number in range(people):
            keys = keys_of(graph, number)
            total += len(keys)
            ends[number] = total
            keys.tofile(file)
    np.save(path.with_suffix(".ends.npy"), ends)


def in_own_process(*arguments: str) -> dict[str, Any]:
    """Have a part of this done by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.links", "--part", *arguments], check=True, stdout=subprocess.PIPE
    )
    figures: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    return figures


def parts() -> Iterator[str]:
    """Yield the names of what runs in a process of its own."""
    yield from ("graph", "load", "look", "beside")


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help=f"Only {_QUICK_PEOPLE:,} people.")
@click.option("--people", default=PEOPLE, show_default=True, type=click.IntRange(100, 2_000_000))
@click.option("--database-url", default=None, help="An empty database, instead of SQLite in a temporary folder.")
@click.option("--part", type=click.Choice(list(parts())), hidden=True)
@click.argument("arguments", nargs=-1)
def main(quick: bool, people: int, database_url: str | None, part: str | None, arguments: tuple[str, ...]) -> None:
    """Read the options, measure, and print the figures."""
    if part == "graph":
        write_lists(Path(arguments[0]), int(arguments[1]))
        return
    if part == "load":
        figures = asyncio.run(load(arguments[0], int(arguments[1]), Path(arguments[2])))
    elif part == "beside":
        figures = beside(Path(arguments[0]), Path(arguments[1]), int(arguments[2]))
    elif part == "look":
        figures = asyncio.run(look(arguments[0], int(arguments[1])))
    else:
        with tempfile.TemporaryDirectory(prefix="reflock-links-") as folder:
            crowd = str(_QUICK_PEOPLE if quick else people)
            url = database_url or f"sqlite:///{Path(folder) / 'links.sqlite3'}"
            lists = str(Path(folder) / "lists")
            in_own_process("graph", lists, crowd)
            figures = {
                "people": int(crowd),
                "load": in_own_process("load", url, crowd, lists),
                "look": in_own_process("look", url, crowd),
                "beside": in_own_process("beside", folder, lists, crowd),
            }
            figures["ratios"] = ratios(figures)
    json.dump(figures, sys.stdout)
    print()


if __name__ == "__main__":
    main()
