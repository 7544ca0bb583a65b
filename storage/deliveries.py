"""Promise effects, take what is due in a lane, settle what came of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import bell, lanes
from storage.dialect import insert, prepared
from storage.ready import ready
from storage.records import UNDONE, Delivery, DeliveryKind, DeliveryState, NetworkName, check_transition
from storage.tables import batch, delivery

_ROWS_AT_ONCE: Final = 500
# What was attempted may have come through: whoever cancels only what has certainly not been done adds this.
NOT_BEGUN: Final = delivery.c.attempts == 0
# The reason of what is not settled yet, when how an earlier attempt found things was not written down, or is out of date.
IN_DOUBT: Final = "in_doubt"


def is_urgent(one: Delivery) -> bool:
    """Tell whether somebody waits for it just now."""
    return one.rank in lanes.URGENT


@dataclass(frozen=True, slots=True)
class Promise:
    """An effect to promise; `key` makes it one and the same however often it is promised.

    `rank` orders the deliveries of a lane (lower first); None takes the kind's own. `payload` becomes JSON. With `begun` it
    goes on with an earlier promise of the same effect, of which an attempt may have come through.
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
    begun: bool = False


_ONE: Final = delivery.c.id == sa.bindparam("delivery")
_DUE: Final = sa.and_(
    delivery.c.lane == sa.bindparam("in_lane"), delivery.c.state.in_(UNDONE), delivery.c.due_at <= sa.bindparam("now")
)
_GET: Final = ready(sa.select(delivery).where(_ONE))
# What is changed is named by the parameters.
_SETTLE: Final = ready(sa.update(delivery).where(_ONE).values(payload="{}"))
_NEW_BATCH: Final = ready(sa.insert(batch).returning(batch.c.id, sort_by_parameter_order=True))


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
            # Whoever took it before has died, or could not write down what came of it.
            reason=sa.case((delivery.c.state == DeliveryState.LEASED.value, IN_DOUBT), else_=delivery.c.reason),
            first_at=sa.func.coalesce(delivery.c.first_at, sa.bindparam("now")),
        )
        .returning(delivery)
    )


_TAKE: Final = ready(_taking(_DUE))
_TAKE_MORE: Final = ready(
    _taking(sa.and_(_DUE, delivery.c.kind == sa.bindparam("of_kind"), delivery.c.id != sa.bindparam("delivery")))
)


_COUNT_DUE: Final = ready(
    sa.select(sa.func.count()).select_from(
        sa.select(delivery.c.id)
        .where(_DUE, delivery.c.kind == sa.bindparam("of_kind"))
        .limit(sa.bindparam("most"))
        .subquery()
    )
)


@prepared
def _new_delivery(connection: AsyncConnection) -> Any:
    return insert(connection, delivery).on_conflict_do_nothing(index_elements=["key"]).returning(delivery.c.key)


async def promise(connection: AsyncConnection, promises: Sequence[Promise], now: int) -> int:
    """Write promises down and wake their lanes; return how many were new (a known key is left as it is)."""
    if not promises:
        return 0
    rows = [_row(each, now) for each in promises]
    new: set[str] = set()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        new.update(await connection.scalars(_new_delivery(connection), rows[start : start + _ROWS_AT_ONCE]))
    woken: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row["key"] in new:
            rank, due_at = woken.get(row["lane"], (row["rank"], row["due_at"]))
            woken[row["lane"]] = (min(rank, row["rank"]), min(due_at, row["due_at"]))
    if woken:
        await lanes.wake(connection, woken)
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
        "rank": lanes.RANKS[each.kind] if each.rank is None else each.rank,
        "payload": json.dumps(each.payload, ensure_ascii=False, separators=(",", ":")),
        "state": DeliveryState.PROMISED.value,
        "due_at": now if each.due_at is None else each.due_at,
        "attempts": int(each.begun),
        "reason": IN_DOUBT if each.begun else None,
        "batch_id": each.batch_id,
        "created_at": now,
    }


async def take(connection: AsyncConnection, lane_name: str, now: int, limit: int) -> list[Delivery]:
    """Mark the next due deliveries of a leased lane as being performed, and return them in the lane's order.

    One that was taken before and never settled comes again, IN_DOUBT.
    """
    return await _take(connection, _TAKE, {"in_lane": lane_name, "now": now, "most": limit})


async def take_more(connection: AsyncConnection, first: Delivery, now: int, limit: int) -> list[Delivery]:
    """Mark and return further due deliveries of the first one's lane and kind, to be performed with it."""
    also = {"in_lane": first.lane, "of_kind": first.kind.value, "delivery": first.id, "now": now, "most": limit}
    return await _take(connection, _TAKE_MORE, also)


async def count_due(connection: AsyncConnection, first: Delivery, now: int, most: int) -> int:
    """Count what is due of one delivery's lane and kind, that one with it; no further than to `most`."""
    those = {"in_lane": first.lane, "of_kind": first.kind.value, "now": now, "most": most}
    return int(await connection.scalar(_COUNT_DUE, those) or 0)


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
    connection: AsyncConnection,
    undone: Sequence[Delivery],
    due_at: int,
    *,
    performed: bool,
    asked: bool = False,
    in_doubt: bool = False,
) -> None:
    """Put deliveries that were taken back until `due_at`; not `performed` means that no attempt was made: all is as before.

    With `asked` somebody was asked about them all the same: the time for which we try has begun. With `in_doubt` nobody
    knows how the attempt found things.
    """
    if undone:
        attempts = delivery.c.attempts if performed else delivery.c.attempts - 1
        found = IN_DOUBT if in_doubt else None
        await connection.execute(
            sa.update(delivery)
            .where(delivery.c.id.in_([each.id for each in undone]), delivery.c.state == DeliveryState.LEASED.value)
            .values(
                state=DeliveryState.PROMISED.value,
                due_at=due_at,
                attempts=attempts,
                first_at=delivery.c.first_at if asked else sa.case((attempts > 0, delivery.c.first_at), else_=None),
                reason=found if performed else delivery.c.reason,
            )
        )


async def promised_since(connection: AsyncConnection, prefix: str, since: int) -> int:
    """Count what was promised since a moment under keys that begin alike; `prefix` ends with a colon."""
    where = (delivery.c.key >= prefix, delivery.c.key < f"{prefix[:-1]};", delivery.c.created_at > since)
    return int(await connection.scalar(sa.select(sa.func.count()).where(*where)) or 0)


async def get(connection: AsyncConnection, delivery_id: int) -> Delivery | None:
    """Return one delivery."""
    row = (await connection.execute(_GET, {"delivery": delivery_id})).one_or_none()
    return None if row is None else _record(row._asdict())


async def cancel(connection: AsyncConnection, now: int, *where: sa.ColumnElement[bool]) -> int:
    """Cancel what was promised and is not being performed, among the deliveries that the conditions name; return how many.

    What a follow that may have come through was promised with is kept, so that it can be recognised.
    """
    kept = sa.and_(delivery.c.kind == DeliveryKind.FOLLOW.value, sa.not_(NOT_BEGUN))
    cancelled = await connection.execute(
        sa.update(delivery)
        .where(delivery.c.state == DeliveryState.PROMISED.value, *where)
        .values(
            state=DeliveryState.CANCELLED.value,
            settled_at=now,
            reason=None,
            payload=sa.case((kept, delivery.c.payload), else_="{}"),
        )
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
