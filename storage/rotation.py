"""Encrypt every stored secret anew, when the operator has put a fresh key in front of the old ones."""

import json

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.keys import Keys
from storage.records import DeliveryKind, DeliveryState
from storage.tables import consent, consent_grant, delivery, mastodon_app, message, session


async def rotate(connection: AsyncConnection, keys: Keys) -> int:
    """Encrypt every stored secret anew with the newest key; return how many. LostSecretError: a key is missing."""
    rotated = 0
    for table in (consent_grant, consent, mastodon_app, message, session):
        primary = next(iter(table.primary_key.columns))
        rows = await connection.execute(
            sa.select(primary.label("key"), table.c.secret).where(table.c.secret.is_not(None), table.c.secret != b"")
        )
        for row in rows.all():
            await connection.execute(sa.update(table).where(primary == row.key).values(secret=keys.rotate(row.secret)))
            rotated += 1
    return rotated + await _rotate_promises(connection, keys)


async def _rotate_promises(connection: AsyncConnection, keys: Keys) -> int:
    """Encrypt anew what travels with promises: tokens to be revoked, codes to be handed over."""
    rows = await connection.execute(
        sa.select(delivery.c.id, delivery.c.payload).where(
            delivery.c.kind.in_([DeliveryKind.REVOKE.value, DeliveryKind.CONSENT.value]),
            delivery.c.state.in_([DeliveryState.PROMISED.value, DeliveryState.LEASED.value]),
        )
    )
    rotated = 0
    for row in rows.all():
        payload = json.loads(row.payload)
        secrets = {name: payload[name] for name in ("secret", "code") if name in payload}
        if secrets:
            fresh = {name: keys.rotate(value.encode()).decode() for name, value in secrets.items()}
            await connection.execute(
                sa.update(delivery).where(delivery.c.id == row.id).values(payload=json.dumps({**payload, **fresh}))
            )
            rotated += 1
    return rotated
