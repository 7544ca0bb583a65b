"""A stage for stories about promises: a real database has them, workers keep them, and a test is the post office."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.events import Events
from bot.lines import Line
from bot.networks.errors import Unavailable
from bot.outbox import Outbox
from bot.performer import Performed, Performer
from bot.performing import said_on
from handlers.context import Settings, World
from handlers.registry import Registry
from handlers.texts import Catalogue
from storage import deliveries, lanes
from storage.budgets import Allowance
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.records import Delivery, DeliveryKind, DeliveryState, NetworkName
from storage.tables import delivery
from tests.conftest import OwnClock

LEASE = 60_000
HOUR = 3_600_000


class Deadlock(Exception):
    """What PostgreSQL's driver raises for one of two transactions that wait for one another."""

    sqlstate = "40P01"


# Plenty, as an allowance of what nobody is to wait for.
PLENTY = Allowance(n=1_000_000, period=HOUR, burst=100_000)


@dataclass
class Post(Performer):
    """A post office of which the test decides when, and whether, it delivers.

    Lanes that have a line share its budget; for the others it may have one with `allowances`.
    """

    database: Database
    clock: OwnClock
    allowances: tuple[Allowance, ...] = ()
    lines: list[Line] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    troubles: dict[str, list[Exception]] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    given_up: list[tuple[str, str]] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    down: bool = False
    reached: bool = True
    settled: list[str] = field(default_factory=list)
    bad_settles: int = 0
    troubled_settles: int = 0
    deadlocks: int = 0
    breaks: set[str] = field(default_factory=set)
    promises_nothing: bool = False
    called_off: dict[str, str] = field(default_factory=dict)

    async def may_not(self, _connection: AsyncConnection, due: Sequence[Delivery]) -> Mapping[int, str]:
        keys = [each.key for each in due]
        self.looked_at += keys
        if self.breaks.intersection(keys):
            raise RuntimeError("a mistake of ours")
        return {each.id: self.called_off[each.key] for each in due if each.key in self.called_off}

    def budget(self, first: Delivery) -> tuple[str, tuple[Allowance, ...]] | None:
        for line in self.lines:
            if first.lane.startswith(line.lanes.line):
                return line.budget, line.allowances[deliveries.is_urgent(first)]
        return ("post", self.allowances) if self.allowances else None

    async def perform(self, due: list[Delivery]) -> Performed:
        (each,) = due
        self.begun.append(each.key)
        self.attempts.append(each.attempts)
        if each.key in self.gates:
            await self.gates[each.key].wait()
        if self.down:
            problem = Unavailable("the server is down")
            problem.begun = self.reached
            raise problem
        if self.troubles.get(each.key):
            raise self.troubles[each.key].pop(0)
        if each.key not in self.said:  # as a network with idempotency keys does
            self.said.append(each.key)

        async def settle(connection: AsyncConnection) -> None:
            await deliveries.settle(connection, each, DeliveryState.DONE, self.clock())
            self.settled.append(each.key)
            if self.troubled_settles:
                self.troubled_settles -= 1
                raise sa.exc.TimeoutError
            if self.deadlocks:
                self.deadlocks -= 1
                raise sa.exc.DBAPIError("UPDATE", {}, Deadlock())
            if self.bad_settles:
                self.bad_settles -= 1
                raise RuntimeError("a mistake of ours")

        return Performed(settle, promises_nothing=self.promises_nothing)

    async def refused(self, _connection: AsyncConnection, delivery: Delivery, reason: str) -> None:
        self.given_up.append((delivery.key, reason))


@dataclass
class House:
    """A database with promises in it, and the workers that keep them."""

    database: Database
    clock: OwnClock
    events: Events
    post: Post
    errands: Post

    def worker(self, name: str = "one", lease_ms: int = LEASE, lanes: int = 32) -> Outbox:
        said = dict.fromkeys((DeliveryKind.REPLY, DeliveryKind.NOTICE), self.post)
        performers = {**said, DeliveryKind.LOOKUP: self.errands}
        return Outbox(self.events, performers, worker=name, lease_ms=lease_ms, lanes=lanes)

    async def promise(
        self,
        *keys: str,
        to: str = "alice",
        on: NetworkName = NetworkName.BLUESKY,
        kind: DeliveryKind = DeliveryKind.REPLY,
    ) -> None:
        """Promise somebody some words."""
        await self.promise_all(Promise(kind=kind, key=key, lane=lanes.say_lane(on, to)) for key in keys)

    async def promise_errands(self, *keys: str, of: str = "alice") -> None:
        """Promise somebody that others are asked something for them."""
        await self.promise_all(Promise(kind=DeliveryKind.LOOKUP, key=key, lane=lanes.ask_lane(of)) for key in keys)

    async def promise_all(self, promises: Iterable[Promise]) -> None:
        async with self.database.transaction() as connection:
            await deliveries.promise(connection, list(promises), self.clock())

    def share(self, allowance: Allowance, *networks: NetworkName) -> None:
        """Let what is said on each network share an allowance and a server; notices leave half of a burst to answers."""
        self.post.lines = [said_on(network, (allowance,)) for network in networks or [NetworkName.BLUESKY]]

    async def settle(self, *workers: Outbox) -> None:
        while sum([await begun(each) for each in workers]):
            for each in workers:
                await each.drain()

    async def pass_seconds(self, seconds: float, *workers: Outbox) -> None:
        self.clock.pass_seconds(seconds)
        await self.settle(*workers)

    async def pause(self, worker: Outbox) -> int:
        """Return in how many milliseconds a worker looks again that has nothing to begin with now."""
        begun, due_at = await worker.begin()
        assert begun == 0
        assert due_at is not None
        return due_at - self.clock()

    async def states(self) -> dict[str, str]:
        async with self.database.reading() as connection:
            rows = await connection.execute(sa.select(delivery.c.key, delivery.c.state))
            return {row.key: row.state for row in rows}


def house_of(database: Database, keys: Keys, clock: OwnClock) -> House:
    """Return a house on a database."""
    world = World(keys, Settings(public_url=None, bots={}, follow={}), Registry())
    events = Events(database, world, Catalogue(), {}, clock)
    house = House(database, clock, events, Post(database, clock), Post(database, clock))
    house.share(PLENTY)
    return house


async def begun(worker: Outbox) -> int:
    """Have a worker begin with what it can; return with how many lanes."""
    return (await worker.begin())[0]


@asynccontextmanager
async def held(post: Post, key: str) -> AsyncIterator[asyncio.Event]:
    """Hold one delivery back until the event is set."""
    gate = post.gates[key] = asyncio.Event()
    try:
        yield gate
    finally:
        gate.set()
