"""Whoever looks after the index of lists stops, and says so, when it is no longer sure to be the only one who does."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from bot.schedule import make_schedule
from storage.database import Database
from storage.segments import Sizes, tend
from storage.segments_check import verify
from tests.conftest import OwnClock, fresh_postgres
from tests.flock import open_flock
from tests.test_index_commands import reflock, write_configuration
from tests.test_storage_segments import found, hand_over, person

HERE = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
MANY = np.arange(260_000, dtype=np.uint64) << np.uint64(46)  # so many that they are indexed


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[Database]:
    opened = Database(await fresh_postgres(postgres))
    await opened.upgrade()
    yield opened
    await opened.close()


@asynccontextmanager
async def nobody_begins_a_segment(database: Database) -> AsyncIterator[None]:
    """Have whoever begins a segment of the index wait."""
    async with database.transaction() as connection:
        await connection.execute(sa.text("LOCK TABLE segment IN SHARE MODE"))
        yield


async def somebody_waits(database: Database) -> None:
    """Return when somebody wants to begin one."""
    waiting = sa.text(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {HERE}")
    async with asyncio.timeout(60):
        while True:
            async with database.reading() as connection:
                if await connection.scalar(waiting):
                    return
            await asyncio.sleep(0.01)


async def cut_locks(database: Database) -> None:
    """Cut every connection that holds a lock by which somebody is alone with something."""
    async with database.transaction() as connection:
        held = f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND {HERE}"
        assert any((await connection.scalars(sa.text(held))).all())


async def problems(database: Database) -> list[str]:
    return await verify(database, lambda _done, _whole: None)


async def test_a_rebuild_that_lost_its_lock_is_ended_and_says_so(database: Database, tmp_path: Path) -> None:
    config = write_configuration(tmp_path, database.url.render_as_string(hide_password=False))
    ann = await person(database, "ann")
    await hand_over(database, ann, MANY[:1000])
    assert await tend(database, Sizes(pending=100))
    command = [sys.executable, "-W", "error", "-m", "bot", "db", "rebuild", "--config", str(config)]
    pipe = asyncio.subprocess.PIPE
    async with nobody_begins_a_segment(database):
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        await somebody_waits(database)
        second = await asyncio.to_thread(reflock, config, "db", "rebuild")
        assert (second.returncode, second.stdout) == (1, "")
        assert "The index is being looked after at this moment. Try again in a minute." in second.stderr
        await cut_locks(database)
        said, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, said) == (2, b"")
    (line,) = complaint.decode().strip().splitlines()
    assert line.startswith("reflock: The connection was lost that keeps others from doing the same at once")
    assert await problems(database) == []
    assert await found(database, MANY[:1]) == [ann]
    again = await asyncio.to_thread(reflock, config, "db", "rebuild")
    assert (again.returncode, again.stdout) == (0, "The index is new: 1 segments, 1,000 links.\n")
    assert await problems(database) == []


async def test_a_tick_that_lost_its_lock_is_ended_and_the_next_one_goes_on(database: Database, clock: OwnClock) -> None:
    ann = await person(database, "ann")
    await hand_over(database, ann, MANY)
    async with open_flock(database.url.render_as_string(hide_password=False), clock) as flock:
        index = make_schedule(flock.app.events, flock.app.announcing, flock.config).get_job("index").func
        async with nobody_begins_a_segment(database):
            with capture_logs() as log:
                tick = asyncio.create_task(index())
                await somebody_waits(database)
                await cut_locks(database)
                await asyncio.wait_for(tick, 60)
        assert [(each["event"], each["tick"]) for each in log] == [("tick ended early", "index")]
        assert "The connection was lost" in log[0]["why"]
        await index()
    assert await problems(database) == []
    assert await found(database, MANY[:1]) == [ann]
    async with database.reading() as connection:
        assert await connection.scalar(sa.text("SELECT sum(links) FROM segment WHERE state = 'live'")) == len(MANY)
