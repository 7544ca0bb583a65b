"""Keep how much there was of everything at the end of each day, so that it can be shown how it grew."""

from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert
from storage.tables import census


@dataclass(frozen=True, slots=True)
class Day:
    """What was counted on a day in UTC; `day` is days since the epoch."""

    day: int
    people: int
    links: int
    reconnections: int


async def keep(connection: AsyncConnection, counted: Day) -> None:
    """Write down what was counted on a day; it takes the place of what was counted earlier that day."""
    values = asdict(counted)
    statement = insert(connection, census).values(values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["day"], set_=values))


async def days(connection: AsyncConnection) -> list[Day]:
    """Return all days on which something was counted, the first one first."""
    return [Day(*row) for row in await connection.execute(sa.select(census).order_by(census.c.day))]
