"""Measure how much there is to do, for those who watch over an installation."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import UNDONE, MessageState
from storage.tables import account, delivery, lane, message


@dataclass(frozen=True, slots=True)
class Load:
    """`waiting`: promises not yet kept; `late_ms`: how long the most overdue lane waits; `failed`: crashed messages."""

    waiting: int
    late_ms: int
    failed: int
    persons: int


async def measure(connection: AsyncConnection, now: int) -> Load:
    """Return the load of this moment."""
    waiting = sa.select(sa.func.count()).select_from(delivery).where(delivery.c.state.in_(UNDONE)).scalar_subquery()
    failed = (
        sa.select(sa.func.count())
        .select_from(message)
        .where(message.c.state == MessageState.FAILED.value)
        .scalar_subquery()
    )
    first = sa.select(sa.func.min(lane.c.next_at)).where(lane.c.leased_until.is_(None)).scalar_subquery()
    persons = sa.select(sa.func.count(sa.distinct(account.c.person_id))).scalar_subquery()
    row = (
        await connection.execute(
            sa.select(waiting.label("waiting"), first.label("first"), failed.label("failed"), persons.label("persons"))
        )
    ).one()
    return Load(row.waiting, max(0, now - row.first) if row.first is not None else 0, row.failed, row.persons)
