"""stats: the public counters, and how they grew from day to day."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from handlers.context import Context, World
from handlers.registry import Registry
from handlers.routing import command
from handlers.texts import N_
from storage import census, follows, links
from storage.census import Day

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from storage.database import Database

_KEPT_FOR: Final = 60_000
_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted, and when it was."""

    people: int
    links: int
    reconnections: int
    at: int


# Counting reads whole tables; one count a minute for each installation in this process is enough.
_counted: Final[WeakKeyDictionary[Registry, Counters]] = WeakKeyDictionary()


@command(
    "stats",
    N_("How many people are here, and how many found each other again"),
    fr=("chiffres",),
    ar=("إحصاءات", "احصاءات", "إحصائيات", "احصائيات", "أرقام", "ارقام"),
    public=True,
)
async def stats(ctx: Context) -> str | None:
    """Say the public counters."""
    counted = await counters(ctx.connection, ctx.world, ctx.now)
    number = ctx.texts.number
    return ctx.text(
        "People registered: {people} · links held: {links} · reconnections made: {reconnections}",
        people=number(counted.people),
        links=number(counted.links),
        reconnections=number(counted.reconnections),
    )


async def counters(connection: "AsyncConnection", world: World, now: int) -> Counters:
    """Return the counters, at most a minute old."""
    counted = _counted.get(world.registry)
    if counted is None or not 0 <= now - counted.at < _KEPT_FOR:
        counted = _counted[world.registry] = await count(connection, now)
    return counted


async def count(connection: "AsyncConnection", now: int) -> Counters:
    """Count; this reads whole tables."""
    return Counters(
        people=await follows.people(connection),
        links=(await links.counts(connection)).links,
        reconnections=await follows.reconnections(connection),
        at=now,
    )


async def growth(connection: "AsyncConnection", counted: Counters) -> list[Day]:
    """Return how the counters stood at the end of each day, and how they stand today."""
    today = _of_day(counted)
    return [each for each in await census.days(connection) if each.day < today.day] + [today]


async def take_census(database: "Database", now: int) -> None:
    """Write down how the counters stand; the last time of a day is what stays of it."""
    async with database.reading() as connection:
        counted = await count(connection, now)
    async with database.transaction() as connection:
        await census.keep(connection, _of_day(counted))


def _of_day(counted: Counters) -> Day:
    return Day(counted.at // _DAY, counted.people, counted.links, counted.reconnections)
