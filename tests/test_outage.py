"""While the database does not answer, the log says so once, and everything goes on when it answers again."""

import asyncio
from pathlib import Path

import sqlalchemy as sa
from structlog.testing import capture_logs

from bot.outage import Outage
from bot.sandbox.bluesky import BlueskySandbox
from storage.database import Database
from tests.conftest import OwnClock
from tests.postgres import running_postgres
from tests.test_bot_process import start
from tests.test_running_roles import prepared, running, sky, until_it_says

__all__ = ["sky"]

REFUSED = ConnectionRefusedError("nobody listens there")
SILENT = "the database does not answer"
WELL = "the database answers again"


def test_however_many_meet_it_the_log_has_one_line_a_minute_and_one_at_the_end(clock: OwnClock) -> None:
    outage = Outage("postgresql://flock", clock)
    with capture_logs() as said:
        for _ in range(3):
            for who in ("keeping promises", "tick newcomers", "standing in"):
                assert outage.met(who, REFUSED)
            clock.pass_seconds(15)
        assert [each["event"] for each in said] == [SILENT]
        assert (said[0]["address"], said[0]["why"]) == ("postgresql://flock", f"ConnectionRefusedError: {REFUSED}")
        clock.pass_seconds(15)
        assert outage.met("keeping promises", REFUSED)
        outage.passed("listening")  # which had not met it, and may have asked the network alone
        assert [each["event"] for each in said] == [SILENT, SILENT]
        outage.passed("tick newcomers")
        outage.passed("keeping promises")
    assert [each["event"] for each in said] == [SILENT, SILENT, WELL]
    assert said[-1]["after_s"] == 60


def test_what_comes_and_goes_is_not_told_more_often_than_that(clock: OwnClock) -> None:
    outage = Outage("postgresql://flock", clock)
    with capture_logs() as said:
        for _ in range(12):
            outage.met("keeping promises", REFUSED)
            outage.passed("keeping promises")
            clock.pass_seconds(10)
    assert [each["event"] for each in said] == [SILENT, WELL] * 2


def test_a_mistake_of_ours_is_none_of_the_databases(clock: OwnClock) -> None:
    outage = Outage("postgresql://flock", clock)
    with capture_logs() as said:
        assert not outage.met("keeping promises", KeyError("oh"))
        assert not outage.met("keeping promises", sa.exc.ProgrammingError("SELEC 1", {}, Exception("syntax")))
    assert said == []


async def test_every_process_outlives_a_database_that_is_stopped_and_started(
    sky: BlueskySandbox, tmp_path: Path
) -> None:
    alice, bot = sky.create_account("alice.test"), next(iter(sky.people.values()))
    alice.allow_incoming = "all"
    with running_postgres() as server:
        config = await prepared(server.get_uri(), sky, tmp_path)
        async with running(config, "listen", "one") as listener, running(config, "work", "two") as worker:
            await until_it_says(listener, "listening")
            await until_it_says(worker, "running")
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


async def test_postgresql_shows_whose_connections_it_has(postgres: str) -> None:
    database = Database(postgres, name="reflock work-1")
    async with database.reading() as connection:
        assert await connection.scalar(sa.text("SHOW application_name")) == "reflock work-1"
    await database.close()
