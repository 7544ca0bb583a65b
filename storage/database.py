"""Open the database: one engine to write, one to read, and one way to make a transaction.

On SQLite a transaction takes the write lock when it begins: with the driver's deferred default, concurrent
read-then-write transactions silently lose updates or fail when they try to upgrade.
"""

import asyncio
import fcntl
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import sqlalchemy as sa
from sqlalchemy.engine.url import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage import one_hop
from storage.checkpoints import Checkpoints
from storage.engines import DatabaseError, opened, parse_url
from storage.ready import ReadyEngine, ready
from storage.tables import sequence
from storage.trouble import refusal, why_it_cannot_be_opened

# How often whoever holds a task looks whether the line to the server still stands.
_LOST_AFTER_SECONDS: Final = 3.0
# How often something is decided anew when another transaction got in its way.
_CONFLICTS: Final = 20
# How long a predecessor of the same name may take to end.
_PREDECESSOR_SECONDS: Final = 5
# So that two processes do not prepare the same empty database at once: any number that nobody else locks.
_UPGRADE_LOCK: Final = 7_363_565_446
_LOCK_NOT_AVAILABLE: Final = "55P03"  # PostgreSQL's appendix on error codes

# Where Alembic writes down which revision a database is of.
_VERSION: Final = sa.table("alembic_version", sa.column("version_num", sa.String()))

# Where an operator writes down which database it is.
CONFIGURED: Final = "[database] url (or REFLOCK_DATABASE_URL)"

Result = TypeVar("Result")

_WHEN_UNDONE: Final[WeakKeyDictionary[AsyncConnection, list[Callable[[], None]]]] = WeakKeyDictionary()


class Database:
    """The two engines and the transactions made on them; PostgreSQL shows their connections under a `name`."""

    def __init__(self, url: str, *, name: str = "reflock") -> None:
        self.url = parse_url(url)
        self.is_sqlite: Final = self.url.get_backend_name() == "sqlite"
        self._tasks: set[str] = set()
        self.checkpoints: Final = Checkpoints()
        self._writer = opened(self.url, readers=False, name=name, checkpoints=self.checkpoints)
        if self.is_sqlite:
            self._reader = opened(self.url, readers=True, name=name, checkpoints=self.checkpoints)
        else:  # the same connections: PostgreSQL's default would show every statement a newer state
            self._reader = ReadyEngine(self._writer.sync_engine.execution_options(isolation_level="REPEATABLE READ"))
            self._lines: Final[WeakSet[Any]] = WeakSet()  # every connection that there is
            sa.event.listen(
                self._writer.sync_engine, "connect", lambda made, _: self._lines.add(made.driver_connection)
            )

    @property
    def address(self) -> str:
        """Return where the database is, as an operator wrote it, without its password."""
        # Of the options only where a socket may be: others may be the password too, as in libpq's addresses.
        where = {name: value for name, value in self.url.query.items() if name in ("host", "port")}
        shown = self.url.set(drivername=self.url.get_backend_name(), query=where)
        return shown.render_as_string(hide_password=True)

    @asynccontextmanager
    async def transaction(self, *, long: bool = False) -> AsyncIterator[AsyncConnection]:
        """Commit what is written inside, or, on any exception, nothing of it.

        A `long` one has statements that take their time; they must not hold up what else this process does.
        """
        undo: list[Callable[[], None]] = []
        if self.is_sqlite:  # where nothing else may have to be waited for: whoever makes many lets others run
            await asyncio.sleep(0)
        try:
            async with self._writer.begin() as connection:
                _WHEN_UNDONE[connection] = undo
                driver = (await connection.get_raw_connection()).driver_connection if long else None
                with one_hop.in_its_thread(driver):
                    yield connection
        except BaseException:
            for each in undo:
                each()
            raise

    @asynccontextmanager
    async def alone(self, worker: str) -> AsyncIterator["Only"]:
        """Be the only living process of this name; DatabaseError when another one is.

        On PostgreSQL as long as the connection lives; on SQLite the file belongs to one process, whatever its name.
        """
        held = _alone_in_file(self.url) if self.is_sqlite else _alone_on_server(self._writer, worker, self._hang_up)
        async with held as only:
            yield only

    async def is_missing(self, connection: AsyncConnection, worker: str) -> bool:
        """Tell whether no process is alone under this name now; none can be before the commit.

        It may have died, or have lost its connection just now (see `alone`).
        """
        if self.is_sqlite:
            return False  # the file belongs to this process
        key = _lock_key(f"reflock worker {worker}")
        return bool(await connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(key))))

    @asynccontextmanager
    async def only_one(self, task: str) -> AsyncIterator["Only"]:
        """Tell whether this is the only one, of all processes on this database, that does a task now.

        Whoever is not may try again later; on SQLite there is no other process (see `alone`).
        """
        if task in self._tasks:
            yield Only(mine=False)
            return
        self._tasks.add(task)
        try:
            if self.is_sqlite:
                yield Only(mine=True)
                return
            async with _only_on_server(self._writer, task) as only:
                yield only
        finally:
            self._tasks.discard(task)

    @asynccontextmanager
    async def listening(self, channel: str, on_notice: Callable[[], None]) -> AsyncIterator[AsyncConnection]:
        """Be called back at every NOTIFY on a channel (PostgreSQL), as long as the connection lives that is given."""
        async with _connection_of_its_own(self._writer) as connection:
            driver = (await connection.get_raw_connection()).driver_connection

            def heard(*_: object) -> None:
                on_notice()

            await driver.add_listener(channel, heard)  # type: ignore[union-attr]  # asyncpg ships no types
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection on which one snapshot is read and nothing is written."""
        async with self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def much_written(self) -> AsyncIterator[None]:
        """Write so much inside that SQLite's log is to be carried over into its file meanwhile."""
        async with self.checkpoints.meanwhile(str(self.url.database)) if self.is_sqlite else nullcontext():
            yield

    async def empty_log(self, busy_timeout_ms: int) -> bool:
        """Have SQLite empty its log, waiting so long for those who read; False when that, or one who writes, prevents it.

        On the writer's connection, so that no COMMIT of this process runs beside it (see storage/checkpoints.py).
        """

        async def empty() -> bool:
            try:
                async with self._writer.connect() as connection:
                    driver: Any = (await connection.get_raw_connection()).driver_connection
                    try:
                        return bool(await driver.empty_log(busy_timeout_ms))
                    finally:
                        self.checkpoints.emptied()
            except sa.exc.TimeoutError:  # somebody keeps the connection
                return False

        return await self.checkpoints.emptying(empty)

    async def is_empty(self) -> bool:
        """Tell whether no revision was ever installed."""
        async with self.reading() as connection:
            return await connection.run_sync(_revision) is None

    async def check_version(self) -> None:
        """Refuse a database that is older or newer than this code, saying which."""
        with self.refusals_in_words():
            async with self.reading() as connection:
                found = await connection.run_sync(_revision)
        known = revisions()
        if found == known[-1]:
            return
        if found is None:
            raise DatabaseError("The database is empty. Prepare it with: reflock db upgrade")
        if found not in known:
            raise DatabaseError(f"The database (revision {found}) is newer than this Reflock. Install a newer Reflock.")
        raise DatabaseError(f"The database (revision {found}) is older than this Reflock. Run: reflock db upgrade")

    async def upgrade(self) -> None:
        """Bring the schema to this code's revision; a newer one is refused."""
        from alembic import command

        async with self.reading() as connection:
            found = await connection.run_sync(_revision)
        if found is not None and found not in revisions():
            raise DatabaseError(f"The database (revision {found}) is newer than this Reflock. Install a newer Reflock.")

        def run(connection: sa.Connection) -> None:
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

        async with self.transaction() as connection:
            # Alone from here on: Alembic keeps what it is about in the whole process. On SQLite any statement takes the lock.
            alone = sa.literal(1) if self.is_sqlite else sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)
            await connection.execute(sa.select(alone))
            await connection.run_sync(run)

    @contextmanager
    def refusals_in_words(self) -> Iterator[None]:
        """Raise DatabaseError, saying what to do, when the server does not let us do something."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            if said := refusal(error, self.url, CONFIGURED):
                raise DatabaseError(f"The server of {self.address} refuses: {said}") from error
            raise

    def _hang_up(self) -> None:
        """Hang up on a server that is silent, on every line to it: whoever waits for an answer learns that none comes."""
        for each in list(self._lines):
            each.terminate()

    async def close(self) -> None:
        """Close every connection; a server that is silent is not waited for long."""
        try:
            async with asyncio.timeout(_LOST_AFTER_SECONDS):
                await self._writer.dispose()
        except TimeoutError:
            self._writer.sync_engine.dispose()  # not awaited, it waits for nobody
        if self.is_sqlite:
            await self._reader.dispose()


def revisions() -> list[str]:
    """List the schema's revisions this code knows, oldest first.

    The files are named by them; Alembic, which takes eight megabytes, is only needed to go from one to the next.
    """
    names = (each.name for each in (files("storage") / "migrations" / "versions").iterdir())
    return sorted(name.partition("_")[0] for name in names if name[0].isdigit() and name.endswith(".py"))


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("storage") / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(_VERSION.name):
        return None
    return connection.scalar(sa.select(_VERSION.c.version_num))


def is_conflict(error: BaseException) -> bool:
    """Tell whether PostgreSQL ended a transaction for another one's sake: the same thing, tried again, may succeed.

    40001 and 40P01 are serialization_failure and deadlock_detected (PostgreSQL's appendix on error codes).
    """
    return isinstance(error, sa.exc.DBAPIError) and getattr(error.orig, "sqlstate", None) in ("40001", "40P01")


async def patiently(decide: Callable[[], Awaitable[Result]]) -> Result:
    """Do something that makes one transaction, and do it again as long as that is ended for another one's sake."""
    for _ in range(_CONFLICTS):
        try:
            return await decide()
        except sa.exc.DBAPIError as error:
            if not is_conflict(error):
                raise
    return await decide()


def when_undone(connection: AsyncConnection, undo: Callable[[], None]) -> None:
    """Have something called should the transaction not be committed, for whatever reason.

    That includes a COMMIT that fails, and one of which nobody knows whether it did.
    """
    _WHEN_UNDONE.get(connection, []).append(undo)


@dataclass(frozen=True, slots=True)
class Only:
    """Whether a task is this process's alone, which is what it says in an `if`."""

    mine: bool
    connection: AsyncConnection | None = None
    on_silence: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        return self.mine

    async def lost(self) -> None:
        """Return when it can no longer be sure that it is: the server may have given the task to somebody else."""
        while True:
            await asyncio.sleep(_LOST_AFTER_SECONDS)
            if self.connection is not None:
                try:
                    async with asyncio.timeout(_LOST_AFTER_SECONDS):
                        await self.connection.execute(sa.text("SELECT 1"))
                except (sa.exc.SQLAlchemyError, OSError) as error:
                    if isinstance(error, TimeoutError) and self.on_silence is not None:
                        self.on_silence()
                    return

    async def during(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something as long as it can be sure; else end it, and raise DatabaseError."""
        doing, losing = asyncio.create_task(work), asyncio.create_task(self.lost())
        try:
            await asyncio.wait((doing, losing), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
        finally:
            doing.cancel()
            losing.cancel()
            await asyncio.gather(doing, losing, return_exceptions=True)
        raise DatabaseError(
            "The connection was lost that keeps others from doing the same at once, so this was ended early. Nothing is "
            "damaged, and it can be done again."
        )


@asynccontextmanager
async def _connection_of_its_own(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection to lock, set and listen by, which is hung up afterwards.

    So all that is undone at once, and without an answer of the server's, which may have fallen silent.
    """
    async with engine.connect() as plain:
        try:
            yield await plain.execution_options(isolation_level="AUTOCOMMIT")
        finally:
            await plain.invalidate()


@asynccontextmanager
async def _only_on_server(engine: AsyncEngine, task: str) -> AsyncIterator[Only]:
    """Ask once for a task; only a line that holds it is hung up, for whoever stands by asks every few seconds."""
    key = _lock_key(f"reflock task {task}")
    async with engine.connect() as plain:
        mine = True  # for all that is known before the answer: such a line must not be given to others
        try:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            mine = bool(await connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))))
            if mine:  # have the server notice within ten seconds that the machine at the other end is gone
                for name, value in {"idle": 3, "interval": 2, "count": 3}.items():
                    await connection.execute(sa.text(f"SET tcp_keepalives_{name} = {value}"))
            yield Only(mine=mine, connection=connection)
        finally:
            if mine:
                await plain.invalidate()


def _lock_key(name: str) -> int:
    """Return the number of PostgreSQL's advisory lock of this name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


@asynccontextmanager
async def _alone_on_server(engine: AsyncEngine, worker: str, on_silence: Callable[[], None]) -> AsyncIterator[Only]:
    key = _lock_key(f"reflock worker {worker}")
    async with _connection_of_its_own(engine) as connection:
        # Of a machine that is gone without a word the server hears within two minutes, not hours.
        for name, value in {"idle": 60, "interval": 15, "count": 4}.items():
            await connection.execute(sa.text(f"SET tcp_keepalives_{name} = {value}"))
        await connection.execute(sa.text(f"SET lock_timeout = '{_PREDECESSOR_SECONDS}s'"))
        try:
            await connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            raise DatabaseError(
                f"Another Reflock named {worker!r} works on this database. Give this one another --worker, or "
                "[bot] worker, or end that one."
            ) from None
        yield Only(mine=True, connection=connection, on_silence=on_silence)


@asynccontextmanager
async def _alone_in_file(url: URL) -> AsyncIterator[Only]:
    with Path(f"{url.database}.lock").open("wb") as file:  # noqa: ASYNC230  # opened once, when the process starts
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DatabaseError(
                f"Another Reflock works on {url.database}. End that one first, or give this one a database of its own."
            ) from None
        yield Only(mine=True)


def next_numbers(name: Any) -> Any:
    """Make the statement that gives out the next number of a sequence; what is in a transaction follows its commit."""
    return (
        sa.update(sequence)
        .where(sequence.c.name == name)
        .values(value=sequence.c.value + 1)
        .returning(sequence.c.value)
    )


_NEXT: Final = ready(next_numbers(sa.bindparam("sequence")))


async def next_number(connection: AsyncConnection, name: str) -> int:
    """Give out the next number of a sequence; its row stays locked until the commit, so numbers follow the commits."""
    value = await connection.scalar(_NEXT, {"sequence": name})
    if value is None:
        raise DatabaseError(f"The database has no sequence {name!r}. Run: reflock db upgrade")
    return int(value)


async def wait_for(database: Database, seconds: float, named: str = CONFIGURED) -> None:
    """Wait until the database answers; raise DatabaseError, saying what to do, when it refuses or does not in time."""
    try:
        async with asyncio.timeout(seconds), database.reading() as connection:
            await connection.execute(sa.text("SELECT 1"))
    except Exception as error:  # whatever drivers raise for a host or an option that cannot be
        raise DatabaseError(why_it_cannot_be_opened(error, database.url, database.address, named)) from error
