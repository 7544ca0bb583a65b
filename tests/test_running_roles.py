"""Several processes on one PostgreSQL database share the work, and nobody notices when one of them is gone."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from bot.config import load
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.faults import Fault
from storage.database import Database
from tests.conftest import fresh_postgres
from tests.reunion import until
from tests.test_bot_process import BOT, start, until_it_says, write_configuration

Process = asyncio.subprocess.Process


@pytest.fixture
async def config(postgres: str, sky: BlueskySandbox, tmp_path: Path) -> Path:
    return await prepared(postgres, sky, tmp_path)


async def prepared(server: str, sky: BlueskySandbox, folder: Path) -> Path:
    """Write the configuration that all processes share, for a database that is prepared."""
    url = await fresh_postgres(server)
    database = Database(url)
    await database.upgrade()
    await database.close()
    path = write_configuration(folder, sky.url)
    text = path.read_text()
    sqlite = next(line for line in text.splitlines() if line.startswith("url ="))
    path.write_text(text.replace(sqlite, f'url = "{url}"'))
    return path


@pytest.fixture
async def sky() -> AsyncIterator[BlueskySandbox]:
    async with BlueskySandbox(rate_limits=False) as sandbox:
        sandbox.create_account(BOT, password="the bot's own", bot=True).allow_incoming = "all"
        yield sandbox


@asynccontextmanager
async def running(config: Path, role: str, worker: str) -> AsyncIterator[Process]:
    process = await start(config, "run", "--role", role, "--worker", worker)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode in (0, -signal.SIGKILL), log.decode()
        assert "Traceback" not in log.decode()


@asynccontextmanager
async def both_running(config: Path) -> AsyncIterator[tuple[Process, Process]]:
    """Run a listener named one and a worker named two, and go on when they are at work."""
    async with running(config, "listen", "one") as listener, running(config, "work", "two") as worker:
        await until_it_says(listener, "listening")
        await until_it_says(worker, "running")
        yield listener, worker


def somebody(sky: BlueskySandbox) -> tuple[BlueskyPerson, BlueskyPerson]:
    """Return Alice, whom everybody may write to, and the bot."""
    alice, bot = sky.create_account("alice.test"), next(iter(sky.people.values()))
    alice.allow_incoming = "all"
    return alice, bot


async def test_when_the_listener_or_a_worker_is_killed_another_one_goes_on(config: Path, sky: BlueskySandbox) -> None:
    alice, bot = somebody(sky)

    async def answered(times: int) -> None:
        await sky.changed(lambda: len(alice.received_dms(bot)) >= times, 60)

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(config, "listen", "one"))
        await until_it_says(first, "listening")
        second = await stack.enter_async_context(running(config, "listen", "two"))
        assert "network=bluesky" in await until_it_says(second, "standing by")
        worker = await stack.enter_async_context(running(config, "work", "three"))
        await until_it_says(worker, "running")
        await stack.enter_async_context(running(config, "work", "four"))

        alice.dm(bot, "hello")
        await answered(1)
        first.kill()
        alice.dm(bot, "help claim")
        await answered(2)
        worker.kill()
        alice.dm(bot, "help import")
        await answered(3)
    texts = [message.text for message in alice.received_dms(bot)]
    assert len(texts) == len(set(texts)) == 3


async def test_what_a_worker_says_while_it_is_told_to_stop_is_said_once(config: Path, sky: BlueskySandbox) -> None:
    alice, bot = somebody(sky)
    slow = sky.faults.plan(Fault("chat.bsky.convo.sendMessage", "late"))
    async with both_running(config) as (_, worker):
        alice.dm(bot, "hello")
        await until(lambda: slow.times == 0)
        worker.send_signal(signal.SIGTERM)
        await until_it_says(worker, "stopping")
        # As long as it has not finished, nobody may take it for dead.
        namesake = await start(config, "run", "--role", "work", "--worker", "two")
        _, refused = await asyncio.wait_for(namesake.communicate(), 60)
        slow.until.set()
        assert "Another Reflock named 'two'" in refused.decode()
        await worker.wait()
        async with running(config, "work", "three") as other:
            await until_it_says(other, "running", "lanes_recovered=0")
            alice.dm(bot, "help claim")
            await sky.changed(lambda: len(alice.received_dms(bot)) >= 2, 60)
    assert len({message.text for message in alice.received_dms(bot)}) == len(alice.received_dms(bot)) == 2


async def test_a_worker_that_only_lost_its_connections_is_not_taken_for_dead(config: Path, sky: BlueskySandbox) -> None:
    alice, bot = somebody(sky)
    slow = sky.faults.plan(Fault("chat.bsky.convo.sendMessage", "late"))
    database = Database(load(config).config.database.url)
    async with both_running(config) as (_, worker):
        alice.dm(bot, "hello")
        await until(lambda: slow.times == 0)
        async with running(config, "work", "three") as other:
            await until_it_says(other, "running")
            async with database.transaction() as connection:
                await connection.execute(
                    sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%two'")
                )
            await until_it_says(worker, "holds its name again")
            assert alice.received_dms(bot) == []
            slow.until.set()
            await sky.changed(lambda: len(alice.received_dms(bot)) >= 1, 60)
            alice.dm(bot, "help claim")
            await sky.changed(lambda: len(alice.received_dms(bot)) >= 2, 60)
    await database.close()
    assert len({message.text for message in alice.received_dms(bot)}) == len(alice.received_dms(bot)) == 2


async def test_the_pages_are_served_by_a_process_of_their_own(config: Path) -> None:
    async with running(config, "web", "one") as process:
        url = (await until_it_says(process, "pages")).partition("http://")[2].split('"')[0].split()[0]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{url}/healthz")).status_code == 200


async def test_one_name_is_for_one_worker(config: Path) -> None:
    async with running(config, "work", "one") as process:
        await until_it_says(process, "running")
        second = await start(config, "run", "--role", "work", "--worker", "one")
        _, refused = await asyncio.wait_for(second.communicate(), 60)
    assert second.returncode == 2
    assert "Another Reflock named 'one'" in refused.decode()
    assert "another --worker" in refused.decode()


async def test_on_sqlite_one_process_does_everything(tmp_path: Path, sky: BlueskySandbox) -> None:
    process = await start(write_configuration(tmp_path, sky.url), "run", "--role", "work")
    _, refused = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "Several processes need PostgreSQL" in refused.decode()
