"""Make one person of two: everything of the younger goes over to the older, and nothing stands twice."""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import accounts, arrivals, claims, deliveries
from storage.records import Claim, DeliveryKind, DeliveryState, Discoverable, Person
from storage.tables import (
    account,
    arrival,
    batch,
    code,
    consent,
    consent_grant,
    decision,
    delivery,
    listing,
    person,
    report,
    told,
    upload,
)

# Rows of these simply change hands.
_OWNED: Final = (account, arrival, batch, code, consent, consent_grant, delivery, report, upload)
# The less is shown, the stricter: of two choices the stricter one holds.
_STRICTNESS: Final = (Discoverable.OFF, Discoverable.MUTUALS, Discoverable.EVERYONE)


async def merge(connection: AsyncConnection, one: Person, other: Person, now: int) -> tuple[Person, list[Claim]]:
    """Join two persons into the older one; return that one, and the claims that are no longer frozen by it.

    The older person's choices stay, except that a stop of either holds, that a chosen language goes before a guessed
    one, that less is shown rather than more, and that newcomers are looked for from the earlier of the two places. Follows of one another that are still to come are cancelled.
    """
    keep, gone = sorted((one, other), key=lambda each: (each.created_at, each.id))
    freed = await claims.join(connection, keep.id, gone.id, now)
    await deliveries.cancel(
        connection,
        now,
        delivery.c.kind == DeliveryKind.FOLLOW.value,
        delivery.c.person_id.in_([keep.id, gone.id]),
        delivery.c.contact_id.in_([keep.id, gone.id]),
    )
    for table in (told, decision):
        await _join_pairs(connection, table, keep.id, gone.id)
    await _join_listing(connection, keep.id, gone.id)
    for table in _OWNED:
        await connection.execute(sa.update(table).where(table.c.person_id == gone.id).values(person_id=keep.id))
    await connection.execute(sa.update(delivery).where(delivery.c.contact_id == gone.id).values(contact_id=keep.id))
    await _rename_in_notices(connection, keep.id, gone.id)
    due = [at for at in (keep.notice_due_at, gone.notice_due_at) if at is not None]
    await accounts.change(
        connection,
        keep.id,
        language=_language(keep, gone),
        language_chosen=keep.language_chosen or gone.language_chosen,
        stopped=keep.stopped or gone.stopped,
        discoverable=min(keep.discoverable, gone.discoverable, key=_STRICTNESS.index).value,
        notice_due_at=min(due, default=None),
        seen_seq=min(keep.seen_seq, gone.seen_seq),
        unanswered=0,
        last_heard_at=max(keep.last_heard_at, gone.last_heard_at),
    )
    await connection.execute(sa.delete(person).where(person.c.id == gone.id))
    return await accounts.get_person(connection, keep.id), freed


def _language(keep: Person, gone: Person) -> str | None:
    if gone.language_chosen and not keep.language_chosen:
        return gone.language
    return keep.language or gone.language


async def _rename_in_notices(connection: AsyncConnection, keep: int, gone: int) -> None:
    """Let notices that nobody has begun to send name the joined person; one that was begun keeps the key it went by."""
    rows = await connection.execute(
        sa.select(delivery.c.id, delivery.c.key).where(
            delivery.c.kind == DeliveryKind.NOTICE.value,
            delivery.c.state == DeliveryState.PROMISED.value,
            delivery.c.attempts == 0,
            delivery.c.key.startswith(arrivals.NOTICE),
        )
    )
    for row in rows:
        if gone in arrivals.named_in(row.key):
            key = arrivals.renamed(row.key, keep, gone)
            await connection.execute(sa.update(delivery).where(delivery.c.id == row.id).values(key=key))


async def _join_pairs(connection: AsyncConnection, table: sa.Table, keep: int, gone: int) -> None:
    """Move rows of (person, contact) on both of their sides; where both stand, the later one does."""
    both = [keep, gone]
    await connection.execute(sa.delete(table).where(table.c.person_id.in_(both), table.c.contact_id.in_(both)))
    for side, opposite in ((table.c.person_id, table.c.contact_id), (table.c.contact_id, table.c.person_id)):
        await _drop_earlier(connection, table, side, opposite, loser=gone, winner=keep, equal=True)
        await _drop_earlier(connection, table, side, opposite, loser=keep, winner=gone, equal=False)
        await connection.execute(sa.update(table).where(side == gone).values({side.name: keep}))


async def _drop_earlier(
    connection: AsyncConnection,
    table: sa.Table,
    side: sa.Column[Any],
    opposite: sa.Column[Any],
    *,
    loser: int,
    winner: int,
    equal: bool,
) -> None:
    twin = table.alias()
    later = twin.c.at >= table.c.at if equal else twin.c.at > table.c.at
    stands = sa.exists().where(twin.c[side.name] == winner, twin.c[opposite.name] == opposite, later)
    await connection.execute(sa.delete(table).where(side == loser, stands))


async def _join_listing(connection: AsyncConnection, keep: int, gone: int) -> None:
    """Keep the numbered list that was shown last."""
    rows = await connection.execute(
        sa.select(listing.c.person_id).where(listing.c.person_id.in_([keep, gone])).order_by(listing.c.at.desc())
    )
    shown = [row.person_id for row in rows]
    await connection.execute(sa.delete(listing).where(listing.c.person_id.in_(shown[1:])))
    await connection.execute(sa.update(listing).where(listing.c.person_id == gone).values(person_id=keep))
