"""Read lists as our own page packs them: a line of JSON, then ids as little-endian numbers of eight bytes.

First come those of the people followed, then those of the followers. Whoever sends it may be anybody.
"""

from typing import Annotated, Final

import msgspec
import numpy as np

from handlers.archive import Ids, Lists
from storage.keys import distinct

_ID_BYTES: Final = 8
_HIGHEST_ID: Final = 2**63 - 1
# As many as are read of an archive that is uploaded as it is.
_MOST_IDS: Final = 1_000_000
_MOST_HANDLES: Final = 500_000
_MOST_BYTES_OF_HEADER: Final = 4 * 2**20
LARGEST: Final = 2 * _MOST_IDS * _ID_BYTES + _MOST_BYTES_OF_HEADER

_Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST_IDS)]
_Handle = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-z_]{1,15}\Z")]


class PackedError(Exception):
    """This was not packed by our page, or did not arrive whole."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    account_id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,19}\Z")] | None
    handle: _Handle | None
    following: _Count | None
    followers: _Count | None
    handles: Annotated[list[_Handle], msgspec.Meta(max_length=_MOST_HANDLES)]
    partial: bool
    skipped: Annotated[int, msgspec.Meta(ge=0, le=10**9)]


def unpacked(body: bytes) -> tuple[Lists, str]:
    """Return the lists, and the key under which they are handed over: the same for the same lists sent again."""
    end = body.find(b"\n", 0, _MOST_BYTES_OF_HEADER)
    try:
        header = msgspec.json.decode(body[: max(end, 0)], type=_Header)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise PackedError("The first line is not ours.") from error
    owner = int(header.account_id) if header.account_id is not None else None
    if owner is not None and not 1 <= owner <= _HIGHEST_ID:
        raise PackedError("No account has this number.")
    followed, followers = header.following or 0, header.followers or 0
    if len(body) != end + 1 + (followed + followers) * _ID_BYTES:
        raise PackedError("There are more or fewer ids than the first line says.")
    if header.following is None and header.followers is None and not header.handles:
        raise PackedError("There is no list.")
    lists = Lists(
        following=None if header.following is None else _ids(body, end + 1, followed),
        followers=None if header.followers is None else _ids(body, end + 1 + followed * _ID_BYTES, followers),
        handles=tuple(dict.fromkeys(header.handles)),
        account_x_id=owner,
        x_handle=header.handle,
        partial=header.partial,
        skipped=header.skipped,
    )
    return lists, header.key


def _ids(body: bytes, start: int, count: int) -> Ids:
    ids = distinct(np.frombuffer(body, "<u8", count, start)) if count else np.empty(0, np.uint64)
    # They are in order.
    if len(ids) and not (ids[0] >= 1 and ids[-1] <= _HIGHEST_ID):
        raise PackedError("No account has such a number.")
    return ids
