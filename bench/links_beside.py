"""What the link store is held against: a table with a row for each link, by raw sqlite3."""

import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.engines import PRAGMAS

Ids = NDArray[np.uint64]

_SCHEMA: Final = (
    "CREATE TABLE link (target INTEGER NOT NULL, source INTEGER NOT NULL, PRIMARY KEY (target, source)) WITHOUT ROWID"
)
_INSERT: Final = "INSERT OR IGNORE INTO link VALUES (?, ?)"
_ROWS_AT_ONCE: Final = 500_000


def opened(path: Path) -> sqlite3.Connection:
    """Open an SQLite file as the application does, equally durable, with more memory, and with its rows of links."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (*PRAGMAS, "cache_size=-65536"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(_SCHEMA.replace("TABLE", "TABLE IF NOT EXISTS"))
    return connection


def rows_of(source: int, keys: Ids) -> list[tuple[int, int]]:
    """Return a list as rows."""
    return [(key, source) for key in keys.view(np.int64).tolist()]


def store_ms(connection: sqlite3.Connection, source: int, keys: Ids) -> float:
    """Store one list, a row a link, in one transaction; return how long that takes."""
    rows = rows_of(source, keys)
    begun = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(_INSERT, rows)
    connection.execute("COMMIT")
    return 1000 * (time.perf_counter() - begun)


def fill(path: Path, lists: Path, ends: NDArray[np.int64], popular: np.uint64) -> dict[str, Any]:
    """Fill a table with everybody's links, sorted beforehand and without a journal, which is the quickest way there is."""
    keys = np.fromfile(lists, np.uint64)
    sources = np.repeat(np.arange(len(ends), dtype=np.uint32), np.diff(ends, prepend=0))
    signed = keys.view(np.int64)
    order = np.argsort(signed, kind="stable")
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(_SCHEMA)
    begun = time.perf_counter()
    for start in range(0, len(order), _ROWS_AT_ONCE):
        some = order[start : start + _ROWS_AT_ONCE]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, zip(signed[some].tolist(), sources[some].tolist(), strict=True))
        connection.execute("COMMIT")
    seconds = time.perf_counter() - begun
    look_up = statistics.median(_look_up_ms(connection, popular) for _ in range(20))
    connection.close()
    return {
        "most_popular_ms": round(look_up, 2),
        "links_a_second_sorted": round(len(order) / seconds),
        "bytes_a_link": round(path.stat().st_size / len(order), 1),
    }


def _look_up_ms(connection: sqlite3.Connection, key: np.uint64) -> float:
    """Find everybody who has a key in their list; return how long that takes."""
    begun = time.perf_counter()
    connection.execute("SELECT source FROM link WHERE target = ?", (int(key.view(np.int64)),)).fetchall()
    return 1000 * (time.perf_counter() - begun)
