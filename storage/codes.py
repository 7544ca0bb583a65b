"""One-time codes and links: only their keyed digests are kept; each is bound to a person, expires, and works once."""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.keys import Keys
from storage.ready import ready
from storage.tables import code


class Purpose(StrEnum):
    """What a code is good for."""

    CLAIM = "claim"  # stands in the farewell post on X
    LINK = "link"  # sent from another account, it joins the two
    IMPORT = "import"  # opens the upload page
    CONNECT = "connect"  # opens the consent page
    CONTACTS = "contacts"  # opens the page of the contacts
    EXPORT = "export"  # opens the page of what is held about a person


_COPIED: Final = frozenset({Purpose.CLAIM, Purpose.LINK})


@dataclass(frozen=True, slots=True)
class Code:
    """What a code stands for. `used_at` is None while it works, `used_by` a digest of the browser that used a link."""

    purpose: Purpose
    person_id: int
    account_id: str | None
    claim_id: int | None
    expires_at: int
    used_at: int | None
    used_by: bytes | None

    def is_used_by(self, keys: Keys, browser: str | None) -> bool:
        """Tell whether a link was used by this browser, which may go on with it."""
        if browser is None or self.used_by is None:
            return False
        return hmac.compare_digest(self.used_by, _browser(keys, browser))

    def works(self, now: int) -> bool:
        """Tell whether it is neither used nor expired."""
        return self.used_at is None and now < self.expires_at


_END: Final = ready(
    sa.delete(code).where(
        code.c.person_id == sa.bindparam("person"),
        code.c.purpose == sa.bindparam("of_purpose"),
        code.c.claim_id.is_not_distinct_from(sa.bindparam("claim")),
        code.c.used_at.is_(None),
    )
)
_ISSUE: Final = ready(sa.insert(code))


async def issue(
    connection: AsyncConnection,
    keys: Keys,
    secret: str,
    purpose: Purpose,
    *,
    person_id: int,
    account_id: str | None = None,
    claim_id: int | None = None,
    now: int,
    lifetime: int,
) -> None:
    """Keep the digest of a fresh code.

    Earlier codes that a person copies by hand (for a claim: of the same claim) end; a link that was given out before
    still opens its page, because people scroll back to it.
    """
    if purpose in _COPIED:
        await connection.execute(_END, {"person": person_id, "of_purpose": purpose.value, "claim": claim_id})
    issued = {
        "digest": keys.digest(secret),
        "purpose": purpose.value,
        "person_id": person_id,
        "account_id": account_id,
        "claim_id": claim_id,
        "created_at": now,
        "expires_at": now + lifetime,
    }
    await connection.execute(_ISSUE, issued)


async def find(connection: AsyncConnection, keys: Keys, secret: str, purpose: Purpose) -> Code | None:
    """Return what a code stands for, whether it still works or not; None for one we never gave out."""
    row = (
        await connection.execute(
            sa.select(code).where(code.c.digest == keys.digest(secret), code.c.purpose == purpose.value)
        )
    ).one_or_none()
    if row is None:
        return None
    return Code(
        Purpose(row.purpose), row.person_id, row.account_id, row.claim_id, row.expires_at, row.used_at, row.used_by
    )


async def use(
    connection: AsyncConnection, keys: Keys, secret: str, purpose: Purpose, now: int, *, by: str | None = None
) -> Code | None:
    """Spend a code: of two who try at once, one gets it; None when it does not work (any more).

    With `by`, the secret of a browser, the same browser may spend it again until it expires: the answer to the first
    time may have been lost on the way.
    """
    found = await find(connection, keys, secret, purpose)
    if found is not None and now < found.expires_at and found.is_used_by(keys, by):
        return found
    if found is None or not found.works(now):
        return None
    mine, free = None if by is None else _browser(keys, by), code.c.used_at.is_(None)
    spent = await connection.execute(
        sa.update(code)
        .where(code.c.digest == keys.digest(secret), free if mine is None else sa.or_(free, code.c.used_by == mine))
        .values(used_at=sa.func.coalesce(code.c.used_at, now), used_by=mine)
    )
    return found if spent.rowcount == 1 else None


async def void(connection: AsyncConnection, person_id: int, since: int) -> None:
    """Take back what somebody has been given and had not used by a moment, except for what goes public anyway."""
    kept = sa.or_(code.c.used_at < since, code.c.purpose == Purpose.CLAIM)
    await connection.execute(
        sa.delete(code).where(code.c.person_id == person_id, sa.not_(sa.func.coalesce(kept, sa.false())))
    )


def _browser(keys: Keys, secret: str) -> bytes:
    return keys.digest(f"browser:{secret}")
