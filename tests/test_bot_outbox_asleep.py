"""Whoever keeps promises sleeps only while there is nothing to be begun, whatever servers, budgets and clocks do.

Time is the test's own, and goes on only when everybody sleeps or waits for a server: then a look for which nothing has
rung must find nothing.
"""

import asyncio
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.events import Events
from bot.lines import Line
from bot.networks.errors import NotAsked, Refused, Unavailable
from bot.outbox import Outbox
from bot.performer import Performed, Performer
from handlers.context import Settings, World
from handlers.registry import Registry
from handlers.texts import Catalogue
from storage import deliveries
from storage.budgets import Allowance
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.lanes import Among
from storage.records import UNDONE, Delivery, DeliveryKind, DeliveryState
from storage.tables import delivery
from tests.conftest import OwnClock

STEPS = 60
# So often it may look at one moment, for what is promised and ends there; who looks more often does not sleep at all.
LOOKS_A_MOMENT = 200


@dataclass(eq=False)
class Whims(Performer):
    """Servers of three networks, which answer at once or late, refuse, fail or are down: as the seed says."""

    clock: OwnClock
    seed: int
    lines: Sequence[Line]
    down: bool = False
    sober: bool = False
    silent: dict[asyncio.Future[None], int] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def budget(self, first: Delivery) -> tuple[str, tuple[Allowance, ...]] | None:
        for line in self.lines:
            if first.lane.startswith(f"{line.lanes.line}:"):
                return line.budget, line.allowances[deliveries.is_urgent(first)]
        return None

    async def may_not(self, _connection: AsyncConnection, due: Sequence[Delivery]) -> Mapping[int, str]:
        return {each.id: "called off" for each in due if each.key.startswith("called off")}

    async def perform(self, due: list[Delivery]) -> Performed:
        (each,) = due
        whim = random.Random(f"{self.seed} {each.key} {each.attempts}")
        if takes := whim.choice([0, 0, 0, 500, 3_000]):
            answer = asyncio.get_running_loop().create_future()
            self.silent[answer] = self.clock() + takes
            self.heard.set()
            await answer
        outcome = 1 if self.sober else whim.random()
        if self.down or outcome < 0.1:
            problem = Unavailable("down", retry_in=whim.choice([None, None, 2.0, 7.0]))
            problem.begun = whim.random() < 0.5
            raise problem
        if outcome < 0.2:
            raise whim.choice([NotAsked, Refused])("no", "no")

        promises_nothing = whim.random() < 0.8

        async def settle(connection: AsyncConnection) -> None:
            await deliveries.settle(connection, each, DeliveryState.DONE, self.clock())
            if not promises_nothing:
                await self._follow_up(connection, each)

        return Performed(settle, promises_nothing=promises_nothing)

    async def cancelled(self, connection: AsyncConnection, delivery: Delivery) -> None:
        await self._follow_up(connection, delivery)

    async def _follow_up(self, connection: AsyncConnection, first: Delivery) -> None:
        """Promise what follows from a delivery, to somebody whose lane it may not be."""
        lane = f"say:n{first.id % 3}:{first.id % 4}"
        promise = Promise(kind=DeliveryKind.REPLY, key=f"after {first.key}", lane=lane)
        await deliveries.promise(connection, [promise], self.clock())

    def answer(self) -> None:
        """Let those answer whose time has come."""
        for each in [answer for answer, at in self.silent.items() if at <= self.clock()]:
            del self.silent[each]
            each.set_result(None)


@dataclass
class Sleeper:
    """A worker as its loop turns it: it looks when the bell has rung, or when the time has come that it was told."""

    outbox: Outbox
    whims: Whims
    clock: OwnClock
    rung: bool = True
    wake_at: int | None = None

    def ring(self) -> None:
        self.rung = True

    async def turn_until_asleep(self) -> None:
        for _ in range(LOOKS_A_MOMENT):
            await self._wait_for_servers_only()
            if not self.rung and (self.wake_at is None or self.wake_at > self.clock()):
                return
            self.rung = False
            _, self.wake_at = await self.outbox.begin()
        raise AssertionError("it looks again and again at one and the same moment")

    async def _wait_for_servers_only(self) -> None:
        while len(tasks := self.outbox._tasks()) > len(self.whims.silent):
            self.whims.heard.clear()
            heard = asyncio.ensure_future(self.whims.heard.wait())
            await asyncio.wait({heard, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            heard.cancel()

    async def finds_nothing(self) -> bool:
        """Look though nothing has rung."""
        found, _ = await self.outbox.begin()
        return not found

    def pass_time(self, at_most: int) -> None:
        """Let time go by until something happens by itself, and no further."""
        moments = [*self.whims.silent.values(), *([] if self.wake_at is None else [self.wake_at])]
        self.clock.now = min([self.clock() + at_most, *(each for each in moments if each > self.clock())])
        self.whims.answer()


def sleeper(database: Database, keys: Keys, clock: OwnClock, seed: int, whim: random.Random) -> Sleeper:
    allowance = Allowance(whim.choice([4, 10, 30]), whim.choice([10_000, 60_000]), whim.choice([1, 2, 4]))
    shares = {True: (allowance,), False: (allowance.leaving(allowance.burst // 2),)}
    whims = Whims(clock, seed, [Line(Among(f"say:n{number}"), f"budget {number}", shares) for number in range(3)])
    world = World(keys, Settings(public_url=None, bots={}, follow={}), Registry())
    events = Events(database, world, Catalogue(), {}, clock)
    performers = dict.fromkeys(DeliveryKind, whims)
    outbox = Outbox(events, performers, worker="one", lease_ms=60_000, lanes=whim.choice([1, 2, 4]))
    one = Sleeper(outbox, whims, clock)
    events.on_promise = one.ring
    return one


def promises(whim: random.Random, numbers: Iterator[int], now: int) -> list[Promise]:
    made = []
    for _ in range(whim.choice([0, 0, 1, 3])):
        kind = whim.choice([DeliveryKind.REPLY, DeliveryKind.NOTICE, DeliveryKind.FOLLOW])
        acts = kind is DeliveryKind.FOLLOW
        lane = f"act:{whim.randrange(3)}" if acts else f"say:n{whim.randrange(3)}:{whim.randrange(4)}"
        key = f"{whim.choice(['wanted', 'wanted', 'wanted', 'called off'])} {next(numbers)}"
        made.append(Promise(kind=kind, key=key, lane=lane, due_at=now + whim.choice([0, 0, 0, 4_000])))
    return made


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5, 64])
async def test_who_sleeps_misses_nothing_and_everything_is_kept(
    database: Database, keys: Keys, clock: OwnClock, seed: int
) -> None:
    random.seed(seed)  # of which the outbox's pauses are made
    whim, numbers = random.Random(seed), itertools.count(1)
    one = sleeper(database, keys, clock, seed, whim)
    for step in range(STEPS):
        if made := promises(whim, numbers, clock()):
            async with database.transaction() as connection:
                await deliveries.promise(connection, made, clock())
            one.ring()
        if whim.random() < 0.15:
            one.whims.down = whim.random() < 0.5
        await one.turn_until_asleep()
        assert await one.finds_nothing(), f"step {step}"
        one.pass_time(whim.choice([300, 2_000, 20_000]))
    one.whims.down, one.whims.sober = False, True
    await one.turn_until_asleep()
    while one.wake_at is not None or one.whims.silent:
        one.pass_time(3_600_000)
        await one.turn_until_asleep()
    async with database.reading() as connection:
        left = sa.select(sa.func.count()).where(delivery.c.state.in_([state.value for state in UNDONE]))
        assert await connection.scalar(left) == 0
