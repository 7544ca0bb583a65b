"""See where files lie, and who may open them."""

import os
import re
import stat
from pathlib import Path
from typing import Final

from bot.doctor import Finding, Mend, ok, sentences, wrong
from bot.doctor.installation import Installation
from storage.database import CONFIGURED
from storage.engines import DatabaseError, parse_url
from storage.trouble import no_sqlite

_OTHERS: Final = 0o077
# SQLite's write-ahead log needs memory that all processes share, which these do not give (https://sqlite.org/wal.html).
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.rclone"})
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
# The first bytes of a database, and those that say that it is read and written with a write-ahead log
# (https://sqlite.org/fileformat.html, 1.3).
_MAGIC: Final = b"SQLite format 3\0"
_WAL: Final = b"\x02\x02"
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def sqlite_path(here: Installation) -> Path | None:
    """Return the database's file; None where it is no file, or the URL cannot be read."""
    try:
        url = parse_url(here.loaded.database_url)
    except DatabaseError:
        return None
    return Path(url.database).absolute() if url.get_backend_name() == "sqlite" and url.database else None


def nearest_folder(path: Path) -> Path:
    """Return the folder of a file or, where it has yet to be made, what there is of the way to it."""
    return next(each for each in path.parents if each.exists())


def owner_only(*paths: Path) -> Finding:
    """See whether files may be opened by nobody but their owner; those that do not exist are no matter."""
    exposed = [path for path in paths if path.exists() and _mode(path) & _OTHERS]
    if not exposed:
        return ok(f"{paths[0]} is for its owner alone (mode {_mode(paths[0]):o})")
    names = " ".join(map(str, exposed))

    async def close() -> None:
        for path in filter(Path.exists, paths):  # by now there may be more: SQLite gives its log the database's mode
            path.chmod(_mode(path) & ~_OTHERS)

    mend = Mend(f"Let nobody but its owner open {names}?", close)
    return wrong(f"{names} may be opened by others (mode {_mode(exposed[0]):o})", f"Run: chmod go= {names}", mend)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def database_file(path: Path, here: Installation, keep_log: Mend) -> Finding:
    """See where SQLite's file lies and what it is, before anybody opens it; `keep_log` lets it have its log."""
    # Beside config.toml reflock run makes it; elsewhere a disk may be missing, and the bot would begin with nothing.
    if not path.parent.exists() and not path.resolve().is_relative_to(here.loaded.folder.resolve()):
        return wrong(
            f"the folder {path.parent} is not there",
            f"Is [database] url right, and is its disk mounted? A new one is made by: mkdir -p {path.parent}",
        )
    elsewhere = "Give the folder to the bot's user, or change [database] url."
    folder = nearest_folder(path)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return wrong(f"nothing can be written in {folder}, where {path} and its log belong", elsewhere)
    kind = _file_system(folder, here.mounts)
    if kind in _REMOTE:
        return wrong(f"{path} lies on a network's disk ({kind}), where SQLite's log does not work", elsewhere)
    if kind in _IN_MEMORY:
        return wrong(f"{path} lies in memory ({kind}), and is gone when this machine starts anew", elsewhere)
    if not path.exists():
        return ok(f"{path} is not there yet; reflock run makes it")
    if not os.access(path, os.R_OK | os.W_OK):
        return wrong(f"{path} may not be read and written by this user", "Run this as the bot's user.")
    with path.open("rb") as file:
        head = file.read(20)
    if head and not head.startswith(_MAGIC):
        return wrong(*sentences(no_sqlite(path, CONFIGURED)))
    if head and head[18:20] != _WAL:
        return wrong(f"{path} has no write-ahead log", "It gets one by: reflock db upgrade", keep_log)
    return ok(f"{path}, with a write-ahead log{f', on {kind}' if kind else ''}")


def _file_system(folder: Path, mounts: Path) -> str:
    """Return the kind of file system a folder is on; empty where the system does not say."""
    try:
        lines = mounts.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    where, kind = "", ""
    for fields in (line.split() for line in lines):
        if len(fields) < 3:
            continue
        point = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[1])
        if folder.resolve().is_relative_to(point) and len(point) >= len(where):
            where, kind = point, fields[2]
    return kind
