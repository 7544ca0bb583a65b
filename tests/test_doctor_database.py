"""`reflock doctor` at the database: where it lies, whose it is, and whether the keys open it."""

import re
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.app import make_keys
from storage import keys_in_use, sessions
from storage.database import Database
from storage.keys import Keys
from tests.surgery import Surgery, open_surgery


@pytest.fixture
async def surgery(tmp_path: Path, database_url: str) -> AsyncIterator[Surgery]:
    async with open_surgery(tmp_path, database_url) as opened:
        yield opened


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[Surgery]:
    async with open_surgery(tmp_path, f"sqlite:///{tmp_path / 'var' / 'reflock.sqlite3'}") as opened:
        yield opened


async def test_an_empty_database_is_prepared_after_a_yes(surgery: Surgery) -> None:
    empty = Database(surgery.database_url)
    assert await empty.is_empty()
    await empty.close()

    looked = await surgery.asks()
    mended = await surgery.asks(fix=True, answers="y\n")

    assert looked.wrong == ["Database revision"]
    assert "The database is empty. Prepare it with: reflock db upgrade" in looked.about("Database revision")
    assert mended.exit_code == 0, mended.text
    assert "Run reflock db upgrade on " in mended.text
    assert mended.about("Keys fit the database").startswith("ok")


async def test_a_newer_database_is_left_alone(surgery: Surgery) -> None:
    await surgery.prepare()
    await surgery.executes("UPDATE alembic_version SET version_num = 'ffff'")
    visit = await surgery.asks(fix=True, yes=True)

    assert visit.wrong == ["Database revision"]
    assert "Install a newer Reflock" in visit.about("Database revision")
    assert "Checked again" not in visit.text


async def test_a_database_that_takes_nothing_has_a_line(surgery: Surgery) -> None:
    await surgery.prepare()
    if surgery.is_sqlite:
        await surgery.executes(
            "CREATE TRIGGER full_disk BEFORE INSERT ON cursor BEGIN SELECT RAISE(ABORT, 'there is no room'); END"
        )
    else:
        name = surgery.database_url.rpartition("/")[2].partition("?")[0]
        await surgery.executes(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    visit = await surgery.asks()

    assert visit.wrong == ["Database writable"]
    assert ("there is no room" if surgery.is_sqlite else "read-only transaction") in visit.about("Database writable")


async def test_another_pseudonym_key_has_a_line(surgery: Surgery) -> None:
    loaded = await surgery.prepare()
    await surgery.database(lambda connection: keys_in_use.is_the_same(connection, make_keys(loaded)))
    surgery.secrets["REFLOCK_PSEUDONYM_KEY"] = Keys.generate()[0]
    visit = await surgery.asks()

    assert visit.wrong == ["Keys fit the database"]
    assert "Restore the former key" in visit.about("Keys fit the database")


async def test_secrets_that_no_key_opens_are_counted(surgery: Surgery) -> None:
    loaded = await surgery.prepare()
    former, latter = surgery.secrets["REFLOCK_GRANT_KEYS"], Keys.generate()[1]

    async def keep(connection: AsyncConnection) -> None:
        for number in range(501):
            await sessions.save(connection, make_keys(loaded), f"session {number}", "a secret")

    await surgery.database(keep)
    surgery.secrets["REFLOCK_GRANT_KEYS"] = latter
    lost = await surgery.asks()
    surgery.secrets["REFLOCK_GRANT_KEYS"] = f"{latter},{former}"
    found = await surgery.asks()

    assert lost.wrong == ["Keys fit the database"]
    assert "501 of 501 stored secrets" in lost.about("Keys fit the database")
    assert found.exit_code == 0
    assert "all of its 501 secrets can be decrypted" in found.about("Keys fit the database")


async def test_a_database_that_does_not_answer_has_a_line(tmp_path: Path) -> None:
    async with open_surgery(tmp_path, "postgresql://reflock:a-database-password@127.0.0.1:9/reflock") as surgery:
        surgery.secrets["REFLOCK_DATABASE_URL"] = str(surgery.sections["database"].pop("url"))
        visit = await surgery.asks()

    assert visit.wrong == ["Database"]
    assert "REFLOCK_DATABASE_URL) right?" in visit.about("Database")
    assert "a-database-password" not in visit.text


async def test_an_address_that_is_none_has_a_line(tmp_path: Path) -> None:
    async with open_surgery(tmp_path, "mysql://somewhere") as surgery:
        visit = await surgery.asks()

    assert visit.wrong == ["Database"]
    assert "SQLite or PostgreSQL, not in mysql" in visit.about("Database")


# A file.


async def test_files_that_others_may_open_are_closed_after_a_yes(on_file: Surgery) -> None:
    await on_file.prepare()
    on_file.sqlite_file.chmod(0o644)
    looked = await on_file.asks()
    assert stat.S_IMODE(on_file.sqlite_file.stat().st_mode) == 0o644
    mended = await on_file.asks(fix=True, answers="y\n")

    assert looked.wrong == ["Database file mode"]
    assert f"Run: chmod go= {on_file.sqlite_file}" in looked.about("Database file mode")
    assert mended.exit_code == 0, mended.text
    assert stat.S_IMODE(on_file.sqlite_file.stat().st_mode) == 0o600


async def test_a_file_without_its_log_gets_it_after_a_yes(on_file: Surgery) -> None:
    await on_file.prepare()

    def journal(*pragma: str) -> str:
        with closing(sqlite3.connect(on_file.sqlite_file)) as connection:
            return str(connection.execute(f"PRAGMA journal_mode{''.join(pragma)}").fetchone()[0])

    assert journal("=DELETE") == "delete"
    looked = await on_file.asks()
    assert journal() == "delete"
    mended = await on_file.asks(fix=True, answers="y\n")

    assert looked.wrong == ["Database file"]
    assert "has no write-ahead log" in looked.about("Database file")
    assert mended.exit_code == 0, mended.text
    assert journal() == "wal"


@pytest.mark.parametrize(
    ("held", "name"),
    [(["BEGIN IMMEDIATE"], "Database writable"), (["PRAGMA locking_mode=EXCLUSIVE", "BEGIN IMMEDIATE"], "Database")],
)
async def test_a_file_that_another_process_holds_is_said_to_be_held(
    on_file: Surgery, monkeypatch: pytest.MonkeyPatch, held: list[str], name: str
) -> None:
    await on_file.prepare()
    monkeypatch.setattr("storage.one_hop.BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr("storage.engines.PRAGMAS", ("busy_timeout=50", "journal_mode=WAL"))
    with closing(sqlite3.connect(on_file.sqlite_file, isolation_level=None)) as another:
        for statement in held:
            another.execute(statement)
        visit = await on_file.asks()

    assert visit.wrong == [name]
    assert f"another process holds {on_file.sqlite_file} (database is locked)" in visit.about(name)
    assert "Wait until it is done, or end it" in visit.about(name)
    assert not re.search(r"full|read-only|running", visit.about(name))


async def test_a_folder_that_is_not_there_has_a_line_and_is_not_made(on_file: Surgery, tmp_path: Path) -> None:
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-disk") / "reflock"
    on_file.sections["database"]["url"] = f"sqlite:///{elsewhere / 'reflock.sqlite3'}"
    visit = await on_file.asks()

    assert visit.wrong == ["Database file"]
    assert f"the folder {elsewhere} is not there" in visit.about("Database file")
    assert "is its disk mounted?" in visit.about("Database file")
    assert f"mkdir -p {elsewhere}" in visit.about("Database file")
    assert not elsewhere.parent.exists()


@pytest.mark.parametrize(("kind", "words"), [("nfs4", "a network's disk (nfs4)"), ("tmpfs", "in memory (tmpfs)")])
async def test_a_place_that_keeps_no_database_has_a_line(on_file: Surgery, kind: str, words: str) -> None:
    await on_file.prepare()
    on_file.file_system = kind
    visit = await on_file.asks()

    assert visit.wrong == ["Database file"]
    assert words in visit.about("Database file")


async def test_a_file_that_is_something_else_is_not_touched(on_file: Surgery) -> None:
    on_file.sqlite_file.parent.mkdir()
    on_file.sqlite_file.write_text("a letter to a friend, and quite a long one")
    on_file.sqlite_file.chmod(0o600)
    visit = await on_file.asks(fix=True, yes=True)

    assert visit.wrong == ["Database file"]
    assert "is no SQLite database" in visit.about("Database file")
    assert on_file.sqlite_file.read_text().startswith("a letter")


async def test_a_place_that_cannot_be_has_a_line(on_file: Surgery) -> None:
    on_file.sqlite_file.parent.write_text("a file where a folder should be")
    visit = await on_file.asks()

    assert visit.wrong == ["Database file"]
    assert "nothing can be written in" in visit.about("Database file")
