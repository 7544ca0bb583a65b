"""Encrypt every stored secret anew, when the operator has put a fresh key in front of the old ones."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.keys import Keys
from storage.tables import consent, consent_grant, mastodon_app, message, session

_SECRETS: Final = (consent_grant, consent, mastodon_app, session, message)


async def rotate(connection: AsyncConnection, keys: Keys) -> int:
    """Encrypt anew with the newest key; return how many secrets that were. LostSecretError if one cannot be read."""
    rotated = 0
    for table in _SECRETS:
        (identity,) = table.primary_key.columns
        rows = await connection.execute(sa.select(identity, table.c.secret).where(table.c.secret.is_not(None)))
        for name, secret in rows.all():
            await connection.execute(sa.update(table).where(identity == name).values(secret=keys.rotate(secret)))
            rotated += 1
    return rotated
