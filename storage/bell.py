"""Tell other processes on the same database that something was promised."""

import asyncio
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.ready import ready
from storage.trouble import is_trouble

_CHANNEL: Final = "reflock_promised"
_NOTIFY: Final = ready(sa.select(sa.func.pg_notify(_CHANNEL, "")))
# How often the line to the server is tried, and the pause before there is a new one.
_TRIED_EVERY: Final = 30.0
_PAUSE: Final = 2.0


async def ring(connection: AsyncConnection) -> None:
    """Tell the others with this transaction's commit; on SQLite there are none."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_NOTIFY)


async def hear_bell(database: Database, on_ring: Callable[[], None]) -> None:
    """Call back for as long as the process lives whenever somebody promised something; on SQLite nobody else does."""
    while not database.is_sqlite:
        try:
            async with database.listening(_CHANNEL, on_ring) as line:
                on_ring()  # for what was promised while nobody listened
                while True:
                    await asyncio.sleep(_TRIED_EVERY)
                    await line.execute(sa.text("SELECT 1"))
        except Exception as error:
            if not is_trouble(error):
                raise
        await asyncio.sleep(_PAUSE)
