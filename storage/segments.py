"""The inverted index of lists: whose lists hold a key, found without looking at every list.

It is derived from the lists and may be thrown away at any time. Lists are numbered in the order of their commits; a
segment covers a range of these slots, and what is above the last range is pending: it is scanned (storage/links.py). A
segment is built unseen, in transactions too short for anybody to wait for, and becomes LIVE in one: readers see the
lists it covers either as pending or in it. Segments of one level are merged into one of the next. A list that is
deleted is unreachable at once, because whoever reads slots asks for their lists; its links leave the index when a
segment is written anew.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.dialect import prepared
from storage.keys import Keys64, distinct
from storage.postings import BUCKET_BITS, Slots, first_id, pack, slots_of, unpack
from storage.ready import ready
from storage.records import Direction
from storage.segment_states import (
    Segment,
    SegmentState,
    begin,
    clear,
    clear_orphans,
    hold,
    in_state,
    live_segments,
    switch,
)
from storage.tables import posting, segment, upload

# What one transaction writes at most: nobody shall wait for it longer than some 50 ms.
_BYTES_A_TRANSACTION: Final = 2 << 20
_ROWS_A_TRANSACTION: Final = 1_500
# About so many links are merged at a time.
_LINKS_A_PIECE: Final = 500_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """When the index grows (python -m bench.links measures it).

    So many links may be `pending`: to scan them is about as quick as to look them up. At most so many are `sorted` in one
    go, in some 60 MB, unless a single list is longer. `fan` segments of a level become one of the next.
    """

    pending: int = 250_000
    sorted: int = 1_000_000
    fan: int = 8


SIZES: Final = Sizes()


TASK: Final = "link index"
"""What `Database.only_one` is asked for by whoever tends, purges or rebuilds."""


# Reading.

_KEY: Final = sa.bindparam("key", type_=sa.BigInteger)
_BUCKET: Final = _KEY.bitwise_rshift(sa.literal(64) - segment.c.bits).bitwise_and(
    sa.literal(1).bitwise_lshift(segment.c.bits) - 1
)
# In one statement, so that it sees one state of the index: every live segment, and the posting that may hold the key.
_LOOK_UP: Final = ready(
    sa.select(segment.c.hi, posting.c.data)
    .select_from(
        segment.outerjoin(posting, posting.c.id == segment.c.id.bitwise_lshift(sa.literal(BUCKET_BITS)) + _BUCKET)
    )
    .where(segment.c.state == SegmentState.LIVE.value)
)


async def slots_with(connection: AsyncConnection, keys: Keys64) -> tuple[Slots, int]:
    """Return the slots whose lists hold any of the keys, ascending, and up to which slot the index knows.

    A list that was deleted may be among them: ask for the lists themselves.
    """
    found: list[Slots] = []
    known = 0
    for number, key in enumerate(keys):
        rows = (await connection.execute(_LOOK_UP, {"key": int(key.view(np.int64))})).all()
        until = max((hi for hi, _ in rows), default=0)
        # Of several statements the first one saw the least.
        known = until if number == 0 else min(known, until)
        found += [slots_of(data, key) for _, data in rows if data is not None]
    if not found:
        return np.empty(0, np.uint32), known
    together = distinct(np.concatenate(found))
    return together[: np.searchsorted(together, known, side="right")], known


# Upkeep.


async def tend(database: Database, sizes: Sizes = SIZES) -> bool:
    """Do the next piece of upkeep: clear what is left over, index what is pending, or merge; tell whether there was one.

    Only one may tend, purge or rebuild at a time (Database.only_one).
    """
    async with database.reading() as connection:
        left_over = await in_state(connection, SegmentState.BUILDING, SegmentState.DEAD)
        live = await live_segments(connection)
        pending = await _pending(connection, live)
    peers = _to_merge(live, sizes.fan)
    many = sum(n for _, n in pending) >= sizes.pending
    if not left_over and not many and peers is None:
        return False
    async with database.much_written():
        if left_over:
            await clear(database, left_over)
        elif many:
            await _flush(database, live, _cut(pending, sizes.sorted), sizes)
        elif peers is not None:
            await _merge(database, peers, max(each.level for each in peers) + 1)
    return True


def _to_merge(live: Sequence[Segment], fan: int) -> list[Segment] | None:
    """Return enough neighbours of one level, the lowest first, with what is smaller between them.

    When there are twice as many as that in all, which every look-up looks into, smaller ones count as well.
    """
    crowded = len(live) >= 2 * fan
    for level in sorted({each.level for each in live}):
        for small, neighbours in itertools.groupby(live, lambda each: each.level <= level):  # noqa: B023  # used at once
            run = list(neighbours)
            places = [place for place, each in enumerate(run) if crowded or each.level == level]
            if small and len(places) >= fan:
                return run[places[0] : places[-1] + 1]
    return None


async def purge(database: Database) -> int:
    """Write every segment anew that holds links of lists which are gone; return how many links went."""
    gone = 0
    async with database.reading() as connection:
        live = await live_segments(connection)
        stale = [each for each in live if await _links_between(connection, each.lo, each.hi) < each.links]
    for each in stale:
        gone += each.links - await _merge(database, [each], each.level)
    while await _cleared(database):
        pass
    await clear_orphans(database)
    return gone


async def rebuild(database: Database, progress: Callable[[int, int], None], sizes: Sizes = SIZES) -> None:
    """Make the whole index anew from the lists; the old one serves until then. `progress` is told links done, and all."""
    async with database.reading() as connection:
        old = await live_segments(connection)
        links = await _links_between(connection, 0, None)
    done, after, new = 0, 0, list[Segment]()
    while True:
        async with database.reading() as connection:
            following = await _following_after(connection, after)
        chosen = _cut(following, sizes.sorted)
        if not chosen:
            break
        made = await _built(database, chosen, sizes)
        new.append(made)
        after, done = made.hi, done + made.links
        progress(done, links)
    await switch(database, new, old)
    await clear_orphans(database)
    while await tend(database, sizes):
        progress(links, links)


async def _cleared(database: Database) -> bool:
    async with database.reading() as connection:
        left_over = await in_state(connection, SegmentState.BUILDING, SegmentState.DEAD)
    if left_over:
        await clear(database, left_over)
    return bool(left_over)


async def _pending(connection: AsyncConnection, live: Sequence[Segment]) -> list[tuple[int, int]]:
    return await _following_after(connection, max((each.hi for each in live), default=0))


async def _following_after(connection: AsyncConnection, slot: int) -> list[tuple[int, int]]:
    """Return (slot, length) of the lists of people followed above a slot, in order."""
    where = (upload.c.slot > slot, upload.c.direction == Direction.FOLLOWING.value)
    rows = await connection.execute(sa.select(upload.c.slot, upload.c.n).where(*where).order_by(upload.c.slot))
    return [(row.slot, row.n) for row in rows]


async def _links_between(connection: AsyncConnection, lo: int, hi: int | None) -> int:
    where = [upload.c.slot >= lo, upload.c.direction == Direction.FOLLOWING.value]
    if hi is not None:
        where.append(upload.c.slot <= hi)
    return int(await connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(upload.c.n), 0)).where(*where)) or 0)


def _cut(lists: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Return the first lists, as many as are sorted in one go; at least one."""
    chosen: list[tuple[int, int]] = []
    links = 0
    for slot, n in lists:
        if chosen and links + n > most:
            break
        chosen.append((slot, n))
        links += n
    return chosen


async def _flush(database: Database, live: Sequence[Segment], pending: Sequence[tuple[int, int]], sizes: Sizes) -> None:
    made = await _built(database, pending, sizes, lo=max((each.hi for each in live), default=0) + 1)
    await switch(database, [made], [])


async def _built(database: Database, lists: Sequence[tuple[int, int]], sizes: Sizes, lo: int | None = None) -> Segment:
    """Write a segment of some lists; nobody sees it yet."""
    first, last = lists[0][0], lists[-1][0]
    keys, slots = await _in_order(database, first, last)
    level = 0  # as if so many links had come little by little
    while len(keys) > sizes.pending * sizes.fan ** (level + 1) // 2:
        level += 1
    made = await begin(database, level, len(keys), first if lo is None else lo, last)
    await _write(database, made, keys, slots)
    return made


async def _in_order(database: Database, first: int, last: int) -> tuple[Keys64, Slots]:
    """Return the links of lists of people followed, ascending by key."""
    async with database.reading() as connection:
        rows = (
            await connection.execute(
                sa.select(upload.c.slot, upload.c.data)
                .where(upload.c.slot.between(first, last), upload.c.direction == Direction.FOLLOWING.value)
                .order_by(upload.c.slot)
            )
        ).all()

    def in_order() -> tuple[Keys64, Slots]:
        keys = np.frombuffer(b"".join(row.data for row in rows), "<u8")
        counts = [len(row.data) // 8 for row in rows]
        slots = np.repeat(np.array([row.slot for row in rows], np.uint32), counts)
        order = np.argsort(keys)
        return keys[order], slots[order]

    return await asyncio.to_thread(in_order)


async def _merge(database: Database, segments: Sequence[Segment], level: int) -> int:
    """Make one segment of several, or one anew, without what is gone; return how many links it holds."""
    links = sum(each.links for each in segments)
    made = await begin(database, level, links, segments[0].lo, segments[-1].hi)
    async with database.reading() as connection:
        here = await _alive(connection, made.lo, made.hi)
    bits = min(each.bits for each in segments)
    pieces = min(max(links // _LINKS_A_PIECE, 1).bit_length() - 1, bits)

    async def together(piece: int) -> tuple[Keys64, Slots]:
        async with database.reading() as connection:
            data = [row for each in segments for row in await connection.scalars(_postings(each, piece, pieces))]
        return await asyncio.to_thread(_together, data, here, made.lo)

    kept = 0
    coming = asyncio.create_task(together(0))
    try:
        for piece in range(1 << pieces):
            keys, slots = await coming
            if piece + 1 < 1 << pieces:  # the next one is read and sorted while this one is written
                coming = asyncio.create_task(together(piece + 1))
            kept += len(keys)
            await _write(database, made, keys, slots)
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
    await switch(database, [Segment(made.id, level, made.bits, kept, made.lo, made.hi)], segments)
    return kept


def _postings(each: Segment, piece: int, pieces: int) -> Any:
    """Select the postings of one piece of the space of keys."""
    first, last = (first_id(each.id, place << (each.bits - pieces)) for place in (piece, piece + 1))
    return sa.select(posting.c.data).where(posting.c.id >= first, posting.c.id < last).order_by(posting.c.id)


async def _alive(connection: AsyncConnection, lo: int, hi: int) -> NDArray[np.bool_]:
    """Return for each slot from `lo` to `hi` whether its list is still there."""
    here = np.zeros(hi - lo + 1, np.bool_)
    slots = (await connection.scalars(sa.select(upload.c.slot).where(upload.c.slot.between(lo, hi)))).all()
    here[np.array(slots, np.int64) - lo] = True
    return here


def _together(postings: Iterable[bytes], here: NDArray[np.bool_], lo: int) -> tuple[Keys64, Slots]:
    """Return the links of several postings whose lists are still there, ascending by key."""
    parts = [unpack(each) for each in postings]
    if not parts:
        return np.empty(0, np.uint64), np.empty(0, np.uint32)
    keys = np.concatenate([part[0] for part in parts])
    slots = np.concatenate([part[1] for part in parts])
    stay = here[slots.astype(np.int64) - lo]
    if not stay.all():
        keys, slots = keys[stay], slots[stay]
    order = np.argsort(keys, kind="stable")  # quickest for what are a few ascending runs
    return keys[order], slots[order]


async def _write(database: Database, made: Segment, keys: Keys64, slots: Slots) -> None:
    for rows in await asyncio.to_thread(lambda: list(_in_transactions(made, keys, slots))):
        writing = asyncio.create_task(_write_rows(database, made, rows))
        try:
            await asyncio.shield(writing)
        finally:  # told to stop amid rows, PostgreSQL's driver would wait for a server that waits for the rest of them
            await asyncio.gather(writing, return_exceptions=True)


async def _write_rows(database: Database, made: Segment, rows: list[tuple[int, bytes]]) -> None:
    ended = database.checkpoints.ended
    async with database.transaction(long=True) as connection:
        await hold(connection, made)
        await connection.exec_driver_sql(_insert(connection), rows)
    database.checkpoints.written(ended)


def _in_transactions(made: Segment, keys: Keys64, slots: Slots) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the postings of some links, with their ids, as many at a time as one transaction may write."""
    rows: list[tuple[int, bytes]] = []
    size = 0
    for bucket, data in pack(keys, slots, made.bits):
        rows.append((first_id(made.id, bucket), data))
        size += len(data)
        if size >= _BYTES_A_TRANSACTION or len(rows) >= _ROWS_A_TRANSACTION:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


@prepared
def _insert(connection: AsyncConnection) -> str:
    """Write the INSERT out: SQLAlchemy's way with each of many rows costs more than the database's (measured)."""
    return str(sa.insert(posting).compile(dialect=connection.dialect))
