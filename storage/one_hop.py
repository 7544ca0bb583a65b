"""Make one trip to SQLite's thread per statement, where the drivers' own cursors make four, or none at all.

aiosqlite hands every call to a thread, and SQLAlchemy opens a cursor, executes, fetches and closes it one call at a
time: most of a short statement's time is spent waiting for the thread. Here a statement and its rows are one call
(measured: 2.1 times as many short statements a second). Inside a writer's transaction they need no thread at all: whoever
holds the write lock waits for nobody, and is to be through soon (measured: half the CPU time of a message). Nor does COMMIT,
unless it may wait for the disk (storage/checkpoints.py). What may take its time goes to the thread: such a transaction's
BEGIN, with the first statement behind it, and its COMMIT; both of one that finds another process writing; the COMMIT of one
that took its time; readers; and all of a transaction that says so. The engine takes it by its documented `async_creator_fn`.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import aiosqlite

from storage.checkpoints import PAGES, Checkpoints

BUSY_TIMEOUT_MS: Final = 15_000
# SQLite's own waiting cannot be interrupted: so often a thread that waits for whoever writes looks whether it still has to.
_LOOK_MS: Final = 200
# Used by its thread a connection waits for whoever writes, and carries over what is long; where it is awaited, neither.
PATIENT: Final = (f"busy_timeout={BUSY_TIMEOUT_MS}", f"wal_autocheckpoint={PAGES}")
# What took longer than this has written much, which takes long to commit, or can spare the time: its COMMIT is the thread's.
_SHORT_SECONDS: Final = 0.005

# How long whoever opens a new file waits for another who does, and how often it tries.
_OPENED_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.01


class OneHopConnection(aiosqlite.Connection):
    """An aiosqlite connection whose cursors do everything about a statement at once."""

    # Whether statements inside a transaction are executed where they are awaited; for one that writes, what says which
    # transactions are made so from BEGIN to COMMIT, and whether the one under way is.
    direct = False
    checkpoints: Checkpoints | None = None
    _at_once = False
    _long = False
    _begun_at = 0.0
    _waits_and_carries = (BUSY_TIMEOUT_MS, PAGES)
    _changes = 0
    # Whether a statement was given to the thread whose answer nobody has waited for: what it does is not known.
    unanswered = False
    # Whether whoever gave it was told to stop meanwhile: then there is nobody to wait for a lock for.
    abandoned = False
    _beginning: str | None = None

    def begin(self, statement: str) -> None:
        """Begin a transaction by this statement as soon as there is something to do in it."""
        self._beginning = statement

    def taken_beginning(self) -> str | None:
        """Return by what the next statement must begin a transaction, once."""
        statement, self._beginning = self._beginning, None
        return statement

    def begun_at_once(self, statement: str) -> bool:
        """Begin a transaction if nobody has to be waited for: neither the disk nor some other process."""
        if self.checkpoints is None or not self.checkpoints.at_once:
            return False
        self._at_once, self._long = True, False
        self._behave(0, 0)
        try:
            self._conn.execute(statement)
        except sqlite3.Error:
            return False  # whoever waits for it in the thread is told what is wrong
        self._begun_at = time.monotonic()
        return True

    def leave_to_thread(self) -> None:
        """Have the thread wait for whoever has to be waited for in this transaction."""
        if self.checkpoints is not None:
            self._at_once, self._long = False, not self.direct
            self._behave(_LOOK_MS, self.checkpoints.pages)

    def _behave(self, busy_timeout_ms: int, pages: int) -> None:
        if self._waits_and_carries != (busy_timeout_ms, pages):
            self._waits_and_carries = busy_timeout_ms, pages
            self._conn.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
            self._conn.execute(f"PRAGMA wal_autocheckpoint={pages}")

    async def commit(self) -> None:
        """Commit what was begun."""
        if self.taken_beginning() is not None:
            return
        if self._at_once and time.monotonic() - self._begun_at > _SHORT_SECONDS:
            self.leave_to_thread()
        if self._at_once:
            self._conn.commit()
        else:
            await super().commit()
        changes, self._changes = self._changes, self._conn.total_changes
        if self.checkpoints is not None and changes != self._changes:  # it may count too many: a turn is wasted then
            _, pages = self._waits_and_carries
            self.checkpoints.committed(looked=pages > 0, long=self._long)

    async def empty_log(self, busy_timeout_ms: int) -> bool:
        """Carry the log over and cut it off, in the thread and outside of any transaction; False when that was refused.

        While another checkpoint runs beside it is, and at once, whatever the time-out
        (sqlite.org/c3ref/wal_checkpoint_v2.html).
        """
        self._behave(busy_timeout_ms, 0)
        rows, _ = await self.run("PRAGMA wal_checkpoint(TRUNCATE)", ())
        return not rows[0][0]

    async def run(self, statement: str, values: Sequence[Any]) -> tuple[list[Any], int]:
        """Execute a statement; return its rows, and how many it changed."""
        cursor = _Cursor(self)
        await cursor.execute(statement, values)
        return cursor._rows, cursor.rowcount  # noqa: SLF001  # of this file

    async def run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> tuple[list[Any], int]:
        """Execute a statement once for each row of values."""
        cursor = _Cursor(self)
        await cursor.executemany(statement, rows)
        return [], cursor.rowcount

    def cursor(self) -> Any:
        """Return a cursor; nothing is asked of the thread before there is a statement."""
        return _Cursor(self)

    async def rollback(self) -> None:
        """Roll back what there is: SQLAlchemy also asks for it after every commit, when there is nothing."""
        self.taken_beginning()
        if self.unanswered or self._conn.in_transaction:
            await super().rollback()


class _Cursor:
    """What SQLAlchemy's adapter uses of a cursor: the rows are fetched with the statement and kept until asked for."""

    def __init__(self, connection: OneHopConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Iterable[Any] = ()) -> Self:
        """Execute a statement and fetch what it returns."""

        def act(cursor: sqlite3.Cursor) -> list[Any]:
            cursor.execute(statement, tuple(parameters))
            return cursor.fetchall() if cursor.description else []

        return await self._act(act)

    async def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> Self:
        """Execute a statement once for each row of parameters."""

        def act(cursor: sqlite3.Cursor) -> list[Any]:
            cursor.executemany(statement, parameters)
            return []

        return await self._act(act)

    async def _act(self, act: Callable[[sqlite3.Cursor], list[Any]]) -> Self:
        connection = self._connection
        beginning = connection.taken_beginning()  # here: a rollback may come before the thread gets to it
        if connection.direct and (connection.in_transaction or (beginning and connection.begun_at_once(beginning))):
            self._do(act)
            return self
        if beginning is not None:
            connection.leave_to_thread()
        connection.unanswered = True
        try:
            await connection._execute(self._do, act, beginning)  # type: ignore[no-untyped-call]  # aiosqlite leaves it untyped  # noqa: SLF001  # the connection is our own subclass
        except asyncio.CancelledError:
            connection.abandoned = True
            raise
        connection.unanswered = False
        return self

    def _do(self, act: Callable[[sqlite3.Cursor], list[Any]], beginning: str | None = None) -> None:
        cursor = self._connection._conn.cursor()  # noqa: SLF001  # the connection is our own subclass
        try:
            if beginning is not None:
                self._begin(cursor, beginning)
            self._rows = act(cursor)
            self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()

    def _begin(self, cursor: sqlite3.Cursor, beginning: str) -> None:
        until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                cursor.execute(beginning)
                return
            except sqlite3.Error as error:
                if self._connection.abandoned or time.monotonic() > until or not _is_busy(error):
                    self._connection.begin(beginning)  # or the next statement would be committed by itself
                    raise

    async def fetchall(self) -> list[Any]:
        """Hand the rows over."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Do nothing: the cursor in the thread was closed with its statement."""


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY  # without its extended part


def connect(database: str, *, checkpoints: Checkpoints | None, **options: Any) -> OneHopConnection:
    """Return a connection to be awaited, as `aiosqlite.connect` does; its thread does not keep the process alive.

    One that writes is given the `checkpoints` of its process.
    """
    # Two threads use it, but never at once: each call is waited for.
    options["check_same_thread"] = False
    connection = OneHopConnection(lambda: sqlite3.connect(database, **options), iter_chunk_size=64)
    connection.direct = checkpoints is not None
    connection.checkpoints = checkpoints
    connection._thread.daemon = True  # noqa: SLF001  # as SQLAlchemy does it for connections it makes itself
    return connection


def tell(connection: Any, pragmas: Iterable[str]) -> None:
    """Tell a new connection of SQLAlchemy's what it has to know."""
    until = time.monotonic() + _OPENED_SECONDS
    cursor = connection.cursor()
    for pragma in pragmas:
        while True:
            try:
                cursor.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as error:
                # Of two who switch a new file to WAL the second is refused at once: where to wait could make a deadlock
                # SQLite asks no busy handler (sqlite.org/c3ref/busy_handler.html).
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                connection.run_async(lambda _: asyncio.sleep(_PAUSE_SECONDS))
    cursor.close()


@contextmanager
def in_its_thread(driver: object) -> Iterator[None]:
    """Have statements that take their time executed by a connection's own thread; another driver's are anyway."""
    if not isinstance(driver, OneHopConnection):
        yield
        return
    driver.direct = False
    try:
        yield
    finally:
        driver.direct = True
