"""Find out whether the keys at hand open everything that is stored encrypted."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.keys import Keys, LostSecretError
from storage.tables import metadata

_PAGE: Final = 500


async def count_unreadable(connection: AsyncConnection, keys: Keys) -> tuple[int, int]:
    """Return how many secrets are stored, and how many of them none of our keys decrypts."""
    stored = lost = 0
    for table in metadata.sorted_tables:
        if "secret" in table.c:
            in_table, of_them_lost = await _count(connection, keys, table)
            stored, lost = stored + in_table, lost + of_them_lost
    return stored, lost


async def newest_secrets(connection: AsyncConnection) -> list[bytes]:
    """Return one secret, the last by its key, of each table that holds any."""
    found = []
    for table in metadata.sorted_tables:
        if "secret" in table.c:
            key = next(iter(table.primary_key.columns))
            there = sa.select(table.c.secret).where(table.c.secret.is_not(None), table.c.secret != b"")
            found.append(await connection.scalar(there.order_by(key.desc()).limit(1)))
    return [each for each in found if each is not None]


async def _count(connection: AsyncConnection, keys: Keys, table: sa.Table) -> tuple[int, int]:
    """Count page by page: the secrets of all people together may be more than fits into memory."""
    key = next(iter(table.primary_key.columns))
    page = (
        sa.select(key.label("key"), table.c.secret)
        .where(table.c.secret.is_not(None), table.c.secret != b"")
        .order_by(key)
        .limit(_PAGE)
    )
    stored = lost = 0
    rows = (await connection.execute(page)).all()
    while rows:
        stored += len(rows)
        lost += sum(not opens(keys, row.secret) for row in rows)
        rows = (await connection.execute(page.where(key > rows[-1].key))).all()
    return stored, lost


def opens(keys: Keys, secret: bytes) -> bool:
    """Tell whether one of the keys decrypts a secret."""
    try:
        keys.decrypt(secret)
    except LostSecretError:
        return False
    return True
