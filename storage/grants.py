"""Keep consents: those that were given (grants), those under way, and our registrations on Mastodon-API servers.

Every secret is encrypted by `storage.keys.Keys`; the tokens inside name the account they act for.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.dialect import insert
from storage.keys import Keys, LostSecretError
from storage.ready import ready
from storage.records import DeliveryKind, DeliveryState, Grant, GrantState, NetworkName, check_transition
from storage.tables import consent, consent_grant, delivery, mastodon_app

_ERASED = b""
_ACTIVE_OF: Final = ready(
    sa.select(consent_grant)
    .where(
        consent_grant.c.person_id.in_(sa.bindparam("persons", expanding=True)),
        consent_grant.c.state == GrantState.ACTIVE.value,
    )
    .order_by(consent_grant.c.id)
)

_OF_ACCOUNT: Final = ready(
    sa.select(consent_grant).where(
        consent_grant.c.account_id == sa.bindparam("account"), consent_grant.c.state != GrantState.ENDED.value
    )
)
_OF_PERSON: Final = ready(
    sa.select(consent_grant).where(consent_grant.c.person_id == sa.bindparam("person")).order_by(consent_grant.c.id)
)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A consent that somebody was sent away to give; `secret` is decrypted JSON. `used_at` is None while it waits."""

    digest: bytes
    person_id: int
    network: NetworkName
    secret: str
    created_at: int
    expires_at: int
    used_at: int | None


async def keep(
    connection: AsyncConnection,
    keys: Keys,
    *,
    person_id: int,
    account_id: str,
    network: NetworkName,
    issuer: str,
    scope: str,
    secret: str,
    now: int,
) -> Grant:
    """Keep a consent that was given; it takes the place of an earlier one of the same account, and is active."""
    values = {
        "person_id": person_id,
        "network": network.value,
        "issuer": issuer,
        "scope": scope,
        "secret": keys.encrypt(secret),
        "state": GrantState.ACTIVE.value,
        "created_at": now,
    }
    statement = insert(connection, consent_grant).values(account_id=account_id, **values)
    row = (
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["account_id"], set_=values).returning(consent_grant)
        )
    ).one()
    return _grant(row._asdict())


async def of_account(connection: AsyncConnection, account_id: str) -> Grant | None:
    """Return the consent of one account, unless we ended it; a lost one is still there."""
    row = (await connection.execute(_OF_ACCOUNT, {"account": account_id})).one_or_none()
    return None if row is None else _grant(row._asdict())


async def of_person(connection: AsyncConnection, person_id: int) -> list[Grant]:
    """Return all consents of a person, the oldest first, in whatever state they are."""
    rows = await connection.execute(_OF_PERSON, {"person": person_id})
    return [_grant(row._asdict()) for row in rows]


async def active(connection: AsyncConnection, person_id: int) -> list[Grant]:
    """Return the consents by which we may act for a person now."""
    return [grant for grant in await of_person(connection, person_id) if grant.state is GrantState.ACTIVE]


async def active_of(connection: AsyncConnection, person_ids: Iterable[int]) -> dict[int, list[Grant]]:
    """Return the consents by which we may act now, by person; those without any are left out."""
    found: dict[int, list[Grant]] = {}
    for row in await connection.execute(_ACTIVE_OF, {"persons": list(person_ids)}):
        found.setdefault(row.person_id, []).append(_grant(row._asdict()))
    return found


async def save_secret(connection: AsyncConnection, grant_id: int, secret: bytes) -> bool:
    """Keep renewed tokens, encrypted; False when the consent was ended or forgotten meanwhile."""
    saved = await connection.execute(
        sa.update(consent_grant)
        .where(consent_grant.c.id == grant_id, consent_grant.c.state != GrantState.ENDED.value)
        .values(secret=secret)
    )
    return saved.rowcount > 0


async def set_state(connection: AsyncConnection, grant: Grant, state: GrantState) -> None:
    """Write down where a consent stands; with ENDED its secret is erased here."""
    check_transition(grant.state, state)
    values: dict[str, Any] = {"state": state.value}
    if state is GrantState.ENDED:
        values["secret"] = _ERASED
    await connection.execute(sa.update(consent_grant).where(consent_grant.c.id == grant.id).values(**values))


async def revocations(connection: AsyncConnection, lanes: Iterable[str]) -> list[tuple[int, NetworkName, bytes]]:
    """Return the ends of consents that are promised in lanes and not done: delivery, network, encrypted secret."""
    rows = await connection.execute(
        sa.select(delivery.c.id, delivery.c.network, delivery.c.payload).where(
            delivery.c.lane.in_(list(lanes)),
            delivery.c.kind == DeliveryKind.REVOKE.value,
            delivery.c.state.in_([DeliveryState.PROMISED.value, DeliveryState.LEASED.value]),
        )
    )
    return [(row.id, NetworkName(row.network), json.loads(row.payload)["secret"].encode()) for row in rows]


async def begin(
    connection: AsyncConnection,
    keys: Keys,
    *,
    state: str,
    person_id: int,
    network: NetworkName,
    secret: str,
    now: int,
    lifetime: int,
) -> None:
    """Remember a consent under way; of the `state` only a digest is kept."""
    await connection.execute(
        sa.insert(consent).values(
            digest=keys.digest(state),
            person_id=person_id,
            network=network.value,
            secret=keys.encrypt(secret),
            created_at=now,
            expires_at=now + lifetime,
        )
    )


async def find(connection: AsyncConnection, keys: Keys, state: str) -> UnderWay | None:
    """Return the consent that a `state` belongs to, whether it still waits or not."""
    return await _under_way(connection, keys, consent.c.digest == keys.digest(state))


async def open_of(connection: AsyncConnection, keys: Keys, person_id: int, network: NetworkName) -> UnderWay | None:
    """Return the latest consent to a network that a person has still to finish."""
    return await _under_way(
        connection,
        keys,
        consent.c.person_id == person_id,
        consent.c.network == network.value,
        consent.c.used_at.is_(None),
    )


async def use(connection: AsyncConnection, found: UnderWay, now: int) -> bool:
    """Spend a consent under way: of two who come back at once, one may go on."""
    spent = await connection.execute(
        sa.update(consent)
        .where(consent.c.digest == found.digest, consent.c.used_at.is_(None), consent.c.expires_at > now)
        .values(used_at=now, secret=_ERASED)
    )
    return spent.rowcount == 1


async def reopen(connection: AsyncConnection, keys: Keys, found: UnderWay) -> None:
    """Let a consent wait again, because the server could not be asked."""
    await connection.execute(
        sa.update(consent)
        .where(consent.c.digest == found.digest)
        .values(used_at=None, secret=keys.encrypt(found.secret))
    )


async def app_of(connection: AsyncConnection, keys: Keys, server: str) -> str | None:
    """Return how we are registered on a server, as decrypted JSON."""
    secret = await connection.scalar(sa.select(mastodon_app.c.secret).where(mastodon_app.c.server == server))
    return None if secret is None else keys.decrypt(secret)


async def keep_app(connection: AsyncConnection, keys: Keys, server: str, secret: str, now: int) -> None:
    """Keep how we are registered on a server; a later registration takes the place of an earlier one."""
    values = {"secret": keys.encrypt(secret), "created_at": now}
    statement = insert(connection, mastodon_app).values(server=server, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["server"], set_=values))


async def _under_way(connection: AsyncConnection, keys: Keys, *where: sa.ColumnElement[bool]) -> UnderWay | None:
    row = (
        await connection.execute(sa.select(consent).where(*where).order_by(consent.c.created_at.desc()).limit(1))
    ).one_or_none()
    if row is None:
        return None
    try:
        secret = keys.decrypt(row.secret) if row.secret else ""
    except LostSecretError:  # its key is gone: nobody can finish it
        return None
    return UnderWay(
        digest=row.digest,
        person_id=row.person_id,
        network=NetworkName(row.network),
        secret=secret,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )


def _grant(row: Mapping[str, Any]) -> Grant:
    return Grant(**{**row, "network": NetworkName(row["network"]), "state": GrantState(row["state"])})
