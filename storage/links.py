"""Keep people's lists of X keys: one packed blob a list, written once; to replace one is to write another.

The keys of a list are sorted, unique, little-endian uint64 pseudonyms; those of ids and those of handles share one
space. Whose lists hold a key is looked up in an index (storage/segments.py) as far as that reaches; the newest lists,
and all of a small installation, are scanned in bounded chunks.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncConnection

from storage.database import next_numbers
from storage.dialect import prepared
from storage.keys import Keys64, distinct
from storage.postings import Slots
from storage.ready import ready
from storage.records import Direction, Upload
from storage.segments import slots_with
from storage.tables import person, upload

TYPED: Final = "typed"
"""The source of handles that were typed; a list from an archive has `archive:<X id>`."""

# How much one step of a scan reads at most, unless a single list is longer: 4 MB.
_LINKS_A_CHUNK: Final = 500_000
# From so many links on a list is compared in a thread: it takes long enough to keep others waiting.
_LONG: Final = 50_000
# Up to so many wanted keys one comparison each is quicker than a search for every link.
_FEW_KEYS: Final = 16
_SLOTS_A_QUERY: Final = 500
_PERSONS_A_QUERY: Final = 500

# Two imports of one person at once wait for one another. Not the key itself is locked: two who list each other, and hand
# their lists over at once, would deadlock on it.
_ALONE: Final = ready(
    sa.select(person.c.id).where(person.c.id == sa.bindparam("person")).with_for_update(key_share=True)
)
# What one list of a person is known by.
_SAME: Final = (
    upload.c.person_id == sa.bindparam("person_id"),
    upload.c.source == sa.bindparam("source"),
    upload.c.direction == sa.bindparam("direction"),
)
_HELD: Final = ready(sa.select(upload.c.slot, upload.c.data).where(*_SAME))
_OF_THESE: Final = upload.c.person_id.in_(sa.bindparam("persons", expanding=True))
_OWN: Final = ready(sa.select(upload.c.person_id, upload.c.direction, upload.c.data).where(_OF_THESE))
_LENGTHS: Final = ready(
    sa.select(upload.c.person_id, sa.func.sum(upload.c.n).label("links")).where(_OF_THESE).group_by(upload.c.person_id)
)
_FOLLOWED_BY: Final = ready(
    sa.select(upload.c.slot, upload.c.n).where(_OF_THESE, upload.c.direction == Direction.FOLLOWING.value)
)
_IN_SLOTS: Final = ready(
    sa.select(upload.c.person_id, upload.c.data).where(upload.c.slot.in_(sa.bindparam("slots", expanding=True)))
)
_NEXT_LISTS: Final = (upload.c.slot > sa.bindparam("after"), upload.c.direction == Direction.FOLLOWING.value)
_SIZES: Final = ready(
    sa.select(upload.c.slot, upload.c.n).where(*_NEXT_LISTS).order_by(upload.c.slot).limit(sa.bindparam("most"))
)
_LISTS: Final = ready(
    sa.select(upload.c.slot, upload.c.person_id, upload.c.data)
    .where(*_NEXT_LISTS, upload.c.slot <= sa.bindparam("last"))
    .order_by(upload.c.slot)
)
_OWNERS: Final = ready(
    sa.select(upload.c.slot, upload.c.person_id)
    .where(upload.c.slot.in_(sa.bindparam("slots", expanding=True)))
    .order_by(upload.c.slot)
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What storing a list came to: its length now, how many links are new, and how many were dropped."""

    n: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Own:
    """All that a person's lists hold, over all sources: sorted and unique."""

    following: Keys64
    followers: Keys64


@dataclass(frozen=True, slots=True)
class Found:
    """Some of the lists that hold a key, as (slot, person id); scan on after `next_slot`, None when all were seen."""

    rows: list[tuple[int, int]]
    next_slot: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is kept."""

    people: int
    lists: int
    links: int


async def add(
    connection: AsyncConnection,
    person_id: int,
    source: str,
    direction: Direction,
    keys: Keys64,
    now: int,
    *,
    replace: bool,
) -> Stored:
    """Keep keys as a person's list of this source and direction: instead of (`replace`) or with what it held."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_ALONE, {"person": person_id})
    named = {"person_id": person_id, "source": source, "direction": direction.value}
    wanted = distinct(keys) if len(keys) < _LONG else await asyncio.to_thread(distinct, keys)
    if len(wanted) and await _kept(connection, named, wanted, now):
        return Stored(len(wanted), len(wanted), 0)
    held = (await connection.execute(_HELD, named)).all()
    blobs = [row.data for row in held]
    if len(keys) + sum(map(len, blobs)) // 8 < _LONG:
        after, stored = _compared(blobs, wanted, replace=replace)
    else:
        after, stored = await asyncio.to_thread(_compared, blobs, wanted, replace=replace)
    if not stored.added and not stored.removed and len(held) <= 1:
        return stored
    if held:
        await connection.execute(sa.delete(upload).where(upload.c.slot.in_([row.slot for row in held])))
    if len(after):
        await _kept(connection, named, after, now)
    return stored


async def _kept(connection: AsyncConnection, named: dict[str, Any], keys: Keys64, now: int) -> bool:
    """Keep a list where there is none yet; tell whether there was none. Nearly always one statement is all it takes."""
    values = {**named, "n": len(keys), "created_at": now, "data": keys.astype("<u8", copy=False).tobytes()}
    return (await connection.execute(_keep(connection), values)).rowcount == 1


@prepared
def _keep(connection: AsyncConnection) -> sa.Insert:
    """Insert a list unless there is one. On SQLite the slot is the table's own next number (it has one writer)."""
    given = [upload.c.person_id, upload.c.source, upload.c.direction, upload.c.n, upload.c.created_at, upload.c.data]
    there = sa.exists().where(*_SAME)
    columns, values = [*given], [sa.bindparam(each.name, type_=each.type) for each in given]
    if connection.dialect.name == "postgresql":
        number = next_numbers("upload").where(~there).cte("number")
        columns, query = [upload.c.slot, *given], sa.select(number.c.value, *values)
    else:
        query = sa.select(*values).where(~there)
    return sa.insert(upload).from_select(columns, query).execution_options(preserve_rowcount=True)


def _compared(blobs: Sequence[bytes], wanted: Keys64, *, replace: bool) -> tuple[Keys64, Stored]:
    """Return a list's keys from now on, and what has changed with them."""
    before = _union(blobs)
    after = wanted if replace else distinct(np.concatenate((before, wanted)))
    kept = len(np.intersect1d(before, after, assume_unique=True))
    return after, Stored(len(after), len(after) - kept, len(before) - kept)


async def remove(connection: AsyncConnection, person_id: int, source: str | None = None) -> int:
    """Forget a person's lists, or those of one source; return how many links went."""
    where = [upload.c.person_id == person_id]
    if source is not None:
        where.append(upload.c.source == source)
    gone = (await connection.scalars(sa.delete(upload).where(*where).returning(upload.c.n))).all()
    return sum(gone)


async def followers_of(connection: AsyncConnection, keys: Keys64, *, after_slot: int = 0, limit: int = 500) -> Found:
    """Find the next lists of people followed that hold any of the keys, by their slots; at most `limit` are looked at."""
    slots, known = await slots_with(connection, keys)
    slots = slots[np.searchsorted(slots, after_slot, side="right") :]
    if len(slots) >= limit:
        return Found(await _owners(connection, slots[:limit]), int(slots[limit - 1]))
    indexed = await _owners(connection, slots)
    scanned = await _scan(connection, keys, max(after_slot, known), limit - len(slots))
    return Found(indexed + scanned.rows, scanned.next_slot)


async def _owners(connection: AsyncConnection, slots: Slots) -> list[tuple[int, int]]:
    """Return (slot, person id) of those lists that are still there."""
    found: list[tuple[int, int]] = []
    for start in range(0, len(slots), _SLOTS_A_QUERY):
        some = slots[start : start + _SLOTS_A_QUERY].tolist()
        rows = await connection.execute(_OWNERS, {"slots": some})
        found += [(row.slot, row.person_id) for row in rows]
    return found


async def _scan(connection: AsyncConnection, keys: Keys64, after_slot: int, limit: int) -> Found:
    """Scan the next chunk of at most `limit` lists of people followed for those that hold any of the keys."""
    sizes = (await connection.execute(_SIZES, {"after": after_slot, "most": limit})).all()
    if not sizes:
        return Found([], None)
    last, links = 0, 0
    for count, row in enumerate(sizes, 1):
        links += row.n
        if count > 1 and links > _LINKS_A_CHUNK:
            break
        last = row.slot
    rows = (await connection.execute(_LISTS, {"after": after_slot, "last": last})).all()
    blobs = [row.data for row in rows]
    holders = _holders(blobs, keys) if links < _LONG else await asyncio.to_thread(_holders, blobs, keys)
    found = [(rows[place].slot, rows[place].person_id) for place in holders]
    done = last == sizes[-1].slot and len(sizes) < limit
    return Found(found, None if done else last)


async def own(connection: AsyncConnection, person_id: int) -> Own:
    """Return everything that a person's lists hold."""
    return (await own_of(connection, [person_id]))[person_id]


async def own_of(connection: AsyncConnection, person_ids: Collection[int]) -> dict[int, Own]:
    """Return everything that persons' lists hold, by person: of no more than can be read at once (see `lengths`)."""
    rows = (await connection.execute(_OWN, {"persons": list(person_ids)})).all()
    blobs: dict[tuple[int, str], list[bytes]] = {}
    for row in rows:
        blobs.setdefault((row.person_id, row.direction), []).append(row.data)

    def together() -> dict[int, Own]:
        return {
            each: Own(
                _union(blobs.get((each, Direction.FOLLOWING.value), ())),
                _union(blobs.get((each, Direction.FOLLOWERS.value), ())),
            )
            for each in person_ids
        }

    return together() if sum(len(row.data) for row in rows) // 8 < _LONG else await asyncio.to_thread(together)


async def lengths(connection: AsyncConnection, person_ids: Collection[int]) -> dict[int, int]:
    """Return how many links persons' lists hold, by person; who has no list is left out."""
    rows = await connection.execute(_LENGTHS, {"persons": list(person_ids)})
    return {row.person_id: int(row.links) for row in rows}


async def who_follow(connection: AsyncConnection, person_ids: Sequence[int], keys: Keys64) -> dict[int, set[int]]:
    """Return those of some persons in whose lists of people followed any of the keys stands, each with these keys."""
    found: dict[int, set[int]] = {}
    if not len(keys):
        return found
    for start in range(0, len(person_ids), _PERSONS_A_QUERY):
        some = {"persons": list(person_ids[start : start + _PERSONS_A_QUERY])}
        sizes = [(row.slot, row.n) for row in await connection.execute(_FOLLOWED_BY, some)]
        for slots in _in_chunks(sizes):
            rows = (await connection.execute(_IN_SLOTS, {"slots": slots})).all()
            places, held = _hits([row.data for row in rows], keys)
            for place, key in zip(places.tolist(), held.tolist(), strict=True):
                found.setdefault(rows[place].person_id, set()).add(key)
    return found


def _in_chunks(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Divide lists, given as (slot, length), so that one step reads no more than a chunk's links or a single list."""
    slots: list[int] = []
    links = 0
    for slot, n in sizes:
        if slots and links + n > _LINKS_A_CHUNK:
            yield slots
            slots, links = [], 0
        slots.append(slot)
        links += n
    if slots:
        yield slots


async def uploads_of(connection: AsyncConnection, person_id: int) -> list[Upload]:
    """Describe a person's lists, the oldest first."""
    columns = [column for column in upload.c if column.name != "data"]
    rows = await connection.execute(sa.select(*columns).where(upload.c.person_id == person_id).order_by(upload.c.slot))
    return [Upload(**{**row._asdict(), "direction": Direction(row.direction)}) for row in rows]


async def counts(connection: AsyncConnection) -> Counts:
    """Count what is kept, over everybody."""
    row = (
        await connection.execute(
            sa.select(
                sa.func.count(sa.distinct(upload.c.person_id)),
                sa.func.count(),
                sa.func.coalesce(sa.func.sum(upload.c.n), 0),
            ).select_from(upload)
        )
    ).one()
    return Counts(int(row[0]), int(row[1]), int(row[2]))


def hold(within: Keys64, keys: Keys64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell of each of some keys whether it stands in a sorted list."""
    if not len(within):
        return np.zeros(len(keys), np.bool_)
    places = np.minimum(np.searchsorted(within, keys), len(within) - 1)
    return np.asarray(within[places] == keys)


def _hits(blobs: Sequence[bytes], keys: Keys64) -> tuple[NDArray[np.int64], Keys64]:
    """Return where any of the keys stands: the places of the blobs, in order, and beside each the key."""
    if not len(keys) or not blobs:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    together = np.frombuffer(b"".join(blobs), "<u8")
    if len(keys) <= _FEW_KEYS:
        hits = np.zeros(len(together), np.bool_)
        for key in keys:
            hits |= together == key
    else:
        hits = hold(np.unique(keys), together)
    ends = np.cumsum([len(blob) // 8 for blob in blobs])
    at = np.flatnonzero(hits)
    return np.searchsorted(ends, at, side="right"), together[at]


def _holders(blobs: Sequence[bytes], keys: Keys64) -> list[int]:
    """Return the places of the blobs that hold any of the keys, in order."""
    return [int(place) for place in np.unique(_hits(blobs, keys)[0])]


def _union(blobs: Sequence[bytes]) -> Keys64:
    lists = [np.frombuffer(blob, "<u8") for blob in blobs]
    if not lists:
        return np.empty(0, np.uint64)
    return lists[0].astype(np.uint64) if len(lists) == 1 else distinct(np.concatenate(lists)).astype(np.uint64)
