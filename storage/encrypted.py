"""Find every secret that is stored encrypted."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.records import UNDONE, DeliveryKind
from storage.tables import delivery, metadata

TABLES: Final = tuple(each for each in metadata.sorted_tables if "secret" in each.c)
"""Where secrets are kept; some travel with promises besides."""

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Carried:
    """What travels with a promise: a token that is to be revoked, or a code that is to be handed over."""

    delivery_id: int
    kind: DeliveryKind
    payload: Mapping[str, Any]
    secrets: Mapping[str, str]


def key_of(table: sa.Table) -> sa.Column[Any]:
    """Return the primary key of a table that keeps secrets."""
    return next(iter(table.primary_key.columns))


def kept_in(table: sa.Table) -> sa.Select[Any, Any]:
    """Select `key` and `secret` where a secret is kept."""
    return sa.select(key_of(table).label("key"), table.c.secret).where(
        table.c.secret.is_not(None), table.c.secret != b""
    )


async def read(connection: AsyncConnection, table: sa.Table) -> AsyncIterator[sa.Row[Any, Any]]:
    """Yield `key` and `secret`, read page by page: the secrets of all people together may be more than fits into memory."""
    page = kept_in(table).order_by(key_of(table)).limit(_PAGE)
    rows = (await connection.execute(page)).all()
    while rows:
        for row in rows:
            yield row
        rows = (await connection.execute(page.where(key_of(table) > rows[-1].key))).all()


async def carried(connection: AsyncConnection) -> list[Carried]:
    """Return the secrets that travel with promises which are not done."""
    rows = await connection.execute(
        sa.select(delivery.c.id, delivery.c.kind, delivery.c.payload).where(
            delivery.c.kind.in_([DeliveryKind.REVOKE.value, DeliveryKind.CONSENT.value]),
            delivery.c.state.in_([each.value for each in UNDONE]),
        )
    )
    found = []
    for row in rows.all():
        payload = json.loads(row.payload)
        secrets = {name: payload[name] for name in ("secret", "code") if payload.get(name)}
        if secrets:
            found.append(Carried(row.id, DeliveryKind(row.kind), payload, secrets))
    return found


async def replace(connection: AsyncConnection, each: Carried, secrets: Mapping[str, str]) -> None:
    """Let others travel in the place of a promise's secrets."""
    payload = json.dumps({**each.payload, **secrets})
    await connection.execute(sa.update(delivery).where(delivery.c.id == each.delivery_id).values(payload=payload))
