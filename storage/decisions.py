"""Remember what a person decided about contacts, and the numbered list they read last."""

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert, prepared
from storage.ready import ready
from storage.records import Choice
from storage.tables import decision, listing

_ROWS_A_STATEMENT: Final = 500
_OF_PERSON: Final = ready(
    sa.select(decision.c.contact_id, decision.c.choice).where(decision.c.person_id == sa.bindparam("person"))
)
# Not as pairs: SQLite would look through the whole table for those.
_AMONG: Final = ready(
    sa.select(decision.c.person_id, decision.c.contact_id, decision.c.choice).where(
        decision.c.person_id.in_(sa.bindparam("persons", expanding=True)),
        decision.c.contact_id.in_(sa.bindparam("contacts", expanding=True)),
    )
)
_ABOUT: Final = ready(_OF_PERSON.where(decision.c.contact_id.in_(sa.bindparam("contacts", expanding=True))))


@prepared
def _keep_listing(connection: AsyncConnection) -> Any:
    statement = insert(connection, listing)
    return statement.on_conflict_do_update(
        index_elements=["person_id"], set_={"data": statement.excluded.data, "at": statement.excluded.at}
    )


@prepared
def _decide(connection: AsyncConnection) -> Any:
    statement = insert(connection, decision)
    return statement.on_conflict_do_update(
        index_elements=["person_id", "contact_id"],
        set_={"choice": statement.excluded.choice, "at": statement.excluded.at},
    )


async def decide(
    connection: AsyncConnection, person_id: int, contact_ids: Iterable[int], choice: Choice, now: int
) -> None:
    """Write a choice down about contacts; it takes the place of an earlier one."""
    rows = [
        {"person_id": person_id, "contact_id": contact_id, "choice": choice.value, "at": now}
        for contact_id in dict.fromkeys(contact_ids)
    ]
    if rows:
        await connection.execute(_decide(connection), rows)


async def withdraw(connection: AsyncConnection, person_id: int, contact_ids: Iterable[int]) -> int:
    """Forget what was decided about contacts; return how many decisions there were."""
    wanted, gone = list(contact_ids), 0
    for start in range(0, len(wanted), _ROWS_A_STATEMENT):
        deleted = await connection.execute(
            sa.delete(decision).where(
                decision.c.person_id == person_id, decision.c.contact_id.in_(wanted[start : start + _ROWS_A_STATEMENT])
            )
        )
        gone += deleted.rowcount
    return gone


async def of_person(connection: AsyncConnection, person_id: int) -> dict[int, Choice]:
    """Return all that a person decided, by contact."""
    rows = await connection.execute(_OF_PERSON, {"person": person_id})
    return {row.contact_id: Choice(row.choice) for row in rows}


async def among(
    connection: AsyncConnection, person_ids: Iterable[int], contact_ids: Sequence[int]
) -> dict[tuple[int, int], Choice]:
    """Return what some persons decided about some contacts, by person and contact."""
    found = {}
    for start in range(0, len(contact_ids), _ROWS_A_STATEMENT):
        some = {"persons": list(person_ids), "contacts": contact_ids[start : start + _ROWS_A_STATEMENT]}
        for row in await connection.execute(_AMONG, some):
            found[row.person_id, row.contact_id] = Choice(row.choice)
    return found


async def about(connection: AsyncConnection, person_id: int, contact_ids: Collection[int]) -> dict[int, Choice]:
    """Return what a person decided about some contacts, by contact."""
    rows = await connection.execute(_ABOUT, {"person": person_id, "contacts": list(contact_ids)})
    return {row.contact_id: Choice(row.choice) for row in rows}


async def keep_listing(connection: AsyncConnection, person_id: int, contact_ids: Sequence[int], now: int) -> None:
    """Remember the numbered list that a person is about to read, so that its numbers go on meaning what was read."""
    await keep_listings(connection, {person_id: contact_ids}, now)


async def keep_listings(connection: AsyncConnection, listings: Mapping[int, Sequence[int]], now: int) -> None:
    """Remember the numbered lists that persons are about to read."""
    if rows := [
        {"person_id": person_id, "data": struct.pack(f"<{len(ids)}q", *ids), "at": now}
        for person_id, ids in sorted(listings.items())
    ]:
        await connection.execute(_keep_listing(connection), rows)


async def read_listing(connection: AsyncConnection, person_id: int) -> list[int]:
    """Return the contacts of the list that a person read last, in its order; empty when there was none."""
    data = await connection.scalar(sa.select(listing.c.data).where(listing.c.person_id == person_id))
    return [] if data is None else list(struct.unpack(f"<{len(data) // 8}q", data))
