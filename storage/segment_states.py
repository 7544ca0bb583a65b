"""What segments of the index there are, and in what state: how they begin, come into use, and are deleted.

Only one process at a time looks after the index, which a lock sees to that can be lost without a word. So whoever brings
segments from one state into another makes sure that they still are in the one in which they were left, and else gives up:
what is live stays whole, and no posting is written for a segment that somebody clears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database, next_number
from storage.engines import DatabaseError
from storage.postings import BUCKET_BITS, bits_for, first_id
from storage.ready import ready
from storage.tables import posting, segment, sequence

# What one transaction deletes at most: nobody shall wait for it longer than some 50 ms.
_BUCKETS_A_TRANSACTION: Final = 192

_MEANWHILE: Final = (
    "Another process looked after the index of lists at the same time, so this was ended early. The index that was there is "
    "whole, and this can be done again."
)


class SegmentState(StrEnum):
    """What a segment is good for."""

    BUILDING = "building"
    LIVE = "live"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: `links` in it (once it is LIVE), for the lists whose slots are from `lo` to `hi`."""

    id: int
    level: int
    bits: int
    links: int
    lo: int
    hi: int


async def live_segments(connection: AsyncConnection) -> list[Segment]:
    """Return the segments that are in use, as their ranges follow each other."""
    return await in_state(connection, SegmentState.LIVE)


async def in_state(connection: AsyncConnection, *states: SegmentState) -> list[Segment]:
    """Return the segments in any of these states, as their ranges follow each other."""
    columns = [column for column in segment.c if column.name != "state"]
    wanted = segment.c.state.in_([state.value for state in states])
    rows = await connection.execute(sa.select(*columns).where(wanted).order_by(segment.c.lo))
    return [Segment(**row._asdict()) for row in rows]


async def orphans(connection: AsyncConnection) -> list[Segment]:
    """Return segments that are not there but have postings, which nobody reads; former versions could leave some."""
    known = set((await connection.scalars(sa.select(segment.c.id))).all())
    found: list[Segment] = []
    after = 0
    while True:  # from each segment's first posting to the next one's: their index is not read through
        following = sa.select(posting.c.id).where(posting.c.id >= first_id(after, 0)).order_by(posting.c.id).limit(1)
        if (first := await connection.scalar(following)) is None:
            return found
        number = int(first) >> BUCKET_BITS
        after = number + 1
        if number not in known:
            last = await connection.scalar(
                sa.select(sa.func.max(posting.c.id)).where(posting.c.id < first_id(after, 0))
            )
            bits = (int(last or first) - first_id(number, 0)).bit_length()
            found.append(Segment(number, level=0, bits=bits, links=0, lo=0, hi=0))


async def begin(database: Database, level: int, links: int, lo: int, hi: int) -> Segment:
    """Begin to build a segment of about so many links."""
    async with database.transaction() as connection:
        made = Segment(await next_number(connection, "segment"), level, bits_for(links), links, lo, hi)
        values = {name: getattr(made, name) for name in ("id", "level", "bits", "links", "lo", "hi")}
        await connection.execute(sa.insert(segment).values(state=SegmentState.BUILDING.value, **values))
    return made


_OURS: Final = ready(
    sa.select(segment.c.id)
    .where(segment.c.id == sa.bindparam("segment"), segment.c.state == SegmentState.BUILDING.value)
    .with_for_update(read=True)
)


async def hold(connection: AsyncConnection, made: Segment) -> None:
    """Have whoever would clear a segment that is being built wait for the commit; DatabaseError when somebody has."""
    if await connection.scalar(_OURS, {"segment": made.id}) is None:
        raise DatabaseError(_MEANWHILE)


async def switch(database: Database, new: Sequence[Segment], old: Sequence[Segment]) -> None:
    """Let new segments take the place of old ones, in one moment.

    DatabaseError when any is not what it was, or somebody else's covers the same lists by now.
    """
    async with database.transaction() as connection:
        # Of two who do this at once each sees what the other one did.
        await connection.execute(sa.select(sequence.c.value).where(sequence.c.name == "segment").with_for_update())
        for each in new:
            await _move(connection, [each], (SegmentState.BUILDING,), SegmentState.LIVE, links=each.links)
        await _move(connection, old, (SegmentState.LIVE,), SegmentState.DEAD)
        ids = {each.id for each in new}
        others = [each for each in await live_segments(connection) if each.id not in ids]
        if any(other.lo <= each.hi and each.lo <= other.hi for other in others for each in new):
            raise DatabaseError(_MEANWHILE)


async def _move(
    connection: AsyncConnection,
    segments: Sequence[Segment],
    before: Sequence[SegmentState],
    after: SegmentState,
    **values: int,
) -> None:
    """Bring segments from one state into another; DatabaseError when any is not there in that state any more."""
    ours = (segment.c.id.in_([each.id for each in segments]), segment.c.state.in_([each.value for each in before]))
    moved = await connection.execute(sa.update(segment).where(*ours).values(state=after.value, **values))
    if moved.rowcount != len(segments):
        raise DatabaseError(_MEANWHILE)


async def clear(database: Database, segments: Sequence[Segment]) -> None:
    """Delete segments that nobody reads any more."""
    # First of all: from then on nobody writes to them, or lets them live.
    async with database.transaction() as connection:
        await _move(connection, segments, (SegmentState.BUILDING, SegmentState.DEAD), SegmentState.DEAD)
    for each in segments:
        await _empty(database, each)
        async with database.transaction() as connection:
            await connection.execute(sa.delete(segment).where(segment.c.id == each.id))


async def _empty(database: Database, each: Segment) -> None:
    """Delete the postings of a segment, a little at a time."""
    for bucket in range(0, 1 << each.bits, _BUCKETS_A_TRANSACTION):
        first, end = (
            first_id(each.id, bucket),
            first_id(each.id, min(bucket + _BUCKETS_A_TRANSACTION, 1 << each.bits)),
        )
        ended = database.checkpoints.ended
        async with database.transaction(long=True) as connection:
            gone = await connection.execute(sa.delete(posting).where(posting.c.id >= first, posting.c.id < end))
        if gone.rowcount:  # else nothing went into the log
            database.checkpoints.written(ended)


async def clear_orphans(database: Database) -> None:
    """Delete the postings of segments that are not there."""
    async with database.reading() as connection:
        left = await orphans(connection)
    for each in left:
        await _empty(database, each)
