"""Sum up what is kept about one person, for those who ask where they stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.ready import ready
from storage.records import UNDONE, DeliveryKind, DeliveryState, Direction, GrantState
from storage.tables import consent_grant, delivery, upload


@dataclass(frozen=True, slots=True)
class Overview:
    """`lists`: how many entries by direction; `granted`: ids of the accounts with a consent; `follows`: by state."""

    lists: Mapping[Direction, int]
    granted: frozenset[str]
    follows: Mapping[DeliveryState, int]

    @property
    def coming(self) -> int:
        """Return how many follows are still to be made."""
        return sum(self.follows.get(each, 0) for each in UNDONE)


_WHOSE: Final = sa.bindparam("person_id", type_=sa.BigInteger())
_SUMS: Final = ready(
    sa.union_all(
        sa.select(
            sa.literal_column("'list'").label("of"),
            upload.c.direction.label("which"),
            sa.func.sum(upload.c.n).label("n"),
        )
        .where(upload.c.person_id == _WHOSE)
        .group_by(upload.c.direction),
        sa.select(sa.literal_column("'grant'"), consent_grant.c.account_id, sa.literal_column("1")).where(
            consent_grant.c.person_id == _WHOSE, consent_grant.c.state == GrantState.ACTIVE.value
        ),
        sa.select(sa.literal_column("'follow'"), delivery.c.state, sa.func.count())
        .where(delivery.c.person_id == _WHOSE, delivery.c.kind == DeliveryKind.FOLLOW.value)
        .group_by(delivery.c.state),
    )
)


async def of_person(connection: AsyncConnection, person_id: int) -> Overview:
    """Return what a person handed over, consented to, and had done."""
    sums: dict[str, dict[str, int]] = {"list": {}, "grant": {}, "follow": {}}
    for of, which, n in await connection.execute(_SUMS, {"person_id": person_id}):
        sums[of][which] = int(n)
    return Overview(
        {Direction(direction): n for direction, n in sums["list"].items()},
        frozenset(sums["grant"]),
        {DeliveryState(state): n for state, n in sums["follow"].items()},
    )
