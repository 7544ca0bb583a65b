"""Give out everything that is held about a person, remove all of it, and let what is old go.

To forget is one transaction: claims are withdrawn, everything else is deleted, and for a short while an empty husk of
the person stays with its withdrawn, unlabelled claims, so that every process learns from their versions that nobody is
there any more. `retention` removes the husks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from storage import accounts, claims, grants, lanes, messages
from storage.database import Database
from storage.engines import DatabaseError
from storage.keys import Keys
from storage.records import UNDONE, Cadence, Claim, ClaimState, DeliveryKind, Discoverable, MessageState, NetworkName
from storage.tables import (
    account,
    arrival,
    batch,
    budget,
    claim,
    code,
    consent,
    consent_grant,
    decision,
    delivery,
    lane,
    listing,
    message,
    metadata,
    person,
    question,
    report,
    told,
    upload,
)

_DAY: Final = 86_400_000
# How long other processes may take to read that a forgotten person's claims are withdrawn.
_HUSK: Final = 3_600_000
# A message may be heard again only until the network's cursor has moved on; a day is far more than that takes.
_HEARD_AGAIN: Final = _DAY
# One who comes with an expired link is told so, instead of being told that it never existed.
_EXPIRED_IS_TOLD: Final = 7 * _DAY
# Whoever wants to write waits while a checkpoint waits for those who read: so it waits shortly, and comes again later.
_BUSY_MS: Final = 200
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_WIPED_SECONDS: Final = 300.0
# What would open doors, or is of use to a machine only.
_LEFT_OUT: Final = frozenset({"secret", "digest", "data", "payload", "used_by"})
_SECRET_KINDS: Final = (DeliveryKind.CONSENT.value, DeliveryKind.REVOKE.value)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What outlives a forgotten person for a moment.

    `secrets` are the encrypted tokens that have to be ended at their issuers, by network; `freed` are claims of others
    that were frozen because of this person's; `batches` are those of others (batch, person) from which follows of this
    person vanished before they were made.
    """

    secrets: list[tuple[NetworkName, bytes]]
    freed: list[Claim]
    batches: list[tuple[int, int]]


async def held(connection: AsyncConnection, person_id: int) -> dict[str, Any]:
    """Return everything held about a person as JSON values: table by table, times in ISO 8601, secrets left out."""
    known = await accounts.of_person(connection, person_id)
    ids = [each.id for each in known]

    async def rows(table: sa.Table, *where: sa.ColumnElement[bool], more: Sequence[sa.ColumnElement[Any]] = ()) -> Any:
        columns = [column for column in table.c if column.name not in _LEFT_OUT]
        found = await connection.execute(sa.select(*columns, *more).where(*where))
        return [_readable(row._asdict()) for row in found]

    of_person = {
        name: await rows(table, table.c.person_id == person_id)
        for name, table in {
            "accounts": account,
            "claims": claim,
            "arrivals": arrival,
            "codes": code,
            "consents_under_way": consent,
            "grants": consent_grant,
            "batches": batch,
            "listing_shown_last": listing,
            "reports": report,
        }.items()
    }
    return {
        "about": {
            "uploads": "Of the people on your lists only keyed pseudonyms are kept; nobody can be named from them.",
            "grants": "The tokens themselves are encrypted and are not given out.",
            "messages": "What you wrote is not kept; only that you wrote, when, and what became of it.",
        },
        "person": (await rows(person, person.c.id == person_id))[0],
        **of_person,
        "uploads": await rows(
            upload, upload.c.person_id == person_id, more=[sa.func.length(upload.c.data).label("bytes")]
        ),
        "decisions": await _with_contacts(connection, await rows(decision, decision.c.person_id == person_id)),
        "told": await _with_contacts(connection, await rows(told, told.c.person_id == person_id)),
        "questions": await rows(question, question.c.account_id.in_(ids)),
        "messages": await rows(message, message.c.account_id.in_(ids)),
        "deliveries": await rows(
            delivery,
            sa.or_(delivery.c.person_id == person_id, delivery.c.account_id.in_(ids)),
            more=[sa.case((delivery.c.kind.in_(_SECRET_KINDS), "{}"), else_=delivery.c.payload).label("content")],
        ),
    }


async def forget(connection: AsyncConnection, keys: Keys, person_id: int, now: int) -> Forgotten:
    """Remove a person: nothing of theirs can be reached afterwards, and `wipe` takes it off the disk."""
    known = await accounts.of_person(connection, person_id)
    ids = [each.id for each in known]
    secrets = [(grant.network, grant.secret) for grant in await grants.of_person(connection, person_id) if grant.secret]
    queues = [lanes.say_lane(each.network, each.id) for each in known]
    queues += [name(each) for each in ids for name in (lanes.ask_lane, lanes.act_lane)]
    secrets += [(network, secret) for _, network, secret in await grants.revocations(connection, queues)]
    freed = await claims.withdraw_all(connection, person_id, now)
    touched = await _batches_about(connection, person_id)
    await connection.execute(
        sa.delete(delivery).where(
            sa.or_(
                delivery.c.person_id == person_id,
                delivery.c.contact_id == person_id,
                delivery.c.account_id.in_(ids),
                delivery.c.lane.in_(queues),
            )
        )
    )
    await connection.execute(sa.delete(lane).where(lane.c.name.in_(queues)))
    for each in ids:
        await connection.execute(sa.delete(budget).where(budget.c.name == f"follow:{each}"))
    for table in (told, decision):
        await connection.execute(
            sa.delete(table).where(sa.or_(table.c.person_id == person_id, table.c.contact_id == person_id))
        )
    for table in (arrival, batch, code, consent, consent_grant, listing, report, upload):
        await connection.execute(sa.delete(table).where(table.c.person_id == person_id))
    await messages.forget_writers(connection, keys, ids, now - _HEARD_AGAIN)
    await connection.execute(sa.delete(account).where(account.c.person_id == person_id))  # questions go with them
    await _empty(connection, person_id, now)
    return Forgotten(secrets, [each for each in freed if each.person_id != person_id], touched)


async def _batches_about(connection: AsyncConnection, person_id: int) -> list[tuple[int, int]]:
    """Return the batches of others, with their persons, in which somebody is still to be followed or unfollowed."""
    rows = await connection.execute(
        sa.select(batch.c.id, batch.c.person_id)
        .join(delivery, delivery.c.batch_id == batch.c.id)
        .where(
            delivery.c.contact_id == person_id,
            delivery.c.state.in_(UNDONE),
            batch.c.person_id != person_id,
        )
        .distinct()
        .order_by(batch.c.id)
    )
    return [(row.id, row.person_id) for row in rows]


async def retention(
    connection: AsyncConnection, now: int, *, keep_ms: int, keep_failed_ms: int, keep_unclaimed_ms: int
) -> int:
    """Let go what is older than the periods (milliseconds); return how many rows that were.

    Follows are kept, because undo and `why` need them. Somebody who said stop is kept too, so that the word holds.
    """
    undone = sa.exists().where(delivery.c.lane == lane.c.name, delivery.c.state.in_(UNDONE))
    decided = (MessageState.HANDLED.value, MessageState.IGNORED.value)
    withdrawn = claim.c.state == ClaimState.WITHDRAWN.value
    nothing = [
        sa.not_(sa.exists().where(claim.c.person_id == person.c.id, sa.not_(withdrawn))),
        *(sa.not_(sa.exists().where(table.c.person_id == person.c.id)) for table in (upload, consent_grant, report)),
    ]
    # An index in memory that has not read of the withdrawal yet leads to no claim: nobody is shown by it.
    long_ago = sa.func.coalesce(claim.c.held_at, claim.c.created_at) < now - keep_ms
    rules: list[tuple[sa.Table, list[sa.ColumnElement[bool]]]] = [
        (delivery, [delivery.c.settled_at < now - keep_ms, delivery.c.kind != DeliveryKind.FOLLOW.value]),
        (claim, [withdrawn, long_ago]),
        (message, [message.c.state.in_(decided), message.c.at < now - keep_ms]),
        (message, [message.c.account_id == "", message.c.at < now - _HEARD_AGAIN]),
        (message, [message.c.state == MessageState.FAILED.value, message.c.at < now - keep_failed_ms]),
        (code, [code.c.expires_at < now - _EXPIRED_IS_TOLD]),
        (consent, [consent.c.expires_at < now - _EXPIRED_IS_TOLD]),
        (question, [question.c.expires_at < now]),
        (budget, [budget.c.tat < now]),
        (lane, [lane.c.next_at.is_(None), lane.c.leased_until.is_(None), sa.not_(undone)]),
        (
            person,
            [sa.not_(sa.exists().where(account.c.person_id == person.c.id)), person.c.last_heard_at < now - _HUSK],
        ),
        (person, [person.c.last_heard_at < now - keep_unclaimed_ms, person.c.stopped.is_(False), *nothing]),
    ]
    removed = 0
    for table, where in rules:
        removed += (await connection.execute(sa.delete(table).where(*where))).rowcount
    return removed


async def wipe(database: Database, within: float = _WIPED_SECONDS) -> None:
    """Take deleted bytes off the disk; DatabaseError when so many seconds do not suffice.

    SQLite overwrites what is deleted (secure_delete) but keeps older pages in its write-ahead log until a checkpoint
    empties it. PostgreSQL keeps deleted rows until a VACUUM, and its own comes only once many have gathered; its log is
    recycled.
    """
    if database.is_sqlite:
        await _empty_log(database, within)
    else:
        await _vacuum(database)


async def _vacuum(database: Database) -> None:
    # On a connection of its own, because VACUUM cannot run inside a transaction.
    engine = create_async_engine(
        database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, hide_parameters=True
    )
    try:
        async with engine.connect() as connection:
            for table in metadata.sorted_tables:  # the few in which nobody stands are small
                await connection.execute(
                    sa.text(f"VACUUM {connection.dialect.identifier_preparer.format_table(table)}")
                )
    finally:
        await engine.dispose()


async def _empty_log(database: Database, within: float) -> None:
    pause, given_up_at = _FIRST_PAUSE, asyncio.get_running_loop().time() + within
    while not await database.empty_log(_BUSY_MS):
        if asyncio.get_running_loop().time() + pause > given_up_at:
            raise DatabaseError(
                "What was deleted is not off the disk yet: something keeps reading or writing the database. The running "
                "bot tries again every [privacy] wipe_minutes."
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _with_contacts(connection: AsyncConnection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Name the persons that rows are about by their accounts."""
    known = await accounts.accounts_of(connection, {row["contact_id"] for row in rows})
    return [{**row, "contact": [each.handle for each in known.get(row["contact_id"], [])]} for row in rows]


async def _empty(connection: AsyncConnection, person_id: int, now: int) -> None:
    await accounts.change(
        connection,
        person_id,
        language=None,
        language_chosen=False,
        cadence=Cadence.OFF.value,
        quiet_from=None,
        quiet_to=None,
        discoverable=Discoverable.OFF.value,
        auto=False,
        stopped=True,
        notice_due_at=None,
        created_at=now,
        last_heard_at=now,
    )


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: moment(value) if name == "at" or name.endswith("_at") else value for name, value in row.items()}


def moment(milliseconds: int | None) -> str | None:
    """Write a moment (epoch milliseconds) in ISO 8601."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
