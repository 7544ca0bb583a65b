"""Lanes: queues in which order holds, and the unit of leasing.

Whoever holds a lane performs its deliveries one after the other, so what one recipient reads stays in order and what acts
for one account never runs twice at once. Its line says with which others it is worked off: those of what is said on one
network, or all others.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert, least, prepared
from storage.ready import ready
from storage.records import UNDONE, DeliveryKind, NetworkName
from storage.tables import delivery, lane

# Lower goes first: an answer somebody waits for, then acting (mutuals before the others), then what nobody asked for now.
RANKS: Final[Mapping[DeliveryKind, int]] = {
    DeliveryKind.REPLY: 0,
    DeliveryKind.POST: 0,
    DeliveryKind.LOOKUP: 0,
    DeliveryKind.CONSENT: 0,
    DeliveryKind.REVOKE: 1,
    DeliveryKind.UNFOLLOW: 2,
    DeliveryKind.FOLLOW: 3,
    DeliveryKind.NOTICE: 5,
}
URGENT: Final = (0, 1, 2, 3, 4)
"""The ranks for which somebody waits just now."""
_PATIENT: Final = (5,)
_RANKS: Final = (*URGENT, *_PATIENT)
# The rank of a lane in which nothing is left to do.
_IDLE_RANK: Final = 9
_SAY: Final = "say:"
_ASK: Final = "ask"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a lane, until it ends; `token` tells it from every other lease of the lane."""

    lane: str
    token: str


@dataclass(frozen=True, slots=True)
class Among:
    """Some of all lanes: those of one line, and of one urgency or of both."""

    line: str
    urgent: bool | None = None

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks of these lanes, as far as there is something to do in them."""
        if self.urgent is None:
            return _RANKS
        return URGENT if self.urgent else _PATIENT


ASKING: Final = Among(_ASK)


def speaking_on(network: NetworkName) -> Among:
    """Return the lanes of what we say on one network."""
    return Among(f"{_SAY}{network}")


def say_lane(network: NetworkName, account_id: str) -> str:
    """Name the lane of what is said to one account."""
    return f"{_SAY}{network}:{account_id}"


def ask_lane(account_id: str) -> str:
    """Name the lane of what third parties are asked for one account: one that is silent must not silence us."""
    return f"ask:{account_id}"


def act_lane(account_id: str) -> str:
    """Name the lane of what is done on behalf of one account; its lease is also the lock of the account's grant."""
    return f"act:{account_id}"


def account_of(lane_name: str) -> str:
    """Return the id of the account that a lane is about."""
    return lane_name.split(":", 2 if lane_name.startswith(_SAY) else 1)[-1]


def _line_of(lane_name: str) -> str:
    return ":".join(lane_name.split(":", 2)[:2]) if lane_name.startswith(_SAY) else _ASK


_HELD: Final = ready(sa.update(lane).where(lane.c.name == sa.bindparam("held"), lane.c.lease == sa.bindparam("token")))
# Asked for by when the lease ends, for which there is an index.
_HOLDERS: Final = ready(sa.select(lane.c.leased_by).where(lane.c.leased_until > 0).distinct())
_FAILURES: Final = ready(sa.select(lane.c.failures).where(lane.c.name == sa.bindparam("held")))


def _releasing() -> Any:
    undone = sa.and_(delivery.c.lane == sa.bindparam("held"), delivery.c.state.in_(UNDONE))
    due_at = sa.func.min(delivery.c.due_at)
    not_before: sa.BindParameter[int] = sa.bindparam("not_before")
    next_at = sa.select(sa.case((due_at < not_before, not_before), else_=due_at)).where(undone)
    rank = sa.select(sa.func.coalesce(sa.func.min(delivery.c.rank), _IDLE_RANK)).where(undone)
    failures = sa.case((sa.bindparam("failed", type_=sa.Boolean()), lane.c.failures + 1), else_=0)
    return _HELD.values(
        leased_by=None,
        lease=None,
        leased_until=None,
        next_at=next_at.scalar_subquery(),
        rank=rank.scalar_subquery(),
        failures=failures,
    ).returning(lane.c.next_at)


_RELEASE: Final = ready(_releasing())


@prepared
def _wake(connection: AsyncConnection) -> Any:
    statement = insert(connection, lane)
    # A lane that backs off (failures > 0) keeps the time it was given.
    sooner = sa.case(
        (lane.c.next_at.is_(None), statement.excluded.next_at),
        (lane.c.failures > 0, lane.c.next_at),
        else_=least(connection, lane.c.next_at, statement.excluded.next_at),
    )
    return statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"next_at": sooner, "rank": least(connection, lane.c.rank, statement.excluded.rank)},
    )


async def wake(connection: AsyncConnection, due: Mapping[str, tuple[int, int]]) -> None:
    """Have lanes looked at: each with the rank of what is to be done in it, and when that is due.

    ValueError for a rank for which nobody would ever look.
    """
    if unknown := {rank for rank, _ in due.values()}.difference(_RANKS):
        raise ValueError(f"There are no ranks {unknown}: from {_RANKS[0]} to {_RANKS[-1]}, please.")
    woken = [
        {"name": name, "line": _line_of(name), "rank": rank, "next_at": due_at, "failures": 0}
        for name, (rank, due_at) in sorted(due.items())  # in one order: two who wake the same must not deadlock
    ]
    await connection.execute(_wake(connection), woken)


@cache
def _leasing(among: Among) -> Any:
    now: sa.BindParameter[int] = sa.bindparam("now")
    due = (
        sa.select(lane.c.name)
        .where(lane.c.line == among.line, lane.c.rank.in_(among.ranks))
        .where(lane.c.next_at <= now, sa.or_(lane.c.leased_until.is_(None), lane.c.leased_until <= now))
        .order_by(lane.c.rank, lane.c.next_at)
        .limit(sa.bindparam("most"))
        .with_for_update(skip_locked=True)
        .cte("due")  # as a subquery PostgreSQL might execute it for every row, and find others than before
    )
    return ready(sa.update(lane).where(lane.c.name.in_(sa.select(due.c.name))).returning(lane.c.name))


async def lease(
    connection: AsyncConnection, worker: str, now: int, lease_ms: int, limit: int, among: Among
) -> list[Lease]:
    """Lease lanes that have something due: the most urgent first, and of these who has waited longest."""
    token = secrets.token_hex(8)
    held = {"leased_by": worker, "lease": token, "leased_until": now + lease_ms}
    names = await connection.scalars(_leasing(among), {"now": now, "most": limit, **held})
    return [Lease(name, token) for name in names]


async def renew(connection: AsyncConnection, held: Lease, until: int) -> bool:
    """Prolong a lease; False when it was lost."""
    renewed = await connection.execute(_HELD, {**_which(held), "leased_until": until})
    return renewed.rowcount == 1


async def release(
    connection: AsyncConnection, held: Lease, *, not_before: int | None = None, failed: bool = False
) -> int | None:
    """Give a lane back; it comes again when its next delivery is due, but not before `not_before`: return when.

    `failed` counts towards the lane's back-off, anything else ends it.
    """
    which = {**_which(held), "not_before": not_before or 0, "failed": failed}
    next_at = await connection.scalar(_RELEASE, which)
    return None if next_at is None else int(next_at)


def _which(held: Lease) -> dict[str, str]:
    return {"held": held.lane, "token": held.token}


async def failures(connection: AsyncConnection, lane_name: str) -> int:
    """Return how often in a row a lane has failed."""
    return int(await connection.scalar(_FAILURES, {"held": lane_name}) or 0)


async def holders(connection: AsyncConnection) -> list[str]:
    """Return the names of the workers that hold lanes."""
    return list(await connection.scalars(_HOLDERS))


async def release_worker(connection: AsyncConnection, worker: str) -> int:
    """Give back every lane that a worker of this name still held when it died; return how many."""
    held = await connection.execute(
        sa.update(lane).where(lane.c.leased_by == worker).values(leased_by=None, lease=None, leased_until=None)
    )
    return held.rowcount


def _first(among: Among) -> list[Any]:
    """Ask when the first lane of each rank has something to do, and the first that is worked on."""
    idle = sa.and_(lane.c.line == among.line, lane.c.next_at.is_not(None), lane.c.leased_until.is_(None))
    free_at = sa.case((lane.c.leased_until > lane.c.next_at, lane.c.leased_until), else_=lane.c.next_at)
    # Line and rank are no bare columns here, or SQLite would look for the few that are leased among all that wait.
    line, rank = lane.c.line.concat(""), lane.c.rank + 0
    held = sa.and_(lane.c.leased_until > 0, line == among.line, rank.in_(among.ranks))
    return [
        sa.select(sa.func.min(free_at)).where(held).scalar_subquery(),
        *(
            sa.select(lane.c.next_at)
            .where(idle, lane.c.rank == rank)
            .order_by(lane.c.next_at)
            .limit(sa.literal_column("1"))
            .scalar_subquery()
            for rank in among.ranks
        ),
    ]


@cache
def _next_due(groups: tuple[Among, ...]) -> Any:
    return ready(sa.select(*(each.label(None) for among in groups for each in _first(among))))


async def next_due(connection: AsyncConnection, groups: Sequence[Among]) -> list[int | None]:
    """Return for each group when its next lane has something to do; one that is worked on is free when its lease ends.

    However many lanes there are, only the first one of each rank is read in an index, and those that are leased.
    """
    if not groups:
        return []
    times = iter((await connection.execute(_next_due(tuple(groups)))).one())
    of_groups = [[next(times) for _ in range(1 + len(among.ranks))] for among in groups]
    return [min((int(at) for at in some if at is not None), default=None) for some in of_groups]
