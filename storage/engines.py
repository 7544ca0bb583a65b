"""Make the engines that a database is used by, each as its kind wants it."""

import asyncio
import re
import time
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.engine.url import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from storage import one_hop
from storage.checkpoints import Checkpoints
from storage.ready import ReadyEngine
from storage.trouble import CONNECTING, READ_ONLY, state_of

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
# What every connection to SQLite is told first.
PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    *one_hop.PATIENT,
    "foreign_keys=ON",
    "secure_delete=ON",
)
_READERS: Final = 4
_PORTS: Final = range(1, 65_536)
_UNREADABLE: Final = "The database URL cannot be read. Write sqlite:///reflock.sqlite3 or postgresql://user@host/name."
# After so long without a word a connection to a server is asked whether it still stands before it is used.
_SILENT_SECONDS: Final = 1.0
# How long a server may take to let us in; asyncpg's own limit is a minute.
_CONNECTING_SECONDS: Final = 10.0
# A transaction in which nothing is asked for so long is a frozen process's, and what it locks everybody waits for.
_FROZEN_SECONDS: Final = 60
# How long the answer to that may take, which comes at once or never: after a failover nobody says that it is gone.
_ANSWER_SECONDS: Final = 3.0


class DatabaseError(Exception):
    """The database cannot be used; the text says why and what to do."""


def parse_url(text: str) -> URL:
    """Read a database URL, with or without a driver; refuse what is neither SQLite nor PostgreSQL, or leads nowhere."""
    try:
        holds_nul = b"\0" in unquote(text, errors="strict").encode()
        url = make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # the second one for a port that is no number, and half a character
        raise DatabaseError(_UNREADABLE) from None
    if holds_nul:
        raise DatabaseError(_UNREADABLE)
    backend = url.get_backend_name()
    if backend not in _DRIVERS:
        raise DatabaseError(f"Reflock keeps its data in SQLite or PostgreSQL, not in {backend}.")
    if url.port is not None and url.port not in _PORTS:
        raise DatabaseError("The database URL has a port that cannot be. Write a number from 1 to 65535, or none.")
    before_the_host = re.split("[/?]", text.partition("://")[2])[0].count("@")
    if backend != "sqlite" and text.count("@") > min(before_the_host, 1):
        # What stands before it may be the rest of a password, which is shown nowhere.
        raise DatabaseError(
            "The database URL has an @ where none can be. Write the @, / and ? of a name, a password or an option as %40, "
            "%2F and %3F."
        )
    if (mode := url.query.get("sslmode")) is not None:  # libpq's name for it, which hosters hand out
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return url.set(drivername=_DRIVERS[backend])


def opened(url: URL, *, readers: bool, name: str, checkpoints: Checkpoints) -> ReadyEngine:
    """Make the engine of a database: for whoever writes or, on SQLite, for readers; PostgreSQL is told the `name`."""
    if url.get_backend_name() != "sqlite":
        made = _made(url, pool_size=10, max_overflow=10, connect_args=_as_connections_are(name))
        engine = ReadyEngine(made.sync_engine)
        # Whoever closes a connection waits two seconds for the server to agree, not for ever.
        engine.dialect.do_close = engine.dialect.do_terminate  # type: ignore[method-assign]  # there is no event for it
        _ask_after_a_pause(engine.sync_engine)
        _note_what_fails(engine.sync_engine)
        _leave_what_is_read_only(engine.dialect)
        return engine
    if url.database in (None, "", ":memory:") or url.query:
        raise DatabaseError("Reflock needs a database file, without options: sqlite:///reflock.sqlite3")
    # One writer: SQLite has one write lock, and to queue for it here beats to poll for it there.
    made = _made(
        url,
        pool_size=_READERS if readers else 1,
        max_overflow=0,
        pool_timeout=one_hop.BUSY_TIMEOUT_MS / 1000,
        connect_args={"async_creator_fn": partial(one_hop.connect, checkpoints=None if readers else checkpoints)},
    )
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        Path(url.database).touch(mode=0o600)  # made by us for nobody else to read; one that exists keeps its mode
    except OSError as error:
        raise DatabaseError(
            f"The database cannot be made in {folder}: {error.strerror}. Is [database] url right?"
        ) from None
    engine = ReadyEngine(made.sync_engine)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        one_hop.tell(connection, (*PRAGMAS, *(("query_only=ON",) if readers else ())))

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        made: one_hop.OneHopConnection = connection.connection.driver_connection  # type: ignore[assignment]  # see above
        made.begin("BEGIN" if readers else "BEGIN IMMEDIATE")

    return engine


def _as_connections_are(name: str) -> dict[str, Any]:
    """Return how connections to PostgreSQL are opened: under a name, and not to hold up others when somebody is gone."""
    return {
        "timeout": _CONNECTING_SECONDS,
        "server_settings": {
            "application_name": name,  # which pg_stat_activity shows
            "idle_in_transaction_session_timeout": f"{_FROZEN_SECONDS}s",
            # Of a machine that is gone without a word the server hears within two minutes, not hours.
            "tcp_keepalives_idle": "60",
            "tcp_keepalives_interval": "15",
            "tcp_keepalives_count": "4",
        },
    }


def _made(url: URL, **options: Any) -> AsyncEngine:
    """Make an engine; what people said must not get into the log with an error."""
    try:
        return create_async_engine(url, hide_parameters=True, **options)
    except (sa.exc.ArgumentError, ValueError, TypeError):
        raise DatabaseError(
            "The database URL has a host, a port or an option that cannot be. Write sqlite:///reflock.sqlite3 or "
            "postgresql://user@host:5432/name."
        ) from None


def _ask_after_a_pause(engine: sa.Engine) -> None:
    """Have the pool open other connections when the server is gone to which those in it lead.

    To ask each time would be one more question in every transaction: that it hung up the driver knows by itself.
    """

    @sa.event.listens_for(engine, "checkin")
    def given_back(_connection: object, record: Any) -> None:
        record.info["silent_since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def taken(connection: Any, record: Any, _proxy: object) -> None:
        if record.driver_connection.is_closed():
            raise sa.exc.InvalidatePoolError
        if time.monotonic() - record.info.get("silent_since", time.monotonic()) < _SILENT_SECONDS:
            return
        hanging_up = asyncio.get_running_loop().call_later(_ANSWER_SECONDS, record.driver_connection.terminate)
        try:
            engine.dialect.do_ping(connection)
        except (engine.dialect.loaded_dbapi.Error, OSError) as error:
            raise sa.exc.InvalidatePoolError from error
        finally:
            hanging_up.cancel()


def _note_what_fails(engine: sa.Engine) -> None:
    """Have an OSError say that it was the database that could not be reached, and no other server."""

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: object, arguments: Any, named: Any) -> Any:
        try:
            return dialect.connect(*arguments, **named)
        except OSError as error:
            error.add_note(CONNECTING)
            raise


def _leave_what_is_read_only(dialect: Any) -> None:
    """Have the pool connect anew where nothing may be written: another server may have taken its place by then."""
    is_lost = dialect.is_disconnect

    def is_lost_or_read_only(error: Exception, *connected: object) -> bool:
        return state_of(error) == READ_ONLY or bool(is_lost(error, *connected))

    dialect.is_disconnect = is_lost_or_read_only
