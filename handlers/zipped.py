"""Take the few wanted files out of a zip that a stranger sent: nothing else is unpacked, and nothing without bounds."""

import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from handlers.texts import N_

# 100 MB are some 750,000 accounts, more than anybody may follow; more than that is no list.
LARGEST: Final = 100 * 2**20
# X's archives hold one file for every picture; the directory of more entries than this would fill the memory.
_MOST_ENTRIES: Final = 200_000
# X splits a list into parts of some ten thousand entries.
_MOST_LISTS: Final = 1_000
_DIRECTORY_ENTRY: Final = b"PK\x01\x02"
_WANTED: Final = re.compile(
    r"(?:.*/)?(?:(?:following|follower)(?:[-_]part\d+)?|manifest|account)\.js", re.IGNORECASE | re.DOTALL
)
# What the unpackers of the standard library raise for bytes that make no sense.
_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, NotImplementedError
)  # fmt: skip


class ArchiveError(Exception):
    """A file cannot be used; the (translatable) message with its values says which, why, and what to do."""

    def __init__(self, message: str, /, **values: str) -> None:
        super().__init__(message.format(**values))
        self.message = message
        self.values = values


def is_zip(data: bytes) -> bool:
    """Tell by its first bytes whether a file is a zip, be it a broken one."""
    return data[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def wanted(name: str, data: bytes, left: int = LARGEST) -> Iterator[tuple[str, bytes]]:
    """Give the lists in X's archive, and the file that says whose it is; raise ArchiveError for what is no such zip.

    All together they may unpack to `left` bytes.
    """
    try:
        if data.count(_DIRECTORY_ENTRY) > _MOST_ENTRIES:
            raise _too_large(name)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if _is_wanted(entry.filename)]
            if any(entry.filename.lower().endswith("manifest.js") for entry in entries):
                # The manifest says it too, without the e-mail address.
                entries = [entry for entry in entries if not entry.filename.lower().endswith("account.js")]
            if not any("follow" in entry.filename.rpartition("/")[2].lower() for entry in entries):
                raise ArchiveError(
                    N_("{name} is a zip, but there is no following.js in it. Is it the archive that X sent you?"),
                    name=name,
                )
            if len(entries) > _MOST_LISTS:
                raise _too_large(name)
            for entry in entries:
                content = _read(name, archive, entry, left)
                left -= len(content)
                yield entry.filename.rpartition("/")[2], content
    except _DAMAGED:
        raise ArchiveError(
            N_("{name} is a zip that breaks off or is damaged. Download your archive from X again, please."), name=name
        ) from None


def _is_wanted(filename: str) -> bool:
    return _WANTED.fullmatch(filename) is not None and not filename.startswith("__MACOSX/")


def _read(name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> bytes:
    if entry.flag_bits & 0x1:
        raise ArchiveError(
            N_("{name} is protected by a password. Unpack it yourself and send data/following.js, please."), name=name
        )
    if entry.file_size > left:
        raise _too_large(name)
    with archive.open(entry) as opened:
        content = opened.read(left + 1)  # what the directory says of a size need not be true
    if len(content) > left:
        raise _too_large(name)
    return content


def _too_large(name: str) -> ArchiveError:
    return ArchiveError(
        N_("{name} unpacks to more than any list of X's can hold. Send data/following.js by itself, please."), name=name
    )
