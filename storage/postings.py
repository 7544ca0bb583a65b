"""Pack which lists hold which keys: pure functions on arrays and bytes, the same on every database.

A segment's keys are divided by their first `bits` bits into buckets; a bucket's posting is one blob: how many keys and
links it has and the slot from which it counts, the distinct keys ascending, for each key where its slots end, and the
slots. All numbers are little-endian. Where slots end takes two bytes in a bucket of fewer than 65,536 links, as nearly all
are, and four in a longer one; so does a slot, which is how far it is from where they are counted, if none is so far.
"""

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from storage.keys import Keys64

Slots = NDArray[np.uint32]
_Numbers = NDArray[np.uint16] | NDArray[np.uint32]

# About so many links share a bucket: 12 KB are quickly read, and there are few enough rows to write (python -m bench.links).
_LINKS_A_BUCKET: Final = 1024
# Where the bucket's number ends and the segment's begins, in a posting's id.
BUCKET_BITS: Final = 24
_LEAST_BITS: Final = 6
_HEAD: Final = struct.Struct("<III")
_SHORT: Final = 1 << 16


def bits_for(links: int) -> int:
    """Return by how many bits a segment of so many links is divided."""
    wanted = max(links // _LINKS_A_BUCKET, 1).bit_length()
    return min(max(wanted, _LEAST_BITS), BUCKET_BITS)


def first_id(segment: int, bucket: int) -> int:
    """Return a bucket's id; those of one segment follow each other."""
    return segment << BUCKET_BITS | bucket


def pack(keys: Keys64, slots: Slots, bits: int) -> Iterator[tuple[int, bytes]]:
    """Yield every bucket that holds something, with its posting; `keys` ascend, `slots` belong to them."""
    if not len(keys):
        return
    starts = np.flatnonzero(_changes(keys))
    distinct = keys[starts]
    ends = np.append(starts[1:], len(keys))
    buckets = (distinct >> np.uint64(64 - bits)).astype(np.int64)
    cuts = np.flatnonzero(_changes(buckets))
    until = np.append(cuts[1:], len(distinct))
    before = starts[cuts]
    within = ends - np.repeat(before, until - cuts)
    short, long = within.astype("<u2").tobytes(), within.astype("<u4").tobytes()
    all_keys = distinct.astype("<u8").tobytes()
    lowest = int(slots.min())
    width = 2 if int(slots.max()) - lowest < _SHORT else 4
    all_slots = (slots - np.uint32(lowest)).astype(f"<u{width}").tobytes()
    places = zip(
        buckets[cuts].tolist(), cuts.tolist(), until.tolist(), before.tolist(), ends[until - 1].tolist(), strict=True
    )
    for bucket, low, high, start, end in places:
        head = _HEAD.pack(high - low, end - start, lowest)
        some_ends = short[2 * low : 2 * high] if end - start < _SHORT else long[4 * low : 4 * high]
        some_slots = all_slots[width * start : width * end]
        yield bucket, b"".join((head, all_keys[8 * low : 8 * high], some_ends, some_slots))


def unpack(posting: bytes) -> tuple[Keys64, Slots]:
    """Return a posting's links: a key and a slot each, ascending by key."""
    keys, ends, slots, lowest = _parts(posting)
    until: NDArray[np.int64] = ends.astype(np.int64)
    return np.repeat(keys, np.diff(until, prepend=0)), slots.astype(np.uint32) + lowest


def slots_of(posting: bytes, key: np.uint64) -> Slots:
    """Return the slots that hold a key."""
    keys, ends, slots, lowest = _parts(posting)
    place = int(keys.searchsorted(key))
    if place == len(keys) or keys[place] != key:
        return np.empty(0, np.uint32)
    return slots[int(ends[place - 1]) if place else 0 : int(ends[place])].astype(np.uint32) + lowest


def _parts(posting: bytes) -> tuple[Keys64, _Numbers, _Numbers, np.uint32]:
    keys, links, lowest = _HEAD.unpack_from(posting)
    ends_at = _HEAD.size + 8 * keys
    ends = np.frombuffer(posting, "<u2" if links < _SHORT else "<u4", keys, ends_at)
    slots_at = ends_at + ends.nbytes
    width = (len(posting) - slots_at) // links
    return (
        np.frombuffer(posting, "<u8", keys, _HEAD.size),
        ends,
        np.frombuffer(posting, f"<u{width}", links, slots_at),
        np.uint32(lowest),
    )


def _changes(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Tell of each value whether it differs from the one before it."""
    changes = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes
