"""Read X's lists out of what somebody uploads: following.js, follower.js, their parts, a zip, or a list of handles.

Pure: bytes in, lists out. The formats are X's own: `window.YTD.following.part0 = [{"following": {"accountId": "…",
"userLink": "https://twitter.com/intent/user?user_id=…"}}]`, and `data/manifest.js` with `userInfo`.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from handlers import zipped
from handlers.texts import N_
from handlers.words import WordError, x_handle
from handlers.zipped import ArchiveError
from storage.keys import distinct

__all__ = ["ArchiveError", "Lists", "Part", "parse_file", "read_archive"]

Ids = NDArray[np.uint64]
Kind = Literal["following", "followers", "account", "handles"]

_NAME: Final = re.compile(
    r"(following|follower)s?(?:[-_.]?part[-_]?(\d{1,6}))?(?: ?\(\d+\))?\.(?:js|json)", re.IGNORECASE
)
_HEAD: Final = re.compile(r"window\s*\.\s*YTD\s*\.\s*(\w+?)\s*\.\s*part(\d+)\s*=", re.IGNORECASE)
_QUICK_HEAD: Final = re.compile(rb"(?:\xef\xbb\xbf)?window\.YTD\.(following|follower)\.part(\d{1,6}) *= *(?=\[)")
_USER_ID: Final = re.compile(r"[?&]user_id=(\d+)")
_HANDLE_COLUMNS: Final = ("screen_name", "screen name", "username", "user name", "handle", "twitter", "x", "account")
_HIGHEST_ID: Final = 2**63 - 1

# The two objects that X writes for each of a million accounts.
_MOST_OBJECTS: Final = 2_000_000
# What is not exactly as X writes it is read entry by entry, which costs more: these are 120,000 accounts, and as many
# handles. Each entry of X's own has a comma inside and one behind it, and some 130 characters.
_MOST_BYTES_OF_JSON: Final = 16 * 2**20
_MOST_BYTES_OF_TEXT: Final = 2 * 2**20
_MOST_COMMAS: Final = 1_000_000
_LONGEST_ENTRY: Final = 10_000

_T = TypeVar("_T")
_Id = Annotated[int, msgspec.Meta(ge=1, le=_HIGHEST_ID)]


class _Entry(msgspec.Struct, gc=False):
    account_id: _Id = msgspec.field(name="accountId")


class _Following(msgspec.Struct, gc=False):
    entry: _Entry = msgspec.field(name="following")


class _Follower(msgspec.Struct, gc=False):
    entry: _Entry = msgspec.field(name="follower")


class _Manifest(msgspec.Struct, gc=False):
    user_info: msgspec.Raw = msgspec.field(name="userInfo", default=msgspec.Raw(b"null"))


# Not strict: X writes its numbers as strings.
_FAST: Final[Mapping[str, msgspec.json.Decoder[Any]]] = {
    "following": msgspec.json.Decoder(list[_Following], strict=False),
    "followers": msgspec.json.Decoder(list[_Follower], strict=False),
}


@dataclass(frozen=True, slots=True)
class Part:
    """What one file says. `ids` are of X accounts; `number` is the part's own; `skipped` entries made no sense."""

    kind: Kind
    ids: Ids
    handles: tuple[str, ...] = ()
    number: int = 0
    x_id: int | None = None
    x_handle: str | None = None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Lists:
    """All that was uploaded at once. A list is None when no file of its kind was there.

    `account_x_id` and `x_handle` are whose archive it says it is. `partial`: a list's first part is missing, so what
    is here is to be added to what was there, instead of taking its place.
    """

    following: Ids | None = None
    followers: Ids | None = None
    handles: tuple[str, ...] = ()
    account_x_id: int | None = None
    x_handle: str | None = None
    partial: bool = False
    skipped: int = 0


def read_archive(files: Iterable[tuple[str, bytes]]) -> Lists:
    """Read files that were uploaded together, zips among them; raise ArchiveError when nothing usable is there."""
    parts = [parse_file(name, data) for name, data in _unpacked(files)]
    if not parts:
        raise ArchiveError(
            N_("There was no file. Choose data/following.js of your X archive, or the whole archive as a zip.")
        )
    owners = {part.x_id for part in parts if part.x_id is not None}
    if len(owners) > 1:
        raise ArchiveError(
            N_("These files are from the archives of different X accounts. Send one archive at a time, please.")
        )
    lists = Lists(
        following=_joined(parts, "following"),
        followers=_joined(parts, "followers"),
        handles=tuple(dict.fromkeys(handle for part in parts for handle in part.handles)),
        account_x_id=next(iter(owners), None),
        x_handle=next((part.x_handle for part in parts if part.x_handle), None),
        partial=any(_lacks_its_beginning(parts, kind) for kind in ("following", "followers")),
        skipped=sum(part.skipped for part in parts),
    )
    if lists.following is None and lists.followers is None and not lists.handles:
        raise ArchiveError(
            N_("These files say whose archive it is, but hold no list. Send data/following.js with them, please.")
        )
    return lists


def parse_file(name: str, data: bytes) -> Part:
    """Read one file; its own words count more than its name. Raise ArchiveError with what is wrong with it."""
    if (quick := _quick(data)) is not None:
        return quick
    if len(data) > _MOST_BYTES_OF_JSON:
        raise _cut(name)
    text = _decoded(name, data)
    if not text.strip():
        raise ArchiveError(N_("{name} is empty. Unpack it from the archive again, please."), name=name)
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype", "<html", "<?xml")):
        raise ArchiveError(
            N_(
                "{name} is a web page, not a list. The list is in the archive's folder named data, in the file "
                "following.js."
            ),
            name=name,
        )
    if (head := _HEAD.search(text[:500])) is not None:
        return _of_archive(name, text, head[1].lower(), int(head[2]))
    if "__thar_config" in text[:500].lower():
        return _owner(name, _decoded_entry(_json(name, text, _Manifest, "{}").user_info))
    if start.startswith(("[", "{")):
        return _of_archive(name, text, _kind_of_name(name), _number_of_name(name))
    return _handles(name, text)


def _quick(data: bytes) -> Part | None:
    """Read a list that is exactly as X writes it, without making text of it; None: look more closely."""
    head = _QUICK_HEAD.match(data)
    if head is None or data.count(b"{") > _MOST_OBJECTS:
        return None
    kind: Kind = "following" if head[1] == b"following" else "followers"
    try:
        entries = _FAST[kind].decode(memoryview(data)[head.end() : data.rfind(b"]") + 1])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    ids = np.fromiter((each.entry.account_id for each in entries), np.uint64, len(entries))
    return Part(kind=kind, ids=ids, number=int(head[2]))


def _unpacked(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    left = zipped.LARGEST
    for name, data in files:
        if not zipped.is_zip(data):
            yield name, data
            continue
        for unpacked, content in zipped.wanted(name, data, left):
            left -= len(content)
            yield unpacked, content


def _joined(parts: list[Part], kind: Kind) -> Ids | None:
    found = [part.ids for part in parts if part.kind == kind]
    return distinct(np.concatenate(found)) if found else None


def _lacks_its_beginning(parts: list[Part], kind: str) -> bool:
    numbers = {part.number for part in parts if part.kind == kind}
    return bool(numbers) and numbers != set(range(len(numbers)))


def _decoded(name: str, data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ArchiveError(
            N_("{name} is not a text file. I can read following.js, follower.js, and the whole archive as a zip."),
            name=name,
        ) from None


def _of_archive(name: str, text: str, table: str, number: int) -> Part:
    if table in ("following", "follower", "followers"):
        kind: Kind = "following" if table == "following" else "followers"
        ids, skipped = _ids(name, text)
        return Part(kind=kind, ids=ids, number=number, skipped=skipped)
    if table == "account":
        entries = _json(name, text, list[msgspec.Raw], "[]")
        first = _decoded_entry(entries[0]) if entries else None
        return _owner(name, first.get("account") if isinstance(first, dict) else None)
    raise ArchiveError(
        N_(
            '{name} is another part of the archive ("{table}"). The people you followed are in the file following.js, '
            "those who followed you in follower.js."
        ),
        name=name,
        table=table or "?",
    )


def _ids(name: str, text: str) -> tuple[Ids, int]:
    entries = _json(name, text, list[msgspec.Raw], "[]")
    ids = [_id_of(_decoded_entry(entry)) for entry in entries]
    known = [x_id for x_id in ids if x_id is not None]
    if entries and not known:
        raise ArchiveError(
            N_("{name} looks like a list of X's, but none of its entries names an account. Is it the original file?"),
            name=name,
        )
    return np.array(known, np.uint64), len(ids) - len(known)


def _id_of(entry: Any) -> int | None:
    """Find the account's id in an entry: plain, one level down, or in the link."""
    if isinstance(entry, dict):
        lowered = {str(key).lower(): value for key, value in entry.items()}
        for value in (lowered.get("accountid"), lowered.get("following"), lowered.get("follower")):
            if (found := _id_of(value)) is not None:
                return found
        link = _USER_ID.search(str(lowered.get("userlink", "")))
        return _id_of(link[1]) if link else None
    if isinstance(entry, str | int) and not isinstance(entry, bool) and re.fullmatch(r"[0-9]{1,19}", str(entry)):
        return int(entry) if 1 <= int(entry) <= _HIGHEST_ID else None
    return None


def _owner(name: str, info: Any) -> Part:
    fields = {str(key).lower(): value for key, value in info.items()} if isinstance(info, dict) else {}
    x_id = _id_of(fields.get("accountid"))
    if x_id is None:
        raise ArchiveError(
            N_("{name} should say whose archive it is, but names no account. Send the lists without it, please."),
            name=name,
        )
    handle = _handle_of(str(fields.get("username") or ""))
    return Part(kind="account", ids=np.empty(0, np.uint64), x_id=x_id, x_handle=handle)


def _handle_of(word: str) -> str | None:
    try:
        return x_handle(word)
    except WordError:
        return None


def _json(name: str, text: str, wanted: type[_T], brackets: str) -> _T:
    """Read what stands between the outermost brackets, without making objects of what is not wanted."""
    start, end = text.find(brackets[0]), text.rfind(brackets[1])
    if start < 0 or end < start or text.count(",") > _MOST_COMMAS:
        raise _cut(name)
    try:
        return msgspec.json.decode(text[start : end + 1], type=wanted)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise _cut(name) from None


def _decoded_entry(entry: msgspec.Raw) -> Any:
    """Read one entry; None for one that is too long, or nested too deeply, to be one of X's."""
    try:
        return msgspec.json.decode(entry) if len(bytes(entry)) <= _LONGEST_ENTRY else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _cut(name: str) -> ArchiveError:
    return ArchiveError(
        N_("{name} breaks off in the middle or was changed. Unpack it from the archive again, and send it as it is."),
        name=name,
    )


def _kind_of_name(name: str) -> str:
    found = _NAME.search(name)
    return found[1].lower() if found else ""


def _number_of_name(name: str) -> int:
    found = _NAME.search(name)
    return int(found[2] or 0) if found else 0


def _handles(name: str, text: str) -> Part:
    """Read a plain list: one handle a line, or a table that has a column of handles."""
    text = text if len(text) <= _MOST_BYTES_OF_TEXT else ""  # what is longer is no list of handles
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    except csv.Error:
        rows = [[line.strip()] for line in text.splitlines()]
    header = [cell.lower().lstrip("#").strip() for cell in rows[0]] if rows else []
    column = next((header.index(wanted) for wanted in _HANDLE_COLUMNS if wanted in header), None)
    cells = [row[column or 0] for row in rows[0 if column is None else 1 :] if len(row) > (column or 0)]
    if column is None and len(rows) == 1:
        cells = rows[0]  # all of them in one line
    handles: dict[str, None] = {}
    skipped = 0
    for cell in cells:
        words = [word for word in re.split(r"[\s;]+", cell) if word]
        for word in words:
            is_prose = len(words) > 1 and not word.startswith("@") and "/" not in word
            handle = None if is_prose else _handle_of(word)
            if handle is None:
                skipped += 1
            else:
                handles[handle] = None
    if not handles or skipped > len(handles):
        raise ArchiveError(
            N_(
                "I cannot read {name}. Send following.js of your X archive, the archive as a zip, or a text with one X "
                "handle a line."
            ),
            name=name,
        )
    return Part(kind="handles", ids=np.empty(0, np.uint64), handles=tuple(handles), skipped=skipped)
