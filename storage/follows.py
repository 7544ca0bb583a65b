"""Ask the deliveries what was followed on whose behalf: by contact, and by batch, the unit of progress and of undo.

A follow's key is `<how>:<acting account>:<contact's account>:<batch>`, `how` being `follow` or `auto`; its reason, once
it is done, is what the network said: done, already, requested or unclear.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.deliveries import NOT_BEGUN, cancel
from storage.ready import ready
from storage.records import UNDONE, Delivery, DeliveryKind, DeliveryState, NetworkName
from storage.tables import batch, delivery, person

CHOSEN: Final = "follow"
AUTOMATIC: Final = "auto"
How = Literal["follow", "auto"]
# What we did ourselves, so what an undo takes back.
_OURS: Final = ("done", "requested")
# What it leaves as it is.
LEFT: Final = ("already", "unclear")
_GIVEN_UP: Final = (DeliveryState.CANCELLED, DeliveryState.REFUSED)
TAKEN_BACK: Final = "taken_back"
_CONTACTS_A_QUERY: Final = 500

_FOLLOWS: Final = (
    sa.select(
        delivery.c.id,
        delivery.c.key,
        delivery.c.person_id,
        delivery.c.contact_id,
        delivery.c.account_id,
        delivery.c.network,
        delivery.c.state,
        delivery.c.reason,
        delivery.c.result,
        delivery.c.batch_id,
        delivery.c.payload,
        batch.c.undone_at,
    )
    .select_from(delivery.outerjoin(batch, batch.c.id == delivery.c.batch_id))
    .where(delivery.c.kind == DeliveryKind.FOLLOW.value, delivery.c.contact_id.is_not(None))
    .order_by(delivery.c.id)
)
_AMONG: Final = ready(
    _FOLLOWS.where(
        delivery.c.person_id.in_(sa.bindparam("persons", expanding=True)),
        delivery.c.contact_id.in_(sa.bindparam("contacts", expanding=True)),
    )
)


@dataclass(frozen=True, slots=True)
class Followed:
    """One follow that was promised: by which account of ours, of which of the contact's, and what came of it.

    `undone`: with its batch, or alone, because it came through after the person no longer wanted it. `begun`: it was given
    up after an attempt that may have come through; on Bluesky under `rkey`.
    """

    id: int
    contact_id: int
    account_id: str
    target: str
    network: NetworkName
    state: DeliveryState
    outcome: str | None
    uri: str | None
    batch_id: int | None
    undone: bool
    begun: bool
    rkey: str | None

    @property
    def pending(self) -> bool:
        """Tell whether it is still to be done."""
        return self.state in UNDONE

    @property
    def stands(self) -> bool:
        """Tell whether it is done or still to be done, and was not undone."""
        return not self.undone and (self.pending or self.state is DeliveryState.DONE)

    @property
    def to_undo(self) -> bool:
        """Tell whether it is we who did it, and it was not taken back."""
        return self.state is DeliveryState.DONE and self.outcome in _OURS


@dataclass(frozen=True, slots=True)
class Batch:
    """Follows that were decided together. `undone_at` is None while they stand."""

    id: int
    person_id: int
    created_at: int
    undone_at: int | None


def key_of(how: How, account_id: str, target: str, batch_id: int) -> str:
    """Make the key under which a follow is promised."""
    return f"{how}:{account_id}:{target}:{batch_id}"


def is_automatic(key: str) -> bool:
    """Tell by its key whether nobody chose a follow by hand."""
    return key.startswith(f"{AUTOMATIC}:")


_OF_PERSON: Final = ready(_FOLLOWS.where(delivery.c.person_id == sa.bindparam("person")))
_OF_CONTACTS: Final = ready(_OF_PERSON.where(delivery.c.contact_id.in_(sa.bindparam("contacts", expanding=True))))
_OF_BATCH: Final = ready(_FOLLOWS.where(delivery.c.batch_id == sa.bindparam("batch")))
_OF_IDS: Final = ready(_FOLLOWS.where(delivery.c.id.in_(sa.bindparam("ids", expanding=True))))
_BATCHES: Final = ready(sa.select(batch).where(batch.c.id.in_(sa.bindparam("ids", expanding=True))))
_LOCK_BATCH: Final = ready(sa.select(batch).where(batch.c.id == sa.bindparam("batch")).with_for_update(key_share=True))
_OUTCOME: Final = sa.case(
    (delivery.c.state == DeliveryState.DONE.value, sa.func.coalesce(delivery.c.reason, "done")),
    else_=delivery.c.state,
)
_TALLY: Final = ready(
    sa.select(_OUTCOME, sa.func.count())
    .where(delivery.c.batch_id == sa.bindparam("batch"), delivery.c.kind == sa.bindparam("of_kind"))
    .group_by(_OUTCOME)
)
_ANY_KEY: Final = ready(
    sa.select(delivery.c.key)
    .where(delivery.c.batch_id == sa.bindparam("batch"), delivery.c.kind == DeliveryKind.FOLLOW.value)
    .limit(1)
)


async def of_person(
    connection: AsyncConnection, person_id: int, contact_ids: Sequence[int] | None = None
) -> list[Followed]:
    """Return the latest follow of each pair of accounts, for all contacts or for some."""
    if contact_ids is None:
        found = await _select(connection, _OF_PERSON, {"person": person_id})
    else:
        found = await _select(connection, _OF_CONTACTS, {"person": person_id, "contacts": list(contact_ids)})
    return list({(each.account_id, each.target): each for each in found}.values())


async def among(
    connection: AsyncConnection, person_ids: Iterable[int], contact_ids: Sequence[int]
) -> dict[tuple[int, int], list[Followed]]:
    """Return the latest follow of each pair of accounts, of some persons and some contacts, by person and contact."""
    latest: dict[tuple[int, str, str], Followed] = {}
    for start in range(0, len(contact_ids), _CONTACTS_A_QUERY):
        some = {"persons": list(person_ids), "contacts": contact_ids[start : start + _CONTACTS_A_QUERY]}
        for row in await connection.execute(_AMONG, some):
            each = _followed(row)
            latest[row.person_id, each.account_id, each.target] = each
    found: dict[tuple[int, int], list[Followed]] = {}
    for (person_id, _, _), each in latest.items():
        found.setdefault((person_id, each.contact_id), []).append(each)
    return found


async def of_batch(connection: AsyncConnection, batch_id: int) -> list[Followed]:
    """Return all follows of a batch, in the order in which they were promised."""
    return await _select(connection, _OF_BATCH, {"batch": batch_id})


async def of_ids(connection: AsyncConnection, ids: Collection[int]) -> list[Followed]:
    """Return the follows among these deliveries."""
    return await _select(connection, _OF_IDS, {"ids": list(ids)})


async def last_batch(connection: AsyncConnection, person_id: int) -> Batch | None:
    """Return the latest batch of a person that holds follows and was not undone."""
    row = (
        await connection.execute(
            sa.select(batch)
            .where(
                batch.c.person_id == person_id,
                batch.c.undone_at.is_(None),
                sa.exists().where(delivery.c.batch_id == batch.c.id, delivery.c.kind == DeliveryKind.FOLLOW.value),
            )
            .order_by(batch.c.id.desc())
            .limit(1)
        )
    ).one_or_none()
    return None if row is None else Batch(**row._asdict())


async def newest_batch_id(connection: AsyncConnection, person_id: int) -> int:
    """Return the id of a person's newest batch, whatever became of it; 0 when there was none."""
    return int(await connection.scalar(sa.select(sa.func.max(batch.c.id)).where(batch.c.person_id == person_id)) or 0)


async def get_batch(connection: AsyncConnection, batch_id: int) -> Batch | None:
    """Return a batch."""
    return (await batches(connection, [batch_id])).get(batch_id)


async def batches(connection: AsyncConnection, ids: Collection[int]) -> dict[int, Batch]:
    """Return batches, by id."""
    rows = await connection.execute(_BATCHES, {"ids": list(ids)})
    return {row.id: Batch(**row._asdict()) for row in rows}


async def lock_batch(connection: AsyncConnection, batch_id: int) -> Batch | None:
    """Return a batch; who else wants to conclude it waits for this transaction."""
    row = (await connection.execute(_LOCK_BATCH, {"batch": batch_id})).one_or_none()
    return None if row is None else Batch(**row._asdict())


async def mark_undone(connection: AsyncConnection, batch_id: int, now: int) -> bool:
    """Note that a batch is being undone; False when it was already."""
    marked = await connection.execute(
        sa.update(batch).where(batch.c.id == batch_id, batch.c.undone_at.is_(None)).values(undone_at=now)
    )
    return marked.rowcount > 0


async def cancel_automatic(connection: AsyncConnection, person_id: int, now: int) -> int:
    """Cancel the follows to come that nobody chose by hand; return how many those are."""
    return await cancel(
        connection,
        now,
        delivery.c.person_id == person_id,
        delivery.c.kind == DeliveryKind.FOLLOW.value,
        delivery.c.key.startswith(f"{AUTOMATIC}:"),
        NOT_BEGUN,
    )


async def mark_taken_back(connection: AsyncConnection, followed: Followed) -> None:
    """Note that one follow is being undone, apart from its batch."""
    await connection.execute(sa.update(delivery).where(delivery.c.id == followed.id).values(reason=TAKEN_BACK))


async def keep_begun(connection: AsyncConnection, given_up: Delivery) -> None:
    """Keep what a follow that was just given up was promised with, if an attempt before the last may have come through."""
    if given_up.kind is DeliveryKind.FOLLOW and given_up.attempts > 1:
        await connection.execute(
            sa.update(delivery).where(delivery.c.id == given_up.id).values(payload=given_up.payload)
        )


async def tally(connection: AsyncConnection, batch_id: int, kind: DeliveryKind) -> dict[str, int]:
    """Count a batch's deliveries of one kind: by outcome where they are done, else by state."""
    rows = await connection.execute(_TALLY, {"batch": batch_id, "of_kind": kind.value})
    return {str(row[0]): int(row[1]) for row in rows}


async def was_automatic(connection: AsyncConnection, batch_id: int) -> bool:
    """Tell whether nobody chose a batch's follows by hand."""
    key = await connection.scalar(_ANY_KEY, {"batch": batch_id})
    return key is not None and is_automatic(key)


_PENDING: Final = ready(
    sa.select(delivery.c.account_id, delivery.c.network, sa.func.count())
    .where(
        delivery.c.person_id == sa.bindparam("person"),
        delivery.c.kind.in_(sa.bindparam("kinds", expanding=True)),
        delivery.c.state.in_([state.value for state in UNDONE]),
    )
    .group_by(delivery.c.account_id, delivery.c.network)
)


async def pending(
    connection: AsyncConnection,
    person_id: int,
    kinds: Sequence[DeliveryKind] = (DeliveryKind.FOLLOW, DeliveryKind.UNFOLLOW),
) -> dict[tuple[str, NetworkName | None], int]:
    """Count what is still to be followed or unfollowed on a person's behalf, by acting account."""
    rows = await connection.execute(_PENDING, {"person": person_id, "kinds": [kind.value for kind in kinds]})
    return {(row[0], NetworkName(row[1]) if row[1] else None): int(row[2]) for row in rows}


async def reconnections(connection: AsyncConnection) -> int:
    """Count the follows that were made and not undone, over everybody."""
    value = await connection.scalar(
        sa.select(sa.func.count())
        .select_from(delivery.outerjoin(batch, batch.c.id == delivery.c.batch_id))
        .where(
            delivery.c.kind == DeliveryKind.FOLLOW.value,
            delivery.c.state == DeliveryState.DONE.value,
            delivery.c.reason.in_(_OURS),
            batch.c.undone_at.is_(None),
        )
    )
    return int(value or 0)


async def people(connection: AsyncConnection) -> int:
    """Count the persons who are registered."""
    return int(await connection.scalar(sa.select(sa.func.count()).select_from(person)) or 0)


async def _select(connection: AsyncConnection, statement: sa.Select[Any], which: Mapping[str, Any]) -> list[Followed]:
    return [_followed(row) for row in await connection.execute(statement, which)]


def _followed(row: Any) -> Followed:
    state = DeliveryState(row.state)
    begun = json.loads(row.payload) if state in _GIVEN_UP else {}
    return Followed(
        id=row.id,
        contact_id=row.contact_id,
        account_id=row.account_id,
        target=_target(row.key, row.account_id),
        network=NetworkName(row.network),
        state=state,
        outcome=row.reason,
        uri=row.result,
        batch_id=row.batch_id,
        undone=row.undone_at is not None or row.reason == TAKEN_BACK,
        begun=bool(begun),
        rkey=begun.get("rkey"),
    )


def _target(key: str, account_id: str) -> str:
    """Read the contact's account out of a follow's key; both ids may hold colons."""
    rest = key.partition(":")[2]
    return rest[len(account_id) + 1 :].rpartition(":")[0]
