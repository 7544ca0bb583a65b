"""Keep what the bot asked an account last and still waits for."""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert
from storage.records import Question
from storage.tables import question


async def ask(connection: AsyncConnection, account_id: str, kind: str, data: Any, expires_at: int) -> None:
    """Wait for an answer; what was asked before is dropped."""
    statement = insert(connection, question).values(
        account_id=account_id, kind=kind, data=json.dumps(data), expires_at=expires_at
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["account_id"],
            set_={name: statement.excluded[name] for name in ("kind", "data", "expires_at")},
        )
    )


async def pending(connection: AsyncConnection, account_id: str, now: int) -> Question | None:
    """Return what an account was asked and may still answer."""
    row = (
        await connection.execute(
            sa.select(question).where(question.c.account_id == account_id, question.c.expires_at > now)
        )
    ).one_or_none()
    return None if row is None else Question(**row._asdict())


async def drop(connection: AsyncConnection, account_id: str) -> bool:
    """Wait no longer; tell whether there was a question."""
    return (await connection.execute(sa.delete(question).where(question.c.account_id == account_id))).rowcount > 0
