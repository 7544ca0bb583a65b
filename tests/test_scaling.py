"""What docs/scaling.md says can be done to a database on PostgreSQL can be done, and changes no answer."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from storage import accounts, links
from storage.database import Database
from storage.keys import Keys64
from storage.records import Direction, NetworkName
from storage.segments import Sizes, rebuild, tend
from storage.segments_check import verify
from tests.conftest import START, fresh_postgres

DOCUMENT = Path(__file__).parent.parent / "docs" / "scaling.md"
SMALL = Sizes(pending=6, sorted=10, fan=2)
PEOPLE = 12


@pytest.fixture
async def database(postgres: str) -> AsyncIterator[Database]:
    opened = Database(await fresh_postgres(postgres))
    await opened.upgrade()
    yield opened
    await opened.close()


def keys_of(number: int) -> Keys64:
    """Return what one person follows: 1 everybody, the others by what divides their number."""
    return np.array([key * 0x0123_4567_89AB_CDEF % 2**64 for key in range(1, 25) if key % number == 0], np.uint64)


async def hand_over(database: Database, number: int) -> int:
    async with database.transaction() as connection:
        name = f"https://x.test/{number}"
        _, met = await accounts.meet(connection, NetworkName.MASTODON, name, f"@{number}@x", START)
        await links.add(connection, met.id, links.TYPED, Direction.FOLLOWING, keys_of(number), START, replace=True)
    return met.id


async def followers(database: Database, key: int) -> set[int]:
    async with database.reading() as connection:
        page = await links.followers_of(connection, keys_of(1)[key - 1 : key])
    assert page.next_slot is None
    return {person_id for _, person_id in page.rows}


async def tend_all(database: Database) -> None:
    while await tend(database, SMALL):
        pass


async def test_lists_and_their_index_can_be_spread_over_partitions(database: Database) -> None:
    people = {number: await hand_over(database, number) for number in range(1, PEOPLE + 1)}
    await tend_all(database)
    before = {key: await followers(database, key) for key in range(1, 25)}
    assert before[12] == {people[number] for number in (1, 2, 3, 4, 6, 12)}

    (script,) = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    statements = [each.strip() for each in script.split(";")]
    async with database.transaction() as connection:
        for statement in statements:
            if statement and statement not in ("BEGIN", "COMMIT"):
                await connection.execute(sa.text(statement))

    assert {key: await followers(database, key) for key in range(1, 25)} == before
    assert await verify(database, lambda _done, _whole: None) == []
    people[13] = await hand_over(database, 13)
    await hand_over(database, 1)
    async with database.transaction() as connection:
        await links.remove(connection, people[2])
    await tend_all(database)
    assert await followers(database, 13) == {people[1], people[13]}
    assert await followers(database, 12) == before[12] - {people[2]}
    await rebuild(database, lambda _done, _whole: None, SMALL)
    assert await followers(database, 12) == before[12] - {people[2]}
    assert await verify(database, lambda _done, _whole: None) == []
    async with database.transaction() as connection:
        spread = await connection.scalars(
            sa.text(
                "SELECT DISTINCT tableoid::regclass::text FROM upload UNION SELECT DISTINCT tableoid::regclass::text FROM posting"
            )
        )
        names = set(spread)
    assert len(names) > 2
    assert names <= {f"{table}_{number}" for table in ("upload", "posting") for number in range(4)}
