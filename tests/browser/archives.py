"""Archives as X gave them out over the years, and as they come to grief on the way; all of them made by zipfile."""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from bot.sandbox.archive import follower_js, following_js

OWNER: Final = 9_000_000_000_000_000_001  # longer than a number can be that JavaScript keeps exactly
HANDLE: Final = "Old_Handle"
# Somewhere in every file that is nobody's business: none of it may leave the browser.
CANARY: Final = "canary-4c1f"

# Paths in an archive, and whether they are read: the one table that the browser and the server are both held to.
PATHS: Final[Mapping[str, bool]] = {
    "following.js": True,
    "data/following.js": True,
    "data/follower.js": True,
    "data/Following.JS": True,
    "data/following-part1.js": True,
    "data/follower_part12.js": True,
    "twitter-2026-11-01-abc/data/following-part3.js": True,
    "data/manifest.js": True,
    "data/account.js": True,
    "data/line\nbreak/follower.js": True,
    "__MACOSX/data/following.js": False,
    "data/followings.js": False,
    "data/following.json": False,
    "data/following-part.js": False,
    "data/following.part1.js": False,
    "data/unfollowing.js": False,
    "data/account-suspension.js": False,
    "data/tweets.js": False,
    "data/following.js/photo.jpg": False,
    "data/following.js\n": False,
}


def others() -> dict[str, bytes]:
    """Return what else is in an archive."""
    private = {"text": f"{CANARY} in a message", "email": f"{CANARY}@example.com"}
    return {
        "Your archive.html": f"<!doctype html><title>{CANARY}</title>".encode(),
        "data/README.txt": f"{CANARY}: This archive contains your X data.\n".encode(),
        "data/tweets.js": f"window.YTD.tweets.part0 = {json.dumps([{'tweet': private}])}".encode(),
        "data/direct-messages.js": f"window.YTD.direct_messages.part0 = {json.dumps([private])}".encode(),
        "data/account.js": account_js(),
        "data/tweets_media/1.jpg": b"\xff\xd8\xff" + CANARY.encode() + b"\x00" * 4000,
    }


def archive(following: Sequence[int], followers: Sequence[int]) -> dict[str, bytes]:
    """Return the files of a whole archive."""
    return {
        **others(),
        "data/following.js": following_js(following),
        "data/follower.js": follower_js(followers),
        "data/manifest.js": manifest_js(),
    }


def in_parts(following: Sequence[int], followers: Sequence[int], spelling: str = "-part") -> dict[str, bytes]:
    """Return an archive whose lists are cut in three, as X does with long ones."""
    files = archive(following[:2], followers[:1])
    for number in (1, 2):
        files[f"data/following{spelling}{number}.js"] = following_js(following[number + 1 :: 2], number)
        files[f"data/follower{spelling}{number}.js"] = follower_js(followers[number::2], number)
    return files


def manifest_js(x_id: int = OWNER, handle: str = HANDLE) -> bytes:
    """Return the file that says whose archive it is."""
    user = {"accountId": str(x_id), "userName": handle, "displayName": f"{CANARY} display name"}
    return f"window.__THAR_CONFIG = {json.dumps({'userInfo': user, 'archiveInfo': {'sizeBytes': CANARY}})}".encode()


def account_js(x_id: int = OWNER, handle: str = HANDLE) -> bytes:
    """Return the file that said it before there was a manifest, and says more."""
    account = {"email": f"{CANARY}@example.com", "username": handle, "accountId": str(x_id)}
    return f"window.YTD.account.part0 = {json.dumps([{'account': account}], indent=2)}".encode()


def write(
    path: Path, files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED, *, media_bytes: int = 0
) -> Path:
    """Write a zip; media, if any, stand before everything else."""
    with zipfile.ZipFile(path, "w", compression) as opened:
        if media_bytes:
            noise = os.urandom(2**20)
            with opened.open(zipfile.ZipInfo("data/tweets_media/clip.mp4"), "w", force_zip64=True) as clip:
                for _ in range(media_bytes // len(noise)):
                    clip.write(noise)
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def write_zip64(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write a small zip in which everything is noted as in one that is larger than 4 GB."""
    with _zip64_from(100):
        return write(path, files)


def write_huge(path: Path, files: Mapping[str, bytes], *, size: int, entries: int) -> Path:
    """Write a zip of many GB with many entries, the wanted ones at its end; the disk holds next to nothing of it."""
    with path.open("w+b") as file, zipfile.ZipFile(cast("IO[bytes]", _Sparse(file)), "w") as opened:
        for number in range(entries):
            opened.writestr(f"data/tweets_media/{number}-{CANARY}.jpg", b"\xff\xd8\xff")
        with opened.open(zipfile.ZipInfo("data/tweets_media/clip.mp4"), "w", force_zip64=True) as clip:
            for _ in range(size // len(_HOLE)):
                clip.write(_HOLE)
        for name, content in files.items():
            opened.writestr(name, content, zipfile.ZIP_DEFLATED)
    return path


def locked(path: Path) -> Path:
    """Say of all entries of a zip that a password protects them."""
    return _changed(path, local=6, directory=8, to=b"\x01")


def lying(path: Path) -> Path:
    """Have a zip's directory say of all its entries that they unpack to a hundred bytes."""
    return _changed(path, local=22, directory=24, to=(100).to_bytes(4, "little"))


def truncated(path: Path, *, to: float) -> Path:
    """Keep only the beginning of a file."""
    os.truncate(path, int(path.stat().st_size * to))
    return path


def spoiled(path: Path) -> Path:
    """Change what is packed in the first entry of a zip."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        first = opened.infolist()[0]
    start = 30 + len(first.filename)
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    return path


def _changed(path: Path, *, local: int, directory: int, to: bytes) -> Path:
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", local), (b"PK\x01\x02", directory)):
        found = data.find(signature)
        while found >= 0:
            data[found + place : found + place + len(to)] = to
            found = data.find(signature, found + 4)
    path.write_bytes(data)
    return path


@contextmanager
def _zip64_from(size: int) -> Iterator[None]:
    """Have zipfile use the fields for large archives from this size on."""
    module = cast("Any", zipfile)
    before = module.ZIP64_LIMIT
    module.ZIP64_LIMIT = size
    try:
        yield
    finally:
        module.ZIP64_LIMIT = before


_HOLE: Final = bytes(2**20)


class _Sparse:
    """A file in which empty blocks are not written, but left out."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        if data is _HOLE:
            self._file.seek(len(data), os.SEEK_CUR)
            return len(data)
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
