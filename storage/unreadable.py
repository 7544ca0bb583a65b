"""Find out whether the keys at hand open everything that is stored encrypted, and give up what they do not."""

from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import encrypted
from storage.keys import Keys, LostSecretError
from storage.records import DeliveryKind
from storage.tables import consent, consent_grant, mastodon_app, message, session


@dataclass(frozen=True, slots=True)
class GivenUp:
    """How many secrets were given up, by what they were.

    `consents` were given, `begun` were about to be; `endings` are consents that were to be ended at their servers. `own`
    are the bot's sessions and registrations.
    """

    consents: int
    begun: int
    endings: int
    messages: int
    own: int


async def count_unreadable(connection: AsyncConnection, keys: Keys) -> tuple[int, int]:
    """Return how many secrets are stored, and how many of them none of our keys decrypts."""
    stored = lost = 0
    for table in encrypted.TABLES:
        async for row in encrypted.read(connection, table):
            stored += 1
            lost += not opens(keys, row.secret)
    return stored, lost


async def newest_secrets(connection: AsyncConnection) -> list[bytes]:
    """Return one secret, the last by its key, of each table that holds any."""
    found = []
    for table in encrypted.TABLES:
        last = encrypted.kept_in(table).order_by(encrypted.key_of(table).desc()).limit(1)
        found += [row.secret for row in await connection.execute(last)]
    return found


async def give_up(connection: AsyncConnection, keys: Keys) -> GivenUp:
    """Erase every secret that none of our keys decrypts."""
    lost: Counter[object] = Counter()
    for table in encrypted.TABLES:
        key = encrypted.key_of(table)
        async for row in encrypted.read(connection, table):
            if not opens(keys, row.secret):
                await connection.execute(_without_secret(table).where(key == row.key))
                lost[table] += 1
    for each in await encrypted.carried(connection):
        if not all(opens(keys, secret.encode()) for secret in each.secrets.values()):
            await encrypted.replace(connection, each, dict.fromkeys(each.secrets, ""))
            lost[each.kind] += 1
    return GivenUp(
        consents=lost[consent_grant],
        begun=lost[consent],  # whose code may be on its way, and is not counted again
        endings=lost[DeliveryKind.REVOKE],
        messages=lost[message],
        own=lost[mastodon_app] + lost[session],
    )


def _without_secret(table: sa.Table) -> sa.Update | sa.Delete:
    """Return how the secret of a row is erased: whom we owe a word for it is kept, and all else begins anew."""
    if table is consent_grant:  # its giver is told when it is needed, as of one that its server has ended
        return sa.update(table).values(secret=b"")
    if table is message:  # its writer was told its number
        return sa.update(table).values(secret=None)
    return sa.delete(table)


def opens(keys: Keys, secret: bytes) -> bool:
    """Tell whether one of the keys decrypts a secret."""
    try:
        keys.decrypt(secret)
    except LostSecretError:
        return False
    return True
