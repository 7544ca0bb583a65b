"""How fast messages are decided, and how fast what they promise is performed: the bot's own loops on a real database.

    python -m bench.pipeline [--quick] [--people 400] [--database-url URL]

People who are new write by DM; a network in this process hands their messages over and takes every answer at once, so
that what is measured is ours. Throughput is that of a burst; latency that of a message that comes alone. On SQLite the
same statements with the same parameters are then issued by bare sqlite3, as the yardstick. The machine may be busy with
something else, so CPU seconds of this process are told beside the clock's. Prints one JSON object.
"""

import asyncio
import itertools
import json
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import sqlalchemy as sa

from bot.app import epoch_ms
from bot.events import Events
from bot.inbox import Inbox
from bot.loops import Wake, perform
from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Incoming, Network, Say
from bot.outbox import Outbox
from bot.performing import Speaking
from handlers.commands import router
from handlers.context import Settings, World
from handlers.registry import Registry
from handlers.texts import Catalogue
from storage.budgets import Allowance
from storage.database import Database
from storage.engines import PRAGMAS
from storage.keys import Keys
from storage.records import DeliveryKind, NetworkName

_QUICK_PEOPLE: Final = 60
_ALONE: Final = 100
_PATIENCE_SECONDS: Final = 120
# What each person writes; every message is answered once.
_CONVERSATION: Final = ("hello", "claim @person_{n}", "status", "help follow", "contacts")
_HEARD_AT_ONCE: Final = 50
_PLENTY: Final = (Allowance(1_000_000, 3_600_000, 100_000), Allowance(10_000_000, 86_400_000, 100_000))

Statement = tuple[int, str, Any, bool]  # by which connection, what, with which parameters, and whether for many rows


@dataclass
class InstantNetwork:
    """A network that has messages waiting, and takes whatever is said at once."""

    waiting: list[Incoming] = field(default_factory=list)
    unanswered: int = 0
    all_answered: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = _HEARD_AT_ONCE
    name: NetworkName = NetworkName.BLUESKY
    handle: str = "reflock.example"

    async def start(self) -> None:
        """Need no log-in."""

    async def close(self) -> None:
        """Hold nothing."""

    async def hear(self, cursor: str | None) -> Batch:
        """Hand over the messages that wait."""
        heard, self.waiting = self.waiting[: self.at_once], self.waiting[self.at_once :]
        return Batch(heard, heard[-1].id if heard else cursor or "")

    async def wait(self, seconds: float) -> None:
        """Have news at once."""

    async def say(self, say: Say) -> str:
        """Take it."""
        self.unanswered -= 1
        if not self.unanswered:
            self.all_answered.set()
        return f"at://{say.key}"

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Be asked for nothing but to say something."""
        raise NotImplementedError

    unfollow = follow

    async def revoke(self, secret: str) -> None:
        """Have given no consent."""

    def fits(self, text: str, *, public: bool) -> bool:
        """Take what Bluesky takes, roughly."""
        return len(text) <= (300 if public else 1_000)


class Bench:
    """A Reflock on one database and one network."""

    def __init__(
        self,
        database: Database,
        network: InstantNetwork | None = None,
        *,
        worker: str = "bench",
        clock: Callable[[], int] = epoch_ms,
    ) -> None:
        self.network = network or InstantNetwork()
        networks: Mapping[NetworkName, Network] = {self.network.name: self.network}
        bots = {self.network.name: self.network.handle}
        settings = Settings(public_url="https://reflock.example", bots=bots, follow={}, code_lifetime=86_400_000)
        pseudonym, grant = Keys.generate()
        world = World(Keys(pseudonym, [grant]), settings, Registry())
        self.events = Events(database, world, Catalogue(), networks, clock)
        self.inbox = Inbox(self.events, router, self.network)
        speaking = Speaking(self.events, {self.network.name: _PLENTY})
        kinds = (DeliveryKind.REPLY, DeliveryKind.POST, DeliveryKind.NOTICE)
        self.outbox = Outbox(self.events, dict.fromkeys(kinds, speaking), worker=worker, lease_ms=60_000)
        self._ids = itertools.count()

    def writes(self, person: int, text: str) -> None:
        """Let a person write a message, which is to be answered once."""
        self.network.unanswered += 1
        self.network.all_answered.clear()
        self.network.waiting.append(
            Incoming(
                id=f"message-{next(self._ids)}",
                network=self.network.name,
                actor=f"did:plc:person{person}",
                handle=f"person{person}.example",
                text=text.format(n=person),
                public=False,
                thread=f"conversation {person}",
                thread_key=f"conversation {person}",
                at=epoch_ms(),
            )
        )

    def everybody_writes(self, people: range) -> int:
        """Let all write all they have to say; return how many messages that are."""
        for text in _CONVERSATION:
            for person in people:
                self.writes(person, text)
        return len(people) * len(_CONVERSATION)

    async def hear(self) -> None:
        """Decide all that was written."""
        while await self.inbox.turn():
            pass

    async def perform(self) -> None:
        """Have the bot's own loop perform all that was promised, until every message is answered."""
        wake = Wake()
        self.events.on_promise = wake.ring
        loop = asyncio.create_task(perform(self.outbox, wake, self.events.clock, self.events.outage))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await self.network.all_answered.wait()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await self.outbox.drain()


@contextmanager
def taking(into: dict[str, float], n: int) -> Iterator[None]:
    """Write down how long something takes that is done n times."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    into["a_second"] = round(n / wall, 1)
    into["cpu_ms_each"] = round(cpu * 1000 / n, 3)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Bench]:
    """Give a Reflock on a prepared database, everything of which has been used once."""
    database = Database(url)
    try:
        await database.upgrade()
        bench = Bench(database)
        bench.everybody_writes(range(1))
        await bench.hear()
        await bench.perform()
        yield bench
    finally:
        await database.close()


async def measure(url: str, people: int) -> dict[str, Any]:
    """Return how fast a burst is decided and performed, and how long somebody waits who writes alone."""
    async with opened(url) as bench:
        heard: dict[str, float] = {}
        performed: dict[str, float] = {}
        n = bench.everybody_writes(range(1, people + 1))
        with taking(heard, n):
            await bench.hear()
        with taking(performed, n):
            await bench.perform()
        promised_ms, performed_ms = await _alone(bench, people)
    return {
        "messages": n,
        "heard_to_promised": {**heard, **_percentiles(promised_ms)},
        "promised_to_performed": {**performed, **_percentiles(performed_ms)},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


async def _alone(bench: Bench, people: int) -> tuple[list[float], list[float]]:
    promised, performed = [], []
    for person in range(1, _ALONE + 1):
        bench.writes(1 + person % people, "status")
        begun = time.perf_counter()
        await bench.inbox.turn()
        decided = time.perf_counter()
        await bench.outbox.begin()
        await bench.outbox.drain()
        promised.append((decided - begun) * 1000)
        performed.append((time.perf_counter() - decided) * 1000)
    return promised, performed


def _percentiles(ms: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(ms, n=100, method="inclusive")
    return {"p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2)}


async def record(url: str, people: int, *, at_once: int) -> tuple[list[Statement], list[Statement]]:
    """Return the statements that such a burst leads to, as the driver was given them: deciding, then performing."""
    async with opened(url) as bench:
        bench.network.at_once = at_once
        bench.everybody_writes(range(1, people + 1))
        with _recorded() as deciding:
            await bench.hear()
        with _recorded() as performing:
            await bench.perform()
    return deciding, performing


@contextmanager
def _recorded() -> Iterator[list[Statement]]:
    statements: list[Statement] = []

    def driver(connection: sa.Connection) -> int:
        return id(connection.connection.dbapi_connection)

    def executed(
        connection: sa.Connection, _cursor: object, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        if statement.startswith("BEGIN"):
            return  # told by the event, however the driver does it
        # What returns rows for many is one statement with all their parameters.
        statements.append((driver(connection), statement, parameters, many and isinstance(parameters, list)))

    def said(word: str) -> Callable[[sa.Connection], None]:
        return lambda connection: statements.append((driver(connection), word, (), False))

    listeners: dict[str, Callable[..., None]] = {
        "before_cursor_execute": executed,
        "begin": said("BEGIN"),
        "commit": said("COMMIT"),
        "rollback": said("ROLLBACK"),
    }
    for name, listener in listeners.items():
        sa.event.listen(sa.Engine, name, listener)
    try:
        yield statements
    finally:
        for name, listener in listeners.items():
            sa.event.remove(sa.Engine, name, listener)


async def replay(url: str, deciding: list[Statement], performing: list[Statement], n: int) -> dict[str, Any]:
    """Issue recorded statements by bare sqlite3, each transaction on a connection as it was."""
    async with opened(url):  # what stood in the database before them
        pass
    heard: dict[str, float] = {"statements_each": round(len(deciding) / n, 1)}
    performed: dict[str, float] = {"statements_each": round(len(performing) / n, 1)}
    connections: dict[int, sqlite3.Connection] = {}
    for statements, into in ((deciding, heard), (performing, performed)):
        for number in {each[0] for each in statements} - connections.keys():
            connections[number] = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            for pragma in PRAGMAS:
                connections[number].execute(f"PRAGMA {pragma}")
        with taking(into, n):
            for number, statement, parameters, many in statements:
                if many:
                    connections[number].executemany(statement, parameters)
                else:
                    connections[number].execute(statement, parameters).fetchall()
    for connection in connections.values():
        connection.close()
    return {"heard_to_promised": heard, "promised_to_performed": performed}


async def compare(people: int, database_url: str | None) -> dict[str, Any]:
    """Measure and, on SQLite, hold it against the yardsticks.

    They are the same statements in the same batches, and what would be issued if every message were decided by itself.
    """
    with tempfile.TemporaryDirectory(prefix="reflock-pipeline-") as folder:
        if database_url is not None:
            return {"reflock": await measure(database_url, people)}

        def url(name: str) -> str:
            return f"sqlite:///{Path(folder) / name}"

        ours = await measure(url("measured"), people)
        bare = {}
        for name, at_once in (("same_statements", _HEARD_AT_ONCE), ("one_by_one", 1)):
            recorded = await record(url(f"{name}-recorded"), people, at_once=at_once)
            bare[name] = await replay(url(f"{name}-replayed"), *recorded, ours["messages"])
    ratios = {name: {step: _ratios(ours[step], of[step]) for step in of} for name, of in bare.items()}
    return {"reflock": ours, "bare_sqlite3": bare, "ratios": ratios}


def _ratios(ours: Mapping[str, float], bare: Mapping[str, float]) -> dict[str, float]:
    return {
        "of_bare_speed": round(ours["a_second"] / bare["a_second"], 3),
        "of_bare_speed_by_cpu": round(bare["cpu_ms_each"] / ours["cpu_ms_each"], 3),
    }


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help=f"Only {_QUICK_PEOPLE} people.")
@click.option("--people", default=400, show_default=True, type=click.IntRange(2, 100_000))
@click.option("--database-url", default=None, help="An empty database, instead of SQLite in a temporary folder.")
def main(quick: bool, people: int, database_url: str | None) -> None:
    """Read the options, measure, and print the figures."""
    figures = asyncio.run(compare(_QUICK_PEOPLE if quick else people, database_url))
    json.dump(figures, sys.stdout)
    print()


if __name__ == "__main__":
    main()
