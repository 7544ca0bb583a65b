"""Say which of a process's transactions may wait for the disk, and carry SQLite's log over into its file.

A COMMIT only writes to the end of the log, and the disk is waited for by a checkpoint, which carries the log over into
the file, and by whoever then begins the log anew (synchronous=NORMAL: sqlite.org/pragma.html#pragma_synchronous). So most
transactions are made at once, where they are awaited; now and then two are made in the thread: the COMMIT of the one looks
how long the log is, whoever wrote it, and carries it over when it is long; that of the other then begins it anew. The first
two of a process are made so, too: it may follow many that were killed before they came to it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Final

# How long a log may be, in pages of 4 KB, before it is carried over.
PAGES: Final = 4_000
# How many transactions are made at once between those that look at it.
_AT_ONCE: Final = 30
_PAUSE_SECONDS: Final = 0.05


class Checkpoints:
    """Whose turn it is to wait for the disk."""

    def __init__(self) -> None:
        self._left = 0  # so many more at once; then the one that looks, and at -1 the one after it
        self._beside = False  # while the log is carried over beside them, all may have to wait
        self._to_carry = False  # whether there certainly is something in the log that is not in the file

    @property
    def pages(self) -> int:
        """Return how long a log is to be carried over by a COMMIT in the thread; 0 if never."""
        return 0 if self._beside else PAGES

    def at_once(self) -> bool:
        """Tell whether a transaction may be made at once, and count it."""
        if self._left <= 0 or self._beside:
            return False
        self._left -= 1
        return True

    def in_thread(self, *, long: bool) -> None:
        """Count a transaction that is made in the thread; when a `long` one is over, the next has to come after it."""
        self._left = _AT_ONCE if self._left < 0 and not long else -1

    def written(self) -> None:
        """Note that something was committed, and not carried over by that."""
        self._to_carry = True

    def made(self) -> None:
        """Have the next one begin the log anew: all of it was carried over."""
        self._left, self._to_carry = -1, False

    @asynccontextmanager
    async def meanwhile(self, path: str) -> AsyncIterator[None]:
        """Carry over what is written inside, beside those who write: else the COMMITs do it, and everybody waits."""
        done = asyncio.Event()
        carrying = asyncio.create_task(self._carry_over(path, done))
        self._beside, self._to_carry = True, False
        try:
            yield
        finally:
            done.set()
            await carrying
            self._beside = False
            self.made()

    async def _carry_over(self, path: str, done: asyncio.Event) -> None:
        """Do so every now and then, but only where there is something to carry over.

        Until 3.51.3 SQLite may lose what a COMMIT writes that begins the log anew beside a checkpoint
        (sqlite.org/wal.html#walresetbug). It is begun anew only when all of it was carried over: so there is none beside a
        checkpoint that begins with something to do, if nobody else makes any.
        """

        def checkpoint() -> None:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

        while not done.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), _PAUSE_SECONDS)
            if self._to_carry:
                with suppress(sqlite3.Error):  # what was not carried over now is by the next COMMIT or the next time
                    await asyncio.to_thread(checkpoint)
                # What was committed during it waits for what is committed after it.
                self._to_carry = False
