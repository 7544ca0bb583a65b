"""While somebody else writes to SQLite's file for long, whoever is told to stop ends, and nothing is lost or doubled."""

import asyncio
import gc
import inspect
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.config import load
from bot.loops import Wake, perform
from bot.running import run_app
from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.faults import Fault
from storage.database import Database
from storage.keys import Keys
from storage.trouble import is_trouble
from tests.conftest import OwnClock
from tests.promises import House, begun, held, house_of
from tests.reunion import until
from tests.test_bot_process import start, until_it_says, write_configuration
from tests.test_running_roles import sky, somebody

__all__ = ["sky"]  # a fixture

BUSY = "storage.one_hop.BUSY_TIMEOUT_MS"
FOR_EVER = 86_400_000


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Write to a database beside everybody else."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """Give a file that is prepared."""
    path = tmp_path / "reflock.sqlite3"
    database = Database(f"sqlite:///{path}")
    await database.upgrade()
    await database.close()
    return path


@pytest.fixture
async def house(file: Path, keys: Keys, clock: OwnClock) -> AsyncIterator[House]:
    database = Database(f"sqlite:///{file}")
    yield house_of(database, keys, clock)
    await database.close()


async def test_who_is_told_to_stop_waits_no_more_for_whoever_writes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUSY, FOR_EVER)
    database, waits = Database(f"sqlite:///{file}"), asyncio.Event()
    sa.event.listen(sa.Engine, "begin", lambda _: waits.set(), once=True)

    async def count() -> object:
        async with database.transaction() as connection:
            return await connection.scalar(sa.text("SELECT COUNT(*) FROM person"))

    with writing(file):
        waiting = asyncio.create_task(count())
        await waits.wait()
        waiting.cancel()
        async with asyncio.timeout(60):
            await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert await count() == 0
    await database.close()


async def test_what_was_said_is_not_waited_for_to_be_written_down_and_not_said_again(
    house: House, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUSY, FOR_EVER)
    one = house.worker()
    await house.promise("a", "b")
    async with held(house.post, "a") as gate:
        await begun(one)
        await until(lambda: house.post.begun)
        with writing(file):
            gate.set()
            loop = asyncio.create_task(perform(one, Wake(), house.clock, house.events.outage))
            await until(lambda: house.post.said)
            loop.cancel()
            async with asyncio.timeout(60):
                await asyncio.gather(loop, return_exceptions=True)
                await one.stop()
    again = house.worker()
    assert await again.recover() == 1
    await house.settle(again)
    assert house.post.said == ["a", "b"]
    assert await house.states() == {"a": "done", "b": "done"}


async def test_it_ends_when_told_to_though_somebody_else_writes(sky: BlueskySandbox, tmp_path: Path) -> None:
    alice, bot = somebody(sky)
    config = write_configuration(tmp_path, sky.url)
    process = await start(config, "run")
    await until_it_says(process, "listening")
    slow = sky.faults.plan(Fault("chat.bsky.convo.sendMessage", "late"))
    alice.dm(bot, "hello")
    await until(lambda: slow.times == 0)
    with writing(tmp_path / "reflock.sqlite3"):
        alice.dm(bot, "help claim")
        slow.until.set()
        await sky.changed(lambda: len(alice.received_dms(bot)) >= 1, 60)
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, log.decode()
    assert "Traceback" not in log.decode()
    assert "never awaited" not in log.decode()
    process = await start(config, "run")
    try:
        assert "lanes_recovered=1" in await until_it_says(process, "running")
        await sky.changed(lambda: len(alice.received_dms(bot)) >= 2, 60)
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 30)
    assert len({message.text for message in alice.received_dms(bot)}) == len(alice.received_dms(bot)) == 2


async def test_a_start_that_has_to_wait_too_long_ends_with_that_one_error(
    sky: BlueskySandbox, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUSY, 100)
    last = sky.faults.plan(Fault("chat.bsky", "late"))
    starting = asyncio.create_task(run_app(load(write_configuration(file.parent, sky.url))))
    await until(lambda: last.times == 0)
    with writing(file):
        last.until.set()
        await asyncio.wait({starting})
    assert is_trouble(starting.exception() or KeyError("it runs"))
    made = [each for each in gc.get_objects() if inspect.iscoroutine(each)]
    assert [each for each in made if inspect.getcoroutinestate(each) == inspect.CORO_CREATED] == []


async def test_it_ends_when_told_to_before_it_has_recovered(
    sky: BlueskySandbox, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUSY, FOR_EVER)
    last = sky.faults.plan(Fault("chat.bsky", "late"))
    starting = asyncio.create_task(run_app(load(write_configuration(file.parent, sky.url))))
    await until(lambda: last.times == 0)
    with writing(file):
        recovering = asyncio.Event()
        sa.event.listen(sa.Engine, "begin", lambda _: recovering.set(), once=True)
        last.until.set()
        await recovering.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(60):
            await starting
