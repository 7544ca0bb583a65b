"""Whoever interrupts a copy that is being committed is told what became of it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage.copying import copy
from storage.database import Database
from storage.engines import DatabaseError
from tests.conftest import fresh_postgres
from tests.silence import Way
from tests.test_bot_process import start, until_it_says
from tests.test_copying import everything, filled, nobody_told
from tests.test_index_commands import write_configuration
from tests.test_storage_privacy import somebody_waits

# A COMMIT waits for whoever stands in the gate.
GATE = (
    "CREATE TABLE gate (way integer)",
    "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1 FROM gate; RETURN NULL; END'",
    "CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON person DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
    "EXECUTE FUNCTION pass()",
)


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'reflock.sqlite3'}")
    await database.upgrade()
    await filled(database)
    yield database
    await database.close()


@pytest.fixture
async def target(postgres: str) -> AsyncIterator[Database]:
    database = Database(await fresh_postgres(postgres))
    await database.upgrade()
    async with database.transaction() as connection:
        for statement in GATE:
            await connection.execute(sa.text(statement))
    yield database
    await database.close()


@asynccontextmanager
async def gate_closed(target: Database) -> AsyncIterator[None]:
    """Let nobody commit a copy inside."""
    async with target.transaction() as connection:
        await connection.execute(sa.text("LOCK TABLE gate"))
        yield


async def until_it_commits(target: Database) -> None:
    while not await somebody_waits(target):
        pass


async def copying_to(target: Database, source: Database) -> asyncio.subprocess.Process:
    config = write_configuration(Path(str(source.url.database)).parent, source.address)
    return await start(config, "db", "copy", "--to", target.url.render_as_string(hide_password=False))


async def test_too_late_an_interruption_is_told_that_everything_was_copied(source: Database, target: Database) -> None:
    async with gate_closed(target):
        process = await copying_to(target, source)
        await until_it_commits(target)
        process.send_signal(signal.SIGINT)
        await until_it_says(process, "is not interrupted")
    said, _ = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 0
    assert "2 people, 18 links" in said.decode()
    assert await everything(target) == await everything(source)


async def test_whoever_does_not_wait_for_it_is_told_how_to_see_what_is_there(
    source: Database, target: Database
) -> None:
    async with gate_closed(target):
        process = await copying_to(target, source)
        await until_it_commits(target)
        process.send_signal(signal.SIGINT)
        await until_it_says(process, "is not interrupted")
        process.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 130
    assert "holds everything, or nothing. The same command tells which" in said.decode()
    assert "Traceback" not in said.decode()


async def test_a_commit_whose_answer_is_lost_is_not_said_to_have_failed(source: Database, target: Database) -> None:
    async with Way(target.url).open() as way:
        through = Database(way.url)
        async with gate_closed(target):
            copying = asyncio.create_task(copy(source, through, nobody_told))
            await until_it_commits(target)
            way.hang_up()
            with pytest.raises(DatabaseError, match=r"was lost while the copy was committed .* everything, or nothing"):
                await copying
        await through.close()
