"""Keep the bot's own sessions on the networks, encrypted."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert
from storage.keys import Keys, LostSecretError
from storage.tables import session


async def load(connection: AsyncConnection, keys: Keys, name: str) -> str | None:
    """Return a kept session; None when there is none, or its key is gone (then one logs in anew)."""
    ciphertext = await connection.scalar(sa.select(session.c.secret).where(session.c.name == name))
    if ciphertext is None:
        return None
    try:
        return keys.decrypt(ciphertext)
    except LostSecretError:
        return None


async def save(connection: AsyncConnection, keys: Keys, name: str, secret: str) -> None:
    """Keep a session (names have at most 64 characters); an earlier one of that name is replaced."""
    statement = insert(connection, session).values(name=name, secret=keys.encrypt(secret))
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"secret": statement.excluded.secret})
    )
