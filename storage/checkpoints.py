"""Say which of a process's transactions may wait for the disk, and carry SQLite's log over into its file.

A COMMIT only writes to the end of the log, and the disk is waited for by a checkpoint, which carries the log over into
the file, and by whoever then begins the log anew (synchronous=NORMAL: sqlite.org/pragma.html#pragma_synchronous). So most
transactions are made at once, where they are awaited; now and then two are made in the thread: the COMMIT of the one looks
how long the log is, whoever wrote it, and carries it over when it is long; that of the other then begins it anew. The first
two of a process are made so, too: it may follow many that were killed before they came to it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from typing import Final, TypeVar

# How long a log may be, in pages of 4 KB, before it is carried over.
PAGES: Final = 4_000
# How many transactions are made at once between those that look at it.
_AT_ONCE: Final = 30
_PAUSE_SECONDS: Final = 0.05

Result = TypeVar("Result")


class Checkpoints:
    """Whose turn it is to wait for the disk, and when a checkpoint may be made beside those who write."""

    def __init__(self) -> None:
        self._left = 0  # so many more at once; then the one that looks, and at -1 the one after it
        self._beside = False  # while the log is carried over beside them, all may have to wait
        self._to_carry = False  # whether there certainly is something in the log that is not in the file
        self._one_at_a_time = asyncio.Lock()
        self.ended = 0  # so many checkpoints that no COMMIT made

    @property
    def pages(self) -> int:
        """Return how long a log is to be carried over by a COMMIT in the thread; 0 if never."""
        return 0 if self._beside else PAGES

    @property
    def at_once(self) -> bool:
        """Tell whether a transaction may be made at once."""
        return self._left > 0 and not self._beside

    def committed(self, *, looked: bool, long: bool) -> None:
        """Count a transaction that wrote; when a `long` one is over, the next has to come after it."""
        if not looked:  # it was made at once, or while others were to carry over
            self._left = max(0, self._left - 1)
        else:
            self._left = _AT_ONCE if self._left < 0 and not long else -1

    def emptied(self) -> None:
        """Have whoever writes next begin the log anew in the thread, even if it could not be emptied.

        To be said while nobody can write: whoever is let in then asks at once how.
        """
        self._end()
        self._left = -1

    def written(self, ended: int) -> None:
        """Note that rows were committed which are to be carried over beside; `ended` is what it was before the COMMIT.

        A checkpoint that has ended since may have carried them over: then it is not certain that anything is left.
        """
        if self._beside and ended == self.ended:
            self._to_carry = True

    async def emptying(self, empty: Callable[[], Coroutine[None, None, bool]]) -> bool:
        """Empty the log while nobody else carries it over; `empty` has to say when it is `emptied`."""
        async with self._one_at_a_time:
            return await _to_its_end(asyncio.create_task(empty()))

    @asynccontextmanager
    async def meanwhile(self, path: str) -> AsyncIterator[None]:
        """Carry over what is written inside, beside those who write: else the COMMITs do it, and everybody waits."""
        done = asyncio.Event()
        self._beside, self._to_carry = True, False
        carrying = asyncio.create_task(self._carry_over(path, done))
        try:
            yield
        finally:
            done.set()
            try:
                await _to_its_end(carrying)  # the COMMITs that carry over again must not meet its checkpoint
            finally:
                self._beside = False
                self._left = 0  # what was committed during the last checkpoint is still to be carried over

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
            async with self._one_at_a_time:
                if self._to_carry:
                    try:
                        with suppress(sqlite3.Error):
                            await _to_its_end(asyncio.get_running_loop().run_in_executor(None, checkpoint))
                    finally:
                        self._end()

    def _end(self) -> None:
        """Have nothing carried over beside before more is written, whatever became of this checkpoint.

        It may have carried over what was committed while it ran. One that was refused met somebody else's, which may have
        carried over everything. What is left waits for what is written next, or for the COMMITs.
        """
        self.ended += 1
        self._to_carry = False


async def _to_its_end(task: asyncio.Future[Result]) -> Result:
    """Return what a task does; whoever is told to stop meanwhile stops when it is done."""
    told: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            told = error
    try:
        return task.result()
    finally:
        if told is not None:
            raise told
