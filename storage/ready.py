"""Execute statements that are known beforehand without asking SQLAlchemy each time what they mean.

For every execution SQLAlchemy composes the statement's text, its parameters and its result anew, which on SQLite is most of
a short statement's time (measured: 34 µs of 42). What was declared `ready` is composed once; then its executions
only hand text and values to the driver. Left to SQLAlchemy is what is more than that: rows returned for several rows of
parameters, an empty list to look in, on PostgreSQL, where parameters are numbered, any such list.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import greenlet_spawn

from storage.one_hop import OneHopConnection

Statement = TypeVar("Statement", bound=Any)

_EXPANDING: Final = re.compile(r"__\[POSTCOMPILE_(\w+)\]")

# By what a statement is known: itself. It is kept here, so nothing else can get its number.
_READY: Final[dict[int, Any]] = {}
_PLANS: Final[dict[tuple[object, ...], "_Plan"]] = {}


def ready(statement: Statement) -> Statement:
    """Declare that a statement is executed again and again, always as this very object; return it."""
    _READY[id(statement)] = statement
    return statement


class Rows(list[Any]):
    """What a statement returned, all of it: as much of SQLAlchemy's result as is used here."""

    __slots__ = ("rowcount",)

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        super().__init__(rows)
        self.rowcount = rowcount

    def all(self) -> Self:
        """Return every row."""
        return self

    def first(self) -> Any:
        """Return the first row, or None."""
        return self[0] if self else None

    def one(self) -> Any:
        """Return the only row."""
        if len(self) != 1:
            raise sa.exc.MultipleResultsFound if self else sa.exc.NoResultFound
        return self[0]

    def one_or_none(self) -> Any:
        """Return the only row, or None when there is none."""
        return self.one() if self else None

    def scalar(self) -> Any:
        """Return the first column of the first row, or None."""
        return self[0][0] if self else None

    def scalar_one(self) -> Any:
        """Return the first column of the only row."""
        return self.one()[0]

    def scalars(self) -> "Rows":
        """Return the first column of every row."""
        return Rows([row[0] for row in self], self.rowcount)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A statement as the driver is given it, and how values become parameters and rows become results."""

    text: str
    names: Sequence[str]
    fixed: Mapping[str, Any]
    processes: Sequence[tuple[str, Callable[[Any], Any]]]
    expanding: frozenset[str]
    numbered: bool
    metadata: Any
    results: Any

    @classmethod
    def of(cls, statement: Any, dialect: Dialect, parameters: Mapping[str, Any]) -> Self:
        """Compose a statement for parameters of these names."""
        compiled = statement.compile(dialect=dialect, column_keys=list(parameters))
        binds = compiled.binds
        if compiled.prefetch or any(each.callable for each in binds.values()):
            raise ValueError(f"What is made up at each execution cannot be ready: {compiled}")
        fixed = {name: value for name, value in compiled.params.items() if not binds[name].required}
        processes = [
            (name, process)
            for name in dict.fromkeys(compiled.positiontup)
            if (process := binds[name].type.dialect_impl(dialect).bind_processor(dialect)) is not None
        ]
        columns = compiled._result_columns  # noqa: SLF001  # nothing public has the names that rows will have
        results = [each.type.dialect_impl(dialect).result_processor(dialect, None) for each in columns]
        return cls(
            text=compiled.string,
            names=tuple(compiled.positiontup),
            fixed=fixed,
            processes=processes,
            expanding=frozenset(name for name in binds if binds[name].expanding),
            numbered=not dialect.paramstyle.startswith("q"),
            metadata=SimpleResultMetaData([each.keyname for each in columns]),
            results=results if any(results) else None,
        )

    def bound(self, parameters: Mapping[str, Any]) -> tuple[str, list[Any]] | None:
        """Return text and values of one execution; None when that is to be left to SQLAlchemy."""
        given = {**self.fixed, **parameters}
        try:
            for name, process in self.processes:
                given[name] = process(given[name])
            if not self.expanding:
                return self.text, [given[name] for name in self.names]
            if self.numbered:
                return None
            values: list[Any] = []
            for name in self.names:
                if name not in self.expanding:
                    values.append(given[name])
                elif given[name]:
                    values += given[name]
                else:
                    return None
        except KeyError:  # SQLAlchemy says which one is missing
            return None
        return _EXPANDING.sub(lambda found: ", ".join("?" * len(given[found[1]])), self.text), values

    def bound_many(self, many: Sequence[Mapping[str, Any]]) -> tuple[str, list[list[Any]]] | None:
        """Return text and values of an execution for several rows; None when that is to be left to SQLAlchemy."""
        bound = None if self.expanding or self.metadata.keys else [self.bound(each) for each in many]
        if not bound or None in bound:
            return None
        return self.text, [each[1] for each in bound if each is not None]

    def rows(self, found: Sequence[Any], rowcount: int) -> Rows:
        """Return what the driver found."""
        metadata, results, index = self.metadata, self.results, self.metadata._key_to_index  # noqa: SLF001  # what SQLAlchemy's own results hand over
        return Rows([sa.Row(metadata, results, index, row) for row in found], rowcount)


class _Asyncpg:
    """PostgreSQL's driver, used as SQLAlchemy's cursor uses it: it begins, prepares, and translates errors."""

    def __init__(self, connection: Any, dialect: Any) -> None:
        self._connection = connection
        self._dialect = dialect

    async def run(self, text: str, values: Sequence[Any]) -> tuple[Sequence[Any], int]:
        """Execute a statement; return its rows, and how many it changed."""
        with self._cursor() as cursor:
            await cursor._prepare_and_execute(text, values)  # noqa: SLF001  # its public way is the way around
            return cursor.fetchall(), cursor.rowcount

    async def run_many(self, text: str, rows: Sequence[Sequence[Any]]) -> tuple[Sequence[Any], int]:
        """Execute a statement once for each row of values."""
        with self._cursor() as cursor:
            await cursor._executemany(text, rows)  # noqa: SLF001  # the same
            return [], cursor.rowcount

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """Give a cursor; when a table proves to have been changed, prepare anew what was prepared before."""
        cursor, dialect = self._connection.cursor(), self._dialect
        cursor._invalidate_schema_cache_asof = dialect._invalidate_schema_cache_asof  # noqa: SLF001  # as SQLAlchemy does
        try:
            yield cursor
        except (dialect.dbapi.InvalidCachedStatementError, dialect.dbapi.InternalServerError):
            dialect._invalidate_schema_cache()  # noqa: SLF001  # as SQLAlchemy does
            raise


class ReadyConnection(AsyncConnection):
    """A connection that executes what is ready by the shortest way."""

    async def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Execute a statement, as SQLAlchemy's connection does it."""
        if id(statement) in _READY and execution_options is None and (driver := self._driver()) is not None:
            many = parameters if isinstance(parameters, list) and parameters else [parameters or {}]
            plan = self._plan(statement, many[0])
            if len(many) == 1:
                if (bound := plan.bound(many[0])) is not None:
                    return await self._execute(plan, driver.run, *bound)
            elif (rows := plan.bound_many(many)) is not None:
                return await self._execute(plan, driver.run_many, *rows)
        return await super().execute(statement, parameters, execution_options=execution_options)

    async def scalars(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Execute a statement and return the first column of its rows."""
        return (await self.execute(statement, parameters, execution_options=execution_options)).scalars()

    def _driver(self) -> OneHopConnection | _Asyncpg | None:
        """Return the driver's connection when it can be used directly."""
        made = self.sync_connection
        if made is None or made.closed or not made.in_transaction():
            return None
        if made.engine.dispatch.before_cursor_execute:  # whoever listens hears of every statement
            return None
        pooled = made.connection
        driver = pooled.driver_connection
        return driver if isinstance(driver, OneHopConnection) else _Asyncpg(pooled.dbapi_connection, self.dialect)

    def _plan(self, statement: Any, parameters: Mapping[str, Any]) -> _Plan:
        key = (id(statement), self.dialect.name, *parameters)
        plan = _PLANS.get(key)
        if plan is None:
            plan = _PLANS[key] = _Plan.of(statement, self.dialect, parameters)
        return plan

    async def _execute(self, plan: _Plan, run: Callable[[str, Any], Any], text: str, values: Any) -> Rows:
        driver_error = self.dialect.loaded_dbapi.Error
        try:
            return plan.rows(*await run(text, values))
        except BaseException as error:
            if not isinstance(error, Exception):  # given up in the middle: nobody knows how far it came
                await self.invalidate(error)
            if not isinstance(error, driver_error):
                raise
            pooled = self.sync_connection.connection  # type: ignore[union-attr]  # the driver was found by it
            lost = self.dialect.is_disconnect(error, pooled.dbapi_connection, None)
            if lost:
                # All that were opened before lead to the same server.
                self.engine.pool._invalidate(pooled, error, _checkin=False)  # noqa: SLF001  # as SQLAlchemy does
                await self.invalidate(error)
            raise sa.exc.DBAPIError.instance(
                text,
                values,
                error,
                driver_error,
                hide_parameters=True,
                connection_invalidated=lost,
                dialect=self.dialect,
            ) from error


class ReadyEngine(AsyncEngine):
    """An engine whose connections are such."""

    _connection_cls = ReadyConnection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """Make a transaction as SQLAlchemy's engine does, with two steps aside into what is not asynchronous, not five."""
        connection = ReadyConnection(self, await greenlet_spawn(_begun, self.sync_engine))
        try:
            yield connection
            await connection.run_sync(_commit_and_give_back)
        except BaseException:
            await connection.__aexit__(None, None, None)  # which rolls back, and cannot be given up in the middle
            raise


def _begun(engine: sa.Engine) -> sa.Connection:
    connection = engine.connect()
    try:
        connection.begin()
    except BaseException:
        connection.close()
        raise
    return connection


def _commit_and_give_back(connection: sa.Connection) -> None:
    try:
        connection.commit()
    except BaseException:
        connection.rollback()  # or it would go back as it is
        raise
    connection.close()
