"""A database server that is there and will not have us says why, and Reflock says what to do; only silence may pass."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from storage.database import Database, wait_for
from storage.engines import DatabaseError
from tests.conftest import fresh_postgres
from tests.surgery import open_surgery
from tests.test_bot_process import start, write_configuration

SECRET = "swordfish"


async def said_by_run(folder: Path, url: str) -> str:
    """Run a Reflock on a database that will not have it, and return its one line."""
    config = write_configuration(folder, "http://127.0.0.1:9")
    with (folder / ".env").open("a") as secrets:
        secrets.write(f"REFLOCK_DATABASE_URL='{url}'\n")
    process = await start(config, "run")
    _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    (line,) = error.decode().strip().splitlines()
    assert "does not answer" not in line
    assert SECRET not in line
    return line


async def execute(url: str, *statements: str) -> None:
    """Do something on a server as its owner."""
    admin = create_async_engine(
        sa.make_url(url).set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    async with admin.connect() as connection:
        for statement in statements:
            await connection.execute(sa.text(statement))
    await admin.dispose()


def as_user(url: str, user: str) -> str:
    return sa.make_url(url).set(username=user, password=SECRET).render_as_string(hide_password=False)


@pytest.fixture
async def owned(postgres: str) -> AsyncIterator[str]:
    """Give an empty database on which a stranger may not do anything but connect."""
    url = await fresh_postgres(postgres)
    await execute(url, f"CREATE ROLE stranger LOGIN PASSWORD '{SECRET}'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    yield url
    await execute(url, "DROP OWNED BY stranger", "DROP ROLE stranger")


async def test_a_database_that_is_not_there_is_to_be_made(tmp_path: Path, postgres: str) -> None:
    url = sa.make_url(postgres).set(database="no flock").render_as_string(hide_password=False)
    line = await said_by_run(tmp_path, url)
    assert "database \"no flock\" does not exist. Make it with: createdb 'no flock'" in line


async def test_a_user_that_is_not_there_is_named(tmp_path: Path, postgres: str) -> None:
    line = await said_by_run(tmp_path, as_user(await fresh_postgres(postgres), "nobody"))
    assert 'role "nobody" does not exist. Check the user in [database] url (or REFLOCK_DATABASE_URL)' in line


async def test_a_user_who_may_not_connect_is_to_own_the_database(tmp_path: Path, owned: str) -> None:
    name = sa.make_url(owned).database
    await execute(owned, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    line = await said_by_run(tmp_path, as_user(owned, "stranger"))
    assert f'permission denied for database "{name}". ' in line
    assert f'ALTER DATABASE "{name}" OWNER TO "stranger"' in line


async def test_a_user_who_may_not_make_tables_is_to_own_the_database(tmp_path: Path, owned: str) -> None:
    line = await said_by_run(tmp_path, as_user(owned, "stranger"))
    assert "permission denied for schema public. " in line
    assert f'ALTER DATABASE "{sa.make_url(owned).database}" OWNER TO "stranger"' in line


async def test_what_is_to_be_done_can_be_done_as_it_is_printed_whatever_the_names_are(
    tmp_path: Path, postgres: str
) -> None:
    name, user = 'reflock-prod "old"', "o'flock@host"
    quoted = ['"' + each.replace('"', '""') + '"' for each in (name, user)]
    await execute(postgres, f"CREATE ROLE {quoted[1]} LOGIN PASSWORD '{SECRET}'", f"CREATE DATABASE {quoted[0]}")
    owned = sa.make_url(postgres).set(database=name).render_as_string(hide_password=False)
    await execute(owned, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    line = await said_by_run(tmp_path, as_user(owned, user))
    await execute(postgres, line.partition("as by: ")[2])
    database = Database(as_user(owned, user))
    await database.upgrade()
    await database.check_version()
    assert not await database.is_empty()
    await database.close()
    await execute(postgres, f"DROP DATABASE {quoted[0]}", f"DROP ROLE {quoted[1]}")


async def test_a_user_who_may_not_read_the_tables_is_to_own_them(tmp_path: Path, owned: str) -> None:
    database = Database(owned)
    await database.upgrade()
    await database.close()
    line = await said_by_run(tmp_path, as_user(owned, "stranger"))
    assert "permission denied for table alembic_version. " in line


async def test_a_user_who_may_only_read_is_to_own_the_tables(tmp_path: Path, owned: str) -> None:
    database = Database(owned)
    await database.upgrade()
    await database.close()
    await execute(owned, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO stranger")
    line = await said_by_run(tmp_path, as_user(owned, "stranger"))
    assert "permission denied for table cursor. " in line


async def test_a_server_that_has_no_room_is_quoted_and_may_be_tried_again(owned: str) -> None:
    await execute(owned, "ALTER ROLE stranger CONNECTION LIMIT 0")
    database = Database(as_user(owned, "stranger"))
    with pytest.raises(DatabaseError, match=r"too many connections for role.*try again"):
        await wait_for(database, 10)
    await database.close()


async def test_the_doctor_says_it_too(tmp_path: Path, postgres: str) -> None:
    url = sa.make_url(postgres).set(database="noflock").render_as_string(hide_password=False)
    async with open_surgery(tmp_path, url) as surgery:
        visit = await surgery.asks()
    assert visit.wrong == ["Database"]
    assert 'database "noflock" does not exist. Make it with: createdb noflock' in visit.about("Database")


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("a letter to a friend, and quite a long one")
    line = await said_by_run(tmp_path, f"sqlite:///{letter}")
    assert f"{letter} is no SQLite database. Restore a backup, or change [database] url" in line
    assert letter.read_text().startswith("a letter")
