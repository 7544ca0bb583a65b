"""Encrypt every stored secret anew, when the operator has put a fresh key in front of the old ones."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import encrypted
from storage.keys import Keys


async def rotate(connection: AsyncConnection, keys: Keys) -> int:
    """Encrypt every stored secret anew with the newest key; return how many. LostSecretError: a key is missing."""
    rotated = 0
    for table in encrypted.TABLES:
        key = encrypted.key_of(table)
        async for row in encrypted.read(connection, table):
            await connection.execute(sa.update(table).where(key == row.key).values(secret=keys.rotate(row.secret)))
            rotated += 1
    for each in await encrypted.carried(connection):
        fresh = {name: keys.rotate(secret.encode()).decode() for name, secret in each.secrets.items()}
        await encrypted.replace(connection, each, fresh)
        rotated += 1
    return rotated
