"""Remember who says which X account was theirs, with what evidence, and decide between two who say the same.

Every change gives the row the next number of the sequence "claim", so `since` tells an index in memory what changed.
Rows do not vanish from under it: a claim that was folded into another one of the same person stays as a tombstone
(WITHDRAWN, erased, with a label that no X handle can have). Whoever deletes a person calls `withdraw` for each claim first, in
a transaction of its own, and deletes afterwards.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import next_number
from storage.keys import Keys
from storage.ready import ready
from storage.records import Claim, ClaimState, Evidence, check_transition
from storage.tables import arrival, claim, code

# Only these compete; a mere word (PENDING) freezes nobody.
ACTIVE: Final = (ClaimState.HELD, ClaimState.CONTESTED)
_TOMBSTONE: Final = "~"
_NO_KEY: Final = 0
_COLUMNS: Final = [column for column in claim.c if column.name not in ("x_key", "handle_key")]


_LABELLED: Final = sa.not_(claim.c.x_handle.startswith(_TOMBSTONE))
_GET: Final = ready(sa.select(*_COLUMNS).where(claim.c.id == sa.bindparam("claim")))
_NAMED: Final = ready(
    sa.select(*_COLUMNS).where(claim.c.person_id == sa.bindparam("person"), claim.c.x_handle == sa.bindparam("handle"))
)
_NEW: Final = ready(sa.insert(claim).returning(*_COLUMNS))
_OF_PERSONS: Final = ready(
    sa.select(*_COLUMNS)
    .where(
        claim.c.person_id.in_(sa.bindparam("persons", expanding=True)),
        claim.c.state != ClaimState.WITHDRAWN.value,
        _LABELLED,
    )
    .order_by(claim.c.id)
)
_SINCE: Final = ready(
    sa.select(
        claim.c.id,
        claim.c.person_id,
        claim.c.x_key,
        claim.c.handle_key,
        claim.c.evidence,
        claim.c.state,
        claim.c.arrival_seq,
        claim.c.version,
    )
    .where(claim.c.version > sa.bindparam("after"))
    .order_by(claim.c.version)
    .limit(sa.bindparam("most"))
)
# What is changed is named by the parameters.
_CHANGE: Final = ready(sa.update(claim).where(claim.c.id == sa.bindparam("claim")))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of raised evidence or a decision: the claim as it is now, and whose claims changed with it.

    `outbid` were withdrawn because the claim's evidence is higher; `contested_with` hold the same evidence, so all are
    frozen; `freed` were frozen and stand again. A claim that is itself WITHDRAWN lost to higher evidence.
    """

    claim: Claim
    contested_with: list[Claim]
    outbid: list[Claim]
    freed: list[Claim]

    @property
    def state(self) -> ClaimState:
        """Return where the claim stands now."""
        return self.claim.state


@dataclass(frozen=True, slots=True)
class Changed:
    """What an index of the registered needs of a claim. Keys are signed 64-bit pseudonyms; no id known: `x_key` None."""

    id: int
    person_id: int
    x_key: int | None
    handle_key: int
    evidence: Evidence
    state: ClaimState
    arrival_seq: int | None
    version: int


async def declare(connection: AsyncConnection, keys: Keys, person_id: int, x_handle: str, now: int) -> Claim:
    """Take a person's word: a claim that is known stays as it is, one that was withdrawn begins anew."""
    x_handle = x_handle.lower()
    version = await next_number(connection, "claim")
    row = (await connection.execute(_NAMED, {"person": person_id, "handle": x_handle})).one_or_none()
    if row is None:
        new = {
            "person_id": person_id,
            "x_handle": x_handle,
            "handle_key": keys.of_handle(x_handle),
            "evidence": Evidence.DECLARED.value,
            "state": ClaimState.PENDING.value,
            "version": version,
            "created_at": now,
        }
        return _claim((await connection.execute(_NEW, new)).one()._asdict())
    known = _claim(row._asdict())
    if known.state is ClaimState.WITHDRAWN:
        return await _write(
            connection, known, state=ClaimState.PENDING, evidence=Evidence.DECLARED, x_id=None, x_key=None, held_at=None
        )
    return known


async def get(connection: AsyncConnection, claim_id: int) -> Claim | None:
    """Return one claim."""
    row = (await connection.execute(_GET, {"claim": claim_id})).one_or_none()
    return None if row is None else _claim(row._asdict())


async def of_person(connection: AsyncConnection, person_id: int) -> list[Claim]:
    """Return a person's claims, the oldest first, without those that were withdrawn."""
    return (await of_persons(connection, [person_id])).get(person_id, [])


async def of_persons(connection: AsyncConnection, ids: Collection[int]) -> dict[int, list[Claim]]:
    """Return the claims of persons, by person, the oldest first, without those that were withdrawn."""
    found: dict[int, list[Claim]] = {}
    for row in await connection.execute(_OF_PERSONS, {"persons": list(ids)}):
        found.setdefault(row.person_id, []).append(_claim(row._asdict()))
    return found


async def of_handle(connection: AsyncConnection, x_handle: str) -> list[Claim]:
    """Return everybody's claims to an X handle, withdrawn ones too: what an operator looks at."""
    return await _select(connection, claim.c.x_handle == x_handle.lower())


async def contested(connection: AsyncConnection, limit: int) -> list[Claim]:
    """Return the claims that are frozen, those to the same X account together."""
    found = await _select(connection, claim.c.state == ClaimState.CONTESTED.value)
    return sorted(found, key=lambda each: (each.x_handle, each.id))[:limit]


async def since(connection: AsyncConnection, version: int, limit: int) -> list[Changed]:
    """List the claims that changed after a version, in the order of the changes; withdrawn ones and tombstones too."""
    rows = await connection.execute(_SINCE, {"after": version, "most": limit})
    return [
        Changed(**{**row._asdict(), "evidence": Evidence(row.evidence), "state": ClaimState(row.state)}) for row in rows
    ]


async def raise_evidence(
    connection: AsyncConnection,
    keys: Keys,
    raised: Claim,
    *,
    x_id: int | None,
    x_handle: str,
    evidence: Evidence,
    now: int,
) -> Outcome:
    """Write evidence down, and decide between all who claim the same X account.

    Higher evidence wins and the others are withdrawn; equal evidence freezes all. The same X account is the same
    numeric id or, where either side knows none, the same handle. Another claim of this person's to the same account
    (the same id under a former handle) becomes one with this.

    Evidence is about what it names: a numeric id is never held with more than what named *it*. So an archive (which
    anybody can write) that adds the id to a handle proved by a post leaves the claim at ARCHIVE, and a post without an
    id leaves a claim whose id came from an archive there. Raise ValueError when weaker evidence names another id than
    the one held.
    """
    x_handle = x_handle.lower()
    # The number is not used: taking it makes two who prove the same account at once wait for one another.
    await next_number(connection, "claim")
    own = await _known(connection, raised.id)
    twins = await _select(
        connection,
        claim.c.person_id == own.person_id,
        sa.or_(claim.c.id == own.id, claim.c.x_handle == x_handle, _equals(claim.c.x_id, x_id)),
    )
    own = next((each for each in twins if x_id is not None and each.x_id == x_id), own)
    level = _level(own, x_id, evidence)
    for twin in twins:
        if twin.id != own.id:
            own = await _bury(connection, twin, own)
    own = await _write(connection, own, x_handle=x_handle, handle_key=keys.of_handle(x_handle))
    if x_id is not None and x_id != own.x_id:
        own = await _write(connection, own, x_id=x_id, x_key=keys.of_id(x_id))
    return await _contend(connection, twins, own, level, now)


async def decide(connection: AsyncConnection, claim_id: int, now: int, *, for_it: bool) -> Outcome:
    """Let an operator decide: for a claim, then it stands against all others; or against it, then it is withdrawn.

    Raise LookupError when there is no such claim.
    """
    await next_number(connection, "claim")
    own = await _known(connection, claim_id)
    if for_it:
        return await _contend(connection, [own], own, Evidence.OPERATOR, now, decided=True)
    freed = await withdraw(connection, own, now)
    return Outcome(await _known(connection, claim_id), [], [], freed)


async def withdraw(connection: AsyncConnection, withdrawn: Claim, now: int, *, erase: bool = False) -> list[Claim]:
    """Take a claim back, with its codes; return those of others that were frozen because of it and stand again.

    `erase` leaves nothing in it of the X account: so it is for somebody who wants that to be forgotten.
    """
    # The number is not used: nobody else's claim changes between the look around and the change.
    await next_number(connection, "claim")
    withdrawn = await _known(connection, withdrawn.id)
    await connection.execute(sa.delete(code).where(code.c.claim_id == withdrawn.id, code.c.used_at.is_(None)))
    around = await _rivals(connection, withdrawn)
    await _write(connection, withdrawn, state=ClaimState.WITHDRAWN, **(_erased(withdrawn.id) if erase else {}))
    return await _thaw(connection, around, now)


async def withdraw_all(connection: AsyncConnection, person_id: int, now: int) -> list[Claim]:
    """Take everything back that a person ever claimed, and erase it; return the claims of others that stand again."""
    await next_number(connection, "claim")
    freed: list[Claim] = []
    for each in await _select(connection, claim.c.person_id == person_id, labelled=False):
        freed += await withdraw(connection, each, now, erase=True)
    return freed


async def join(connection: AsyncConnection, keep_id: int, gone_id: int, now: int) -> list[Claim]:
    """Give one person's claims to another, who is the same; return those, whoever's, that are no longer frozen."""
    await next_number(connection, "claim")
    both = await _select(connection, claim.c.person_id.in_([keep_id, gone_id]), labelled=False)
    around: dict[int, Claim] = {}
    for each in both:
        around.update((rival.id, rival) for rival in await _rivals(connection, each))
    kept: list[Claim] = []
    for each in sorted(both, key=_worth, reverse=True):
        twin = next((better for better in kept if _is_same(better, each)), None)
        if twin is not None:
            kept[kept.index(twin)] = await _bury(connection, each, twin, person_id=keep_id)
        else:
            kept.append(each)
    for each in kept:
        await _write(connection, each, person_id=keep_id)
    return await _thaw(connection, [*around.values(), *kept], now)


def _is_same(better: Claim, other: Claim) -> bool:
    return better.x_handle == other.x_handle or (better.x_id is not None and better.x_id == other.x_id)


def _worth(each: Claim) -> tuple[bool, bool, int, bool, int]:
    pending = each.state is ClaimState.PENDING
    return each.state in ACTIVE, pending, each.evidence, each.x_id is not None, -each.id


def _level(own: Claim, x_id: int | None, evidence: Evidence) -> Evidence:
    if own.state is ClaimState.WITHDRAWN:
        return evidence
    if x_id == own.x_id:
        return max(own.evidence, evidence)
    if x_id is None:
        return own.evidence
    if own.x_id is not None and evidence < own.evidence:
        raise ValueError(f"Claim {own.id} is held for another X account, with higher evidence.")
    return evidence


async def _contend(
    connection: AsyncConnection,
    before: Sequence[Claim],
    own: Claim,
    level: Evidence,
    now: int,
    *,
    decided: bool = False,
) -> Outcome:
    around: dict[int, Claim] = {}
    for each in before:  # who was frozen because of what the claim was until now
        around.update((rival.id, rival) for rival in await _rivals(connection, each))
    rivals = await _rivals(connection, own)
    equal = [] if decided else [each for each in rivals if each.evidence == level]
    outbid: list[Claim] = []
    if not decided and any(each.evidence > level for each in rivals):
        state, equal = ClaimState.WITHDRAWN, []
    else:
        state = ClaimState.CONTESTED if equal else ClaimState.HELD
        for each in rivals:
            if each not in equal:
                around.update((rival.id, rival) for rival in await _rivals(connection, each))
                outbid.append(await _write(connection, each, state=ClaimState.WITHDRAWN))
    held_at = now if state is ClaimState.HELD and own.held_at is None else own.held_at
    own = await _write(connection, own, state=state, evidence=level, held_at=held_at)
    contested = [await _write(connection, each, state=ClaimState.CONTESTED) for each in equal]
    settled = {own.id, *(each.id for each in (*outbid, *contested))}
    freed = await _thaw(connection, [each for each in around.values() if each.id not in settled], now)
    return Outcome(own, contested, outbid, freed)


async def _thaw(connection: AsyncConnection, around: Iterable[Claim], now: int) -> list[Claim]:
    """Let frozen claims stand again that nobody's equal evidence stands against any more."""
    freed = []
    for each in around:
        frozen = await _known(connection, each.id)
        if frozen.state is ClaimState.CONTESTED and not await _rivals(connection, frozen):
            held_at = now if frozen.held_at is None else frozen.held_at
            freed.append(await _write(connection, frozen, state=ClaimState.HELD, held_at=held_at))
    return freed


async def _rivals(connection: AsyncConnection, own: Claim) -> list[Claim]:
    """Return what other persons hold, frozen or not, of the same X account."""
    same = claim.c.x_handle == own.x_handle
    if own.x_id is not None:
        same = sa.or_(claim.c.x_id == own.x_id, sa.and_(claim.c.x_id.is_(None), same))
    return await _select(
        connection, same, claim.c.person_id != own.person_id, claim.c.state.in_([state.value for state in ACTIVE])
    )


async def _bury(connection: AsyncConnection, twin: Claim, into: Claim, **values: Any) -> Claim:
    """Fold a claim into another of the same person's: its codes and its arrival go over, a tombstone stays."""
    await connection.execute(sa.update(code).where(code.c.claim_id == twin.id).values(claim_id=into.id))
    await connection.execute(sa.update(arrival).where(arrival.c.claim_id == twin.id).values(claim_id=into.id))
    await _write(connection, twin, state=ClaimState.WITHDRAWN, **_erased(twin.id), **values)
    arrived = into.arrival_seq if into.arrival_seq is not None else twin.arrival_seq
    return await _write(connection, into, arrival_seq=arrived)


def _erased(claim_id: int) -> dict[str, Any]:
    """Return what stands in a claim of which nobody is to read any more whose it was."""
    label = f"{_TOMBSTONE}{claim_id}"
    return {"x_handle": label, "handle_key": _NO_KEY, "x_id": None, "x_key": None, "arrival_seq": None}


async def _write(connection: AsyncConnection, old: Claim, **values: Any) -> Claim:
    """Change a claim and number the change; what is as it was is not written."""
    unchanged = all(getattr(old, name) == value for name, value in values.items() if hasattr(old, name))
    if unchanged:
        return old
    if "state" in values:
        check_transition(old.state, values["state"])
        values["state"] = values["state"].value
    if "evidence" in values:
        values["evidence"] = values["evidence"].value
    version = await next_number(connection, "claim")
    await connection.execute(_CHANGE, {"claim": old.id, **values, "version": version})
    return await _known(connection, old.id)


def _equals(column: sa.ColumnElement[Any], value: int | None) -> sa.ColumnElement[bool]:
    return sa.false() if value is None else column == value


async def _known(connection: AsyncConnection, claim_id: int) -> Claim:
    found = await get(connection, claim_id)
    if found is None:
        raise LookupError(f"There is no claim {claim_id}.")
    return found


async def _select(connection: AsyncConnection, *where: sa.ColumnElement[bool], labelled: bool = True) -> list[Claim]:
    """Return claims, the oldest first; `labelled` leaves tombstones out."""
    conditions = [*where, _LABELLED] if labelled else where
    rows = await connection.execute(sa.select(*_COLUMNS).where(*conditions).order_by(claim.c.id))
    return [_claim(row._asdict()) for row in rows]


def _claim(row: Mapping[str, Any]) -> Claim:
    return Claim(**{**row, "evidence": Evidence(row["evidence"]), "state": ClaimState(row["state"])})
