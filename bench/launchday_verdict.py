"""What was lost or doubled on the launch day: what people wrote and got to read is held against what the database says.

Whom each person should have been told of is worked out anew from their list, without the bot.
"""

from collections import Counter
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.launchday_crowd import Crowd, Day
from storage.arrivals import NOTICE, named_in, part_of
from storage.records import UNDONE, Choice, DeliveryKind, DeliveryState
from storage.tables import account, arrival, decision, delivery, person, told, upload

# A notice names so many; of more it says how many.
_NAMED: Final = 20
_UNDONE: Final = [state.value for state in UNDONE]
_FOLLOW: Final = DeliveryKind.FOLLOW.value
_SPOKEN: Final = [DeliveryKind.REPLY.value, DeliveryKind.POST.value, DeliveryKind.NOTICE.value]


async def judge(connection: AsyncConnection, crowd: Crowd, day: Day) -> dict[str, Any]:
    """Return what was lost, what was doubled, and what still waits, by kind."""
    replies_lost, replies_waiting = await _replies(connection, day)
    pairs, told_lost, told_waiting = await _told(connection, crowd)
    named = Counter(
        (notice.reader, each) for notice in day.notices if part_of(notice.key) == "0" for each in named_in(notice.key)
    )
    servers = day.servers.values()
    spoken = await connection.scalars(
        sa.select(delivery.c.key).where(delivery.c.kind.in_(_SPOKEN), delivery.c.state == DeliveryState.DONE.value)
    )
    return {
        "lost": {
            "replies": replies_lost,
            "told": told_lost,
            "never_said": sum(not any(server.has_said(key) for server in servers) for key in spoken),
            "follows": await _follows_missing(connection),
            "never_followed": await _never_followed(connection, day),
        },
        "doubled": {
            "said": sum(server.doubled for server in servers),
            "told": sum(n - 1 for n in named.values() if n > 1),
            "follows": await _followed_twice(connection),
        },
        "waiting": {"replies": replies_waiting, "told": told_waiting, "deliveries": await _waiting(connection)},
        "pairs_told_of": pairs,
    }


async def _replies(connection: AsyncConnection, day: Day) -> tuple[int, int]:
    """Return how many messages are not answered and never will be, and how many will be."""
    lost = waiting = 0
    unheard = {message_id for server in day.servers.values() for message_id in server.waiting()}
    for message_id, talk in day.unanswered.items():
        prefix = f"{talk.network}:{message_id}:"
        of_it = sa.and_(delivery.c.key >= prefix, delivery.c.key < f"{prefix[:-1]};", delivery.c.state.in_(_UNDONE))
        if message_id in unheard or await connection.scalar(sa.select(sa.func.count()).where(of_it)):
            waiting += 1
        else:
            lost += 1
    return lost, waiting


async def _told(connection: AsyncConnection, crowd: Crowd) -> tuple[int, int, int]:
    """Return how many pairs somebody should have been told of; of how many nobody was; and how many are still to come."""
    numbers = {
        row.person_id: Crowd.number(row.id)
        for row in await connection.execute(sa.select(account.c.person_id, account.c.id))
    }
    arrived = {
        numbers[row.person_id]: row.person_id for row in await connection.execute(sa.select(arrival.c.person_id))
    }
    order = np.argsort(crowd.x_ids)
    in_order = crowd.x_ids[order]
    listed = {row.person_id: row.created_at for row in await connection.execute(sa.select(upload))}
    due = {
        row.id for row in await connection.execute(sa.select(person.c.id).where(person.c.notice_due_at.is_not(None)))
    }
    by_notice = await _by_notice(connection)
    pairs = lost = waiting = 0
    for person_id, handed_over_at in listed.items():
        me = numbers[person_id]
        ids = crowd.list_of(me)
        places = np.minimum(np.searchsorted(in_order, ids), len(in_order) - 1)
        here = {int(each) for each in order[places[in_order[places] == ids]]} - {me}
        should = {arrived[each] for each in here if each in arrived}
        rows = await connection.execute(sa.select(told.c.contact_id, told.c.at).where(told.c.person_id == person_id))
        was = {row.contact_id: row.at for row in rows}
        pairs += len(should)
        missing = should - was.keys()
        named = by_notice.get(person_id, set())
        # Who was told of at once, with the answer to the list, stands in no notice.
        unnamed = {each for each, at in was.items() if at != handed_over_at} - named
        if person_id in due:
            waiting += len(missing)
        else:
            lost += len(missing)
        if len(named) < _NAMED:
            lost += len(unnamed)
    return pairs, lost, waiting


async def _by_notice(connection: AsyncConnection) -> dict[int, set[int]]:
    """Return whom notices name that were sent or are to be, by reader."""
    found: dict[int, set[int]] = {}
    rows = await connection.execute(
        sa.select(delivery.c.person_id, delivery.c.key).where(
            delivery.c.key.startswith(NOTICE), delivery.c.state.in_([*_UNDONE, DeliveryState.DONE.value])
        )
    )
    for row in rows:
        found.setdefault(row.person_id, set()).update(named_in(row.key))
    return found


async def _follows_missing(connection: AsyncConnection) -> int:
    """Count whom somebody wants to follow, by their own word or by auto, where they can, and no follow is promised."""
    theirs = account.alias()
    mine = account.alias()
    missing = 0
    for wish in (
        sa.select(told.c.person_id, told.c.contact_id)
        .join(person, person.c.id == told.c.person_id)
        .where(person.c.auto),
        sa.select(decision.c.person_id, decision.c.contact_id).where(decision.c.choice == Choice.FOLLOW.value),
    ):
        wanted = wish.subquery()
        promised = sa.exists().where(
            delivery.c.person_id == wanted.c.person_id,
            delivery.c.contact_id == wanted.c.contact_id,
            delivery.c.kind == _FOLLOW,
        )
        count = (
            sa.select(sa.func.count())
            .select_from(wanted)
            .join(mine, mine.c.person_id == wanted.c.person_id)
            .join(theirs, sa.and_(theirs.c.person_id == wanted.c.contact_id, theirs.c.network == mine.c.network))
            .where(~promised)
        )
        missing += int(await connection.scalar(count) or 0)
    return missing


async def _never_followed(connection: AsyncConnection, day: Day) -> int:
    """Count follows that are said to be done, and of which the network does not know."""
    done = (delivery.c.kind == _FOLLOW, delivery.c.state == DeliveryState.DONE.value, delivery.c.reason == "done")
    return sum(
        not any(server.has_followed(each) for server in day.servers.values())
        for each in await connection.scalars(sa.select(delivery.c.result).where(*done))
    )


async def _followed_twice(connection: AsyncConnection) -> int:
    """Count pairs of accounts for which more than one follow was made."""
    done = (delivery.c.kind == _FOLLOW, delivery.c.state == DeliveryState.DONE.value, delivery.c.reason == "done")
    pairs = sa.select(sa.func.count().label("n")).where(*done).group_by(delivery.c.account_id, delivery.c.contact_id)
    made = pairs.subquery()
    return int(await connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(made.c.n - 1), 0))) or 0)


async def _waiting(connection: AsyncConnection) -> dict[str, int]:
    rows = await connection.execute(
        sa.select(delivery.c.kind, sa.func.count().label("n"))
        .where(delivery.c.state.in_(_UNDONE))
        .group_by(delivery.c.kind)
    )
    return {row.kind: row.n for row in rows}


async def is_settled(connection: AsyncConnection, now: int) -> bool:
    """Tell whether nothing is left to be done now."""
    for left in (
        sa.select(delivery.c.id).where(delivery.c.state.in_(_UNDONE)),
        sa.select(arrival.c.seq).where(arrival.c.done.is_(False)),
        sa.select(person.c.id).where(person.c.notice_due_at <= now + 120_000),
    ):
        if await connection.scalar(left.limit(1)) is not None:
            return False
    return True


async def notice_seconds(
    connection: AsyncConnection, day: Day, opens_at: int, silence_after: int
) -> dict[str, list[float]]:
    """Return how long people waited for a notice who are told at once: those of the opening itself, and later ones."""
    arrived = {row.person_id: row.at for row in await connection.execute(sa.select(arrival.c.person_id, arrival.c.at))}
    found: dict[str, list[float]] = {"of_the_opening": [], "later": []}
    for notice in day.notices:
        if part_of(notice.key) != "0" or notice.in_a_row > silence_after:
            continue
        for contact_id in named_in(notice.key):
            came = arrived.get(contact_id, 0)
            found["later" if came > opens_at else "of_the_opening"].append((notice.at - max(came, opens_at)) / 1000)
    return found
