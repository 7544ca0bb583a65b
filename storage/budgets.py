"""Keep within allowances: so many acts a period, spread evenly, over restarts and over processes.

The generic cell rate algorithm: one number per allowance, the theoretical arrival time, says how much is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert
from storage.tables import budget


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `n` acts in any `period` (milliseconds), of which `burst` may come at once.

    The even pace is (n - burst) a period, so that a burst and the pace together never exceed `n`.
    """

    n: int
    period: int
    burst: int = 1

    def __post_init__(self) -> None:
        """Refuse an allowance that could never be used."""
        if not 0 < self.burst <= self.n or self.period <= 0:
            raise ValueError(f"An allowance needs 0 < burst <= n and a period: {self}")

    @property
    def interval(self) -> float:
        """Return the milliseconds between two acts at the even pace."""
        return self.period / max(1, self.n - self.burst)


async def take(
    connection: AsyncConnection, name: str, allowances: Sequence[Allowance], wanted: int, now: int
) -> tuple[int, int]:
    """Take up to `wanted` acts from a budget; return how many were granted and, if none, when to come again."""
    tats = await _tats(connection, name)
    granted, again_at = wanted, now
    for each in allowances:
        tat = max(now, tats.get(each.period, 0))
        free = int((now + each.burst * each.interval - tat) // each.interval)
        if free < granted:
            granted = max(0, free)
            again_at = max(again_at, int(tat - (each.burst - 1) * each.interval) + 1)
    if granted:
        for each in allowances:
            used_until = max(now, tats.get(each.period, 0)) + granted * each.interval
            statement = insert(connection, budget).values(name=name, period=each.period, tat=int(used_until))
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["name", "period"], set_={"tat": statement.excluded.tat})
            )
    return granted, again_at


async def wait_for(
    connection: AsyncConnection, name: str, allowances: Sequence[Allowance], ahead: int, now: int
) -> int:
    """Return the milliseconds until `ahead` acts will have been done at the allowed pace."""
    tats = await _tats(connection, name)
    return max(
        (
            int(max(0.0, max(now, tats.get(each.period, 0)) + (ahead - each.burst) * each.interval - now))
            for each in allowances
        ),
        default=0,
    )


async def _tats(connection: AsyncConnection, name: str) -> dict[int, int]:
    rows = await connection.execute(
        sa.select(budget.c.period, budget.c.tat).where(budget.c.name == name).with_for_update()
    )
    return {row.period: row.tat for row in rows}
