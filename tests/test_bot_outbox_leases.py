"""A lane is acted in only as long as its lease lasts, and what was done is written down once, whatever becomes of an answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.keys import Keys
from tests.conftest import OwnClock
from tests.promises import LEASE, House, begun, held, house_of
from tests.reunion import until


@pytest.fixture
def house(database: Database, keys: Keys, clock: OwnClock) -> House:
    return house_of(database, keys, clock)


class Distant(Database):
    """A database at which something happens between a COMMIT and its answer: for each of the next ones, in their order."""

    on_the_way: Sequence[Callable[[], None]] = ()

    @asynccontextmanager
    async def transaction(self, *, long: bool = False) -> AsyncIterator[AsyncConnection]:
        async with super().transaction(long=long) as connection:
            yield connection
        happening, self.on_the_way = self.on_the_way[:1], self.on_the_way[1:]
        for each in happening:
            each()


@pytest.fixture
async def distant(database_url: str) -> AsyncIterator[Distant]:
    database = Distant(database_url)
    await database.upgrade()
    yield database
    await database.close()


async def test_who_learns_after_the_lease_has_ended_that_it_had_a_lane_begins_nothing(
    distant: Distant, keys: Keys, clock: OwnClock
) -> None:
    house = house_of(distant, keys, clock)
    one = house.worker()
    await house.promise("a")
    # It leases the lane, and takes what is due in it.
    distant.on_the_way = [lambda: None, lambda: clock.pass_seconds(2 * LEASE / 1000)]
    await begun(one)
    await one.drain()
    assert house.post.attempts == [2]  # and when it leased it anew it looked first: others may have had it
    assert await house.states() == {"a": "done"}


async def test_what_was_written_down_though_the_answer_was_lost_is_written_down_once(
    distant: Distant, keys: Keys, clock: OwnClock
) -> None:
    def lost() -> None:
        raise sa.exc.TimeoutError

    house = house_of(distant, keys, clock)
    one = house.worker()
    async with held(house.post, "a"):
        await house.promise("a", "b")
        await begun(one)
        await until(lambda: house.post.begun)
        distant.on_the_way = [lost]
    await one.drain()
    assert house.post.settled == ["a", "b"]
    assert await house.states() == {"a": "done", "b": "done"}


async def test_who_lost_a_lane_ceases_to_act_in_it(house: House) -> None:
    """As one that was frozen for longer than its lease: others have done it meanwhile, or taken it back."""
    one, two = house.worker(lease_ms=300), house.worker("two")
    async with held(house.post, "a"):
        await house.promise("a")
        await begun(one)
        await until(lambda: house.post.begun)
        house.clock.pass_seconds(1)
        assert await begun(two) == 1
        async with asyncio.timeout(20):
            await one.drain()
    await two.drain()
    assert house.post.settled == ["a"]


async def test_who_wakes_after_its_lease_has_ended_does_not_go_on(house: House) -> None:
    """The answer that it waited for has come meanwhile, and the next thing would be to act on it."""
    one = house.worker(lease_ms=60)
    async with held(house.post, "a") as gate:
        await house.promise("a")
        await begun(one)
        await until(lambda: house.post.begun)
        asyncio.get_running_loop().call_soon(gate.set)
        time.sleep(0.1)  # noqa: ASYNC251  # it is frozen: nothing of it runs
        await one.drain()
    assert house.post.attempts == [1, 2]  # the second time it looks first
    assert house.post.settled == ["a"]
