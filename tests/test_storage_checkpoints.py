"""Who writes is not kept waiting for the disk, the log stays short, and what was committed stays."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from storage import accounts, links, privacy
from storage.checkpoints import PAGES
from storage.database import Database
from storage.records import Direction, NetworkName
from storage.tables import census
from tests.conftest import START

ONLY_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
KEYS = np.arange(2_000, dtype=np.uint64)
# What may be added to a log that is long before the next one looks at it, generously.
MARGIN = 1_000
# So many transactions that all turns come: those that may wait for the disk and those that may not.
ALL_TURNS = 70


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


def log_in_bytes(database: Database) -> int:
    return Path(f"{database.url.database}-wal").stat().st_size


def log_in_use(database: Database) -> int:
    """Return how many pages are in the log, which is carried over by the question."""
    with closing(sqlite3.connect(str(database.url.database))) as connection:
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)


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
async def test_after_a_wipe_the_log_is_begun_anew(database: Database, whose: int) -> None:
    for number in range(ALL_TURNS):
        await keep(database, whose, number)
        if number % 10 == 5:
            await privacy.wipe(database)
            assert log_in_bytes(database) == 0
    assert await kept(database) == ALL_TURNS


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
