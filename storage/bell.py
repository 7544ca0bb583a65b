"""Tell other processes on the same database that something was promised."""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database, Only
from storage.ready import ready

_CHANNEL: Final = "reflock_promised"
_NOTIFY: Final = ready(sa.select(sa.func.pg_notify(_CHANNEL, "")))


async def ring(connection: AsyncConnection) -> None:
    """Tell the others with this transaction's commit; on SQLite there are none."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_NOTIFY)


async def hear_bell(database: Database, on_ring: Callable[[], None]) -> None:
    """Call back whenever somebody promised something, until the line to the server (PostgreSQL) is lost."""
    async with database.listening(_CHANNEL, on_ring) as line:
        on_ring()  # for what was promised while nobody listened
        await Only(mine=True, connection=line).lost()
