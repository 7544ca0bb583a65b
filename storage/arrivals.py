"""Remember who arrived: one row an arrival, worked off in bounded steps; and who was told of whom, once ever."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import next_number
from storage.dialect import insert, prepared
from storage.keys import Keys64
from storage.ready import ready
from storage.records import Arrival, Claim, ClaimState, Discoverable, Evidence
from storage.tables import arrival, claim, person, told

_ROWS_A_STATEMENT: Final = 500
# A notice's key names whom it tells of, so that they can be checked when it is sent: newcomers:<token>:<ids>[:<part>].
NOTICE: Final = "newcomers:"

_OPEN: Final = ready(
    sa.select(arrival, claim.c.x_key, claim.c.handle_key, claim.c.state, claim.c.evidence, person.c.discoverable)
    .join(claim, claim.c.id == arrival.c.claim_id)
    .join(person, person.c.id == arrival.c.person_id)
    .where(arrival.c.done.is_(False))
    .order_by(arrival.c.seq)
    .limit(sa.bindparam("most"))
)
_HOLD: Final = ready(
    sa.select(arrival.c.seq)
    .where(
        arrival.c.seq.in_(sa.bindparam("seqs", expanding=True)),
        arrival.c.done.is_(False),
        arrival.c.next_slot == sa.bindparam("at_slot"),
    )
    .with_for_update(skip_locked=True)
)
_ADVANCE: Final = ready(sa.update(arrival).where(arrival.c.seq.in_(sa.bindparam("seqs", expanding=True))))
_NEWEST: Final = ready(sa.select(sa.func.max(arrival.c.seq)))
_LOOK_AT: Final = ready(
    sa.update(person)
    .where(
        person.c.id == sa.bindparam("person"),
        sa.or_(person.c.notice_due_at.is_(None), person.c.notice_due_at > sa.bindparam("due")),
    )
    .values(notice_due_at=sa.bindparam("due"))
)
_DUE_PERSONS: Final = ready(
    sa.select(person.c.id)
    .where(person.c.notice_due_at <= sa.bindparam("now"), person.c.stopped.is_(False))
    .order_by(person.c.notice_due_at, person.c.id)
    .limit(sa.bindparam("most"))
)
_LOOKED: Final = ready(
    sa.update(person)
    .where(person.c.id == sa.bindparam("person"))
    .values(seen_seq=sa.bindparam("seen"), notice_due_at=sa.bindparam("due"))
)
_TOLD_OF: Final = ready(
    sa.select(told.c.contact_id).where(
        told.c.person_id == sa.bindparam("person"), told.c.contact_id.in_(sa.bindparam("contacts", expanding=True))
    )
)


@prepared
def _tell(connection: AsyncConnection) -> Any:
    statement = insert(connection, told).on_conflict_do_nothing(index_elements=["person_id", "contact_id"])
    return statement.returning(told.c.person_id, told.c.contact_id)


@dataclass(frozen=True, slots=True)
class OpenArrival:
    """An arrival that is still being worked off, with the keys to search for: none once it may not be told any more."""

    arrival: Arrival
    keys: Keys64


def notice_key(token: str, contact_ids: Iterable[int]) -> str:
    """Make the key of a notice of newcomers; the token keeps a second one, after a first was taken back, apart."""
    return f"{NOTICE}{token}:{'.'.join(map(str, contact_ids))}"


def named_in(key: str) -> list[int]:
    """Return the contacts whom a notice tells of."""
    return [int(each) for each in key.split(":")[2].split(".")]


def part_of(key: str) -> str:
    """Return which piece of a notice this is, counted from "0"."""
    return key.split(":")[3]


def renamed(key: str, keep: int, gone: int) -> str:
    """Name the person whom a contact has become; each is named once."""
    token = key.split(":")[1]
    ids = dict.fromkeys(keep if each == gone else each for each in named_in(key))
    return f"{notice_key(token, ids)}:{part_of(key)}"


async def arrive(connection: AsyncConnection, arrived: Claim, now: int, *, again: bool = False) -> int | None:
    """Let a claim arrive that stands and is proved, by a person who may be shown; return the arrival's number.

    Each claim arrives once, unless `again` says that more people may see it now. None: nothing to announce.
    """
    if arrived.state is not ClaimState.HELD or arrived.evidence < Evidence.POST or arrived.x_id is None:
        return None
    # Always in this order, so that two who arrive at once do not wait for each other; numbers follow the commits.
    version = await next_number(connection, "claim")
    seq = await next_number(connection, "arrival")
    discoverable = await connection.scalar(sa.select(person.c.discoverable).where(person.c.id == arrived.person_id))
    known = await connection.scalar(
        sa.select(sa.func.count()).select_from(arrival).where(arrival.c.claim_id == arrived.id)
    )
    if discoverable in (None, Discoverable.OFF.value) or (known and not again):
        return None
    await connection.execute(
        sa.insert(arrival).values(
            seq=seq, claim_id=arrived.id, person_id=arrived.person_id, at=now, next_slot=0, done=False
        )
    )
    await connection.execute(sa.update(claim).where(claim.c.id == arrived.id).values(arrival_seq=seq, version=version))
    return seq


async def open_arrivals(connection: AsyncConnection, limit: int) -> list[OpenArrival]:
    """Return the oldest arrivals that are not worked off."""
    rows = await connection.execute(_OPEN, {"most": limit})
    found = []
    for row in rows:
        may_be_told = (
            row.state == ClaimState.HELD.value
            and row.evidence >= Evidence.POST.value
            and row.discoverable != Discoverable.OFF.value
        )
        keys = [key for key in (row.x_key, row.handle_key) if key is not None] if may_be_told else []
        found.append(
            OpenArrival(
                Arrival(row.seq, row.claim_id, row.person_id, row.at, row.next_slot, row.done),
                np.array(keys, np.int64).view(np.uint64),
            )
        )
    return found


async def hold(connection: AsyncConnection, seqs: Sequence[int], slot: int) -> list[int]:
    """Return those of some arrivals that are still worked off up to a slot; nobody else works on them until the commit."""
    return list(await connection.scalars(_HOLD, {"seqs": list(seqs), "at_slot": slot}))


async def advance(connection: AsyncConnection, seqs: Sequence[int], next_slot: int | None) -> None:
    """Note how far arrivals were worked off; None: to the end."""
    values = {"done": True} if next_slot is None else {"next_slot": next_slot}
    await connection.execute(_ADVANCE, {"seqs": list(seqs), **values})


async def newest(connection: AsyncConnection) -> int:
    """Return the number of the latest arrival; 0 when nobody ever came."""
    return int(await connection.scalar(_NEWEST) or 0)


async def look_at(connection: AsyncConnection, due: Mapping[int, int]) -> None:
    """Note when persons are next to be looked at for newcomers; an earlier moment stays."""
    if due:
        await connection.execute(_LOOK_AT, [{"person": each, "due": at} for each, at in sorted(due.items())])


async def due_persons(connection: AsyncConnection, now: int, limit: int) -> list[int]:
    """Return persons whose turn it is to be told of newcomers, those who waited longest first."""
    return list(await connection.scalars(_DUE_PERSONS, {"now": now, "most": limit}))


async def looked(connection: AsyncConnection, at: Mapping[int, tuple[int, int | None]]) -> None:
    """Note up to which arrival persons were looked at, and when they are next; None: when somebody arrives."""
    if rows := [{"person": each, "seen": seen, "due": due} for each, (seen, due) in sorted(at.items())]:
        await connection.execute(_LOOKED, rows)


async def tell(connection: AsyncConnection, pairs: Iterable[tuple[int, int]], now: int) -> set[tuple[int, int]]:
    """Note that persons are being told of contacts; return the pairs that were never told before."""
    wanted = sorted(pairs)
    new: set[tuple[int, int]] = set()
    for start in range(0, len(wanted), _ROWS_A_STATEMENT):
        rows = [
            {"person_id": person_id, "contact_id": contact_id, "at": now}
            for person_id, contact_id in wanted[start : start + _ROWS_A_STATEMENT]
        ]
        new.update((row.person_id, row.contact_id) for row in await connection.execute(_tell(connection), rows))
    return new


async def told_of(connection: AsyncConnection, person_id: int, contact_ids: Sequence[int]) -> set[int]:
    """Return those of some contacts of whom a person was told."""
    return set(await connection.scalars(_TOLD_OF, {"person": person_id, "contacts": list(contact_ids)}))


async def take_back(connection: AsyncConnection, person_id: int, contact_ids: Sequence[int], now: int) -> None:
    """Forget that a person was told of contacts, because the notice was not sent, and look again at once."""
    await connection.execute(sa.delete(told).where(told.c.person_id == person_id, told.c.contact_id.in_(contact_ids)))
    first = await connection.scalar(
        sa.select(sa.func.min(claim.c.arrival_seq)).where(claim.c.person_id.in_(contact_ids))
    )
    if first is not None:
        await connection.execute(
            sa.update(person).where(person.c.id == person_id, person.c.seen_seq >= first).values(seen_seq=first - 1)
        )
    await look_at(connection, {person_id: now})
