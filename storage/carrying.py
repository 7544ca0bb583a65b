"""Carry what was written over from SQLite's log into its file, beside those who write.

Otherwise that is done by the COMMIT that happens to fill the log, and everybody waits for it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Final

_PAUSE_SECONDS: Final = 0.05


@asynccontextmanager
async def carrying_over(path: str) -> AsyncIterator[None]:
    """Carry over, every now and then, what is written inside."""
    done = asyncio.Event()
    carrying = asyncio.create_task(_carry_over(path, done))
    try:
        yield
    finally:
        done.set()
        await carrying


async def _carry_over(path: str, done: asyncio.Event) -> None:
    def checkpoint() -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    while not done.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), _PAUSE_SECONDS)
        with suppress(sqlite3.Error):  # what was not carried over now is by the next COMMIT or the next time
            await asyncio.to_thread(checkpoint)
