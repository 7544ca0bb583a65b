"""How much of the allowed pace is used to follow on people's behalf, and how right the bot is about how long it takes.

    python -m bench.follow [--quick] [--accounts 1,50,1000,10000] [--database-url URL]

The bot's own outbox, budgets and words on a real database, against servers that keep the networks' real limits, in
simulated time: the clock jumps to whatever is due next, acts take no time, and what the bot says is not held back. Once
as configured by default, and for up to 1,000 accounts with the most that can be configured. Prints one JSON object; for
so many accounts acted for at once, half of them on each network:

- `budget_used`: the time that the configured allowances need for a list, divided by the time it took;
- `worst_day`: where there was enough to do, the fewest follows in 24 hours, divided by those allowed in that time;
- `fullest`: the most follows that any account made in a period, beside the number allowed;
- `refused`: how often a server said 429;
- `eta_error`: how far off the time was that people were told when it began, and half-way; as read from the words.
"""

import asyncio
import json
import random
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import structlog
from annotated_types import Le

from bench.follow_servers import BlueskyServer, MastodonServer, Server
from bot.config import Config, Loaded, PaceSection, Secrets
from bot.events import Events
from bot.outbox import Outbox
from bot.performing import Acting, Speaking
from handlers import follows
from handlers.context import Context, World
from handlers.matching import contacts
from handlers.registry import Registry
from handlers.texts import Catalogue
from storage import accounts, claims, grants, links
from storage.budgets import Allowance
from storage.database import Database
from storage.keys import Keys, distinct
from storage.records import DeliveryKind, Direction, Evidence, NetworkName

_START: Final = 1_900_000_000_000  # in the evening: no period begins with it
_DAY: Final = 86_400_000
_UNITS: Final = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": _DAY}
# What one account follows alone, for several days of its budget but no more than so many; and all others together.
_DAYS: Final = 2.6
_ACCOUNTS: Final = "1,50,1000,10000"
_ALONE: Final = 8_000
_TOGETHER: Final = 5_000
_SHORTEST: Final = 9
_QUICK_ACCOUNTS: Final = "1,50"
_QUICK_ALONE: Final = 310
_QUICK_TOGETHER: Final = 500
# With the most that can be configured no more act at once: it would take as long again, and tell nothing else.
_WITH_THE_MOST: Final = 1_000
_IN_A_TRANSACTION: Final = 100
_BATCH: Final = 25
# So many of the accounts are told half-way, too.
_ASKING: Final = 50


class Clock:
    """Simulated time, in epoch milliseconds."""

    def __init__(self) -> None:
        self.now = _START

    def __call__(self) -> int:
        """Return the present."""
        return self.now


@dataclass
class Follower:
    """Somebody on whose behalf is followed: how many, and what they were told, when, about the time it takes."""

    account_id: str
    follows: int
    told: list[tuple[int, float]]


class Town:
    """People who are here and have proved who they were, on both networks, to be followed by however many."""

    def __init__(self, database: Database, keys: Keys, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._chance = random.Random(1)
        self._people = 0

    async def grow(self, people: int) -> None:
        """Let so many people be there."""
        while self._people < people:
            async with self._database.transaction() as connection:
                for number in range(self._people, min(people, self._people + _IN_A_TRANSACTION)):
                    now = self._clock()
                    first = NetworkName.BLUESKY, f"did:plc:friend{number}", f"friend{number}.example"
                    second = NetworkName.MASTODON, f"https://example/users/friend{number}", f"friend{number}@example"
                    _, person = await accounts.meet(connection, *first, now)
                    await accounts.attach(connection, *second, person.id, now)
                    x_handle = f"friend_{number}"
                    claim = await claims.declare(connection, self._keys, person.id, x_handle, now)
                    await claims.raise_evidence(
                        connection,
                        self._keys,
                        claim,
                        x_id=number + 1,
                        x_handle=x_handle,
                        evidence=Evidence.POST,
                        now=now,
                    )
            self._people = number + 1

    async def newcomers(self, network: NetworkName, names: Sequence[str], length: int) -> list[str]:
        """Let people come who hand over so long a list and give their consent; return their accounts."""
        ids = []
        for start in range(0, len(names), _IN_A_TRANSACTION):
            async with self._database.transaction() as connection:
                for name in names[start : start + _IN_A_TRANSACTION]:
                    ids.append(f"{network}:{name}")
                    now = self._clock()
                    _, person = await accounts.meet(connection, network, ids[-1], name, now)
                    listed = np.array(self._chance.sample(range(1, self._people + 1), length), np.uint64)
                    following = distinct(self._keys.of_ids(listed))
                    into = person.id, "archive", Direction.FOLLOWING
                    await links.add(connection, *into, following, now, replace=True)
                    await grants.keep(
                        connection,
                        self._keys,
                        person_id=person.id,
                        account_id=ids[-1],
                        network=network,
                        issuer="https://example",
                        scope="follow",
                        secret="{}",
                        now=now,
                    )
        return ids


class Bench:
    """A Reflock with one configuration."""

    def __init__(self, database: Database, keys: Keys, pace: PaceSection, clock: Clock) -> None:
        self.clock = clock
        self.servers: dict[NetworkName, Server] = {
            NetworkName.BLUESKY: BlueskyServer(clock, 1),
            NetworkName.MASTODON: MastodonServer(clock, 2),
        }
        loaded = Loaded(config=Config(pace=pace), secrets=Secrets())
        settings = loaded.settings({name: server.handle for name, server in self.servers.items()})
        self.allowances: Mapping[NetworkName, tuple[Allowance, ...]] = settings.follow
        self._events = Events(database, World(keys, settings, Registry()), Catalogue(), self.servers, clock)
        acting = Acting(self._events, self.allowances, _BATCH)
        speaking = Speaking(self._events, dict.fromkeys(self.servers, ()))
        performers = {DeliveryKind.FOLLOW: acting, DeliveryKind.NOTICE: speaking}
        self._outbox = Outbox(self._events, performers, worker="bench", lease_ms=60_000)

    async def begin(self, account_id: str, length: int) -> Follower:
        """Have everybody followed who is on somebody's list, as their `yes` does."""

        async def yes(ctx: Context) -> follows.Begun:
            return await follows.begin(ctx, await contacts(ctx))

        begun = await self._events.decide(f"yes of {account_id}", account_id, yes)
        return Follower(account_id, length, [(self.clock(), said_time("\n".join(begun.lines)))])

    async def play(self, followers: Mapping[NetworkName, Sequence[Follower]]) -> None:
        """Let time go by until everything that was promised is done; some ask half-way how long it still takes."""
        asking = [(self.servers[network], each) for network, some in followers.items() for each in some[:_ASKING]]
        while True:
            begun, due_at = await self._outbox.begin()
            await self._outbox.drain()
            for server, each in list(asking):
                if len(server.followed.get(each.account_id, ())) * 2 >= each.follows:
                    asking.remove((server, each))
                    await self._ask(each)
            if not begun:
                if due_at is None:
                    return
                self.clock.now = max(self.clock.now, due_at)

    async def _ask(self, follower: Follower) -> None:
        """Have somebody told how long the rest takes, as the status does."""
        said = await self._events.decide(f"status of {follower.account_id}", follower.account_id, follows.progress)
        if said is not None:
            follower.told.append((self.clock(), said_time(said)))


def said_time(text: str) -> float:
    """Read how many milliseconds something takes out of the words; less than a minute is 0."""
    spans = re.findall(r"(\d+) (second|minute|hour|day)s?\b", text.partition("about ")[2])
    if not spans and "less than a minute" not in text:
        raise ValueError(f"No word about the time: {text}")
    return sum(int(n) * _UNITS[unit] for n, unit in spans)


def needed(allowances: Sequence[Allowance], length: int) -> float:
    """Return the milliseconds in which the allowances allow so many follows: a burst at once, then n a period."""
    return max(max(0, length - each.burst) * each.period / each.n for each in allowances)


def fullest(moments: Sequence[int], period: int) -> int:
    """Return the most moments that lie within one period."""
    at = np.array(moments, np.int64)
    return int((np.searchsorted(at, at + period, side="left") - np.arange(len(at))).max())


def worst_day(moments: Sequence[int], allowances: Sequence[Allowance]) -> float | None:
    """Return the fewest acts in one of the whole days that were busy throughout, as a share of those allowed."""
    at = np.array(moments, np.int64)
    days = int((at[-1] - at[0]) // _DAY)
    if not days:
        return None
    a_day = np.bincount((at - at[0]) // _DAY)[:days]
    return float(a_day.min() / min(each.n * _DAY / each.period for each in allowances))


def error_of(said: float, took: float) -> float:
    """Return how far off a time was, as a share of it; less than a minute is right for whatever is."""
    if said == 0:
        return 0.0 if took < _UNITS["minute"] else 1.0
    return abs(said - took) / max(took, 1)


def figures(bench: Bench, server: Server, followers: Sequence[Follower]) -> dict[str, Any]:
    """Put together what came of it."""
    allowances = bench.allowances[server.name]
    used, days, errors = [], [], []
    for each in followers:
        made = server.followed[each.account_id]
        if len(made) != each.follows:
            raise ValueError(f"{each.account_id} was to follow {each.follows} and followed {len(made)}.")
        begun_at, done_at = each.told[0][0], made[-1]
        used.append(needed(allowances, each.follows) / max(1, done_at - begun_at))
        days.append(worst_day(made, allowances))
        errors += [error_of(said, done_at - at) for at, said in each.told]
    whole_days = [each for each in days if each is not None]
    last = max(made[-1] for made in server.followed.values())
    return {
        "accounts": len(followers),
        "follows_each": followers[0].follows,
        "simulated_hours": round((last - followers[0].told[0][0]) / 3_600_000, 1),
        "budget_used": {"median": round(statistics.median(used), 4), "least": round(min(used), 4)},
        "worst_day": round(min(whole_days), 4) if whole_days else None,
        "fullest": {
            f"{each.period // 3_600_000} h": [
                max(fullest(made, each.period) for made in server.followed.values()),
                each.n,
            ]
            for each in allowances
        },
        "refused": dict(server.refusals),
        "eta_error": {"median": round(statistics.median(errors), 4), "most": round(max(errors), 4)},
    }


def most() -> PaceSection:
    """Return the fastest pace of following that the configuration takes."""
    fields = {name: field for name, field in PaceSection.model_fields.items() if "_follows_" in name}
    limits = {name: next(each.le for each in field.metadata if isinstance(each, Le)) for name, field in fields.items()}
    return PaceSection.model_validate(limits)


@dataclass(frozen=True, slots=True)
class Size:
    """How many accounts there are, one number after the other, and how much they follow: one alone, and all together."""

    accounts: Sequence[int]
    alone: int
    together: int

    def list_length(self, accounts: int, allowances: Sequence[Allowance]) -> int:
        """Return how many each of so many accounts follows: one for several days, unless that takes too long here."""
        days = int(_DAYS * min(each.n * _DAY / each.period for each in allowances))
        return max(_SHORTEST, min(days, self.alone, self.together // accounts))


async def run(bench: Bench, town: Town, name: str, count: int, size: Size) -> dict[str, Any]:
    """Let so many accounts follow, half of them on each network; of one, one on each."""
    began = time.perf_counter()
    followers: dict[NetworkName, list[Follower]] = {}
    for network, allowances in bench.allowances.items():
        length = size.list_length(count, allowances)
        await town.grow(length)
        names = [f"{name}-{count}-{number}" for number in range(-(-count // 2))]
        newcomers = await town.newcomers(network, names, length)
        followers[network] = [await bench.begin(each, length) for each in newcomers]
    await bench.play(followers)
    row: dict[str, Any] = {"accounts": count, "took_s": round(time.perf_counter() - began, 1)}
    row.update({network.value: figures(bench, bench.servers[network], some) for network, some in followers.items()})
    print(f"{name}: {json.dumps(row)}", file=sys.stderr, flush=True)  # it may take long until all are through
    return row


async def measure(url: str, size: Size) -> dict[str, Any]:
    """Let every number of accounts follow, on either network, with the defaults and with the most."""
    clock, database, (pseudonym, grant) = Clock(), Database(url), Keys.generate()
    keys = Keys(pseudonym, [grant])
    results: dict[str, Any] = {}
    try:
        await database.upgrade()
        town = Town(database, keys, clock)
        fewer = [n for n in size.accounts if n <= _WITH_THE_MOST]
        for name, pace, counts in (("default", PaceSection(), size.accounts), ("most", most(), fewer)):
            results[name] = [await run(Bench(database, keys, pace, clock), town, name, n, size) for n in counts]
    finally:
        await database.close()
    every = [row[network.value] for rows in results.values() for row in rows for network in NetworkName]
    results["least_used"] = min(each["budget_used"]["least"] for each in every)
    results["eta_error"] = max(each["eta_error"]["most"] for each in every)
    results["refused"] = sum(sum(each["refused"].values()) for each in every)
    results["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return results


async def follow(size: Size, database_url: str | None) -> dict[str, Any]:
    """Measure on the database that is named, or on SQLite in a folder of its own."""
    random.seed(1)
    if database_url is not None:
        return await measure(database_url, size)
    with tempfile.TemporaryDirectory(prefix="reflock-follow-") as folder:
        return await measure(f"sqlite:///{Path(folder) / 'follow.sqlite3'}", size)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Fewer accounts and shorter lists.")
@click.option("--accounts", default=None, help=f"How many act at once, one run for each number: {_ACCOUNTS}")
@click.option("--database-url", default=None, help="An empty database, instead of SQLite in a temporary folder.")
def main(quick: bool, accounts: str | None, database_url: str | None) -> None:
    """Read the options, measure, and print the figures."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    counts = [int(each) for each in (accounts or (_QUICK_ACCOUNTS if quick else _ACCOUNTS)).split(",")]
    size = Size(counts, *((_QUICK_ALONE, _QUICK_TOGETHER) if quick else (_ALONE, _TOGETHER)))
    json.dump(asyncio.run(follow(size, database_url)), sys.stdout)
    print()


if __name__ == "__main__":
    main()
