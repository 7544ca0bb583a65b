"""Keep what the bot asked an account last and still waits for."""

import json
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert, prepared
from storage.ready import ready
from storage.records import Question
from storage.tables import question

_PENDING: Final = ready(
    sa.select(question).where(
        question.c.account_id == sa.bindparam("asked"), question.c.expires_at > sa.bindparam("now")
    )
)
_DROP: Final = ready(sa.delete(question).where(question.c.account_id == sa.bindparam("asked")))


@prepared
def _ask(connection: AsyncConnection) -> Any:
    statement = insert(connection, question)
    return statement.on_conflict_do_update(
        index_elements=["account_id"],
        set_={name: statement.excluded[name] for name in ("kind", "data", "expires_at")},
    )


async def ask(connection: AsyncConnection, account_id: str, kind: str, data: Any, expires_at: int) -> None:
    """Wait for an answer; what was asked before is dropped."""
    row = {"account_id": account_id, "kind": kind, "data": json.dumps(data), "expires_at": expires_at}
    await connection.execute(_ask(connection), row)


async def pending(connection: AsyncConnection, account_id: str, now: int) -> Question | None:
    """Return what an account was asked and may still answer."""
    row = (await connection.execute(_PENDING, {"asked": account_id, "now": now})).one_or_none()
    return None if row is None else Question(**row._asdict())


async def drop(connection: AsyncConnection, account_id: str) -> bool:
    """Wait no longer; tell whether there was a question."""
    return (await connection.execute(_DROP, {"asked": account_id})).rowcount > 0
