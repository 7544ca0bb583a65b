"""Tell trouble of the database from mistakes of an operator's, and from mistakes of ours."""

import shlex
from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

# BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN (sqlite.org/rescode.html), without their extended parts.
_SQLITE_TROUBLE: Final = frozenset({5, 6, 8, 10, 13, 14})
# Connection, resources, an operator, the system (PostgreSQL's appendix on error codes).
_POSTGRES_TROUBLE: Final = frozenset({"08", "53", "57", "58"})
# What a stand-by says, and a server on which nothing may be written.
READ_ONLY: Final = "25006"
# What a PostgreSQL server that is there says when it will not have us, and what helps: `{name}` is the database's for a
# shell, `{database}` and `{user}` are names in SQL, `{named}` is where its address is written down.
_REMEDIES: Final[Mapping[str, str]] = {
    "3D000": "Make it with: createdb {name}",
    "28000": "Check the user in {named}, and whether the server's pg_hba.conf lets it in.",
    "28P01": "Check the user and the password in {named}.",
    "42501": "Let its user own the database and all that is in it, as by: ALTER DATABASE {database} OWNER TO {user}",
    # In the database itself that would be refused too.
    READ_ONLY: "Name the server that may be written to in {named}, or, from another database there, let this one be, as by: "
    "ALTER DATABASE {database} RESET default_transaction_read_only",
}
_NOT_A_DATABASE: Final = 26  # of SQLite's too
# What is noted of an OSError with which connecting to the server failed: those of the networks' servers look the same.
CONNECTING: Final = "while connecting to the database"


def is_trouble(error: BaseException) -> bool:
    """Tell whether the database itself is in trouble, whatever was asked of it: full, locked, out of reach, closed to us.

    What goes wrong while connecting to a server comes as the driver raised it, an OSError among it.
    """
    if isinstance(error, sa.exc.TimeoutError) or CONNECTING in getattr(error, "__notes__", ()):
        return True
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    state = state_of(error)
    return _code(error) in _SQLITE_TROUBLE or state[:2] in _POSTGRES_TROUBLE or state in _REMEDIES


def refusal(error: BaseException, url: sa.URL, named: str) -> str | None:
    """Return why a server will not have us, in its own words, and what to do; None when it is not that.

    Somebody has to mend it. `url` is the database's address, `named` where that is written down.
    """
    remedy = _REMEDIES.get(state_of(error))
    if remedy is None:
        return None
    database, user = url.database or "", url.username
    to_do = remedy.format(
        name=shlex.quote(database),
        database=_in_sql(database),
        user=_in_sql(user) if user else "<its user>",  # of the environment, which only the driver reads
        named=named,
    )
    return f"{_said(error)}. {to_do}"


def _in_sql(name: str) -> str:
    """Return a name as SQL takes it, whatever stands in it."""
    return '"' + name.replace('"', '""') + '"'


def no_sqlite(path: object, named: str) -> str:
    """Say that a file is something else, and what to do."""
    return f"{path} is no SQLite database. Restore a backup, or change {named}."


def why_it_cannot_be_opened(error: BaseException, url: sa.URL, address: str, named: str) -> str:
    """Say what is wrong with a database that gave no answer, and what to do; `named` is where its address is written."""
    if said := refusal(error, url, named):
        return f"The server of {address} refuses: {said}"
    if state_of(error):
        return f"The server of {address} answers, but cannot be used now: {_said(error)}. That may pass: try again."
    if _code(error) == _NOT_A_DATABASE:
        return no_sqlite(url.database, named)
    if _code(error):
        return f"{url.database} cannot be used: {_said(error)}. Is it another process's just now, and is {named} right?"
    return f"The database at {address} does not answer. Is it running, and is {named} right?"


def _code(error: BaseException) -> int:
    """Return SQLite's code of an error, without its extended part; 0 when there is none."""
    return (getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None) or 0) & 0xFF


def state_of(error: BaseException) -> str:
    """Return PostgreSQL's code of an error; empty when there is none."""
    return str(getattr(getattr(error, "orig", None) or error, "sqlstate", None) or "")


def _said(error: BaseException) -> str:
    """Return the first line of what the database itself says, without the driver's additions."""
    cause = getattr(error, "orig", None) or error
    return str(cause.__cause__ or cause).partition("\n")[0].rstrip(".")


def words_of(error: BaseException) -> str:
    """Return the driver's own words, of which the first line says what is wrong."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}".splitlines()[0]
