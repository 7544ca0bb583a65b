"""What all tests stand on: a real database of either kind, keys, and a clock that the test owns."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from storage.database import Database
from storage.keys import Keys
from tests.postgres import running_postgres

_NUMBERS = itertools.count(1)
START = 1_900_000_000_000  # in March 2030, after any real present: epoch milliseconds


class OwnClock:
    """Epoch milliseconds that move only when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        """Return the present."""
        return self.now

    def seconds(self) -> float:
        """Return the present in seconds, in which the small networks count."""
        return self.now / 1000

    def pass_seconds(self, seconds: float) -> None:
        """Let time go by."""
        self.now += round(seconds * 1000)


@pytest.fixture
def clock() -> OwnClock:
    return OwnClock()


@pytest.fixture(scope="session")
def keys() -> Keys:
    pseudonym, grant = Keys.generate()
    return Keys(pseudonym, [grant])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Give the URL (without a database's name) of a real PostgreSQL server, started for this run."""
    # Not in pytest's own folder: started by root the server runs as somebody else, and the next pytest to start closes
    # that folder to everybody else.
    with running_postgres() as server:
        # A test's data need not outlive a power cut, and a database is made for every test.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            server.psql(f"ALTER SYSTEM SET {setting} = off")
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri()


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database; every test that takes it runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'reflock.sqlite3'}"
    return await fresh_postgres(request.getfixturevalue("postgres"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Give an open database of the current revision."""
    opened = Database(database_url)
    await opened.upgrade()
    yield opened
    await opened.close()


async def fresh_postgres(server: str) -> str:
    """Create an empty database on a server and return its URL."""
    name = f"reflock_{next(_NUMBERS)}"
    admin = create_async_engine(
        sa.make_url(server).set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    async with admin.connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name}"))
    await admin.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)
