"""stats: the public counters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from handlers.context import Context
from handlers.registry import Registry
from handlers.routing import command
from handlers.texts import N_
from storage import follows, links

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_KEPT_FOR: Final = 60_000


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted, and when it was."""

    people: int
    links: int
    reconnections: int
    at: int


# Counting reads whole tables; one count a minute for each installation in this process is enough.
_counted: Final[WeakKeyDictionary[Registry, Counters]] = WeakKeyDictionary()


@command("stats", N_("How many people are here, and how many found each other again"), fr=("chiffres",), public=True)
async def stats(ctx: Context) -> str | None:
    """Say the public counters."""
    counted = await counters(ctx)
    number = ctx.texts.number
    return ctx.text(
        "People registered: {people} · links held: {links} · reconnections made: {reconnections}",
        people=number(counted.people),
        links=number(counted.links),
        reconnections=number(counted.reconnections),
    )


async def counters(ctx: Context) -> Counters:
    """Return the counters, at most a minute old."""
    counted = _counted.get(ctx.world.registry)
    if counted is None or not 0 <= ctx.now - counted.at < _KEPT_FOR:
        counted = _counted[ctx.world.registry] = await count(ctx.connection, ctx.now)
    return counted


async def count(connection: "AsyncConnection", now: int) -> Counters:
    """Count; this reads whole tables."""
    return Counters(
        people=await follows.people(connection),
        links=(await links.counts(connection)).links,
        reconnections=await follows.reconnections(connection),
        at=now,
    )
