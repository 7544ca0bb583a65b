"""The schema's history leads exactly to the tables, and a database of another time is refused in words."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from storage import accounts
from storage.database import Database, next_number, revisions, when_undone
from storage.engines import DatabaseError, parse_url
from storage.records import NetworkName
from storage.tables import census, metadata, person
from tests.conftest import START

ONLY_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def empty(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


def differences(connection: sa.Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_the_migrations_lead_to_the_tables(database: Database) -> None:
    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []
    await database.check_version()
    await database.upgrade()


async def test_forgotten_ids_are_not_given_out_again(database: Database) -> None:
    async with database.transaction() as connection:
        _, first = await accounts.meet(connection, NetworkName.BLUESKY, "did:plc:a", "a.test", START)
        await connection.execute(sa.delete(person))
        _, second = await accounts.meet(connection, NetworkName.BLUESKY, "did:plc:b", "b.test", START)
    assert second.id > first.id


async def test_an_empty_database_is_refused_with_what_to_do(empty: Database) -> None:
    assert await empty.is_empty()
    with pytest.raises(DatabaseError, match="reflock db upgrade"):
        await empty.check_version()


async def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for refused in (database.check_version, database.upgrade):
        with pytest.raises(DatabaseError, match=r"newer than this Reflock"):
            await refused()
    assert revisions()[0] == "0001"


async def test_what_fails_leaves_nothing_behind(database: Database) -> None:

    async def fail() -> None:
        async with database.transaction() as connection:
            await accounts.meet(connection, NetworkName.BLUESKY, "did:plc:a", "a.test", START)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with database.reading() as connection:
        assert await accounts.get(connection, "did:plc:a") is None


@pytest.mark.parametrize("turns", range(0, 30, 2))
async def test_what_is_given_up_at_any_moment_leaves_nothing_behind(database: Database, turns: int) -> None:

    async def write() -> None:
        async with database.transaction() as connection:
            await connection.execute(sa.insert(census).values(day=1, people=1, links=1, reconnections=1))
            await asyncio.Event().wait()

    writing = asyncio.create_task(write())
    for _ in range(turns):
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with database.transaction() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(census)) == 0


async def test_numbers_are_given_out_once_whoever_asks_at_the_same_time(database: Database) -> None:
    async def take() -> int:
        async with database.transaction() as connection:
            return await next_number(connection, "claim")

    numbers = await asyncio.gather(*(take() for _ in range(40)))
    assert sorted(numbers) == list(range(1, 41))


async def test_somebody_met_twice_at_once_is_one_person(database: Database) -> None:
    async def meet() -> int:
        async with database.transaction() as connection:
            _, met = await accounts.meet(connection, NetworkName.MASTODON, "https://a/users/a", "@a@a", START)
            return met.id

    assert len(set(await asyncio.gather(*(meet() for _ in range(10))))) == 1
    async with database.reading() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(person)) == 1


@pytest.mark.parametrize("url", ["mysql://localhost/reflock", "reflock.sqlite3", ""])
def test_an_address_of_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(DatabaseError):
        parse_url(url)


async def test_two_who_prepare_the_same_empty_database_at_once_both_find_it_prepared(database_url: str) -> None:
    both = [Database(database_url), Database(database_url)]
    await asyncio.gather(*(each.upgrade() for each in both))
    for each in both:
        await each.check_version()
        assert not await each.is_empty()
        await each.close()


async def test_who_opens_a_new_file_waits_for_another_who_does(tmp_path: Path) -> None:
    path = tmp_path / "reflock.sqlite3"
    opened = Database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opening = asyncio.create_task(opened.is_empty())
        done, _ = await asyncio.wait({opening}, timeout=0.1)
        other.execute("ROLLBACK")
        assert not done
    assert await opening
    await opened.close()


async def test_two_of_one_name_do_not_work_on_one_database(database_url: str) -> None:
    first, second = Database(database_url), Database(database_url)
    async with first.alone("reflock-1"):
        with pytest.raises(DatabaseError, match="Another Reflock"):
            await second.alone("reflock-1").__aenter__()
        if not first.is_sqlite:
            async with second.alone("reflock-2"):
                pass
    async with second.alone("reflock-1"):
        pass
    await first.close()
    await second.close()


async def lines_of(database: Database) -> set[int]:
    """Return whom the connections lead to that one after the other is given."""
    found = set()
    for _ in range(3):
        async with database.transaction() as connection:
            found.add(int(await connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0))
    return found


async def until_it_is_theirs(database: Database) -> None:
    """Take a task, of which the server may not yet have heard that its last one hung up."""
    async with asyncio.timeout(60):
        while True:
            async with database.only_one("listening") as only:
                if only:
                    return


@ONLY_POSTGRESQL
async def test_who_stands_by_keeps_its_line_and_holds_nothing(database: Database, database_url: str) -> None:
    by, third = Database(database_url), Database(database_url)
    before = await lines_of(by)
    async with database.only_one("listening") as mine:
        assert mine
        for _ in range(3):
            async with by.only_one("listening") as theirs:
                assert not theirs
    assert await lines_of(by) == before
    for each in (third, by, third):  # nobody holds it who was told that it is not theirs, or was done with it
        await until_it_is_theirs(each)
    assert before.isdisjoint(await lines_of(by))  # a line that was locked by is given to nobody
    await by.close()
    await third.close()


async def test_who_reads_sees_one_moment(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(person)
    async with database.reading() as connection:
        before = await connection.scalar(count)
        async with database.transaction() as other:
            await accounts.meet(other, NetworkName.BLUESKY, "did:plc:a", "a.test", START)
        assert await connection.scalar(count) == before
    async with database.reading() as connection:
        assert await connection.scalar(count) != before


async def test_what_was_taken_in_is_undone_even_when_only_the_commit_fails(database: Database) -> None:
    undone: list[str] = []
    async with database.transaction() as connection:
        when_undone(connection, lambda: undone.append("committed"))
        late = "CREATE TABLE late (person_id BIGINT REFERENCES person (id) DEFERRABLE INITIALLY DEFERRED)"
        await connection.execute(sa.text(late))

    async def point_to_nobody() -> None:
        async with database.transaction() as connection:
            when_undone(connection, lambda: undone.append("not committed"))
            await connection.execute(sa.text("INSERT INTO late VALUES (999)"))

    with pytest.raises(sa.exc.IntegrityError):
        await point_to_nobody()
    assert undone == ["not committed"]


async def test_a_long_transaction_holds_up_nobody_who_reads(database: Database) -> None:
    counting = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000000) SELECT max(n) FROM c"
    async with database.transaction(long=True) as connection:
        slow = asyncio.create_task(connection.scalar(sa.text(counting)))
        async with database.reading() as other:
            assert await other.scalar(sa.select(1)) == 1
        assert not slow.done()
        assert await slow == 3_000_000
    async with database.transaction() as connection:
        assert await connection.scalar(sa.select(1)) == 1


async def test_a_handle_that_changed_hands_names_both(database: Database) -> None:
    async with database.transaction() as connection:
        await accounts.meet(connection, NetworkName.BLUESKY, "did:plc:a", "a.test", START)
        await accounts.meet(connection, NetworkName.BLUESKY, "did:plc:b", "a.test", START + 1)
        assert [each.id for each in await accounts.by_handle(connection, "@a.test")] == ["did:plc:a", "did:plc:b"]
