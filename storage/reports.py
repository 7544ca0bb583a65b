"""Remember what people asked an operator to look at."""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.tables import report

_MOST: Final = 2_000  # characters kept of one report


@dataclass(frozen=True, slots=True)
class Report:
    """One request for review about an X handle, in its writer's own words."""

    id: int
    person_id: int
    x_handle: str
    words: str
    at: int
    done: bool


async def add(connection: AsyncConnection, person_id: int, x_handle: str, words: str, now: int) -> int:
    """Write a request down and return its number; more words about one that is still open are added to it."""
    row = (
        await connection.execute(
            sa.select(report.c.id, report.c.words).where(
                report.c.person_id == person_id, report.c.x_handle == x_handle, report.c.done.is_(False)
            )
        )
    ).first()
    if row is None:
        values = {"person_id": person_id, "x_handle": x_handle, "words": words[:_MOST], "at": now, "done": False}
        return int((await connection.execute(sa.insert(report).values(values).returning(report.c.id))).scalar_one())
    more = f"{row.words}\n{words}".strip()[:_MOST]
    await connection.execute(sa.update(report).where(report.c.id == row.id).values(words=more))
    return int(row.id)


async def waiting(connection: AsyncConnection, limit: int) -> list[Report]:
    """Return what waits for an operator, the oldest first."""
    rows = await connection.execute(
        sa.select(report).where(report.c.done.is_(False)).order_by(report.c.id).limit(limit)
    )
    return [Report(**row._asdict()) for row in rows]


async def close_about(connection: AsyncConnection, x_handle: str) -> int:
    """Note that what was asked about an X handle has been decided; return how many requests that settles."""
    closed = await connection.execute(
        sa.update(report).where(report.c.x_handle == x_handle, report.c.done.is_(False)).values(done=True)
    )
    return closed.rowcount
