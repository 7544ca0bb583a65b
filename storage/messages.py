"""Remember which messages were heard, so that each is answered once."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert, prepared
from storage.keys import Keys
from storage.ready import ready
from storage.records import MessageState, NetworkName
from storage.tables import cursor, message


@dataclass(frozen=True, slots=True)
class Heard:
    """A message, as far as it is remembered."""

    id: str
    network: NetworkName
    account_id: str
    thread_key: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A message whose handler crashed; `secret` is the encrypted message."""

    id: str
    network: NetworkName
    account_id: str
    at: int
    reference: str
    secret: bytes | None


_ANSWERED: Final = sa.and_(message.c.at >= sa.bindparam("since"), message.c.state != MessageState.IGNORED.value)


def _answered_by(column: sa.Column[str]) -> sa.Select[str, int]:
    among = column.in_(sa.bindparam("among", expanding=True))
    return sa.select(column, sa.func.count()).where(_ANSWERED, among).group_by(column)


_ANSWERED_TO: Final = ready(_answered_by(message.c.account_id))
_ANSWERED_IN: Final = ready(_answered_by(message.c.thread_key))
_KNOWN: Final = ready(sa.select(message.c.id).where(message.c.id.in_(sa.bindparam("ids", expanding=True))))
_FORGET: Final = ready(sa.delete(message).where(message.c.id.in_(sa.bindparam("ids", expanding=True))))


@prepared
def _new_message(connection: AsyncConnection) -> Any:
    return insert(connection, message).on_conflict_do_nothing(index_elements=["id"]).returning(message.c.id)


@prepared
def _move_cursor(connection: AsyncConnection) -> Any:
    statement = insert(connection, cursor)
    return statement.on_conflict_do_update(index_elements=["name"], set_={"value": statement.excluded.value})


async def remember(connection: AsyncConnection, keys: Keys, heard: Iterable[Heard], now: int) -> set[str]:
    """Write down that messages were heard; return the ids of those that were new."""
    rows = [
        {
            "id": each.id,
            "network": each.network.value,
            "account_id": each.account_id,
            "thread_key": each.thread_key,
            "at": now,
            "state": MessageState.HANDLED.value,
        }
        for each in heard
    ]
    new = set(await connection.scalars(_new_message(connection), rows)) if rows else set()
    buried = {_tombstone(keys, each): each for each in new}
    # Looked for only now: from here on nobody else hears one of these, and buries it.
    if known := [buried[each] for each in await connection.scalars(_KNOWN, {"ids": list(buried)})]:
        await connection.execute(_FORGET, {"ids": known})
    return new.difference(known)


async def mark(
    connection: AsyncConnection,
    message_id: str,
    state: MessageState,
    *,
    reference: str | None = None,
    secret: bytes | None = None,
) -> None:
    """Write down what became of a message."""
    await connection.execute(
        sa.update(message)
        .where(message.c.id == message_id)
        .values(state=state.value, reference=reference, secret=secret)
    )


async def answered_to(connection: AsyncConnection, account_ids: Collection[str], since: int) -> dict[str, int]:
    """Count the messages answered since a moment, by the account that wrote them."""
    return await _count(connection, _ANSWERED_TO, account_ids, since)


async def answered_in(connection: AsyncConnection, thread_keys: Collection[str], since: int) -> dict[str, int]:
    """Count the messages answered since a moment, by their thread."""
    return await _count(connection, _ANSWERED_IN, thread_keys, since)


async def _count(
    connection: AsyncConnection, statement: sa.Select[str, int], among: Collection[str], since: int
) -> dict[str, int]:
    if not among:
        return {}
    rows = await connection.execute(statement, {"among": list(among), "since": since})
    return dict(rows.all())


async def failed(connection: AsyncConnection, limit: int = 100) -> list[Failed]:
    """List the messages whose handlers crashed, the oldest first."""
    rows = await connection.execute(
        sa.select(
            message.c.id, message.c.network, message.c.account_id, message.c.at, message.c.reference, message.c.secret
        )
        .where(message.c.state == MessageState.FAILED.value)
        .order_by(message.c.at)
        .limit(limit)
    )
    return [Failed(**{**row._asdict(), "network": NetworkName(row.network)}) for row in rows]


async def forget_failed(connection: AsyncConnection, message_id: str) -> bool:
    """Forget that a message was heard whose handler crashed, so that it can be heard again; False when it is no more."""
    where = (message.c.id == message_id, message.c.state == MessageState.FAILED.value)
    return (await connection.execute(sa.delete(message).where(*where))).rowcount > 0


async def bury(connection: AsyncConnection, keys: Keys, message_id: str) -> None:
    """Forget who wrote a message that is not answered; it is known again if it is heard again."""
    await _bury(connection, keys, message_id, MessageState.IGNORED)


async def forget_writers(connection: AsyncConnection, keys: Keys, account_ids: Collection[str], since: int) -> None:
    """Forget who wrote messages, and all older than `since`; the newer ones are known again if they are heard again.

    What stays of them is a keyed digest of their id, because the id itself may name the writer.
    """
    of_them = message.c.account_id.in_(account_ids)
    await connection.execute(sa.delete(message).where(of_them, message.c.at < since))
    for message_id in list(await connection.scalars(sa.select(message.c.id).where(of_them))):
        await _bury(connection, keys, message_id, MessageState.HANDLED)


async def _bury(connection: AsyncConnection, keys: Keys, message_id: str, state: MessageState) -> None:
    await connection.execute(
        sa.update(message)
        .where(message.c.id == message_id)
        .values(
            id=_tombstone(keys, message_id),
            account_id="",
            thread_key="",
            state=state.value,
            reference=None,
            secret=None,
        )
    )


def _tombstone(keys: Keys, message_id: str) -> str:
    return f"~{keys.digest(f'message {message_id}').hex()}"


async def read_cursor(connection: AsyncConnection, name: str) -> str | None:
    """Return how far a network was heard."""
    value = await connection.scalar(sa.select(cursor.c.value).where(cursor.c.name == name))
    return None if value is None else str(value)


async def move_cursor(connection: AsyncConnection, name: str, value: str) -> None:
    """Write down how far a network was heard."""
    await connection.execute(_move_cursor(connection), {"name": name, "value": value})
