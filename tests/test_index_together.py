"""Two who look after the index of lists at once, as when one has lost its lock, lose nobody's list."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from storage.database import Database
from storage.engines import DatabaseError
from storage.segments import Sizes, purge, rebuild, tend
from storage.segments_check import verify
from tests.test_storage_segments import ALL, SMALL, all_tended, forget, found, hand_over, person

Upkeep = Callable[[Database], Awaitable[object]]


async def rebuilt(database: Database) -> None:
    await rebuild(database, lambda _done, _whole: None, SMALL)


UPKEEP: dict[str, Upkeep] = {"rebuild": rebuilt, "tend": all_tended, "purge": purge}


@pytest.fixture
async def other(database: Database) -> AsyncIterator[Database]:
    """Give the same database as another process has it open."""
    opened = Database(database.url.render_as_string(hide_password=False))
    yield opened
    await opened.close()


def before_transaction(database: Database, number: int, act: Callable[[], Awaitable[object]]) -> None:
    """Have something done, to its end, before one of the next transactions begins that may write."""
    left = number

    def begin(connection: sa.Connection) -> None:
        nonlocal left
        left -= "isolation_level" not in connection.get_execution_options()  # which only readers choose
        if left == 0:
            await_only(act())

    sa.event.listen(database._writer.sync_engine, "begin", begin)


async def problems(database: Database) -> list[str]:
    return await verify(database, lambda _done, _whole: None)


@pytest.mark.parametrize("moment", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("theirs", ["tend", "rebuild"])
@pytest.mark.parametrize("ours", UPKEEP)
async def test_nothing_is_lost_when_two_look_after_the_index(
    database: Database, other: Database, ours: str, theirs: str, moment: int
) -> None:
    people = [await person(database, str(number)) for number in range(5)]
    for each in people[:4]:
        await hand_over(database, each, ALL[:6])
        await tend(database, SMALL)
    await forget(database, people.pop(1))
    await hand_over(database, people[-1], ALL[:6])
    before_transaction(database, moment, lambda: UPKEEP[theirs](other))
    with suppress(DatabaseError):
        await UPKEEP[ours](database)
    assert await problems(other) == []
    assert await found(other, ALL[:1]) == people
    await all_tended(other)
    await purge(other)
    assert await problems(other) == []
    assert await found(other, ALL[:1]) == people


async def lose_segments(database: Database) -> list[int]:
    """Have the index lose four of six segments, as former versions could."""
    people = [await person(database, str(number)) for number in range(6)]
    for each in people:
        await hand_over(database, each, ALL[:6])
    await rebuild(database, lambda _done, _whole: None, Sizes(pending=6, sorted=10, fan=9))
    async with database.transaction() as connection:
        await connection.execute(sa.text("DELETE FROM segment WHERE lo IN (1, 2, 3, 5)"))
    return people


async def test_lists_and_postings_without_a_segment_are_reported(database: Database) -> None:
    people = await lose_segments(database)
    said = await problems(database)
    assert said[:2] == ["No segment covers 3 lists, from 1 to 3.", "No segment covers 1 lists, from 5 to 5."]
    assert [each.partition(" of ")[0] for each in said[2:]] == ["There are postings"] * 4
    assert await found(database, ALL[:1]) == [people[3], people[5]]
    await rebuilt(database)
    assert await problems(database) == []
    assert await found(database, ALL[:1]) == people


async def test_postings_without_a_segment_go_with_the_purge(database: Database) -> None:
    await lose_segments(database)
    await purge(database)
    assert [each[:17] for each in await problems(database)] == ["No segment covers"] * 2
