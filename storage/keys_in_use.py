"""Know by which keys a database was filled.

With another pseudonym key no list in it matches anybody any more; with other grant keys no consent in it can be used.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import messages, sessions
from storage.keys import Keys
from storage.tables import session
from storage.unreadable import newest_secrets, opens

# Kept where the networks' cursors are; no network has this name.
_NAME: Final = "pseudonym-key"
_MARKED: Final = "the pseudonym key of this database"
# Kept where the bot's sessions are, none of which has this name; so it is encrypted anew with all other secrets.
_TRIAL: Final = "grant-keys"


async def is_the_same(connection: AsyncConnection, keys: Keys) -> bool:
    """Tell whether the pseudonym key is the one that was used first, and keep a mark of it when it is the first."""
    mark = keys.digest(_MARKED).hex()
    kept = await messages.read_cursor(connection, _NAME)
    if kept is None:
        await messages.move_cursor(connection, _NAME, mark)
    return kept in (None, mark)


async def grants_open(connection: AsyncConnection, keys: Keys) -> bool:
    """Tell whether the grant keys open what is stored, by one secret that is kept for it, and keep that where it is not.

    To try all that is stored takes as long as there are people; a database without that secret has some of it tried.
    """
    kept = await connection.scalar(sa.select(session.c.secret).where(session.c.name == _TRIAL))
    if kept is not None:
        return opens(keys, kept)
    newest = await newest_secrets(connection)
    if newest and not any(opens(keys, each) for each in newest):
        return False
    await take_grants(connection, keys)
    return True


async def take_grants(connection: AsyncConnection, keys: Keys) -> None:
    """Take the grant keys for those of this database from now on, whatever it was filled with."""
    await sessions.save(connection, keys, _TRIAL, "opened")
