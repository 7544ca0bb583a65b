"""A server that falls silent without a word holds up nobody for long, and least of all whoever wants to end."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.sandbox.bluesky import BlueskySandbox
from storage.database import Database
from storage.trouble import is_trouble
from tests.conftest import fresh_postgres
from tests.silence import Way
from tests.test_bot_process import start, until_it_says
from tests.test_running_roles import prepared, sky

__all__ = ["sky"]


@pytest.fixture
async def way(postgres: str) -> AsyncIterator[Way]:
    async with Way(sa.make_url(await fresh_postgres(postgres))).open() as opened:
        yield opened


async def used_at_once(database: Database, connections: int) -> set[int]:
    """Have so many connections in the pool; return whom they lead to."""
    async with AsyncExitStack() as stack:
        used = [await stack.enter_async_context(database.transaction()) for _ in range(connections)]
        return {int(await each.scalar(sa.text("SELECT pg_backend_pid()")) or 0) for each in used}


@pytest.mark.parametrize("for_good", [False, True])
async def test_what_was_held_is_let_go_of_though_the_server_is_silent(way: Way, for_good: bool) -> None:
    database = Database(way.url)
    async with asyncio.timeout(60):
        async with (
            database.alone("one") as name,
            database.only_one("listening") as task,
            database.listening("bell", lambda: None),
        ):
            assert name
            assert task
            await used_at_once(database, 5)
            way.fall_silent(for_good=for_good)
        await database.close()


async def test_whoever_takes_a_silent_connection_is_given_another_one(way: Way) -> None:
    database = Database(way.url)
    silent = await used_at_once(database, 3)
    async with database.only_one("listening") as only:
        way.fall_silent()
        await only.lost()  # so long they were not used
    async with asyncio.timeout(60):
        assert silent.isdisjoint(await used_at_once(database, 4))
        await database.close()


async def test_whoever_waits_for_a_silent_server_learns_that_no_answer_comes(way: Way) -> None:
    database = Database(way.url)
    async with asyncio.timeout(60), database.alone("one") as name:
        async with database.reading() as connection:
            await connection.execute(sa.text("SELECT 1"))
            way.fall_silent()
            lost = asyncio.create_task(name.lost())
            with pytest.raises(sa.exc.DBAPIError) as failed:
                await connection.execute(sa.text("SELECT 1"))
        await lost
        assert is_trouble(failed.value)
        await used_at_once(database, 1)
    await database.close()


async def test_it_ends_when_told_to_though_the_database_is_silent(
    postgres: str, sky: BlueskySandbox, tmp_path: Path
) -> None:
    alice, bot = sky.create_account("alice.test"), next(iter(sky.people.values()))
    alice.allow_incoming = "all"
    config = await prepared(postgres, sky, tmp_path)
    text = config.read_text()
    url = next(line for line in text.splitlines() if line.startswith("url =")).split('"')[1]
    async with Way(sa.make_url(url)).open() as way:
        config.write_text(text.replace(url, way.url))
        process = await start(config, "run")
        await until_it_says(process, "listening")
        alice.dm(bot, "hello")
        await sky.changed(lambda: len(alice.received_dms(bot)) >= 1, 60)
        way.fall_silent()
        process.send_signal(signal.SIGTERM)
        try:
            _, log = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    assert "Traceback" not in log.decode()


async def test_a_frozen_process_holds_up_nobody_for_good(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection stands, and what it locked in the middle of a transaction everybody else would wait for."""
    monkeypatch.setattr("storage.engines._FROZEN_SECONDS", 1)
    frozen, other = Database(way.url), Database(way.url)
    await frozen.upgrade()
    lock = sa.text("LOCK TABLE budget")

    async def freezes() -> None:
        async with frozen.transaction() as connection:
            await connection.execute(lock)
            async with asyncio.timeout(60), other.transaction() as waiting:
                await waiting.execute(lock)
            await connection.execute(lock)

    with pytest.raises(sa.exc.DBAPIError) as told:
        await freezes()
    assert is_trouble(told.value)
    async with frozen.transaction() as connection:  # and whoever wakes up goes on
        await connection.execute(lock)
    await frozen.close()
    await other.close()
