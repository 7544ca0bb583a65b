"""A database of an earlier Reflock is brought up to date with everything that was in it."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from storage import codes, deliveries, lanes
from storage.codes import Purpose
from storage.database import Database, _alembic_config, revisions
from storage.keys import Keys
from storage.records import NetworkName
from tests.conftest import START

# One value for every kind of column: so every reference leads to a row that is there.
_VALUES: Final = ((sa.Boolean, True), (sa.Integer, 1), (sa.LargeBinary, b"1"), (sa.String, "1"))


@pytest.fixture
async def old(database_url: str) -> AsyncIterator[Database]:
    """Give an empty database, still of no revision."""
    opened = Database(database_url)
    yield opened
    await opened.close()


async def install(database: Database, revision: str) -> None:
    """Bring a database to a revision, as the Reflock of its time did."""

    def run(connection: sa.Connection) -> None:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async with database.transaction() as connection:
        await connection.run_sync(run)


def tables_of(connection: sa.Connection) -> list[sa.Table]:
    """Return the tables as they are, without the one that tells the revision."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def value_for(column: sa.Column[Any]) -> object:
    return next(value for kind, value in _VALUES if isinstance(column.type, kind))


async def rows_of(database: Database, tables: list[sa.Table]) -> dict[str, list[tuple[object, ...]]]:
    async with database.reading() as connection:
        return {table.name: [tuple(row) for row in await connection.execute(sa.select(table))] for table in tables}


@pytest.mark.parametrize("revision", revisions()[:-1])
async def test_an_upgrade_keeps_every_row_of_every_table(old: Database, revision: str) -> None:
    await install(old, revision)
    async with old.transaction() as connection:
        tables = await connection.run_sync(tables_of)
        for table in tables:
            await connection.execute(sa.insert(table).values({each.name: value_for(each) for each in table.columns}))
    before = await rows_of(old, tables)
    assert all(before.values())
    await old.upgrade()
    await old.check_version()
    after = await rows_of(old, tables)
    assert {name: [row for row in rows if row in after[name]] for name, rows in before.items()} == before


def test_the_files_of_the_revisions_tell_their_order() -> None:
    walked = ScriptDirectory.from_config(_alembic_config()).walk_revisions()
    assert [each.revision for each in walked][::-1] == revisions()


async def test_a_link_from_before_visits_works_and_belongs_to_its_first_browser(old: Database, keys: Keys) -> None:
    await install(old, "0001")
    async with old.transaction() as connection:
        person = "INSERT INTO person (id, language_chosen, cadence, discoverable, auto, stopped, seen_seq, unanswered, "
        person += "created_at, last_heard_at) VALUES (1, false, 'now', 'everyone', false, false, 0, 0, 0, 0)"
        await connection.execute(sa.text(person))
        for secret in ("unspent", "spent"):
            await codes.issue(
                connection, keys, secret, Purpose.IMPORT, person_id=1, account_id=None, now=START, lifetime=1000
            )
        await connection.execute(
            sa.text("UPDATE code SET used_at = :now WHERE digest = :digest"),
            {"now": START, "digest": keys.digest("spent")},
        )
    await old.upgrade()
    async with old.transaction() as connection:
        for browser, works in (("first", True), ("first", True), ("second", False)):
            used = await codes.use(connection, keys, "unspent", Purpose.IMPORT, START, by=browser)
            assert (used is not None) is works
        assert await codes.use(connection, keys, "spent", Purpose.IMPORT, START, by="first") is None


async def test_what_was_still_to_be_said_is_said_after_lanes_got_their_networks_names(old: Database) -> None:
    await install(old, "0003")
    promised = [("did:plc:alice", "bluesky"), ("https://town.test/users/bob", "mastodon"), ("forgotten:x", "mastodon")]
    async with old.transaction() as connection:
        tables = {table.name: table for table in await connection.run_sync(tables_of)}
        delivery, lane = tables["delivery"], tables["lane"]
        for number, (name, network) in enumerate(promised, 1):
            usual = {each.name: None if each.nullable else value_for(each) for each in delivery.columns}
            named = {"id": number, "key": name, "lane": f"say:{name}", "network": network, "state": "promised"}
            await connection.execute(sa.insert(delivery).values({**usual, **named, "kind": "reply", "due_at": number}))
            await connection.execute(sa.insert(lane).values(name=f"say:{name}", rank=0, next_at=number, failures=9))
        await connection.execute(sa.insert(lane).values(name="act:did:plc:alice", rank=0, failures=0))
    await old.upgrade()
    async with old.transaction() as connection:
        leased = {
            each.lane
            for network in NetworkName
            for each in await lanes.lease(connection, "one", 9, 60_000, 9, lanes.speaking_on(network))
        }
        assert leased == {f"say:{network}:{name}" for name, network in promised}
        assert [len(await deliveries.take(connection, each, 9, 9)) for each in leased] == [1, 1, 1]
        assert await connection.scalar(sa.select(sa.func.count()).select_from(lane)) == 4


async def test_what_was_still_to_be_done_is_found_after_lanes_got_their_lines(old: Database) -> None:
    await install(old, "0004")
    names = ["say:bluesky:did:plc:alice", "say:mastodon:https://town.test/users/bob", "act:did:plc:alice", "ask:x"]
    async with old.transaction() as connection:
        lane = {table.name: table for table in await connection.run_sync(tables_of)}["lane"]
        for name in names:
            await connection.execute(sa.insert(lane).values(name=name, rank=3, next_at=1, failures=0))
    await old.upgrade()
    async with old.transaction() as connection:
        lines = [*map(lanes.speaking_on, NetworkName), lanes.ASKING]
        leased = [await lanes.lease(connection, "one", 9, 60_000, 9, each) for each in lines]
    assert [sorted(each.lane for each in some) for some in leased] == [names[:1], names[1:2], names[2:]]
