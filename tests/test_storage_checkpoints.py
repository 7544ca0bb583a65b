"""Who writes is not kept waiting for the disk, the log stays short, and what was committed stays."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from bench.launchday_clock import SimulatedLoop, run_simulated
from storage import accounts, links, privacy, segments
from storage.checkpoints import PAGES
from storage.database import Database
from storage.engines import DatabaseError
from storage.records import Direction, NetworkName
from storage.tables import census, segment
from tests.conftest import START

ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
KEYS = np.arange(2_000, dtype=np.uint64)
# What may be added to a log that is long before the next one looks at it, generously.
MARGIN = 1_000
# So many transactions that all turns come: those that may wait for the disk and those that may not.
ALL_TURNS = 70
# Every list is put into the index at once.
EAGER = segments.Sizes(pending=1)


@pytest.fixture
async def whose(database: Database) -> int:
    """Give a person for whom lists are kept."""
    async with database.transaction() as connection:
        _, person = await accounts.meet(connection, NetworkName.BLUESKY, "did:plc:ann", "ann.test", START)
    return person.id


async def keep(database: Database, whose: int, number: int) -> None:
    async with database.transaction() as connection:
        await links.add(connection, whose, f"archive:{number}", Direction.FOLLOWING, KEYS, START, replace=True)


async def kept(database: Database) -> int:
    async with database.reading() as connection:
        return (await links.counts(connection)).lists


async def index_with_nobody_in_it(database: Database, whose: int) -> None:
    """Leave the index something to write when it is purged."""
    await keep(database, whose, 0)
    await segments.tend(database, EAGER)
    async with database.transaction() as connection:
        await links.remove(connection, whose)


def log_in_bytes(database: Database) -> int:
    return Path(f"{database.url.database}-wal").stat().st_size


def log_in_use(database: Database) -> int:
    """Return how many pages are in the log, which is carried over by the question."""
    with closing(sqlite3.connect(str(database.url.database))) as connection:
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


@dataclass(frozen=True, slots=True)
class Log:
    """How many pages are in the log, and how many of them are in the file as well."""

    pages: int
    carried: int


# Elsewhere: whoever closes a file gives up all locks that its process has on it, SQLite's too.
_READ_LOG = """
import struct, sys
with open(sys.argv[1], "rb") as file:
    header = file.read(136)  # sqlite.org/walformat.html: mxFrame and nBackfill
print(*struct.unpack_from("=I", header, 16), *struct.unpack_from("=I", header, 96))
"""


async def log(database: Database) -> Log:
    """Look at the log and leave it as it is."""
    command = (sys.executable, "-c", _READ_LOG, f"{database.url.database}-shm")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    answer, _ = await process.communicate()
    pages, carried = answer.split()
    return Log(int(pages), int(carried))


@ONLY_SQLITE
async def test_the_log_stays_short_while_thousands_write(database: Database, whose: int) -> None:
    async def write(first: int) -> None:
        for number in range(first, first + 200):
            await keep(database, whose, number)

    await asyncio.gather(*(write(200 * writer) for writer in range(10)))
    assert await kept(database) == 2_000  # four times what the log may hold
    assert log_in_bytes(database) < 4_120 * (PAGES + MARGIN)


KILLED = """
import asyncio, os, signal, sys
import numpy as np
from storage import links
from storage.database import Database
from storage.records import Direction

async def write(url, whose, first):
    database = Database(url)
    for number in range(first, first + 10):
        async with database.transaction() as connection:
            keys = np.arange(100_000, dtype=np.uint64)
            await links.add(connection, whose, f"archive:{number}", Direction.FOLLOWING, keys, 1, replace=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(write(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def test_what_was_committed_is_there_after_kill_and_short_lives_let_no_log_grow(
    database: Database, database_url: str, whose: int
) -> None:
    def live(first: int) -> int:
        command = [sys.executable, "-c", KILLED, database_url, str(whose), str(first)]
        return subprocess.run(command, check=False, timeout=60).returncode

    if database.is_sqlite:
        await database.close()  # which would carry over what the others leave
    for first in range(0, 50, 10):
        assert await asyncio.to_thread(live, first) == -signal.SIGKILL
    if database.is_sqlite:
        assert log_in_bytes(database) < 4_120 * (PAGES + 10 * 250 + MARGIN)  # what one of them wrote, and not all
    assert await kept(database) == 50


async def test_who_reads_for_long_holds_up_nobody_who_writes(database: Database, whose: int) -> None:
    async with database.reading() as connection:
        before = await links.counts(connection)
        for number in range(1_000):
            await keep(database, whose, number)
        assert await links.counts(connection) == before
    assert await kept(database) == 1_000
    if database.is_sqlite:  # the log could not be begun anew before
        for number in range(ALL_TURNS):
            await keep(database, whose, 1_000 + number)
        assert log_in_use(database) < PAGES


@ONLY_SQLITE
async def test_what_is_written_in_masses_is_carried_over_at_once(database: Database, whose: int) -> None:
    for number in range(5):
        await keep(database, whose, number)
    async with database.transaction() as connection:
        for number in range(30):
            keys = np.arange(100_000, dtype=np.uint64)
            await links.add(connection, whose, f"mass:{number}", Direction.FOLLOWING, keys, START, replace=True)
    assert log_in_bytes(database) > 4_120 * PAGES
    await keep(database, whose, 5)
    assert log_in_use(database) < PAGES


@ONLY_SQLITE
@pytest.mark.parametrize("polls", [1, 15, 31])
async def test_the_log_stays_short_however_many_find_nothing_to_do(database: Database, whose: int, polls: int) -> None:
    for number in range(3 * PAGES // 40):
        async with database.transaction() as connection:
            keys = np.arange(20_000, dtype=np.uint64)  # 40 pages, in less time than would send it to the thread
            await links.add(connection, whose, f"archive:{number}", Direction.FOLLOWING, keys, START, replace=True)
        for _ in range(polls):
            async with database.transaction() as connection:
                await connection.execute(sa.select(sa.literal(1)))
    assert log_in_bytes(database) < 4_120 * (PAGES + 40 * ALL_TURNS)


@ONLY_SQLITE
async def test_what_the_index_writes_is_carried_over_beside(database: Database, whose: int) -> None:
    await privacy.wipe(database)
    for number in range(3):
        await keep(database, whose, number)
    before = await log(database)
    assert before.carried == 0
    await segments.tend(database, EAGER)
    assert (await log(database)).carried > before.pages


@ONLY_SQLITE
async def test_it_is_carried_over_while_more_is_still_to_be_written(database: Database, whose: int) -> None:
    await index_with_nobody_in_it(database, whose)
    await privacy.wipe(database)
    assert not (await log(database)).carried
    async with database.much_written():
        await segments.purge(database)
        async with asyncio.timeout(60):
            while not (await log(database)).carried:
                pass


@ONLY_SQLITE
async def test_nothing_is_carried_over_beside_where_the_index_writes_nothing(database: Database, whose: int) -> None:
    async with database.transaction() as connection:  # what a builder left that was killed before it wrote more
        left = {"id": 1, "state": "building", "level": 0, "bits": 0, "links": 1, "lo": 1, "hi": 1}
        await connection.execute(sa.insert(segment).values(**left))
    await privacy.wipe(database)
    with closing(sqlite3.connect(str(database.url.database))) as other:
        other.execute("PRAGMA wal_autocheckpoint=0")
        other.execute("CREATE TABLE long_log AS SELECT zeroblob(?) AS data", (4_096 * (PAGES + 10),))
        other.commit()
    assert await segments.tend(database)
    async with database.much_written():
        for number in range(4):
            await keep(database, whose, number)
    after = await log(database)
    assert after.pages > PAGES
    assert after.carried == 0
    for number in (4, 5):  # the first looks again, the second begins the log anew
        await keep(database, whose, number)
    assert (await log(database)).pages < PAGES


@ONLY_SQLITE
async def test_who_is_told_to_stop_while_much_is_written_leaves_the_log_to_the_others(
    database: Database, whose: int
) -> None:
    await index_with_nobody_in_it(database, whose)
    purged, never = asyncio.Event(), asyncio.Event()

    async def write_much() -> None:
        async with database.much_written():
            await segments.purge(database)
            purged.set()
            await never.wait()

    writing = asyncio.create_task(write_much())
    await purged.wait()
    while not writing.done():  # again and again, whatever it is about
        writing.cancel()
        await asyncio.sleep(0)
    assert writing.cancelled()
    for number in range(20):
        async with database.transaction() as connection:
            keys = np.arange(120_000, dtype=np.uint64)
            await links.add(connection, whose, f"mass:{number}", Direction.FOLLOWING, keys, START, replace=True)
    for number in range(ALL_TURNS):
        await keep(database, whose, number)
    assert log_in_bytes(database) > 4_120 * PAGES
    assert (await log(database)).pages < PAGES


async def noted(database: Database, *statements: str) -> list[tuple[str, int]]:
    """Return a list to which whoever writes adds each statement that begins so, and the thread that executes it."""
    seen: list[tuple[str, int]] = []

    def note(statement: str) -> None:
        if statement.startswith(statements):
            seen.append((statement, threading.get_ident()))

    async with database.transaction() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.set_trace_callback(note)
    return seen


@ONLY_SQLITE
async def test_after_a_wipe_the_log_is_begun_anew_in_the_thread(database: Database, whose: int) -> None:
    commits = await noted(database, "COMMIT")
    for number in range(ALL_TURNS):
        await keep(database, whose, number)
        if number % 10 == 5:
            await privacy.wipe(database)
            assert log_in_bytes(database) == 0
        if number % 10 == 6:
            assert commits[-1] != ("COMMIT", threading.get_ident())
    assert ("COMMIT", threading.get_ident()) in commits
    assert await kept(database) == ALL_TURNS


@ONLY_SQLITE
async def test_after_a_wipe_it_is_begun_anew_in_the_thread_however_many_wait_to_write(
    database: Database, whose: int
) -> None:
    seen = await noted(database, "COMMIT", "PRAGMA wal_checkpoint")
    wiped = asyncio.Event()

    async def write(first: int) -> int:
        number = first
        while not wiped.is_set():
            await keep(database, whose, number)
            number += 1
        return number - first

    writing = [asyncio.create_task(write(10_000 * writer)) for writer in range(4)]
    for _ in range(20):
        for _ in range(ALL_TURNS):
            await asyncio.sleep(0)
        await privacy.wipe(database)
    wiped.set()
    written = sum(await asyncio.gather(*writing))
    assert await kept(database) == written
    begun_anew = [after for (before, _), after in pairwise(seen) if before != "COMMIT" == after[0]]
    assert len(begun_anew) >= 10
    assert ("COMMIT", threading.get_ident()) not in begun_anew
    assert ("COMMIT", threading.get_ident()) in seen


@ONLY_SQLITE
async def test_who_could_not_look_at_the_log_does_not_count_as_who_looked(database: Database, whose: int) -> None:
    await privacy.wipe(database)
    with closing(sqlite3.connect(str(database.url.database))) as other:
        other.execute("PRAGMA wal_autocheckpoint=0")
        other.execute("CREATE TABLE long_log AS SELECT zeroblob(?) AS data", (4_096 * (PAGES + 10),))
        other.commit()
    commits = await noted(database, "COMMIT")
    async with AsyncExitStack() as stack, database.much_written():
        connection = await stack.enter_async_context(database.transaction())
        await links.add(connection, whose, "archive:0", Direction.FOLLOWING, KEYS, START, replace=True)
    assert (await log(database)).carried == 0
    for number in (1, 2):  # the first looks, the second begins the log anew
        await keep(database, whose, number)
        assert commits[-1] != ("COMMIT", threading.get_ident())
    assert (await log(database)).pages < PAGES


@ONLY_SQLITE
async def test_a_wipe_that_is_refused_leaves_nothing_to_be_carried_over_beside(database: Database, whose: int) -> None:
    async with database.much_written():
        await keep(database, whose, 1)
        async with database.reading() as connection:
            await links.counts(connection)
            before = database.checkpoints.ended
            database.checkpoints.written(before)  # as the index says of its rows
            with pytest.raises(DatabaseError, match="not off the disk yet"):
                await privacy.wipe(database, within=0)
            ended = database.checkpoints.ended
        database.checkpoints.written(before)  # of rows whose COMMIT it may have met
        refused = await log(database)
        assert refused.carried == refused.pages
    assert database.checkpoints.ended == ended  # one more could meet the next COMMIT, which begins the log anew
    await segments.tend(database, EAGER)
    anew = await log(database)
    assert 0 < anew.carried <= anew.pages < refused.pages
    assert await kept(database) == 1


def test_nothing_is_carried_over_beside_while_a_wipe_empties_the_log(tmp_path: Path) -> None:
    """In simulated time: so long as the log is being emptied, whatever is written waits."""

    async def play(_loop: SimulatedLoop) -> None:
        database = Database(f"sqlite:///{tmp_path / 'reflock.sqlite3'}")
        await database.upgrade()
        checkpoints = database.checkpoints
        before = checkpoints.ended

        async def empty() -> bool:
            checkpoints.written(before)  # as the index says of its rows
            await asyncio.sleep(10)
            assert checkpoints.ended == before
            return True

        async with database.much_written():
            assert await checkpoints.emptying(empty)
            await asyncio.sleep(10)
            assert checkpoints.ended == before + 1  # as it would have been before, but for the wipe
        await database.close()

    run_simulated(play)


@ONLY_SQLITE
@pytest.mark.parametrize("before", [0, 1, 2, 5, 31, 32])
async def test_whoever_finds_the_file_being_written_waits(database: Database, whose: int, before: int) -> None:
    for number in range(before):
        await keep(database, whose, number)
    with closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(keep(database, whose, before))
        assert await kept(database) == before  # others go on meanwhile
        assert not writing.done()
        other.execute("ROLLBACK")
        await writing
    for number in range(before, before + 3):
        await keep(database, whose, number + 1)
    assert await kept(database) == before + 4


async def test_who_makes_one_transaction_after_the_other_lets_others_run(database: Database, whose: int) -> None:
    async def write() -> None:
        for number in range(ALL_TURNS):
            await keep(database, whose, number)

    writing = asyncio.create_task(write())
    turns = 0
    while not writing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= ALL_TURNS


@pytest.fixture
async def points_to_nobody(database: Database) -> str:
    """Give a statement that is refused by the COMMIT only."""
    async with database.transaction() as connection:
        late = "CREATE TABLE late (person_id BIGINT REFERENCES person (id) DEFERRABLE INITIALLY DEFERRED)"
        await connection.execute(sa.text(late))
    return "INSERT INTO late VALUES (999)"


async def test_a_commit_that_fails_leaves_nothing_behind_whosever_turn_it_is(
    database: Database, whose: int, points_to_nobody: str
) -> None:
    async def write(number: int) -> None:
        async with database.transaction() as connection:
            await connection.execute(sa.insert(census).values(day=number, people=1, links=1, reconnections=1))
            await connection.execute(sa.text(points_to_nobody))

    for number in range(ALL_TURNS):
        with pytest.raises(sa.exc.IntegrityError):
            await write(number)
        await keep(database, whose, number)
    async with database.reading() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(census)) == 0
    assert await kept(database) == ALL_TURNS


@pytest.mark.parametrize("turns", range(10))
async def test_what_is_given_up_is_there_as_a_whole_or_not_at_all(database: Database, whose: int, turns: int) -> None:
    for number in range(5):  # by now they are made where they are awaited
        await keep(database, whose, number)

    async def write() -> None:
        async with database.transaction() as connection:
            for number in (6, 7):
                await links.add(connection, whose, f"archive:{number}", Direction.FOLLOWING, KEYS, 1, replace=True)

    writing = asyncio.create_task(write())
    for _ in range(turns):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert await kept(database) in ((5, 7) if writing.cancelled() else (7,))
    await keep(database, whose, 8)
    assert await kept(database) in (6, 8)
