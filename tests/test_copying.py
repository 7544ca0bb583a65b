"""Whoever grows out of a database takes everything along to one of the other kind, and the bot goes on there."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from bot.app import open_app
from storage import accounts, privacy
from storage.copying import Copied, copy
from storage.database import Database
from storage.engines import DatabaseError
from storage.keys import Keys
from storage.records import NetworkName
from storage.segments import tend
from storage.segments_check import verify
from storage.tables import cursor, metadata, person, report, told, upload
from tests.conftest import START, OwnClock, fresh_postgres
from tests.flock import Flock, open_flock
from tests.reunion import friends_of, said_once, traveller
from tests.test_bot_process import start
from tests.test_index_commands import reflock, write_configuration
from tests.test_storage_privacy import somebody_waits
from tests.test_storage_segments import SMALL, hand_over
from tests.test_storage_segments import person as meet


@pytest.fixture
async def other_url(database_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database of the other kind."""
    if database_url.startswith("sqlite"):
        return await fresh_postgres(request.getfixturevalue("postgres"))
    return f"sqlite:///{tmp_path / 'other.sqlite3'}"


@pytest.fixture
async def other(other_url: str) -> AsyncIterator[Database]:
    opened = Database(other_url)
    yield opened
    await opened.close()


@asynccontextmanager
async def from_to(source: str, target: str) -> AsyncIterator[tuple[Database, Database]]:
    """Open a database, which is prepared, and another to copy it into, of which nothing is."""
    database, empty = Database(source), Database(target)
    await database.upgrade()
    yield database, empty
    await database.close()
    await empty.close()


async def newest_slot(database: Database) -> int:
    """Return the slot of the list that was handed over last."""
    async with database.reading() as connection:
        return int(await connection.scalar(sa.select(sa.func.max(upload.c.slot))) or 0)


async def everything(database: Database) -> dict[str, list[Any]]:
    async with database.reading() as connection:
        return {
            table.name: sorted((await connection.execute(sa.select(table))).all(), key=repr)
            for table in metadata.sorted_tables
            if table.name != "sequence"  # how each kind numbers its lists is its own affair
        }


def nobody_told(_done: int, _whole: int) -> None:
    """Tell nobody how far it is."""


# The bot goes on.


@asynccontextmanager
async def moved(flock: Flock, url: str) -> AsyncIterator[None]:
    """Let the flock go on with the same keys on another database."""
    config = flock.config.config
    section = config.database.model_copy(update={"url": url})
    loaded = flock.config.model_copy(update={"config": config.model_copy(update={"database": section})})
    async with open_app(loaded, flock.clock) as app:
        await app.outbox.recover()
        flock.app = app
        yield


async def test_the_bot_goes_on_where_it_was(
    database_url: str, other_url: str, other: Database, clock: OwnClock, tmp_path: Path
) -> None:
    async with open_flock(database_url, clock) as flock:
        before = flock.app.events.database
        gone = traveller(flock, "mastodon", "gone")
        alice, (bob,) = await friends_of(flock, "bluesky", ["bob"])
        dora = traveller(flock, "bluesky", "dora")
        await alice.write(f"import @{dora.x.screen_name}")
        while await tend(before, SMALL):
            pass
        await gone.prove()
        await gone.write("forget me yes")
        said = said_once(flock, alice.person)
        alice.person.dm(flock.bluesky_bot, "help claim")  # type: ignore[arg-type]  # she is on Bluesky
        for inbox in flock.app.inboxes.values():
            await inbox.turn()
        as_it_was = await everything(before)

        done = reflock(write_configuration(tmp_path, database_url), "db", "copy", "--to", other_url)

        assert done.returncode == 0, done.stderr
        assert "2 people, 2 links" in done.stdout
        assert "set [database] url (or REFLOCK_DATABASE_URL) to its address, and keep the keys" in done.stdout
        assert await everything(other) == as_it_was == await everything(before)
        assert await verify(other, nobody_told) == []
        async with moved(flock, other_url):
            await flock.settle()
            assert len(said_once(flock, alice.person)) == len(said) + 1
            await alice.write("follow all")
            await alice.write("yes")
            assert alice.person.follows == {bob.person.actor}
            alice.read()
            await dora.prove()
            await flock.pass_seconds(61)
            assert "dora_on_x" in alice.read()
        said_once(flock, alice.person)


async def test_numbers_that_were_given_out_are_not_given_out_again(database: Database, other: Database) -> None:
    here = [await meet(database, name) for name in ("ann", "bob")]
    for each in here:
        await hand_over(database, each, np.arange(3, dtype=np.uint64))
    slot = await newest_slot(database)
    # Of the numbers that were given out last, those of people and lists are nobody's when everything is copied.
    async with database.transaction() as connection:
        await connection.execute(sa.delete(person).where(person.c.id == here[1]))
        values = {"x_handle": "x", "words": "", "at": START, "done": False}
        await connection.execute(sa.insert(report).values(person_id=here[0], **values))

    await copy(database, other, nobody_told)

    new = await meet(other, "eve")
    assert new > here[1]
    await hand_over(other, new, np.arange(3, dtype=np.uint64))
    assert await newest_slot(other) > slot
    async with other.transaction() as connection:
        await connection.execute(sa.insert(report).values(person_id=new, **values))
        assert await connection.scalar(sa.select(sa.func.count()).select_from(report)) == 2


async def test_there_and_back_again_is_everything(database: Database, other: Database, tmp_path: Path) -> None:
    # More rows, and longer lists, than go into one page.
    async with database.transaction() as connection:
        people = [
            (await accounts.meet(connection, NetworkName.BLUESKY, f"did:plc:{n}", f"{n}.test", START))[1].id
            for n in range(60)
        ]
        pairs = [{"person_id": a, "contact_id": b, "at": START} for a in people for b in people if a != b]
        await connection.execute(sa.insert(told), pairs)
    for number, each in enumerate(people[:5]):
        await hand_over(database, each, np.arange(number, 400_000 + number, dtype=np.uint64) << np.uint64(40))
    steps: list[tuple[int, int]] = []

    copied = await copy(database, other, lambda done, whole: steps.append((done, whole)))

    as_it_was = await everything(database)
    assert await everything(other) == as_it_was
    assert (copied.people, copied.links, copied.rows) == (60, 2_000_000, steps[-1][0])
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    back = Database(f"sqlite:///{tmp_path / 'back.sqlite3'}")
    assert await copy(other, back, nobody_told) == copied
    assert await everything(back) == as_it_was
    await back.close()


# What is refused.


async def test_while_another_reflock_works_on_either_nothing_is_copied(database: Database, other: Database) -> None:
    for busy in (database, other):
        async with busy.alone("reflock-1"):
            with pytest.raises(DatabaseError, match="Reflock works on"):
                await copy(database, other, nobody_told)
        assert await other.is_empty()
    await copy(database, other, nobody_told)


async def test_a_database_with_something_in_it_is_left_as_it_is(
    database: Database, database_url: str, other_url: str, other: Database, tmp_path: Path
) -> None:
    await meet(database, "ann")
    await other.upgrade()
    await meet(other, "bob")
    there = await everything(other)

    refused = reflock(write_configuration(tmp_path, database_url), "db", "copy", "--to", other_url)

    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    assert "Give another, empty database, or drop this one and make it anew" in refused.stderr
    assert await everything(other) == there


async def test_a_database_is_not_copied_into_itself(database: Database, database_url: str) -> None:
    with pytest.raises(DatabaseError, match="is the database that is to be copied"):
        await copy(database, Database(database_url), nobody_told)


async def test_an_empty_database_is_not_copied(database_url: str, other: Database) -> None:
    source = Database(database_url)
    with pytest.raises(DatabaseError, match="Prepare it with: reflock db upgrade"):
        await copy(source, other, nobody_told)
    await source.close()
    assert await other.is_empty()


async def test_a_password_is_not_shown(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'reflock.sqlite3'}"
    for written in ("postgresql://me:hush-hush@127.0.0.1:1/x", "postgresql://127.0.0.1:1/x?user=me&password=hush-hush"):
        refused = reflock(write_configuration(tmp_path, url), "db", "copy", "--to", written)
        assert refused.returncode == 2
        assert "is --to right?" in refused.stderr
        assert "hush" not in refused.stderr + refused.stdout


async def test_a_file_is_seen_from_the_configuration_as_its_key_would_be(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'reflock.sqlite3'}"
    database = Database(url)
    await database.upgrade()
    await database.close()
    assert reflock(write_configuration(tmp_path, url), "db", "copy", "--to", "sqlite:///new.sqlite3").returncode == 0
    assert (tmp_path / "new.sqlite3").exists()


# What breaks off.


async def filled(database: Database) -> None:
    for name in ("ann", "bob"):
        await hand_over(database, await meet(database, name), np.arange(9, dtype=np.uint64))


KILLED_IN_BETWEEN = """
import asyncio, os, signal, sys
from storage.copying import copy
from storage.database import Database

def end(done, whole):
    if done > whole // 2:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(copy(Database(sys.argv[1]), Database(sys.argv[2]), end))
"""


def copy_and_be_killed(source: str, target: str) -> int:
    command = [sys.executable, "-c", KILLED_IN_BETWEEN, source, target]
    return subprocess.run(command, check=False, timeout=60).returncode


async def test_a_copy_that_was_killed_is_begun_again(
    database: Database, database_url: str, other_url: str, other: Database
) -> None:
    await filled(database)
    assert copy_and_be_killed(database_url, other_url) == -signal.SIGKILL

    assert await copy(database, other, nobody_told) == Copied(people=2, links=18, rows=await rows_of(database))
    assert await everything(other) == await everything(database)


async def test_whoever_interrupts_a_copy_is_told_that_there_is_none(postgres: str, tmp_path: Path) -> None:
    source_url, url = f"sqlite:///{tmp_path / 'reflock.sqlite3'}", await fresh_postgres(postgres)
    async with from_to(source_url, url) as (database, target):
        await target.upgrade()
        place = {"name": "mastodon", "value": "1"}
        async with database.transaction() as connection:
            await connection.execute(sa.insert(cursor).values(place))

        async with target.transaction() as connection:
            await connection.execute(
                sa.insert(cursor).values(place)
            )  # nobody sees it, but it holds up whoever writes the same
            copying = await start(write_configuration(tmp_path, source_url), "db", "copy", "--to", url)
            while not await somebody_waits(target):
                pass
            copying.send_signal(signal.SIGINT)
            _, said = await asyncio.wait_for(copying.communicate(), 60)
            await connection.rollback()

        assert copying.returncode == 130
        assert (
            said.decode().strip()
            == "Interrupted before the end: nothing was copied. Begin again with the same command."
        )
        await copy(database, target, nobody_told)


async def rows_of(database: Database) -> int:
    async with database.reading() as connection:
        counts = [
            await connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in metadata.sorted_tables
        ]
    return sum(each or 0 for each in counts)


async def test_what_does_not_fit_is_named_without_what_somebody_said(
    tmp_path: Path, postgres: str, clock: OwnClock
) -> None:
    source_url, url = f"sqlite:///{tmp_path / 'a.sqlite3'}", await fresh_postgres(postgres)
    async with from_to(source_url, url) as (database, target):
        who = await meet(database, "ann")
        async with database.transaction() as connection:
            values = {"person_id": who, "x_handle": "x", "words": "what ann said\0", "at": clock(), "done": False}
            await connection.execute(sa.insert(report).values(**values))

        with pytest.raises(
            DatabaseError, match=r"broke off at the table report \(\w+\).*Nothing was copied"
        ) as refused:
            await copy(database, target, nobody_told)

        assert "ann" not in str(refused.value)
        assert await rows_of(target) == len(await sequences(target))


async def sequences(database: Database) -> list[Any]:
    async with database.reading() as connection:
        return list((await connection.execute(sa.select(metadata.tables["sequence"]))).all())


def meanwhile(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[int, int], None]:
    """Have something done to the end by somebody else, as soon as the first rows are copied."""
    did: list[threading.Thread] = []

    def begin(_done: int, _whole: int) -> None:
        if not did:
            did.append(threading.Thread(target=lambda: asyncio.run(work())))
            did[0].start()
            did[0].join()

    return begin


@pytest.mark.parametrize("forgotten", [True, False])
async def test_what_is_written_meanwhile_undoes_the_copy(
    database: Database, database_url: str, other: Database, keys: Keys, forgotten: bool
) -> None:
    await filled(database)
    carol = await meet(database, "carol")

    async def write() -> None:
        command = Database(database_url)
        async with command.transaction() as connection:
            if forgotten:
                await privacy.forget(connection, keys, carol, START)
            else:  # as many rows as before, such as when keys are rotated
                await connection.execute(sa.update(person).where(person.c.id == carol).values(stopped=True))
        await command.close()

    with pytest.raises(DatabaseError, match=r"Something was written to .* meanwhile .* the copy was undone"):
        await copy(database, other, meanwhile(write))

    assert (await everything(other))["person"] == []
    assert (await copy(database, other, nobody_told)).people == (2 if forgotten else 3)
    assert await everything(other) == await everything(database)


async def test_a_copy_whose_lock_is_gone_is_undone(postgres: str, tmp_path: Path) -> None:
    source_url, url = f"sqlite:///{tmp_path / 'a.sqlite3'}", await fresh_postgres(postgres)
    async with from_to(source_url, url) as (database, target):
        await filled(database)

        async def cut() -> None:
            server = Database(url)
            async with server.transaction() as connection:
                cut_off = "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'"
                assert (await connection.scalars(sa.text(cut_off))).all() == [True]
            await server.close()

        with pytest.raises(DatabaseError, match=r"was cut, by the server .* Nothing was copied"):
            await copy(database, target, meanwhile(cut))

        assert (await everything(target))["person"] == []
        await copy(database, target, nobody_told)


async def test_who_may_not_write_there_is_told_what_is_missing(postgres: str, tmp_path: Path) -> None:
    url, source_url = await fresh_postgres(postgres), f"sqlite:///{tmp_path / 'a.sqlite3'}"
    async with from_to(source_url, url) as (_, target):
        async with target.transaction() as connection:
            await connection.execute(sa.text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
            await connection.execute(sa.text("CREATE ROLE guest LOGIN"))
        as_guest = sa.make_url(url).set(username="guest").render_as_string()

        refused = reflock(write_configuration(tmp_path, source_url), "db", "copy", "--to", as_guest)

        assert refused.returncode == 2
        assert "GRANT CREATE ON SCHEMA public" in refused.stderr
        assert "Nothing was copied" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert await target.is_empty()


async def test_a_bot_that_comes_meanwhile_undoes_the_copy(postgres: str, tmp_path: Path) -> None:
    url = await fresh_postgres(postgres)
    async with from_to(url, f"sqlite:///{tmp_path / 'b.sqlite3'}") as (database, target):
        await filled(database)
        came, over = threading.Event(), threading.Event()

        async def work() -> None:
            bot = Database(url)
            async with bot.alone("reflock-1"):
                came.set()
                await asyncio.to_thread(over.wait)
            await bot.close()

        bot = threading.Thread(target=lambda: asyncio.run(work()))

        def begin_a_bot(_done: int, _whole: int) -> None:
            if not bot.is_alive():
                bot.start()
                came.wait()

        with pytest.raises(DatabaseError, match="A Reflock works on"):
            await copy(database, target, begin_a_bot)
        over.set()
        bot.join()
        assert (await everything(target))["person"] == []
        await copy(database, target, nobody_told)
