"""Know by which pseudonym key a database was filled: with another one, no list in it matches anybody any more."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from storage import messages
from storage.keys import Keys

# Kept where the networks' cursors are; no network has this name.
_NAME: Final = "pseudonym-key"
_MARKED: Final = "the pseudonym key of this database"


async def is_the_same(connection: AsyncConnection, keys: Keys) -> bool:
    """Tell whether the pseudonym key is the one that was used first, and keep a mark of it when it is the first."""
    mark = keys.digest(_MARKED).hex()
    kept = await messages.read_cursor(connection, _NAME)
    if kept is None:
        await messages.move_cursor(connection, _NAME, mark)
    return kept in (None, mark)
