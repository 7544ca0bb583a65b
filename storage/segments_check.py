"""Compare the index of lists with the lists themselves."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import Database
from storage.keys import Keys64
from storage.postings import BUCKET_BITS, Slots, first_id, unpack
from storage.records import Direction
from storage.segment_states import Segment, live_segments, orphans
from storage.tables import posting, upload

_ROWS_AT_ONCE: Final = 500
# What a list holds is compared by its length and by the sum of its keys, stirred so that wrong ones do not cancel out.
_STIR: Final = np.uint64(0x9E3779B97F4A7C15)

Sums = NDArray[np.uint64]


async def verify(database: Database, progress: Callable[[int, int], None]) -> list[str]:
    """Return what is wrong with the index, a sentence each; `progress` is told links seen, and all."""
    async with database.reading() as connection:  # one state of everything, however long it takes
        live = await live_segments(connection)
        problems = [
            f"The segments {before.id} and {after.id} cover the same lists."
            for before, after in itertools.pairwise(live)
            if after.lo <= before.hi
        ]
        for first, last in _gaps(live):
            problems += await _uncovered(connection, first, last)
        problems += [
            f"There are postings of segment {each.id}, which is not there." for each in await orphans(connection)
        ]
        seen, links = 0, sum(each.links for each in live)
        for each in live:
            counts, sums, wrong = await _indexed(connection, each)
            problems += wrong
            if (total := int(counts.sum())) != each.links:
                problems.append(f"Segment {each.id} holds {total} links instead of {each.links}.")
            problems += await _compared(connection, each, counts, sums)
            seen += each.links
            progress(seen, links)
    return problems


def _gaps(live: Sequence[Segment]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of the slots below the highest one that no segment covers, gap by gap."""
    until = 0
    for each in live:
        if each.lo > until + 1:
            yield until + 1, each.lo - 1
        until = max(until, each.hi)


async def _uncovered(connection: AsyncConnection, first: int, last: int) -> list[str]:
    """Look for lists where no segment has any: they are not found, for only what is above the last one is scanned."""
    where = (upload.c.slot.between(first, last), upload.c.direction == Direction.FOLLOWING.value)
    slots = (sa.func.count(), sa.func.min(upload.c.slot), sa.func.max(upload.c.slot))
    lists, lowest, highest = (await connection.execute(sa.select(*slots).where(*where))).one()
    return [f"No segment covers {lists:,} lists, from {lowest} to {highest}."] if lists else []


async def _indexed(connection: AsyncConnection, each: Segment) -> tuple[NDArray[np.int64], Sums, list[str]]:
    """Return, for each slot that a segment covers, how many keys it holds and their sum, and what is out of place."""
    size = each.hi - each.lo + 1
    counts, sums = np.zeros(size, np.int64), np.zeros(size, np.uint64)
    wrong: list[str] = []
    after = first_id(each.id, 0) - 1
    while True:
        query = (
            sa.select(posting.c.id, posting.c.data)
            .where(posting.c.id > after, posting.c.id < first_id(each.id + 1, 0))
            .order_by(posting.c.id)
            .limit(_ROWS_AT_ONCE)
        )
        rows = (await connection.execute(query)).all()
        if not rows:
            return counts, sums, wrong
        for row in rows:
            keys, slots = await asyncio.to_thread(unpack, row.data)
            if not _is_in_place(each, row.id, keys, slots):
                wrong.append(f"Posting {row.id} of segment {each.id} is damaged.")
                continue
            places = slots.astype(np.int64) - each.lo
            np.add.at(counts, places, 1)
            np.add.at(sums, places, _stirred(keys))
        after = rows[-1].id


def _is_in_place(each: Segment, posting_id: int, keys: Keys64, slots: Slots) -> bool:
    bucket = np.uint64(posting_id & ((1 << BUCKET_BITS) - 1))
    return bool(
        len(keys) == len(slots)
        and (keys[1:] >= keys[:-1]).all()
        and (keys >> np.uint64(64 - each.bits) == bucket).all()
        and (slots >= each.lo).all()
        and (slots <= each.hi).all()
    )


async def _compared(connection: AsyncConnection, each: Segment, counts: NDArray[np.int64], sums: Sums) -> list[str]:
    """Hold what a segment says of the lists it covers against the lists."""
    wrong: list[str] = []
    after = each.lo - 1
    while True:
        query = (
            sa.select(upload.c.slot, upload.c.data)
            .where(upload.c.slot > after, upload.c.slot <= each.hi, upload.c.direction == Direction.FOLLOWING.value)
            .order_by(upload.c.slot)
            .limit(_ROWS_AT_ONCE)
        )
        rows = (await connection.execute(query)).all()
        if not rows:
            return wrong
        for row in rows:
            keys = np.frombuffer(row.data, "<u8")
            place = row.slot - each.lo
            if counts[place] != len(keys) or sums[place] != _stirred(keys).sum(dtype=np.uint64):
                wrong.append(f"Segment {each.id} does not hold list {row.slot} as it is.")
        after = rows[-1].slot


def _stirred(keys: Keys64) -> Keys64:
    stirred = keys * _STIR
    return stirred ^ (stirred >> np.uint64(29))
