"""Tell trouble of the database from mistakes of ours."""

from typing import Final

import sqlalchemy as sa

# BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN (sqlite.org/rescode.html), without their extended parts.
_SQLITE_TROUBLE: Final = frozenset({5, 6, 8, 10, 13, 14})
# Connection, resources, an operator, the system (PostgreSQL's appendix on error codes).
_POSTGRES_TROUBLE: Final = frozenset({"08", "53", "57", "58"})
# What is noted of an OSError with which connecting to the server failed: those of the networks' servers look the same.
CONNECTING: Final = "while connecting to the database"


def is_trouble(error: BaseException) -> bool:
    """Tell whether the database itself is in trouble, whatever was asked of it: full, locked, read-only, out of reach.

    What goes wrong while connecting to a server comes as the driver raised it, an OSError among it.
    """
    if isinstance(error, sa.exc.TimeoutError) or CONNECTING in getattr(error, "__notes__", ()):
        return True
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    state = str(getattr(cause, "sqlstate", None) or "")
    return (code or 0) & 0xFF in _SQLITE_TROUBLE or state[:2] in _POSTGRES_TROUBLE


def words_of(error: BaseException) -> str:
    """Return the driver's own words, of which the first line says what is wrong."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}".splitlines()[0]
