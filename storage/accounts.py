"""Remember accounts, and the persons they belong to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert, prepared
from storage.ready import ready
from storage.records import Account, Cadence, Discoverable, NetworkName, Person
from storage.tables import account, message, person, upload

_PERSON: Final[Mapping[str, Any]] = {
    "language_chosen": False,
    "cadence": Cadence.NOW.value,
    "discoverable": Discoverable.EVERYONE.value,
    "auto": False,
    "stopped": False,
    "seen_seq": 0,
    "unanswered": 0,
}

_ACCOUNT: Final = ready(sa.select(account).where(account.c.id == sa.bindparam("actor")))
_ACCOUNTS_OF: Final = ready(
    sa.select(account)
    .where(account.c.person_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(account.c.created_at, account.c.id)
)
_ACCOUNT_AND_PERSON: Final = ready(
    sa.select(account, person)
    .join(person, person.c.id == account.c.person_id)
    .where(account.c.id == sa.bindparam("actor"))
)
_ACCOUNTS_AND_PERSONS: Final = ready(
    sa.select(account, person)
    .join(person, person.c.id == account.c.person_id)
    .where(account.c.id.in_(sa.bindparam("actors", expanding=True)))
)
_THESE: Final = account.c.id.in_(sa.bindparam("actors", expanding=True))
_HANDLES: Final = ready(sa.select(account.c.id, account.c.handle).where(_THESE))
_OWNERS: Final = sa.select(account.c.person_id).where(_THESE).distinct()
_PERSONS: Final = ready(sa.select(person).where(person.c.id.in_(sa.bindparam("ids", expanding=True))))
_OWNERS_OF_LISTS: Final = ready(
    sa.select(person).where(
        person.c.id.in_(sa.select(upload.c.person_id).where(upload.c.slot.in_(sa.bindparam("slots", expanding=True))))
    )
)
_HOLD_PERSONS: Final = ready(
    sa.select(person.c.id)
    .where(person.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(person.c.id)
    .with_for_update(key_share=True)
)
_WROTE_AT: Final = sa.func.max(message.c.at)
_VOICES: Final = ready(
    sa.select(account.c.person_id, account.c.id)
    .select_from(account.outerjoin(message, message.c.account_id == account.c.id))
    .where(account.c.person_id.in_(sa.bindparam("ids", expanding=True)))
    .group_by(account.c.person_id, account.c.id)
    .order_by(sa.func.coalesce(_WROTE_AT, 0), account.c.created_at)
)
# In PostgreSQL's own words, for it alone: an array is one parameter, so the statement is always the same.
_ACTORS: Final = sa.any_(sa.bindparam("actors", type_=sa.ARRAY(sa.String)))
_HOLD_OWNERS: Final = ready(
    sa.select(account.c.id)
    .join(person, person.c.id == account.c.person_id)
    .where(account.c.id == _ACTORS)
    .order_by(person.c.id)
    .with_for_update(key_share=True, of=person)
)
_KNOWN: Final = ready(sa.select(account.c.id).where(account.c.id == _ACTORS))
# What is changed is named by the parameters.
_NAMED: Final = sa.update(account).where(account.c.id == sa.bindparam("actor"))
_CHANGE_PERSON: Final = ready(sa.update(person).where(person.c.id == sa.bindparam("person")))
_HEARD_FROM: Final = ready(
    sa.update(person).where(person.c.id.in_(_OWNERS)).values(last_heard_at=sa.bindparam("now"), unanswered=0)
)
_CHANGE_HANDLE: Final = ready(_NAMED.values(handle=sa.bindparam("now_handle")))
_CHANGE_THREAD: Final = ready(
    _NAMED.where(account.c.thread.is_distinct_from(sa.bindparam("now_thread"))).values(
        thread=sa.bindparam("now_thread")
    )
)
_COUNT_UNANSWERED: Final = ready(_CHANGE_PERSON.values(unanswered=person.c.unanswered + 1))
_NEW_PERSON: Final = ready(sa.insert(person).returning(person.c.id))


@prepared
def _new_account(connection: AsyncConnection) -> Any:
    # Two processes may meet somebody at once: the first one's person stays.
    return insert(connection, account).on_conflict_do_nothing(index_elements=["id"]).returning(account.c.id)


@dataclass(frozen=True, slots=True)
class Met:
    """An account as it was met now; without a handle it keeps the former one."""

    network: NetworkName
    actor: str
    handle: str


async def meet(
    connection: AsyncConnection, network: NetworkName, actor: str, handle: str, now: int
) -> tuple[Account, Person]:
    """Return an account and its person, made on the first meeting; a changed handle is taken over."""
    await meet_all(connection, [Met(network, actor, handle)], now)
    known = await with_person(connection, actor)
    assert known is not None  # noqa: S101  # it was just written
    return known


async def meet_all(connection: AsyncConnection, met: Iterable[Met], now: int) -> None:
    """Make the accounts and persons of those who were never met before, and take changed handles over."""
    last = {each.actor: each for each in met}
    handles = {row.id: row.handle for row in await connection.execute(_HANDLES, {"actors": list(last)})}
    if new := [each for each in last.values() if each.actor not in handles]:
        await _make(connection, new, now)
    if changed := [
        {"actor": each.actor, "now_handle": each.handle}
        for each in last.values()
        if each.handle and handles.get(each.actor, each.handle) != each.handle
    ]:
        await connection.execute(_CHANGE_HANDLE, changed)


async def _make(connection: AsyncConnection, new: Sequence[Met], now: int) -> None:
    made = {**_PERSON, "created_at": now, "last_heard_at": now}
    ids = await connection.scalars(_NEW_PERSON, [made] * len(new))
    rows = [
        _row(each.network, each.actor, each.handle, person_id, now) for each, person_id in zip(new, ids, strict=True)
    ]
    added = set(await connection.scalars(_new_account(connection), rows))
    if spare := [row["person_id"] for row in rows if row["id"] not in added]:
        await connection.execute(sa.delete(person).where(person.c.id.in_(spare)))


async def attach(
    connection: AsyncConnection, network: NetworkName, actor: str, handle: str, person_id: int, now: int
) -> Account:
    """Return an account: made now as the person's own or, if it was known already, as whoever's it is."""
    await connection.execute(_new_account(connection), _row(network, actor, handle or actor, person_id, now))
    known, _ = await meet(connection, network, actor, handle, now)
    return known


async def get(connection: AsyncConnection, actor: str) -> Account | None:
    """Return the account of this id (a DID or an actor URI)."""
    row = (await connection.execute(_ACCOUNT, {"actor": actor})).one_or_none()
    return None if row is None else _account(row._asdict())


async def with_person(connection: AsyncConnection, actor: str) -> tuple[Account, Person] | None:
    """Return the account of this id, and the person whose it is."""
    row = (await connection.execute(_ACCOUNT_AND_PERSON, {"actor": actor})).one_or_none()
    return None if row is None else _account_and_person(row)


async def with_persons(connection: AsyncConnection, actors: Iterable[str]) -> dict[str, tuple[Account, Person]]:
    """Return the accounts of these ids, each with the person whose it is; those that are gone are left out."""
    rows = await connection.execute(_ACCOUNTS_AND_PERSONS, {"actors": list(actors)})
    return {row[0]: _account_and_person(row) for row in rows}


async def by_handle(connection: AsyncConnection, handle: str) -> list[Account]:
    """Return the accounts that last carried this handle, with or without a leading @; it may have changed hands."""
    bare = handle.removeprefix("@")
    rows = await connection.execute(
        sa.select(account).where(account.c.handle.in_([bare, f"@{bare}"])).order_by(account.c.created_at)
    )
    return [_account(row._asdict()) for row in rows]


async def get_person(connection: AsyncConnection, person_id: int) -> Person:
    """Return a person; LookupError when there is none (any more)."""
    found = await persons(connection, [person_id])
    if not found:
        raise LookupError(f"There is no person {person_id}.")
    return found[person_id]


async def hold(connection: AsyncConnection, *account_ids: str) -> None:
    """Let nobody else decide about these accounts' persons until this transaction ends; they can still be read.

    Whoever needs more than one lock takes this one first. On SQLite every transaction that writes is alone anyway.
    """
    if connection.dialect.name == "sqlite":
        return
    left = set(account_ids)
    # While we waited a person may have become one with another one: then that one is held. Who was never met is nobody's.
    while left := left.difference(await connection.scalars(_HOLD_OWNERS, {"actors": list(left)})):
        left = set(await connection.scalars(_KNOWN, {"actors": list(left)}))
        if not left:
            return


async def hold_persons(connection: AsyncConnection, ids: Iterable[int]) -> int:
    """Hold persons as `hold` does, always in the same order; return how many of them there still are."""
    return len((await connection.execute(_HOLD_PERSONS, {"ids": list(ids)})).all())


async def persons(connection: AsyncConnection, ids: Iterable[int]) -> dict[int, Person]:
    """Return the persons of these ids, by id; those who are gone are left out."""
    rows = await connection.execute(_PERSONS, {"ids": list(ids)})
    return {row.id: _person(row._asdict()) for row in rows}


async def owners_of_lists(connection: AsyncConnection, slots: Sequence[int]) -> list[Person]:
    """Return the persons whose lists stand in these slots, each once."""
    return [_person(row._asdict()) for row in await connection.execute(_OWNERS_OF_LISTS, {"slots": list(slots)})]


async def accounts_of(connection: AsyncConnection, ids: Iterable[int]) -> dict[int, list[Account]]:
    """Return the accounts of persons, by person, the oldest first."""
    rows = await connection.execute(_ACCOUNTS_OF, {"ids": list(ids)})
    found: dict[int, list[Account]] = {}
    for row in rows:
        found.setdefault(row.person_id, []).append(_account(row._asdict()))
    return found


async def of_person(connection: AsyncConnection, person_id: int) -> list[Account]:
    """Return a person's accounts, the oldest first."""
    return (await accounts_of(connection, [person_id])).get(person_id, [])


async def voices_of(connection: AsyncConnection, ids: Iterable[int]) -> dict[int, str]:
    """Return, by person, the account from which they wrote last: that is where they are spoken to."""
    wanted = list(ids)
    rows = await connection.execute(_VOICES, {"ids": wanted}) if wanted else ()
    return {row.person_id: row.id for row in rows}


async def change(connection: AsyncConnection, person_id: int, **values: Any) -> None:
    """Write down what a person chose; the names are those of the table's columns."""
    await connection.execute(_CHANGE_PERSON, {"person": person_id, **values})


async def heard_from(connection: AsyncConnection, threads: Mapping[str, str | None], now: int) -> None:
    """Note that accounts wrote: they are not silent, and this (None: still the former one) is their conversation."""
    await connection.execute(_HEARD_FROM, {"actors": list(threads), "now": now})
    if changed := [{"actor": each, "now_thread": thread} for each, thread in threads.items() if thread is not None]:
        await connection.execute(_CHANGE_THREAD, changed)


async def count_unanswered(connection: AsyncConnection, person_id: int) -> None:
    """Count a notice that was sent; the count begins anew when the person writes."""
    await connection.execute(_COUNT_UNANSWERED, {"person": person_id})


def _row(network: NetworkName, actor: str, handle: str, person_id: int, now: int) -> dict[str, Any]:
    return {"id": actor, "network": network.value, "handle": handle, "person_id": person_id, "created_at": now}


def _account_and_person(row: sa.Row[Any]) -> tuple[Account, Person]:
    width = len(account.c)
    return (
        _account(dict(zip(account.c.keys(), row[:width], strict=True))),
        _person(dict(zip(person.c.keys(), row[width:], strict=True))),
    )


def _account(row: Mapping[str, Any]) -> Account:
    return Account(**{**row, "network": NetworkName(row["network"])})


def _person(row: Mapping[str, Any]) -> Person:
    return Person(**{**row, "cadence": Cadence(row["cadence"]), "discoverable": Discoverable(row["discoverable"])})
