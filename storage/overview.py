"""Sum up what is kept about one person, for those who ask where they stand."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import DeliveryKind, DeliveryState, Direction, GrantState
from storage.tables import consent_grant, delivery, upload


@dataclass(frozen=True, slots=True)
class Overview:
    """`lists`: how many entries by direction; `granted`: ids of the accounts with a consent; `follows`: by state."""

    lists: Mapping[Direction, int]
    granted: frozenset[str]
    follows: Mapping[DeliveryState, int]


async def of_person(connection: AsyncConnection, person_id: int) -> Overview:
    """Return what a person handed over, consented to, and had done."""
    lists = await connection.execute(
        sa.select(upload.c.direction, sa.func.sum(upload.c.n))
        .where(upload.c.person_id == person_id)
        .group_by(upload.c.direction)
    )
    granted = await connection.scalars(
        sa.select(consent_grant.c.account_id).where(
            consent_grant.c.person_id == person_id, consent_grant.c.state == GrantState.ACTIVE.value
        )
    )
    follows = await connection.execute(
        sa.select(delivery.c.state, sa.func.count())
        .where(delivery.c.person_id == person_id, delivery.c.kind == DeliveryKind.FOLLOW.value)
        .group_by(delivery.c.state)
    )
    return Overview(
        {Direction(direction): int(n) for direction, n in lists},
        frozenset(granted),
        {DeliveryState(state): int(n) for state, n in follows},
    )
