"""Many are told of newcomers in one pass: each of their own, whatever becomes of the others; and noted page by page."""

import numpy as np
import sqlalchemy as sa

from handlers import notices
from storage import accounts, links, merging
from storage.database import Database
from storage.keys import Keys
from storage.records import Direction
from storage.tables import delivery, person
from tests.community import ALICE, BOB, CAROL, DAVE, Community, actor_of, town

__all__ = ["town"]  # a fixture


def reader(number: int) -> str:
    return f"reader{number}.bsky.social"


async def wait(town: Community, waiting: dict[str, list[int]]) -> None:
    """Let people wait for people of these X ids, with nothing else due."""
    for handle, x_ids in waiting.items():
        await town.uploads(handle, x_ids)
    town.clock.pass_seconds(61)
    await town.announce()


async def later(town: Community) -> None:
    await town.announce()
    town.clock.pass_seconds(61)
    await town.announce()


async def noted(database: Database) -> int:
    """Return how many are to be looked at."""
    async with database.reading() as connection:
        due = sa.select(sa.func.count()).select_from(person).where(person.c.notice_due_at.is_not(None))
        return await connection.scalar(due) or 0


async def test_each_is_told_of_their_own(town: Community) -> None:
    await wait(town, {ALICE: [1], DAVE: [1, 2], reader(1): [2, 3], reader(2): [9]})
    await town.joins(BOB, "old_bob", 1)
    await later(town)
    assert [len(town.told(each)) for each in (ALICE, DAVE, reader(1), reader(2))] == [1, 1, 0, 0]
    await town.joins(CAROL, "old_carol", 2)
    await town.uploads(reader(2), [1, 9])  # that says who is here already
    await later(town)
    assert town.told(ALICE) == []
    assert town.told(reader(2)) == []
    for each in (DAVE, reader(1)):
        (notice,) = town.told(each)
        assert "1 person you followed on X has arrived:\n1. https://piaille.fr/@carol" in notice


async def test_who_shows_themselves_to_mutuals_is_announced_to_those_alone(town: Community) -> None:
    readers = [reader(number) for number in range(4)]
    for number, each in enumerate(readers[:3]):
        await town.joins(each, f"old_reader{number}", 10 + number)
    await wait(town, {each: [1] for each in readers})
    await town.sends(BOB, "discoverable mutuals")
    await town.uploads(BOB, [10, 12, 99])
    await town.joins(BOB, "old_bob", 1)
    await later(town)
    assert [len(town.told(each)) for each in readers] == [1, 0, 1, 0]


async def test_each_has_their_marks_choices_and_follows(town: Community, database: Database) -> None:
    for each in (ALICE, DAVE):
        await town.consents(each)
        await town.sends(each, "auto on")
    await wait(town, {DAVE: [1, 2], reader(1): [1]})
    await town.uploads(ALICE, [1, 2], followers=[1])
    await town.uploads(reader(2), [2])
    await town.joins(BOB, "old_bob", 1)
    await town.joins(CAROL, "old_carol", 2)
    await town.sends(reader(2), "skip @old_carol")
    await later(town)
    told = {each: "\n".join(town.told(each)) for each in (ALICE, DAVE, reader(1), reader(2))}
    assert "@bob.bsky.social (@old_bob on X) · followed you back" in told[ALICE]
    assert "followed you back" not in told[DAVE] + told[reader(1)]
    assert "because auto is on" in told[ALICE]
    assert "because auto is on" not in told[reader(1)]
    assert told[reader(2)] == ""
    async with database.reading() as connection:
        batches = await connection.execute(
            sa.select(delivery.c.person_id, delivery.c.batch_id).where(delivery.c.kind == "follow").distinct()
        )
    assert len({row.batch_id for row in batches}) == 2
    await town.perform()
    bob = actor_of(BOB)[1]
    assert sorted(town.followed) == [(actor_of(each)[1], bob) for each in (ALICE, DAVE)]


async def test_a_list_that_changes_hands_before_it_is_noted_is_its_new_owners(
    town: Community, database: Database
) -> None:
    await town.sends(ALICE, "notify now")
    await wait(town, {reader(1): [1], reader(2): [1]})
    await town.joins(BOB, "old_bob", 1)
    async with database.reading() as connection:
        waiting = await notices.who_waits(connection, 100)
    assert waiting is not None
    one, other = await town.person(ALICE), await town.person(reader(1))
    async with database.transaction() as connection:
        await merging.merge(connection, one, other, town.clock())
        assert await notices.note(connection, town.world, waiting, town.clock())
        assert not await notices.note(connection, town.world, waiting, town.clock())  # as another process might
    town.clock.pass_seconds(61)
    await town.announce()
    assert sum(len(town.told(each)) for each in (ALICE, reader(1))) == 1
    assert len(town.told(reader(2))) == 1


async def test_who_comes_later_does_not_wait_until_a_crowd_is_noted(
    town: Community, database: Database, keys: Keys
) -> None:
    async with database.transaction() as connection:
        for number in range(20):
            _, fan = await accounts.meet(connection, *actor_of(reader(number)), reader(number), town.clock())
            await links.add(
                connection,
                fan.id,
                links.TYPED,
                Direction.FOLLOWING,
                keys.of_handles(["star"]),
                town.clock(),
                replace=False,
            )
    await town.uploads(ALICE, [2])
    await town.joins(BOB, "star", 1)
    (star,) = (await one_step(town, limit=8)).seqs
    assert await noted(database) == 8 + 1  # alice's own list is new
    await town.joins(CAROL, "old_carol", 2)
    (newcomer,) = (await one_step(town, limit=8)).seqs
    assert newcomer != star
    together = await one_step(town, limit=8)  # for now they stand at the same place
    assert set(together.seqs) == {star, newcomer}
    await later(town)
    assert all(len(town.told(reader(number))) == 1 for number in range(20))
    assert len(town.told(ALICE)) == 1


async def one_step(town: Community, limit: int) -> notices.Waiting:
    """Note who waits in the next lists, two at a time."""
    async with town.database.reading() as connection:
        waiting = await notices.who_waits(connection, limit)
    assert waiting is not None
    left: notices.Waiting | None = waiting
    while left is not None:
        some, left = left.divided(2)
        async with town.database.transaction() as connection:
            assert await notices.note(connection, town.world, some, town.clock())
    return waiting


async def test_a_very_long_list_among_short_ones_is_told_of_too(
    town: Community, database: Database, keys: Keys
) -> None:
    await wait(town, {reader(number): [1] for number in range(3)})
    async with town.event(ALICE) as ctx:
        everybody = np.sort(keys.of_ids(np.arange(1, 60_001, dtype=np.uint64)))
        await links.add(
            ctx.connection, ctx.person.id, links.TYPED, Direction.FOLLOWING, everybody, ctx.now, replace=True
        )
    await town.joins(BOB, "old_bob", 1)
    await later(town)
    assert [len(town.told(each)) for each in (ALICE, *(reader(number) for number in range(3)))] == [1] * 4
