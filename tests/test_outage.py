"""While the database does not answer, the log says so once, and everything goes on when it answers again."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from bot.loops import forever
from bot.outage import Outage
from bot.sandbox.bluesky import BlueskySandbox
from storage.bell import hear_bell, ring
from storage.database import Database, next_number
from tests.conftest import OwnClock, fresh_postgres
from tests.flock import open_flock
from tests.postgres import running_postgres
from tests.reunion import until
from tests.test_bot_process import start, until_it_says, write_configuration
from tests.test_refused_databases import SECRET, as_user, execute
from tests.test_running_roles import both_running, prepared, sky, somebody
from tests.visits import asks, enter, link

__all__ = ["sky"]  # a fixture

HUNG_UP = sa.exc.OperationalError("SELECT 1", {}, ConnectionResetError("hung up"), connection_invalidated=True)
SILENT = "the database does not answer"
REFUSES = "the database refuses us"
WELL = "the database answers again"
TO_STRANGER = (
    "ALL ON ALL TABLES IN SCHEMA public TO stranger",
    "ALL ON ALL SEQUENCES IN SCHEMA public TO stranger",
)

Said = list[MutableMapping[str, Any]]


@pytest.fixture
def outage(clock: OwnClock) -> Outage:
    return Outage("postgresql://flock", sa.make_url("postgresql://flock"), clock)


@pytest.fixture
def said() -> Iterator[Said]:
    """Give what is said in the log."""
    with capture_logs() as said:
        yield said


def test_however_many_meet_it_the_log_has_one_line_a_minute_and_one_at_the_end(
    outage: Outage, clock: OwnClock, said: Said
) -> None:
    for _ in range(3):
        for who in ("keeping promises", "tick newcomers", "standing in"):
            assert outage.met(who, HUNG_UP)
        clock.pass_seconds(15)
    assert [each["event"] for each in said] == [SILENT]
    assert (said[0]["address"], said[0]["why"]) == ("postgresql://flock", "ConnectionResetError: hung up")
    clock.pass_seconds(15)
    assert outage.met("keeping promises", HUNG_UP)
    outage.passed("listening")  # which had not met it, and may have asked the network alone
    assert [each["event"] for each in said] == [SILENT, SILENT]
    outage.passed("tick newcomers")
    outage.passed("keeping promises")
    assert [each["event"] for each in said] == [SILENT, SILENT, WELL]
    assert said[-1]["after_s"] == 60


def test_what_comes_and_goes_is_not_told_more_often_than_that(outage: Outage, clock: OwnClock, said: Said) -> None:
    for _ in range(12):
        outage.met("keeping promises", HUNG_UP)
        outage.passed("keeping promises")
        clock.pass_seconds(10)
    assert [each["event"] for each in said] == [SILENT, WELL] * 2


def test_what_a_daily_tick_met_long_ago_makes_no_later_outage_longer(
    outage: Outage, clock: OwnClock, said: Said
) -> None:
    outage.met("tick retention", HUNG_UP)
    for _ in range(10):
        clock.pass_seconds(3600)
        outage.passed("keeping promises")
    outage.met("keeping promises", HUNG_UP)
    clock.pass_seconds(5)
    outage.passed("keeping promises")
    assert [each["event"] for each in said] == [SILENT, WELL, SILENT, WELL]
    assert said[-1]["after_s"] == 5


def test_what_a_daily_tick_alone_met_did_not_last_a_day(outage: Outage, clock: OwnClock, said: Said) -> None:
    outage.met("tick retention", HUNG_UP)
    clock.pass_seconds(86_400)
    outage.passed("tick retention")
    assert said[-1]["event"] == WELL
    assert said[-1]["after_s"] <= 120


def test_a_clock_that_is_set_back_silences_no_line(outage: Outage, clock: OwnClock, said: Said) -> None:
    outage.met("keeping promises", HUNG_UP)
    clock.pass_seconds(-3600)
    outage.met("keeping promises", HUNG_UP)
    clock.pass_seconds(5)
    outage.passed("keeping promises")
    assert [each["event"] for each in said] == [SILENT, SILENT, WELL]
    assert said[-1]["after_s"] == 5


def test_what_only_a_page_met_is_over_when_nobody_meets_it_any_more(
    outage: Outage, clock: OwnClock, said: Said
) -> None:
    outage.met("pages", HUNG_UP)
    clock.pass_seconds(60)
    outage.passed("keeping promises")  # which may have asked the network alone
    assert [each["event"] for each in said] == [SILENT]
    clock.pass_seconds(120)
    outage.passed("keeping promises")
    assert [each["event"] for each in said] == [SILENT, WELL]


async def test_a_page_that_is_served_from_the_database_tells_that_it_is_over(
    tmp_path: Path, clock: OwnClock, said: Said
) -> None:
    async with open_flock(f"sqlite:///{tmp_path / 'reflock.sqlite3'}", clock) as flock:
        alice = flock.bluesky.create_account("alice.test")
        await asks(flock, alice, "hello")
        await enter(flock.browser, await link(flock, alice, "export"))
        flock.app.events.outage.met("pages", HUNG_UP)
        for path, told in {"/static/style.css": False, "/nowhere": False, "/me": True}.items():
            await flock.browser.get(f"{flock.pages}{path}")
            assert (WELL in [each["event"] for each in said]) == told


async def test_only_the_database_out_of_reach_is_its_trouble(outage: Outage, said: Said) -> None:
    assert not outage.met("keeping promises", TimeoutError("of a network"))
    assert not outage.met("keeping promises", ConnectionRefusedError("by a network"))
    assert said == []
    nowhere = Database("postgresql://127.0.0.1:1/flock")
    with pytest.raises(ConnectionRefusedError) as refused:
        await nowhere.is_empty()
    assert outage.met("keeping promises", refused.value)
    await nowhere.close()
    assert "ConnectionRefusedError" in said[0]["why"]


async def test_the_bell_is_heard_again_whatever_the_server_said_meanwhile(postgres: str, said: Said) -> None:
    database, operator = Database(await fresh_postgres(postgres)), Database(postgres)
    name, heard = database.url.database, asyncio.Event()
    outage = Outage(database.address, database.url, lambda: 0)

    async def operate(*statements: str) -> None:
        async with operator.transaction() as connection:
            for each in statements:
                await connection.execute(sa.text(each))

    ear = asyncio.create_task(forever("hearing the bell", lambda: hear_bell(database, heard.set), outage))
    await until(heard.is_set)
    await operate(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await operate(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    await until(lambda: "turn failed" in [each["event"] for each in said])
    heard.clear()
    await operate(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await until(heard.is_set)
    heard.clear()
    async with database.transaction() as connection:
        await ring(connection)
    await until(heard.is_set)
    ear.cancel()
    await asyncio.gather(ear, return_exceptions=True)
    assert {each["event"] for each in said} == {"turn failed"}  # and nothing of a database out of reach
    await database.close()
    await operator.close()


def test_a_mistake_of_ours_is_none_of_the_databases(outage: Outage, said: Said) -> None:
    assert not outage.met("keeping promises", KeyError("oh"))
    assert not outage.met("keeping promises", sa.exc.ProgrammingError("SELEC 1", {}, Exception("syntax")))
    assert said == []


async def test_every_process_outlives_a_database_that_is_stopped_and_started(
    sky: BlueskySandbox, tmp_path: Path
) -> None:
    alice, bot = somebody(sky)
    with running_postgres() as server:
        config = await prepared(server.get_uri(), sky, tmp_path)
        async with both_running(config) as (listener, worker):
            alice.dm(bot, "hello")
            await sky.changed(lambda: len(alice.received_dms(bot)) >= 1, 60)
            await asyncio.to_thread(server.stop)
            said = [await until_it_says(each, SILENT) for each in (listener, worker)]
            alice.dm(bot, "help claim")
            await asyncio.to_thread(server.ensure_postgres_running)
            said += [await until_it_says(each, WELL, "holds its name again") for each in (listener, worker)]
            await sky.changed(lambda: len(alice.received_dms(bot)) >= 2, 60)
            namesake = await start(config, "run", "--role", "work", "--worker", "two")
            _, refused = await asyncio.wait_for(namesake.communicate(), 60)
    assert "Traceback" not in "".join(said)
    assert "Another Reflock named 'two'" in refused.decode()
    assert "worker=one" in said[0]
    assert "worker=two" in said[1]


@pytest.fixture
async def stranger(postgres: str) -> AsyncIterator[tuple[str, str]]:
    """Give the URL of a prepared database as its owner writes it, and as somebody does who may do everything there."""
    url = await fresh_postgres(postgres)
    database = Database(url)
    await database.upgrade()
    await database.close()
    await execute(url, f"CREATE ROLE stranger LOGIN PASSWORD '{SECRET}'", *(f"GRANT {each}" for each in TO_STRANGER))
    yield url, as_user(url, "stranger")
    await execute(url, "DROP OWNED BY stranger", "DROP ROLE stranger")


async def test_a_database_that_takes_rights_away_is_named_and_works_again_when_it_gives_them_back(
    sky: BlueskySandbox, tmp_path: Path, stranger: tuple[str, str]
) -> None:
    owned, used = stranger
    alice, bot = somebody(sky)
    config = write_configuration(tmp_path, sky.url)
    with (tmp_path / ".env").open("a") as secrets:
        secrets.write(f"REFLOCK_DATABASE_URL='{used}'\n")
    process = await start(config, "run")
    try:
        said = await until_it_says(process, "listening")
        await execute(owned, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM stranger")
        alice.dm(bot, "hello")
        said += await until_it_says(process, REFUSES)
        await execute(owned, *(f"GRANT {each}" for each in TO_STRANGER))
        said += await until_it_says(process, WELL)
        await sky.changed(lambda: len(alice.received_dms(bot)) >= 1, 60)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        _, rest = await asyncio.wait_for(process.communicate(), 30)
    said += rest.decode()
    (line,) = (each for each in said.splitlines() if REFUSES in each)
    assert "permission denied for table" in line
    assert f'ALTER DATABASE "{sa.make_url(owned).database}" OWNER TO "stranger"' in line
    assert "Traceback" not in said
    assert SECRET not in said


async def test_a_database_in_which_nothing_may_be_written_any_more_is_named_and_left_for_one_in_which_it_may(
    postgres: str, clock: OwnClock, said: Said
) -> None:
    url = await fresh_postgres(postgres)
    former, name = Database(url), sa.make_url(url).database
    await former.upgrade()
    await former.close()
    await execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database = Database(url)
    outage = Outage(database.address, database.url, clock)

    async def write() -> None:
        async with database.transaction() as connection:
            await next_number(connection, "claim")

    with pytest.raises(sa.exc.DBAPIError) as refused:
        await write()
    assert outage.met("keeping promises", refused.value)
    (line,) = said
    assert line["event"] == REFUSES
    assert "in a read-only transaction. Name the server that may be written to in [database] url" in line["why"]
    await execute(postgres, line["why"].partition("as by: ")[2])
    await write()  # by another connection: those that there were stay as they are
    await database.close()


async def test_postgresql_shows_whose_connections_it_has(postgres: str) -> None:
    database = Database(postgres, name="reflock work-1")
    async with database.reading() as connection:
        assert await connection.scalar(sa.text("SHOW application_name")) == "reflock work-1"
    await database.close()
