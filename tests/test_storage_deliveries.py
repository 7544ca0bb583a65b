"""Promises are kept in order, once, and by one worker at a time."""

from storage import deliveries
from storage.database import Database
from storage.deliveries import Promise
from storage.records import Delivery, DeliveryKind, DeliveryState
from tests.conftest import OwnClock

ALICE = "say:did:plc:alice"
BOB = "say:did:plc:bob"
LEASE = 60_000


def reply(key: str, lane: str = ALICE, due_at: int | None = None) -> Promise:
    return Promise(kind=DeliveryKind.REPLY, key=key, lane=lane, payload={"text": key}, due_at=due_at)


async def promise(database: Database, clock: OwnClock, *promises: Promise) -> int:
    async with database.transaction() as connection:
        return await deliveries.promise(connection, promises, clock())


async def lease(database: Database, clock: OwnClock, worker: str = "one", limit: int = 10) -> list[str]:
    async with database.transaction() as connection:
        return await deliveries.lease(connection, worker, clock(), LEASE, limit)


async def take(database: Database, clock: OwnClock, lane: str = ALICE, limit: int = 10) -> list[Delivery]:
    async with database.transaction() as connection:
        return await deliveries.take(connection, lane, clock(), limit)


async def test_a_promise_is_taken_in_order_and_settled_once(database: Database, clock: OwnClock) -> None:
    assert await promise(database, clock, reply("a"), reply("b"), reply("c", BOB)) == 3
    assert sorted(await lease(database, clock)) == [ALICE, BOB]
    first, second = await take(database, clock)
    assert (first.key, second.key, first.attempts) == ("a", "b", 1)
    async with database.transaction() as connection:
        await deliveries.settle(connection, first, DeliveryState.DONE, clock(), result="at://1")
        await deliveries.release(connection, ALICE, "one")
    assert await lease(database, clock) == [ALICE]
    (again,) = await take(database, clock)
    assert (again.key, again.attempts) == ("b", 2)


async def test_the_same_key_is_promised_once(database: Database, clock: OwnClock) -> None:
    assert await promise(database, clock, reply("a")) == 1
    assert await promise(database, clock, reply("a"), reply("b")) == 1


async def test_a_leased_lane_is_nobody_elses_until_the_lease_ends(database: Database, clock: OwnClock) -> None:
    await promise(database, clock, reply("a"))
    assert await lease(database, clock, "one") == [ALICE]
    assert await lease(database, clock, "two") == []
    clock.pass_seconds(LEASE / 1000)
    assert await lease(database, clock, "two") == [ALICE]


async def test_what_a_dead_worker_held_is_given_back_to_its_successor(database: Database, clock: OwnClock) -> None:
    await promise(database, clock, reply("a"), reply("b", BOB))
    await lease(database, clock, "one")
    async with database.transaction() as connection:
        assert await deliveries.release_worker(connection, "one") == 2
    assert len(await lease(database, clock, "one")) == 2


async def test_a_failing_lane_waits_even_when_something_new_is_promised_in_it(
    database: Database, clock: OwnClock
) -> None:
    await promise(database, clock, reply("a"))
    await lease(database, clock)
    (first,) = await take(database, clock)
    async with database.transaction() as connection:
        await deliveries.postpone(connection, [first], clock(), performed=True)
        await deliveries.release(connection, ALICE, "one", not_before=clock() + 5_000, failed=True)
    await promise(database, clock, reply("b"))
    assert await lease(database, clock) == []
    clock.pass_seconds(5)
    assert await lease(database, clock) == [ALICE]
    assert [each.key for each in await take(database, clock)] == ["a", "b"]


async def test_what_is_due_later_does_not_hold_up_what_is_due_now(database: Database, clock: OwnClock) -> None:
    await promise(database, clock, reply("tomorrow", due_at=clock() + 86_400_000), reply("now"))
    await lease(database, clock)
    assert [each.key for each in await take(database, clock)] == ["now"]


async def test_a_cancelled_promise_is_not_performed(database: Database, clock: OwnClock) -> None:
    from storage.tables import delivery

    await promise(database, clock, reply("a"), reply("b"))
    async with database.transaction() as connection:
        assert await deliveries.cancel(connection, clock(), delivery.c.key == "a") == 1
    await lease(database, clock)
    assert [each.key for each in await take(database, clock)] == ["b"]
