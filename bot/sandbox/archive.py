"""Write archives as X hands them out, filled with made-up people."""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal

Spelling = Literal["-part", "_part"]
# Media do not compress; a block of noise, repeated, is as good as any.
_MEDIA_BLOCK = 1 << 20
_WHEN = "2026-11-01T12:00:00.000Z"


def following_js(ids: Sequence[int], part: int = 0) -> bytes:
    """Return `data/following.js` (or a further part of it) for these X ids."""
    return _list_js("following", ids, part)


def follower_js(ids: Sequence[int], part: int = 0) -> bytes:
    """Return `data/follower.js` (or a further part of it) for these X ids."""
    return _list_js("follower", ids, part)


def write_archive(
    path_or_file: str | Path | IO[bytes],
    *,
    x_id: int,
    screen_name: str,
    following: Sequence[int],
    followers: Sequence[int],
    parts: int = 1,
    media_bytes: int = 0,
    spelling: Spelling = "-part",
) -> None:
    """Write a whole archive; the lists are cut into `parts` files, `media_bytes` is the size of what is to be skipped.

    `spelling` is how the files after the first are named: following-part1.js or following_part1.js.
    """
    lists = {
        name: {
            f"data/{name}{'.js' if number == 0 else f'{spelling}{number}.js'}": (number, piece)
            for number, piece in enumerate(_cut(ids, parts))
        }
        for name, ids in (("following", following), ("follower", followers))
    }
    with zipfile.ZipFile(path_or_file, "w", zipfile.ZIP_DEFLATED) as archive:
        _put(archive, "Your archive.html", b"<!doctype html><title>Your archive</title><body>Your X archive</body>")
        _put(archive, "data/README.txt", b"This archive contains your X data.\n")
        _put(archive, "data/account.js", _account_js(x_id, screen_name))
        for name, files in lists.items():
            for path, (number, ids) in files.items():
                _put(archive, path, _list_js(name, ids, number))
        if media_bytes:
            _put_media(archive, f"data/tweets_media/{x_id}-clip.mp4", media_bytes)
        _put(archive, "data/manifest.js", _manifest_js(x_id, screen_name, lists, media_bytes))


def _cut(ids: Sequence[int], parts: int) -> list[Sequence[int]]:
    if parts < 1:
        raise ValueError("An archive has at least one part of each list.")
    size = max(1, -(-len(ids) // parts))
    return [ids[start * size : (start + 1) * size] for start in range(parts)]


def _list_js(name: str, ids: Sequence[int], part: int) -> bytes:
    entries = [
        {name: {"accountId": str(number), "userLink": f"https://twitter.com/intent/user?user_id={number}"}}
        for number in ids
    ]
    return _js(f"window.YTD.{name}.part{part}", entries)


def _account_js(x_id: int, screen_name: str) -> bytes:
    account = {
        "email": f"{screen_name.lower()}.private@example.com",
        "createdVia": "web",
        "username": screen_name,
        "accountId": str(x_id),
        "createdAt": "2009-03-07T10:00:00.000Z",
        "accountDisplayName": screen_name,
    }
    return _js("window.YTD.account.part0", [{"account": account}])


def _manifest_js(
    x_id: int, screen_name: str, lists: dict[str, dict[str, tuple[int, Sequence[int]]]], media_bytes: int
) -> bytes:
    types: dict[str, Any] = {
        "account": {"files": [{"fileName": "data/account.js", "globalName": "YTD.account.part0", "count": "1"}]}
    }
    for name, files in lists.items():
        types[name] = {
            "files": [
                {"fileName": path, "globalName": f"YTD.{name}.part{number}", "count": str(len(ids))}
                for path, (number, ids) in files.items()
            ]
        }
    if media_bytes:
        types["tweetsMedia"] = {"mediaDirectory": "data/tweets_media"}
    manifest = {
        "userInfo": {"accountId": str(x_id), "userName": screen_name, "displayName": screen_name},
        "archiveInfo": {
            "sizeBytes": str(media_bytes),
            "generationDate": _WHEN,
            "isPartialArchive": False,
            "maxPartSizeBytes": "53687091200",
        },
        "readmeInfo": {"fileName": "data/README.txt", "directory": "data/", "name": "README.txt"},
        "dataTypes": types,
    }
    return _js("window.__THAR_CONFIG", manifest)


def _js(name: str, value: object) -> bytes:
    return f"{name} = {json.dumps(value, indent=2, ensure_ascii=False)}".encode()


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with a fixed date, so that the same people give the same archive."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def _put_media(archive: zipfile.ZipFile, name: str, size: int) -> None:
    block = hashlib.shake_256(name.encode()).digest(_MEDIA_BLOCK)
    info = zipfile.ZipInfo(name)
    info.file_size = size
    with archive.open(info, "w") as media:
        for start in range(0, size, _MEDIA_BLOCK):
            media.write(block[: min(_MEDIA_BLOCK, size - start)])
