"""Promises are kept in order, once, by one worker at a time, and nobody waits for somebody else's server."""

import asyncio

import pytest
import sqlalchemy as sa

from bot.loops import Wake, perform
from bot.networks.errors import Refused, Unavailable
from storage.budgets import Allowance
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.lanes import say_lane
from storage.records import DeliveryKind, NetworkName
from storage.tables import delivery, lane
from tests.conftest import OwnClock
from tests.promises import HOUR, LEASE, House, begun, held, house_of
from tests.reunion import until

DAY = 86_400


@pytest.fixture
def house(database: Database, keys: Keys, clock: OwnClock) -> House:
    return house_of(database, keys, clock)


async def test_one_reader_reads_in_order_even_when_the_first_word_fails(house: House) -> None:
    one = house.worker()
    house.post.troubles["a"] = [Unavailable("the server sleeps"), Unavailable("the server sleeps")]
    await house.promise("a", "b", "c")
    await house.settle(one)
    assert house.post.said == []
    for _ in range(10):
        await house.pass_seconds(5, one)
    assert house.post.said == ["a", "b", "c"]
    assert house.post.begun == ["a", "a", "a", "b", "c"]


async def test_an_answer_goes_before_what_nobody_asked_for(house: House) -> None:
    await house.promise("notice", kind=DeliveryKind.NOTICE)
    await house.promise("answer")
    await house.settle(house.worker())
    assert house.post.said == ["answer", "notice"]


async def test_one_slow_server_holds_up_nobody_else(house: House) -> None:
    one = house.worker()
    async with held(house.post, "slow") as gate:
        await house.promise("slow", to="alice")
        assert await begun(one) == 1
        await until(lambda: house.post.begun)
        await house.promise("quick", to="bob")
        assert await begun(one) == 1
        await until(lambda: house.post.said)
        assert house.post.said == ["quick"]
        assert await begun(one) == 0
        gate.set()
        await one.drain()
    assert house.post.said == ["quick", "slow"]


async def test_the_loop_hears_of_new_promises_while_a_slow_server_is_waited_for(house: House) -> None:
    wake = Wake()
    house.events.on_promise = wake.ring
    one = house.worker()
    loop = asyncio.create_task(perform(one, wake, house.clock, house.events.outage))
    async with held(house.post, "slow"):
        await house.promise("slow")
        wake.ring()
        await until(lambda: house.post.begun)
        await house.promise("quick", to="bob")
        wake.ring()
        await until(lambda: house.post.said == ["quick"])
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    await one.drain()
    assert house.post.said == ["quick", "slow"]


async def test_who_can_take_no_more_lanes_waits_until_one_is_through(house: House) -> None:
    one = house.worker(lanes=1)
    await house.promise("a", to="alice")
    await house.promise("b", to="bob")
    await house.settle(one)
    await house.settle(one)
    assert sorted(house.post.said) == ["a", "b"]


async def test_a_lease_is_prolonged_while_its_holder_works(house: House) -> None:
    """The own clock moves past the lease; the holder, who is alive, prolongs it, and nobody takes its lane."""
    one, two = house.worker(lease_ms=300), house.worker("two")
    async with held(house.post, "a"):
        await house.promise("a")
        await begun(one)
        await until(lambda: house.post.begun)
        for _ in range(3):
            house.clock.pass_seconds(0.2)
            async with asyncio.timeout(20):
                while await two.begin() != (0, house.clock() + 300):  # noqa: ASYNC110  # the database has no event
                    await asyncio.sleep(0.01)
        assert await begun(two) == 0
    await one.drain()
    assert house.post.begun == ["a"]
    assert await house.states() == {"a": "done"}


@pytest.mark.parametrize("outcome", ["done", "unavailable", "refused"])
async def test_what_a_worker_learns_after_it_lost_its_lane_changes_nothing(house: House, outcome: str) -> None:
    sleeper, other = house.worker(), house.worker("two")
    async with held(house.post, "a") as gate:
        await house.promise("a", "b")
        await begun(sleeper)
        await until(lambda: house.post.begun)
        del house.post.gates["a"]
        await house.pass_seconds(LEASE / 1000, other)
        assert house.post.said == ["a", "b"]
        trouble: dict[str, list[Exception]] = {
            "done": [],
            "unavailable": [Unavailable("late")],
            "refused": [Refused("blocked")],
        }
        house.post.troubles["a"] = trouble[outcome]
        gate.set()
        await sleeper.drain()
    await house.pass_seconds(DAY, sleeper, other)
    assert await house.states() == {"a": "done", "b": "done"}
    assert house.post.begun == ["a", "a", "b"]
    assert house.post.attempts == [1, 2, 1]
    assert house.post.given_up == []


async def test_two_workers_keep_every_promise_once(house: House) -> None:
    workers = [house.worker("one"), house.worker("two")]
    for number in range(30):
        await house.promise(f"{number}a", f"{number}b", to=f"{number}")
    while sum(await asyncio.gather(*(begun(each) for each in workers))):
        await asyncio.gather(*(each.drain() for each in workers))
    wanted = sorted(f"{number}{part}" for number in range(30) for part in "ab")
    assert sorted(house.post.begun) == wanted
    assert set((await house.states()).values()) == {"done"}


async def test_the_time_a_network_names_is_kept_to(house: House) -> None:
    one = house.worker()
    house.post.troubles["a"] = [Unavailable("too many", retry_in=90)]
    await house.promise("a")
    await house.settle(one)
    await house.pass_seconds(89.9, one)
    await house.promise("b")  # a new word does not go round the pause either
    await house.settle(one)
    assert house.post.begun == ["a"]
    await house.pass_seconds(0.4, one)
    assert house.post.said == ["a", "b"]


async def test_pauses_grow_up_to_an_hour_and_end_with_a_success(house: House) -> None:
    one = house.worker()
    house.errands.troubles["a"] = [Unavailable("no") for _ in range(16)]
    await house.promise_errands("a")
    pauses = []
    await house.settle(one)
    while house.errands.troubles["a"]:
        pauses.append(await house.pause(one))
        await house.pass_seconds(pauses[-1] / 1000, one)
    assert 1_000 <= pauses[0] <= 2_000
    assert all(1_800_000 <= each <= 3_600_000 for each in pauses[-3:])
    assert pauses[5] > 10 * pauses[0]
    await house.pass_seconds(await house.pause(one) / 1000, one)
    assert house.errands.said == ["a"]
    house.errands.troubles["b"] = [Unavailable("no")]
    await house.promise_errands("b")
    await house.settle(one)
    assert await house.pause(one) <= 2_000


async def test_after_three_days_a_promise_is_given_up_and_that_is_told(house: House) -> None:
    one = house.worker()
    house.post.troubles["a"] = [Unavailable("no") for _ in range(200)]
    await house.promise("a", "b")
    await house.settle(one)
    for _ in range(71):
        await house.pass_seconds(3_600, one)
    assert house.post.given_up == []
    for _ in range(3):
        await house.pass_seconds(3_600, one)
    assert house.post.given_up == [("a", "unreachable")]
    assert await house.states() == {"a": "refused", "b": "promised"} or house.post.said == ["b"]
    await house.pass_seconds(3_600, one)
    assert await house.states() == {"a": "refused", "b": "done"}


async def test_waiting_for_an_allowance_is_no_attempt(house: House) -> None:
    """The three days begin with the first attempt, however long the queue before it was."""
    house.errands.allowances = (Allowance(n=2, period=DAY * 1000, burst=1),)
    one = house.worker()
    await house.promise_errands(*(f"{number}" for number in range(8)))
    house.errands.troubles["7"] = [Unavailable("no")]
    await house.settle(one)
    for _ in range(8):
        await house.pass_seconds(DAY + 1, one)
    assert house.errands.given_up == []
    await house.pass_seconds(DAY + 1, one)
    assert len(house.errands.said) == 8
    assert set(house.errands.attempts) == {1, 2}


async def test_what_no_allowance_has_room_for_is_not_looked_at_before(house: House) -> None:
    """Whoever has thousands of things to be done would otherwise be looked through a batch for each of them."""
    house.errands.allowances, house.errands.batch = (Allowance(60, 3_600_000, 1),), 25
    keys = [f"p{number}" for number in range(25)]
    await house.promise_errands(*keys)
    worker = house.worker()
    await house.settle(worker)
    for _ in keys:
        house.clock.pass_seconds(62)
        await house.settle(worker)
    assert house.errands.said == keys
    assert house.errands.looked_at == [keys[0], *(key for key in keys[1:] for _ in range(2))]  # in vain, and again


async def test_a_refusal_is_final_and_holds_up_nothing(house: House) -> None:
    house.post.troubles["a"] = [Refused("blocked")]
    await house.promise("a", "b")
    await house.settle(house.worker())
    assert house.post.given_up == [("a", "blocked")]
    assert await house.states() == {"a": "refused", "b": "done"}


async def test_a_mistake_of_ours_costs_no_promise(house: House) -> None:
    one = house.worker()
    house.post.troubles["a"] = [RuntimeError("a mistake of ours")]
    house.post.bad_settles = 1
    await house.promise("a", "b")
    await house.settle(one)
    assert house.post.said == []
    for _ in range(4):
        await house.pass_seconds(10, one)
    assert house.post.said == ["a", "b"]
    assert await house.states() == {"a": "done", "b": "done"}


async def test_who_is_told_to_stop_gives_everything_back(house: House) -> None:
    one = house.worker()
    async with held(house.post, "a") as gate:
        await house.promise("a", "b")
        await begun(one)
        await until(lambda: house.post.begun)
        stopping = asyncio.create_task(one.stop())
        await asyncio.sleep(0)
        gate.set()
        await stopping
    assert house.post.said == ["a"]
    async with house.database.reading() as connection:
        assert await connection.scalar(sa.select(lane.c.leased_by)) is None
    await house.settle(house.worker("two"))
    assert house.post.said == ["a", "b"]


async def test_who_is_told_to_stop_just_when_it_leases_keeps_no_lane(house: House) -> None:
    one = house.worker()
    await house.promise("a")
    loop = asyncio.create_task(perform(one, Wake(), house.clock, house.events.outage))
    sa.event.listen(sa.Engine, "commit", lambda _: loop.cancel(), once=True)
    await asyncio.gather(loop, return_exceptions=True)
    await one.stop()
    async with house.database.reading() as connection:
        assert await connection.scalar(sa.select(lane.c.leased_by)) is None
    await house.settle(house.worker("two"))
    assert house.post.said == ["a"]


async def test_what_was_forgotten_while_it_was_performed_is_not_written_down(house: House) -> None:
    one = house.worker()
    async with held(house.post, "a") as gate:
        await house.promise("a")
        await begun(one)
        await until(lambda: house.post.begun)
        async with house.database.transaction() as connection:
            await connection.execute(sa.delete(delivery))
            await connection.execute(sa.delete(lane))
        gate.set()
        await one.drain()
    assert await house.states() == {}


async def test_a_deadlock_while_it_is_written_down_costs_no_second_attempt(house: House) -> None:
    house.post.deadlocks = 2
    await house.promise("a", "b")
    await house.settle(house.worker())
    assert house.post.begun == ["a", "b"]
    assert await house.states() == {"a": "done", "b": "done"}


async def test_what_was_done_is_written_down_as_soon_as_the_database_is_well_again(house: House) -> None:
    house.post.troubled_settles = 1
    await house.promise("a", "b")
    await house.settle(house.worker())
    assert house.post.begun == ["a", "b"]
    assert house.post.attempts == [1, 1]
    assert await house.states() == {"a": "done", "b": "done"}


async def test_strangers_servers_that_never_answer_silence_nobody(house: House) -> None:
    one = house.worker(lanes=1)
    async with held(house.errands, "tar pit"):
        await house.promise_errands("tar pit")
        await house.promise_errands("another", of="bob")
        assert await begun(one) == 1
        await until(lambda: house.errands.begun)
        assert await one.begin() == (0, None)  # nothing that there is a place for
        await house.promise("answer", to="alice")
        assert await begun(one) == 1
        await until(lambda: house.post.said == ["answer"])
    await one.drain()
    await house.settle(one)
    assert await house.states() == {"tar pit": "done", "another": "done", "answer": "done"}


async def test_a_lane_that_stumbles_takes_no_other_with_it(house: House) -> None:
    one = house.worker()
    house.post.breaks = {"bad"}
    async with held(house.post, "good") as gate:
        await house.promise("bad", to="alice")
        await house.promise("good", to="bob")
        assert await begun(one) == 2
        await until(lambda: house.post.begun)
        stopping = asyncio.create_task(one.stop())
        await asyncio.sleep(0)
        gate.set()
        await stopping
    assert (await house.states())["good"] == "done"
    house.post.breaks.clear()
    await house.pass_seconds(LEASE / 1000, house.worker("two"))
    assert (await house.states())["bad"] == "done"


async def test_the_bell_is_rung_only_for_what_may_be_to_be_done(house: House) -> None:
    rung: list[str] = []
    house.events.on_promise = lambda: rung.append("rung")
    one = house.worker()
    await house.promise("a")
    await house.settle(one)
    assert rung == ["rung"]  # something may have been promised with it
    house.post.promises_nothing = True
    await house.promise("b")
    await house.settle(one)
    assert rung == ["rung"]
    bob = say_lane(NetworkName.BLUESKY, "bob")
    await house.promise_all([Promise(kind=DeliveryKind.REPLY, key="e", lane=bob, due_at=house.clock() + HOUR)])
    await house.promise("d", to="bob")
    await house.settle(one)
    assert len(rung) == 2  # there is more in the lane
    house.post.troubles["c"] = [Unavailable("the server sleeps")]
    await house.promise("c")
    await house.settle(one)
    assert len(rung) == 3  # it comes again


async def test_who_waits_for_a_place_gets_it_when_a_word_is_said_that_leads_to_nothing(house: House) -> None:
    wake = Wake()
    house.events.on_promise = wake.ring
    house.post.promises_nothing = True
    await house.promise("first", to="alice")
    await house.promise("second", to="bob")
    one = house.worker(lanes=1)
    loop = asyncio.create_task(perform(one, wake, house.clock, house.events.outage))
    await until(lambda: len(house.post.said) == 2)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    await one.drain()
    assert sorted(house.post.said) == ["first", "second"]
