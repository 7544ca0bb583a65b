"""Copy everything from one database into an empty one, of either kind: all of it in one transaction, or nothing."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import links
from storage.database import Database
from storage.engines import DatabaseError
from storage.tables import account, metadata, sequence, upload

# What is held in memory at a time: so many rows, and of their blobs so many bytes, unless a single one is longer.
_ROWS_A_PAGE: Final = 1_000
_BYTES_A_PAGE: Final = 4 << 20

HOW_TO_TELL: Final = (
    "The same command tells which: it refuses a database that is not empty, which is then the whole copy, and else "
    "begins again."
)

_INSUFFICIENT_PRIVILEGE: Final = "42501"  # PostgreSQL's appendix on error codes

# Where SQLite keeps the last id of each table that must give out none twice.
_LAST_IDS: Final = sa.table("sqlite_sequence", sa.column("name", sa.String()), sa.column("seq", sa.BigInteger()))


@dataclass(frozen=True, slots=True)
class Copied:
    """What was taken along."""

    people: int
    links: int
    rows: int


async def copy(
    source: Database,
    target: Database,
    progress: Callable[[int, int], None],
    on_commit: Callable[[], None] = lambda: None,
) -> Copied:
    """Copy everything into a database that is empty; DatabaseError when that cannot be. `progress` is told rows done, and all.

    Ids stay what they are, and those that were given out once are not given out by the copy either. When `on_commit` is
    called nothing is left but to commit: whoever gives up from then on does not know what came of it.
    """
    committing = False
    name = f"db copy {secrets.token_hex(8)}"
    with _in_words(target, lambda: committing):
        await source.check_version()
        async with _alone(source, name) as at_source:
            await _refuse_itself(source, target, name)
            async with _alone(target, name) as at_target:
                await _refuse_filled(target)
                await target.upgrade()
                # What is looked at for changes is looked at before what is copied, so that nothing is written in between.
                async with source.reading() as watched:
                    before = await _state(watched)
                    async with source.reading() as old, target.transaction(long=True) as new:
                        copied = await _copy_rows(old, new, target, progress)
                        await _refuse_company(source, at_source)
                        await _refuse_company(target, at_target)
                        if await _state(watched) != before:
                            raise DatabaseError(
                                f"Something was written to {source.address} meanwhile (a forget, a review?): the copy was "
                                "undone. Begin again."
                            )
                        committing = True
                        on_commit()
    return copied


async def _copy_rows(
    old: AsyncConnection, new: AsyncConnection, target: Database, progress: Callable[[int, int], None]
) -> Copied:
    last = await _last_ids(old)
    await new.execute(sa.delete(sequence))  # where each begins was written with the schema
    counted = await _count(old)
    done, rows = 0, sum(counted.values())
    for table in metadata.sorted_tables:  # whoever is referred to comes first
        insert = str(sa.insert(table).inline().compile(dialect=new.dialect, column_keys=table.c.keys()))
        with _in_words(target, table=table):
            async for page in _pages(old, table):
                await new.exec_driver_sql(insert, page)
                done += len(page)
                progress(done, rows)
    await _go_on_counting(new, last)
    if differing := [name for name, n in (await _count(new)).items() if n != counted[name]]:
        raise DatabaseError(
            f"The copy does not hold as many rows as the database that was copied (of {', '.join(differing)}): it was "
            "undone. Does something else write there? End it, then begin again."
        )
    people = await new.scalar(
        sa.select(sa.func.count(sa.distinct(account.c.person_id)))
    )  # not those who were forgotten
    return Copied(people or 0, (await links.counts(new)).links, rows)


async def _pages(connection: AsyncConnection, table: sa.Table) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
    """Yield all rows, in pages by their primary key; how long blobs are is asked for before they are read."""
    columns = list(table.primary_key.columns)
    key, types = sa.tuple_(*columns), [each.type for each in columns]
    blobs = [each for each in table.c if isinstance(each.type, sa.LargeBinary)]
    size = sum((sa.func.coalesce(sa.func.length(each), 0) for each in blobs), start=sa.literal(0))
    beyond: list[Any] = []
    while True:
        sizes = (
            await connection.execute(sa.select(*columns, size).where(*beyond).order_by(*columns).limit(_ROWS_A_PAGE))
        ).all()
        if not sizes:
            return
        last = sa.tuple_(*_last_of_a_page(sizes), types=types)
        rows = await connection.execute(sa.select(table).where(*beyond, key <= last).order_by(*columns))
        yield [tuple(row) for row in rows]
        beyond = [key > last]


def _last_of_a_page(sizes: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Return the primary key of the last row that goes into a page; at least one does."""
    taken = 0
    last = sizes[0]
    for row in sizes:
        taken += row[-1]
        if taken > _BYTES_A_PAGE:
            break
        last = row
    return last[:-1]


async def _count(connection: AsyncConnection) -> dict[str, int]:
    """Return how many rows each table has."""
    return {
        table.name: int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)
        for table in metadata.sorted_tables
    }


async def _last_ids(connection: AsyncConnection) -> dict[str, int]:
    """Return for each table that numbers its rows the last number it gave out, though its row may be gone."""
    last: dict[str, int] = {}
    for table in metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        given: sa.Select[Any] | sa.TextClause
        if connection.dialect.name == "sqlite":
            given = sa.select(_LAST_IDS.c.seq).where(_LAST_IDS.c.name == table.name)
        else:  # not by pg_sequence_last_value, which is as silent about one that may not be read as about an unused one
            counter = await connection.scalar(sa.select(sa.func.pg_get_serial_sequence(table.name, column.name)))
            given = sa.text(f"SELECT last_value FROM {counter} WHERE is_called")  # noqa: S608  # PostgreSQL quoted it
        highest = await connection.scalar(sa.select(sa.func.max(column)))
        last[table.name] = max(await connection.scalar(given) or 0, highest or 0)
    # Lists are numbered by the table itself on SQLite, in the order of the commits on PostgreSQL.
    numbered = await connection.scalar(sa.select(sequence.c.value).where(sequence.c.name == upload.name))
    last[upload.name] = max(last[upload.name], numbered or 0)
    return last


async def _go_on_counting(connection: AsyncConnection, last: Mapping[str, int]) -> None:
    """Have every table go on after the last number that was given out."""
    for name, number in last.items():
        table = metadata.tables[name]
        if number and connection.dialect.name == "sqlite":
            await connection.execute(sa.delete(_LAST_IDS).where(_LAST_IDS.c.name == name))
            if table.dialect_options["sqlite"]["autoincrement"]:
                await connection.execute(sa.insert(_LAST_IDS).values(name=name, seq=number))
        elif number and table.autoincrement_column is not None:
            counter = sa.func.pg_get_serial_sequence(table.name, table.autoincrement_column.name)
            await connection.execute(sa.select(sa.func.setval(sa.cast(counter, REGCLASS), number)))
    following = sa.update(sequence).where(sequence.c.name == upload.name).values(value=last[upload.name])
    await connection.execute(following)


async def _state(connection: AsyncConnection) -> object:
    """Return what is not the same any more when anything was written; only one from the same connection compares."""
    if connection.dialect.name == "sqlite":
        state: object = await connection.scalar(sa.text("PRAGMA data_version"))
    else:
        # Whatever is written makes a version of a row, which bears the number of its transaction, or takes one away.
        versions = sa.select(sa.func.count(), sa.func.sum(sa.cast(sa.cast(sa.column("xmin"), sa.Text), sa.BigInteger)))
        state = [(await connection.execute(versions.select_from(table))).one() for table in metadata.sorted_tables]
    await connection.rollback()  # the next one sees what was written until then
    return state


@asynccontextmanager
async def _alone(database: Database, name: str) -> AsyncIterator[int | None]:
    """Be the only Reflock on a database; DatabaseError when another one works on it.

    On PostgreSQL the number is given of the server's process that holds the lock by which this one is (see
    `Database.alone`).
    """
    async with database.alone(name) as only:
        holder = await only.connection.scalar(sa.select(sa.func.pg_backend_pid())) if only.connection else None
        await _refuse_company(database, holder)
        yield holder


async def _refuse_itself(source: Database, target: Database, name: str) -> None:
    """Refuse the database that is copied, which is held by this name, whatever address it is given by."""
    itself = source.url == target.url
    if source.is_sqlite and target.is_sqlite:
        itself = Path(str(source.url.database)).samefile(str(target.url.database))  # noqa: ASYNC240  # once
    elif not itself and not source.is_sqlite and not target.is_sqlite:
        async with target.reading() as connection:
            itself = not await target.is_missing(connection, name)
    if itself:
        raise DatabaseError(f"{target.address} is the database that is to be copied. Give another one, which is empty.")


async def _refuse_company(database: Database, holder: int | None) -> None:
    """Refuse when another Reflock works on a PostgreSQL database, or may have, for this one's lock is gone.

    Every process that runs there holds a lock by its name. SQLite's file belongs to whoever is alone in it.
    """
    if database.is_sqlite:
        return
    async with database.reading() as connection:
        holders = await connection.scalars(
            sa.text(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )
    at_work = set(holders)
    if at_work - {holder}:
        raise DatabaseError(f"A Reflock works on {database.address}. End every process of it, then begin again.")
    if holder not in at_work:
        raise DatabaseError(
            f"The connection that kept every other Reflock away from {database.address} was cut, by the server (its "
            "idle_session_timeout?) or on the way there, so one may have worked on it meanwhile. Nothing was copied: "
            "mend that, then begin again with the same command."
        )


async def _refuse_filled(database: Database) -> None:
    """Refuse a database that holds anything: it is neither overwritten nor mixed with another one."""
    async with database.reading() as connection:
        there = set(await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names()))
        for table in metadata.sorted_tables:
            used = sa.select(sa.literal(1)).select_from(table)
            if table is sequence:  # its rows come with the schema
                used = used.where(sequence.c.value > 0)
            if table.name in there and await connection.scalar(used.limit(1)):
                raise DatabaseError(
                    f"{database.address} is not empty: there is something in its table {table.name}. Give another, empty "
                    "database, or drop this one and make it anew if nobody needs it (to start Reflock on it is enough to fill it); "
                    "it was left as it is."
                )


@contextmanager
def _in_words(
    target: Database, is_committing: Callable[[], bool] = lambda: False, *, table: sa.Table | None = None
) -> Iterator[None]:
    """Say in words what became of the copy, should a database fail, and, when it is known, at which table."""
    try:
        yield
    except (sa.exc.DBAPIError, OSError) as error:
        if is_committing() and getattr(error, "connection_invalidated", True):
            raise DatabaseError(
                f"The connection to {target.address} was lost while the copy was committed ({_reason(error)}): it holds "
                f"everything, or nothing. {HOW_TO_TELL}"
            ) from error
        where = "" if table is None else f" at the table {table.name}"
        mend = "mend that"
        if getattr(getattr(error, "orig", None), "sqlstate", None) == _INSUFFICIENT_PRIVILEGE:
            mend = (
                "let the role in its address own the new database, or create tables in it (GRANT CREATE ON SCHEMA "
                "public), and the one in the old one's address read everything there (GRANT SELECT ON ALL TABLES IN "
                "SCHEMA public, and the same ON ALL SEQUENCES)"
            )
        raise DatabaseError(
            f"The copy to {target.address} broke off{where} ({_reason(error)}). Nothing was copied: {mend}, then begin "
            "again with the same command."
        ) from error


def _reason(error: BaseException) -> str:
    """Return what a database calls its trouble, without what people said, which stands in its longer messages."""
    orig = getattr(error, "orig", None) or error
    return getattr(orig, "sqlite_errorname", None) or type(orig.__cause__ or orig).__name__
