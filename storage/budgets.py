"""Keep within allowances: so many acts a period, spread evenly, over restarts and over processes.

The generic cell rate algorithm: one number per allowance, the theoretical arrival time, says how much is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert, prepared
from storage.ready import ready
from storage.tables import budget

_USED: Final = ready(sa.select(budget.c.period, budget.c.tat).where(budget.c.name == sa.bindparam("budget")))
_LOCK_USED: Final = ready(_USED.order_by(budget.c.period).with_for_update())
_CHANGE: Final = ready(
    sa.update(budget).where(budget.c.name == sa.bindparam("budget"), budget.c.period == sa.bindparam("each_period"))
)


@prepared
def _open(connection: AsyncConnection) -> Any:
    return insert(connection, budget).on_conflict_do_nothing(index_elements=["name", "period"])


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `n` acts in any `period` (milliseconds), of which `burst` may come at once, and `reserve` of those not here.

    The even pace is such that a burst, and what the pace adds before the period is over, never exceed `n` together.
    """

    n: int
    period: int
    burst: int = 1
    reserve: int = 0

    def __post_init__(self) -> None:
        """Refuse an allowance that could never be used."""
        if not 0 <= self.reserve < self.burst <= self.n or self.period <= 0:
            raise ValueError(f"An allowance needs 0 <= reserve < burst <= n and a period: {self}")

    @property
    def pace(self) -> int:
        """Return how many acts a period there are at the even pace."""
        return self.n - self.burst + 1

    @property
    def at_once(self) -> int:
        """Return how many acts may come at once here."""
        return self.burst - self.reserve

    def leaving(self, reserve: int) -> "Allowance":
        """Return the same pace with less of a burst, for those who leave that much of it to others."""
        return replace(self, reserve=reserve)

    @property
    def step(self) -> int:
        """Return the milliseconds that an act takes at the even pace; never less, so that no period holds more than `n`."""
        return -(-self.period // self.pace)

    def lasts(self, acts: int) -> int:
        """Return the milliseconds that so many acts take at the even pace, be they taken at once or one by one."""
        return acts * self.step


async def take(
    connection: AsyncConnection, name: str, allowances: Sequence[Allowance], wanted: int, now: int
) -> tuple[int, int]:
    """Take up to `wanted` acts from a budget; return how many were granted and, if none, when to come again."""
    tats = await _lock(connection, name, allowances)
    room, again_at = _room(tats, allowances, now)
    granted = min(wanted, room) if allowances else wanted
    if granted and allowances:
        until = {each.period: now + _ahead(each, tats, now) + each.lasts(granted) for each in allowances}
        rows = [{"budget": name, "each_period": period, "tat": tat} for period, tat in until.items()]
        await connection.execute(_CHANGE, rows)
    return granted, again_at


async def room(connection: AsyncConnection, name: str, allowances: Sequence[Allowance], now: int) -> tuple[int, int]:
    """Return how many acts a budget has room for and when it has room for one; nothing is taken.

    Of an empty sequence of allowances, which limit nothing, none are counted, and the time is now.
    """
    return _room(await _used(connection, _USED, name) if allowances else {}, allowances, now)


async def room_at(connection: AsyncConnection, name: str, allowances: Sequence[Allowance], acts: int, now: int) -> int:
    """Return when a budget has room for so many acts at once, or for as many of them as there ever is."""
    tats, at = await _used(connection, _USED, name), now
    acts = min((acts, *(each.at_once for each in allowances)))
    for each in allowances:
        left = each.at_once - acts
        at = max(at, now + _ahead(each, tats, now) - each.lasts(left))
    return at


def _room(tats: Mapping[int, int], allowances: Sequence[Allowance], now: int) -> tuple[int, int]:
    rooms, again_at = [], now
    for each in allowances:
        used = _ahead(each, tats, now)
        rooms.append(max(0, (each.lasts(each.at_once) - used) // each.step))
        again_at = max(again_at, now + used - each.lasts(each.at_once - 1))
    return min(rooms, default=0), again_at


def _ahead(allowance: Allowance, tats: Mapping[int, int], now: int) -> int:
    """Return the milliseconds at the even pace that are used of an allowance."""
    ahead = max(0, tats.get(allowance.period, 0) - now)
    if ahead <= max(allowance.period, allowance.lasts(allowance.burst)):
        return ahead
    # Further than any window reaches: a clock was ahead when it was written. What was done by it nobody knows, so of
    # the burst the last one is left, and the even pace. Clocks that differ by less are no mistake: it would be left anew
    # to whoever comes after the other.
    return allowance.lasts(allowance.at_once - 1)


async def give_back(
    connection: AsyncConnection, name: str, allowances: Sequence[Allowance], unused: int, taken_at: int, now: int
) -> None:
    """Put back what was taken for acts that were not tried, as far as time has not given it back already."""
    for each in allowances:
        # A clock that was set right meanwhile says as little about that time as one that ran on.
        if (back := each.lasts(unused) - abs(now - taken_at)) > 0:
            await connection.execute(
                sa.update(budget)
                .where(budget.c.name == name, budget.c.period == each.period)
                .values(tat=budget.c.tat - back)
            )


async def wait_for(
    connection: AsyncConnection, name: str, allowances: Sequence[Allowance], ahead: int, now: int
) -> int:
    """Return the milliseconds until `ahead` acts will have been done at the allowed pace."""
    tats = await _used(connection, _USED, name)
    return max(
        (max(0, _ahead(each, tats, now) + each.lasts(ahead - each.at_once)) for each in allowances),
        default=0,
    )


async def _lock(connection: AsyncConnection, name: str, allowances: Sequence[Allowance]) -> dict[int, int]:
    """Return what is used of each allowance; who else wants to take of it waits for this transaction."""
    periods = {each.period for each in allowances}
    used = await _used(connection, _LOCK_USED, name) if periods else {}
    if missing := sorted(periods - used.keys()):
        # There has to be a row to be locked: two who both find none would both take all.
        await connection.execute(_open(connection), [{"name": name, "period": each, "tat": 0} for each in missing])
        used = await _used(connection, _LOCK_USED, name)
    return used


async def _used(connection: AsyncConnection, statement: sa.Select[Any], name: str) -> dict[int, int]:
    return {row.period: row.tat for row in await connection.execute(statement, {"budget": name})}
