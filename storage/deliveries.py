"""Promise effects, lease what is due, settle what came of it.

A lane is a queue in which order holds, and the unit of leasing: whoever holds a lane performs its deliveries one after
the other, so what one recipient reads stays in order and what acts for one account never runs twice at once.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import bell
from storage.dialect import insert, least, prepared
from storage.ready import ready
from storage.records import Delivery, DeliveryKind, DeliveryState, NetworkName, check_transition
from storage.tables import batch, delivery, lane

_ROWS_AT_ONCE: Final = 500
# The rank of a lane in which nothing is left to do.
_IDLE_RANK: Final = 9
UNDONE: Final = (DeliveryState.PROMISED, DeliveryState.LEASED)
# What was attempted may have come through: whoever cancels only what has certainly not been done adds this.
NOT_BEGUN: Final = delivery.c.attempts == 0

# Lower goes first: an answer somebody waits for, then acting, then what nobody asked for just now.
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

# From this rank on nobody waits for it just now.
_PATIENT_RANK: Final = RANKS[DeliveryKind.NOTICE]

_COLUMNS: Final = [column for column in delivery.c if column.name != "contact_id"]


def is_urgent(one: Delivery) -> bool:
    """Tell whether somebody waits for it just now."""
    return one.rank < _PATIENT_RANK


@dataclass(frozen=True, slots=True)
class Promise:
    """An effect to promise; `key` makes it one and the same however often it is promised.

    `rank` orders the deliveries of a lane (lower first); None takes the kind's own. `payload` becomes JSON.
    """

    kind: DeliveryKind
    key: str
    lane: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    network: NetworkName | None = None
    person_id: int | None = None
    account_id: str | None = None
    contact_id: int | None = None
    rank: int | None = None
    due_at: int | None = None
    batch_id: int | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a lane, until it ends; `token` tells it from every other lease of the lane."""

    lane: str
    token: str


_SAY: Final = "say:"


@dataclass(frozen=True, slots=True)
class Among:
    """Some of all lanes: those whose names begin with `prefix` and not with `but`, of one urgency or of both."""

    prefix: str = ""
    but: str = ""
    urgent: bool | None = None


EVERY: Final = Among()
SPEAKING: Final = Among(_SAY)
ASKING: Final = Among(but=_SAY)


def speaking_on(network: NetworkName) -> Among:
    """Return the lanes of what we say on one network."""
    return Among(f"{_SAY}{network}:")


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


_ONE: Final = delivery.c.id == sa.bindparam("delivery")
_DUE: Final = sa.and_(
    delivery.c.lane == sa.bindparam("in_lane"), delivery.c.state.in_(UNDONE), delivery.c.due_at <= sa.bindparam("now")
)
_GET: Final = ready(sa.select(*_COLUMNS).where(_ONE))
# What is changed is named by the parameters.
_SETTLE: Final = ready(sa.update(delivery).where(_ONE).values(payload="{}"))
_HELD: Final = ready(sa.update(lane).where(lane.c.name == sa.bindparam("held"), lane.c.lease == sa.bindparam("token")))
_NEW_BATCH: Final = ready(sa.insert(batch).returning(batch.c.id, sort_by_parameter_order=True))
_FAILURES: Final = ready(sa.select(lane.c.failures).where(lane.c.name == sa.bindparam("held")))


def _taking(where: sa.ColumnElement[bool]) -> Any:
    # Locked: what is cancelled at this moment must not be taken as it was before.
    due = (
        sa.select(delivery.c.id)
        .where(where)
        .order_by(delivery.c.rank, delivery.c.id)
        .limit(sa.bindparam("most"))
        .with_for_update()
        .cte("due")  # as a subquery PostgreSQL might execute it for every row, and find others than before
    )
    return (
        sa.update(delivery)
        .where(delivery.c.id.in_(sa.select(due.c.id)))
        .values(
            state=DeliveryState.LEASED.value,
            attempts=delivery.c.attempts + 1,
            first_at=sa.func.coalesce(delivery.c.first_at, sa.bindparam("now")),
        )
        .returning(*_COLUMNS)
    )


_TAKE: Final = ready(_taking(_DUE))
_TAKE_MORE: Final = ready(
    _taking(sa.and_(_DUE, delivery.c.kind == sa.bindparam("of_kind"), delivery.c.id != sa.bindparam("delivery")))
)


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
    )


_RELEASE: Final = ready(_releasing())


@prepared
def _new_delivery(connection: AsyncConnection) -> Any:
    return insert(connection, delivery).on_conflict_do_nothing(index_elements=["key"]).returning(delivery.c.key)


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


async def promise(connection: AsyncConnection, promises: Sequence[Promise], now: int) -> int:
    """Write promises down and wake their lanes; return how many were new (a known key is left as it is)."""
    if not promises:
        return 0
    rows = [_row(each, now) for each in promises]
    new: set[str] = set()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        new.update(await connection.scalars(_new_delivery(connection), rows[start : start + _ROWS_AT_ONCE]))
    lanes: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row["key"] in new:
            rank, due_at = lanes.get(row["lane"], (row["rank"], row["due_at"]))
            lanes[row["lane"]] = (min(rank, row["rank"]), min(due_at, row["due_at"]))
    if lanes:
        woken = [
            {"name": name, "rank": rank, "next_at": due_at, "failures": 0}
            for name, (rank, due_at) in sorted(lanes.items())  # in one order: two who wake the same must not deadlock
        ]
        await connection.execute(_wake(connection), woken)
        await bell.ring(connection)
    return len(new)


def _row(each: Promise, now: int) -> dict[str, Any]:
    return {
        "key": each.key,
        "kind": each.kind.value,
        "lane": each.lane,
        "network": each.network.value if each.network else None,
        "person_id": each.person_id,
        "account_id": each.account_id,
        "contact_id": each.contact_id,
        "rank": RANKS[each.kind] if each.rank is None else each.rank,
        "payload": json.dumps(each.payload, ensure_ascii=False, separators=(",", ":")),
        "state": DeliveryState.PROMISED.value,
        "due_at": now if each.due_at is None else each.due_at,
        "attempts": 0,
        "batch_id": each.batch_id,
        "created_at": now,
    }


def _is_among(among: Among) -> sa.ColumnElement[bool]:
    where = [lane.c.name.startswith(among.prefix)] if among.prefix else []
    if among.but:
        where.append(sa.not_(lane.c.name.startswith(among.but)))
    if among.urgent is not None:
        where.append(lane.c.rank < _PATIENT_RANK if among.urgent else lane.c.rank >= _PATIENT_RANK)
    return sa.and_(sa.true(), *where)


@cache
def _leasing(among: Among) -> Any:
    now: sa.BindParameter[int] = sa.bindparam("now")
    due = (
        sa.select(lane.c.name)
        .where(lane.c.next_at <= now, sa.or_(lane.c.leased_until.is_(None), lane.c.leased_until <= now))
        .where(_is_among(among))
        .order_by(lane.c.rank, lane.c.next_at)
        .limit(sa.bindparam("most"))
        .with_for_update(skip_locked=True)
        .cte("due")  # see `_taking`
    )
    return ready(sa.update(lane).where(lane.c.name.in_(sa.select(due.c.name))).returning(lane.c.name))


async def lease(
    connection: AsyncConnection,
    worker: str,
    now: int,
    lease_ms: int,
    limit: int,
    among: Among = EVERY,
) -> list[Lease]:
    """Lease lanes that have something due: the most urgent first, and of these who has waited longest."""
    token = secrets.token_hex(8)
    held = {"leased_by": worker, "lease": token, "leased_until": now + lease_ms}
    names = await connection.scalars(_leasing(among), {"now": now, "most": limit, **held})
    return [Lease(name, token) for name in names]


async def take(connection: AsyncConnection, lane_name: str, now: int, limit: int) -> list[Delivery]:
    """Mark the next due deliveries of a leased lane as being performed, and return them in the lane's order.

    One that was taken before and never settled comes again.
    """
    return await _take(connection, _TAKE, {"in_lane": lane_name, "now": now, "most": limit})


async def take_more(connection: AsyncConnection, first: Delivery, now: int, limit: int) -> list[Delivery]:
    """Mark and return further due deliveries of the first one's lane and kind, to be performed with it."""
    also = {"in_lane": first.lane, "of_kind": first.kind.value, "delivery": first.id, "now": now, "most": limit}
    return await _take(connection, _TAKE_MORE, also)


async def _take(connection: AsyncConnection, statement: Any, which: Mapping[str, Any]) -> list[Delivery]:
    taken = [_record(row._asdict()) for row in await connection.execute(statement, which)]
    return sorted(taken, key=lambda each: (each.rank, each.id))


async def settle(
    connection: AsyncConnection,
    done: Delivery,
    state: DeliveryState,
    now: int,
    *,
    result: str | None = None,
    reason: str | None = None,
) -> None:
    """Write down what came of a delivery; what it said is forgotten with that."""
    check_transition(done.state, state)
    came = {"state": state.value, "settled_at": now, "result": result, "reason": reason}
    await connection.execute(_SETTLE, {"delivery": done.id, **came})


async def postpone(
    connection: AsyncConnection, undone: Sequence[Delivery], due_at: int, *, performed: bool, asked: bool = False
) -> None:
    """Put deliveries back until `due_at`; not `performed` means that no attempt was made, so the outcome is known.

    With `asked` somebody was asked about them all the same: the time for which we try has begun.
    """
    if undone:
        attempts = delivery.c.attempts if performed else delivery.c.attempts - 1
        await connection.execute(
            sa.update(delivery)
            .where(delivery.c.id.in_([each.id for each in undone]))
            .values(
                state=DeliveryState.PROMISED.value,
                due_at=due_at,
                attempts=attempts,
                first_at=delivery.c.first_at if asked else sa.case((attempts > 0, delivery.c.first_at), else_=None),
            )
        )


async def renew(connection: AsyncConnection, held: Lease, until: int) -> bool:
    """Prolong a lease; False when it was lost."""
    renewed = await connection.execute(_HELD, {**_which(held), "leased_until": until})
    return renewed.rowcount == 1


async def release(
    connection: AsyncConnection, held: Lease, *, not_before: int | None = None, failed: bool = False
) -> None:
    """Give a lane back; it comes again when its next delivery is due, but not before `not_before`.

    `failed` counts towards the lane's back-off, anything else ends it.
    """
    await connection.execute(_RELEASE, {**_which(held), "not_before": not_before or 0, "failed": failed})


def _which(held: Lease) -> dict[str, str]:
    return {"held": held.lane, "token": held.token}


async def failures(connection: AsyncConnection, lane_name: str) -> int:
    """Return how often in a row a lane has failed."""
    return int(await connection.scalar(_FAILURES, {"held": lane_name}) or 0)


async def promised_since(connection: AsyncConnection, prefix: str, since: int) -> int:
    """Count what was promised since a moment under keys that begin alike; `prefix` ends with a colon."""
    where = (delivery.c.key >= prefix, delivery.c.key < f"{prefix[:-1]};", delivery.c.created_at > since)
    return int(await connection.scalar(sa.select(sa.func.count()).where(*where)) or 0)


async def holders(connection: AsyncConnection) -> list[str]:
    """Return the names of the workers that hold lanes."""
    return list(await connection.scalars(sa.select(sa.distinct(lane.c.leased_by)).where(lane.c.leased_by.is_not(None))))


async def release_worker(connection: AsyncConnection, worker: str) -> int:
    """Give back every lane that a worker of this name still held when it died; return how many."""
    held = await connection.execute(
        sa.update(lane).where(lane.c.leased_by == worker).values(leased_by=None, lease=None, leased_until=None)
    )
    return held.rowcount


def _first(among: Among) -> list[Any]:
    """Return two questions: when the first lane that waits has something to do, and the first that is worked on."""
    where = _is_among(among)
    idle = sa.and_(lane.c.next_at.is_not(None), lane.c.leased_until.is_(None), where)
    free_at = sa.case((lane.c.leased_until > lane.c.next_at, lane.c.leased_until), else_=lane.c.next_at)
    return [
        sa.select(lane.c.next_at).where(idle).order_by(lane.c.next_at).limit(1).scalar_subquery(),
        sa.select(sa.func.min(free_at)).where(lane.c.leased_until.is_not(None), where).scalar_subquery(),
    ]


@cache
def _next_due(groups: tuple[Among, ...]) -> Any:
    return ready(sa.select(*(each.label(None) for among in groups for each in _first(among))))


async def next_due(connection: AsyncConnection, groups: Sequence[Among] = (EVERY,)) -> list[int | None]:
    """Return for each group when its next lane has something to do; one that is worked on is free when its lease ends.

    However many lanes there are, only the first ones of an index are read, and those that are leased.
    """
    if not groups:
        return []
    times = (await connection.execute(_next_due(tuple(groups)))).one()
    pairs = zip(times[::2], times[1::2], strict=True)
    return [min((int(at) for at in pair if at is not None), default=None) for pair in pairs]


async def get(connection: AsyncConnection, delivery_id: int) -> Delivery | None:
    """Return one delivery."""
    row = (await connection.execute(_GET, {"delivery": delivery_id})).one_or_none()
    return None if row is None else _record(row._asdict())


async def cancel(connection: AsyncConnection, now: int, *where: sa.ColumnElement[bool]) -> int:
    """Cancel what was promised and not begun, among the deliveries that the conditions name; return how many."""
    cancelled = await connection.execute(
        sa.update(delivery)
        .where(delivery.c.state == DeliveryState.PROMISED.value, *where)
        .values(state=DeliveryState.CANCELLED.value, settled_at=now, payload="{}")
    )
    return cancelled.rowcount


async def new_batch(connection: AsyncConnection, person_id: int, now: int) -> int:
    """Open a batch, the unit of progress and of undo; return its id."""
    (batch_id,) = await new_batches(connection, [person_id], now)
    return batch_id


async def new_batches(connection: AsyncConnection, person_ids: Sequence[int], now: int) -> list[int]:
    """Open a batch for each of some persons; return their ids, in this order."""
    rows = [{"person_id": each, "created_at": now} for each in person_ids]
    return list(await connection.scalars(_NEW_BATCH, rows))


def _record(row: Mapping[str, Any]) -> Delivery:
    return Delivery(
        **{
            **row,
            "kind": DeliveryKind(row["kind"]),
            "state": DeliveryState(row["state"]),
            "network": NetworkName(row["network"]) if row["network"] else None,
        }
    )
