"""See whether the database answers, is this Reflock's, can be written to, and is opened by these keys."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.app import make_keys, open_database
from bot.doctor import Check, Finding, Mend, ok, sentences, unchecked, wrong
from bot.doctor.configuration import KEYS
from bot.doctor.files import database_file, owner_only, sqlite_path
from bot.doctor.installation import Installation
from storage import keys_in_use, messages
from storage.database import Database
from storage.engines import DatabaseError
from storage.unreadable import count_unreadable

_FILE: Final = "Database file"
_ANSWERS: Final = "Database"
_REVISION: Final = "Database revision"
_WRITABLE: Final = "Database writable"

# Older ones get no corrections any more (https://www.postgresql.org/support/versioning/, November 2026).
_OLDEST_POSTGRES: Final = 15
# What SQLite says of a file on which another one is at work (https://sqlite.org/rescode.html), without extended parts.
_HELD: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class DatabaseChecks:
    """The checks of one database."""

    def __init__(self, here: Installation) -> None:
        self._here = here
        self._path = sqlite_path(here)
        self._opened: Database | None = None

    def checks(self) -> list[Check]:
        """Return the checks."""
        return [
            *([] if self._path is None else self._of_file(self._path)),
            Check(_ANSWERS, self.answers, needs=() if self._path is None else (_FILE,)),
            Check(_REVISION, self.revision, needs=(_ANSWERS,)),
            Check(_WRITABLE, self.writable, needs=(_REVISION,)),
            Check("Keys fit the database", self.keys_fit, needs=(_WRITABLE, KEYS)),
        ]

    def _of_file(self, path: Path) -> list[Check]:
        keep_log = Mend(f"Let SQLite keep a write-ahead log for {path}?", self._open)
        return [
            Check(_FILE, partial(asyncio.to_thread, database_file, path, self._here, keep_log)),
            Check("Database file mode", partial(asyncio.to_thread, _mode, path)),
        ]

    async def _open(self) -> None:
        await self._database()  # each of our connections begins with asking for the log

    async def _database(self) -> Database:
        if self._opened is None:
            self._opened = await self._here.stack.enter_async_context(open_database(self._here.loaded))
        return self._opened

    async def answers(self) -> Finding:
        """Open the database; a file that is not there is not made by looking."""
        if self._path is not None and not await asyncio.to_thread(self._path.exists):
            return unchecked(f"{self._path} is not there yet; reflock run, or reflock db upgrade, makes it")
        try:
            database = await self._database()
        except DatabaseError as error:
            return self._held(error.__cause__) or wrong(*sentences(str(error)))
        async with database.reading() as connection:
            version = connection.dialect.server_version_info or ()
        shown = f"{'SQLite' if database.is_sqlite else 'PostgreSQL'} {'.'.join(map(str, version))}"
        if not database.is_sqlite and version < (_OLDEST_POSTGRES,):
            return wrong(f"{shown} gets no corrections any more", f"Move to PostgreSQL {_OLDEST_POSTGRES} or newer.")
        return ok(f"{database.address} answers ({shown})")

    async def revision(self) -> Finding:
        """Compare the schema with this code's."""
        database = await self._database()
        try:
            await database.check_version()
        except DatabaseError as error:
            found, remedy = sentences(str(error))
            mend = Mend(f"Run reflock db upgrade on {database.address}?", database.upgrade)
            # A newer one cannot be brought here: nobody in this code knows what is in it.
            return wrong(found, remedy, mend if "db upgrade" in remedy else None)
        return ok("the one of this Reflock")

    async def writable(self) -> Finding:
        """Write something, and take it back."""
        try:
            async with _taken_back(await self._database()) as connection:
                await messages.move_cursor(connection, "doctor", "")
        except (SQLAlchemyError, OSError) as error:
            return self._held(error) or wrong(
                f"nothing can be written: {_words(error)}", "Is the disk full, or the database read-only?"
            )
        return ok("something was written and taken back")

    def _held(self, error: BaseException | None) -> Finding | None:
        """Say that another process holds SQLite's file, where it is that."""
        code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
        if error is None or code & 0xFF not in _HELD:
            return None
        return wrong(
            f"another process holds {self._path} ({_words(error)})",
            f"Wait until it is done, or end it. Which one it is says: fuser -v {self._path}",
        )

    async def keys_fit(self) -> Finding:
        """Compare the keys with those that filled the database."""
        database, keys = await self._database(), make_keys(self._here.loaded)
        async with _taken_back(database) as connection:
            same = await keys_in_use.is_the_same(connection, keys)
        if not same:
            return wrong(
                "REFLOCK_PSEUDONYM_KEY is not the key with which this database was filled",
                "Restore the former key, or begin with an empty database.",
            )
        async with database.reading() as connection:
            stored, lost = await count_unreadable(connection, keys)
        if lost:
            return wrong(
                f"{lost} of {stored} stored secrets were encrypted with a key that is not in REFLOCK_GRANT_KEYS",
                "Put the former key back, behind the newest; if it is lost, give up what it encrypted: reflock db rotate --lost",
            )
        return ok(f"it was filled with this pseudonym key, and all of its {stored} secrets can be decrypted")


class _Undone(Exception):
    """Takes back what was tried."""


@asynccontextmanager
async def _taken_back(database: Database) -> AsyncIterator[AsyncConnection]:
    """Give a transaction of which nothing is kept."""
    try:
        async with database.transaction() as connection:
            yield connection
            raise _Undone
    except _Undone:
        return


def _words(error: BaseException) -> str:
    """Return what the database's driver says, without the statement that it says it of."""
    return str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]


def _mode(path: Path) -> Finding:
    """See who else may open SQLite's files."""
    if not path.exists():
        return unchecked(f"{path} is not there yet")
    return owner_only(path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")))
