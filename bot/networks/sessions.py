"""Where the adapters keep the bot's own sessions over a restart: logins are rationed."""

from typing import Protocol

from storage import sessions
from storage.database import Database
from storage.keys import Keys


class SessionStore(Protocol):
    """Keep secrets by name (at most 64 characters)."""

    async def load(self, name: str) -> str | None:
        """Return what is kept under a name, None when nothing is."""

    async def save(self, name: str, secret: str) -> None:
        """Keep a secret in the place of an earlier one."""


class DatabaseSessions:
    """A store in the database, encrypted."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def load(self, name: str) -> str | None:
        """Return what is kept under a name, None when nothing is or its key is gone."""
        async with self._database.reading() as connection:
            return await sessions.load(connection, self._keys, name)

    async def save(self, name: str, secret: str) -> None:
        """Keep a secret in the place of an earlier one."""
        async with self._database.transaction() as connection:
            await sessions.save(connection, self._keys, name, secret)
