"""Promises are kept in order, once, and by one worker at a time."""

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa

from storage import deliveries, lanes
from storage.database import Database
from storage.deliveries import Promise
from storage.lanes import Lease
from storage.records import Delivery, DeliveryKind, DeliveryState, NetworkName
from storage.tables import delivery
from tests.conftest import OwnClock

SPEAKING = lanes.speaking_on(NetworkName.BLUESKY)
ALICE = lanes.say_lane(NetworkName.BLUESKY, "did:plc:alice")
BOB = lanes.say_lane(NetworkName.BLUESKY, "did:plc:bob")
LEASE = 60_000


def reply(key: str, lane: str = ALICE, due_at: int | None = None) -> Promise:
    return Promise(kind=DeliveryKind.REPLY, key=key, lane=lane, payload={"text": key}, due_at=due_at)


async def promise(database: Database, clock: OwnClock, *promises: Promise) -> int:
    async with database.transaction() as connection:
        return await deliveries.promise(connection, promises, clock())


async def leases(database: Database, clock: OwnClock, worker: str = "one", limit: int = 10) -> list[Lease]:
    async with database.transaction() as connection:
        return await lanes.lease(connection, worker, clock(), LEASE, limit, SPEAKING)


async def lease(database: Database, clock: OwnClock, worker: str = "one", limit: int = 10) -> list[str]:
    return [each.lane for each in await leases(database, clock, worker, limit)]


async def take(database: Database, clock: OwnClock, lane: str = ALICE, limit: int = 10) -> list[Delivery]:
    async with database.transaction() as connection:
        return await deliveries.take(connection, lane, clock(), limit)


async def test_a_promise_is_taken_in_order_and_settled_once(database: Database, clock: OwnClock) -> None:
    assert await promise(database, clock, reply("a"), reply("b"), reply("c", BOB)) == 3
    held = {each.lane: each for each in await leases(database, clock)}
    assert sorted(held) == [ALICE, BOB]
    first, second = await take(database, clock)
    assert (first.key, second.key, first.attempts) == ("a", "b", 1)
    async with database.transaction() as connection:
        await deliveries.settle(connection, first, DeliveryState.DONE, clock(), result="at://1")
        await lanes.release(connection, held[ALICE])
    assert await lease(database, clock) == [ALICE]
    (again,) = await take(database, clock)
    assert (again.key, again.attempts) == ("b", 2)


async def test_no_more_is_taken_than_was_asked_for_and_the_most_urgent_first(
    database: Database, clock: OwnClock
) -> None:
    notice = Promise(kind=DeliveryKind.NOTICE, key="notice", lane=ALICE)
    await promise(database, clock, notice, reply("a"), reply("b"))
    assert [each.key for each in await take(database, clock, limit=2)] == ["a", "b"]
    assert [each.key for each in await take(database, clock)] == ["a", "b", "notice"]


async def test_no_more_lanes_are_leased_than_asked_for_however_the_statement_is_planned(
    database: Database, clock: OwnClock
) -> None:
    await promise(database, clock, *(reply(f"to {n}", lane=f"{ALICE}{n}") for n in range(50)))
    async with database.transaction() as connection:
        if not database.is_sqlite:  # what remains is a nested loop, which asks anew for every row
            for way in ("hashagg", "hashjoin", "material", "memoize", "mergejoin", "sort"):
                await connection.execute(sa.text(f"SET LOCAL enable_{way} = off"))
        leased = await lanes.lease(connection, "one", clock(), LEASE, 5, SPEAKING)
    assert len(leased) == 5


async def test_the_same_key_is_promised_once(database: Database, clock: OwnClock) -> None:
    assert await promise(database, clock, reply("a")) == 1
    assert await promise(database, clock, reply("a"), reply("b")) == 1


async def test_a_leased_lane_is_nobody_elses_until_the_lease_ends(database: Database, clock: OwnClock) -> None:
    await promise(database, clock, reply("a"))
    assert await lease(database, clock, "one") == [ALICE]
    assert await lease(database, clock, "two") == []
    clock.pass_seconds(LEASE / 1000)
    assert await lease(database, clock, "two") == [ALICE]


async def test_a_lease_that_was_lost_stays_lost_though_its_worker_has_the_lane_again(
    database: Database, clock: OwnClock
) -> None:
    await promise(database, clock, reply("a"))
    (before,) = await leases(database, clock)
    clock.pass_seconds(LEASE / 1000)
    (after,) = await leases(database, clock)
    async with database.transaction() as connection:
        assert not await lanes.renew(connection, before, clock() + LEASE)
        await lanes.release(connection, before)
        assert await lanes.renew(connection, after, clock() + LEASE)


async def test_lanes_that_speak_and_lanes_that_ask_are_leased_apart(database: Database, clock: OwnClock) -> None:
    await promise(database, clock, reply("a"), reply("b", "ask:did:plc:bob", due_at=clock() + 5))
    async with database.reading() as connection:
        assert await lanes.next_due(connection, [SPEAKING, lanes.ASKING]) == [clock(), clock() + 5]
    async with database.transaction() as connection:
        (held,) = await lanes.lease(connection, "one", clock() + 5, LEASE, 10, lanes.ASKING)
    assert held.lane == "ask:did:plc:bob"
    assert await lease(database, clock) == [ALICE]
    async with database.reading() as connection:  # both are worked on: they are free when their leases end
        assert await lanes.next_due(connection, [SPEAKING, lanes.ASKING]) == [clock() + LEASE, clock() + 5 + LEASE]


async def test_lanes_are_leased_by_network_and_by_who_waits_for_them(database: Database, clock: OwnClock) -> None:
    mastodon = lanes.speaking_on(NetworkName.MASTODON)
    carol = lanes.say_lane(NetworkName.MASTODON, "https://mastodon.example/users/carol")
    notice = Promise(kind=DeliveryKind.NOTICE, key="n", lane=BOB, due_at=clock() - 9)
    await promise(database, clock, reply("a"), notice, reply("c", carol, due_at=clock() + 5))
    answers, news = (replace(SPEAKING, urgent=urgent) for urgent in (True, False))
    async with database.reading() as connection:
        due = await lanes.next_due(connection, [answers, news, mastodon, replace(mastodon, urgent=False)])
    assert due == [clock(), clock() - 9, clock() + 5, None]
    async with database.transaction() as connection:
        leased = [await lanes.lease(connection, "one", clock() + 5, LEASE, 10, each) for each in (news, answers)]
        leased.append(await lanes.lease(connection, "one", clock() + 5, LEASE, 10, mastodon))
    assert [[each.lane for each in lanes] for lanes in leased] == [[BOB], [ALICE], [carol]]


async def test_what_a_dead_worker_held_is_given_back_to_its_successor(database: Database, clock: OwnClock) -> None:
    await promise(database, clock, reply("a"), reply("b", BOB))
    await lease(database, clock, "one")
    async with database.transaction() as connection:
        assert await lanes.release_worker(connection, "one") == 2
    assert len(await lease(database, clock, "one")) == 2


async def test_a_failing_lane_waits_even_when_something_new_is_promised_in_it(
    database: Database, clock: OwnClock
) -> None:
    await promise(database, clock, reply("a"))
    (held,) = await leases(database, clock)
    (first,) = await take(database, clock)
    async with database.transaction() as connection:
        await deliveries.postpone(connection, [first], clock(), performed=True)
        await lanes.release(connection, held, not_before=clock() + 5_000, failed=True)
    await promise(database, clock, reply("b"))
    assert await lease(database, clock) == []
    clock.pass_seconds(5)
    assert await lease(database, clock) == [ALICE]
    assert [each.key for each in await take(database, clock)] == ["a", "b"]


async def test_what_is_due_later_does_not_hold_up_what_is_due_now(database: Database, clock: OwnClock) -> None:
    await promise(database, clock, reply("tomorrow", due_at=clock() + 86_400_000), reply("now"))
    await lease(database, clock)
    assert [each.key for each in await take(database, clock)] == ["now"]


async def test_what_was_taken_and_never_settled_is_in_doubt_until_an_attempt_is_known_to_have_failed(
    database: Database, clock: OwnClock
) -> None:
    async def taken_again(**put_back: bool) -> str | None:
        if put_back:
            async with database.transaction() as connection:
                await deliveries.postpone(connection, [one], clock(), **put_back)
        (again,) = await take(database, clock)
        return again.reason

    await promise(database, clock, reply("a"))
    (one,) = await take(database, clock)
    assert one.reason is None
    assert await taken_again() == deliveries.IN_DOUBT
    assert await taken_again(performed=False) == deliveries.IN_DOUBT
    assert await taken_again(performed=True) is None
    assert await taken_again(performed=False) is None
    assert await taken_again(performed=True, in_doubt=True) == deliveries.IN_DOUBT
    async with database.transaction() as connection:
        await deliveries.postpone(connection, [one], clock(), performed=False)
        assert await deliveries.cancel(connection, clock(), delivery.c.key == "a") == 1
        cancelled = await deliveries.get(connection, one.id)
    assert cancelled is not None
    assert cancelled.reason is None


async def test_a_cancelled_promise_is_not_performed(database: Database, clock: OwnClock) -> None:
    await promise(database, clock, reply("a"), reply("b"))
    async with database.transaction() as connection:
        assert await deliveries.cancel(connection, clock(), delivery.c.key == "a") == 1
    await lease(database, clock)
    assert [each.key for each in await take(database, clock)] == ["b"]


async def waits(database: Database) -> bool:
    """Tell whether somebody waits for a lock; on SQLite whoever is second waits before it begins."""
    if database.is_sqlite:
        return True
    async with database.reading() as connection:
        waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(await connection.scalar(waiting))


async def test_what_is_cancelled_at_the_moment_it_is_taken_is_not_performed(
    database: Database, clock: OwnClock
) -> None:
    await promise(database, clock, reply("a"))
    await lease(database, clock)
    async with database.transaction() as connection:
        assert await deliveries.cancel(connection, clock(), delivery.c.key == "a") == 1
        taking = asyncio.create_task(take(database, clock))
        async with asyncio.timeout(20):
            while not await waits(database):  # noqa: ASYNC110  # the server has no event for it
                await asyncio.sleep(0.005)
    assert await taking == []


async def test_a_rank_for_which_nobody_would_ever_look_is_refused(database: Database, clock: OwnClock) -> None:
    async with database.transaction() as connection:
        with pytest.raises(ValueError, match="no ranks"):
            await deliveries.promise(
                connection, [Promise(kind=DeliveryKind.REPLY, key="a", lane="say:bluesky:a", rank=6)], clock()
            )
