"""What the link store on PostgreSQL is held against: nodes and edges, filled by COPY and matched by a join."""

import statistics
import time
from pathlib import Path
from typing import Any, Final

import asyncpg
import numpy as np
from numpy.typing import NDArray
from sqlalchemy.engine.url import URL

Ids = NDArray[np.uint64]

_SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS beside;
CREATE TABLE IF NOT EXISTS beside.node (id bigint PRIMARY KEY, person bigint UNIQUE);
CREATE TABLE IF NOT EXISTS beside.edge (source bigint NOT NULL, target bigint NOT NULL);
"""
_INDEXES: Final = """
SET work_mem = '128MB';
SET maintenance_work_mem = '512MB';
INSERT INTO beside.node (id) SELECT DISTINCT target FROM beside.edge;
ALTER TABLE beside.edge ADD PRIMARY KEY (source, target);
CREATE INDEX ON beside.edge (target);
ANALYZE beside.node;
ANALYZE beside.edge;
RESET work_mem;
RESET maintenance_work_mem;
"""
_NEW_NODES: Final = "INSERT INTO beside.node (id) SELECT target FROM coming ON CONFLICT DO NOTHING"
_NEW_EDGES: Final = "INSERT INTO beside.edge SELECT source, target FROM coming ON CONFLICT DO NOTHING"
_MATCH: Final = (
    "SELECT node.person FROM beside.edge JOIN beside.node ON node.id = edge.target "
    "WHERE edge.source = $1 AND node.person IS NOT NULL"
)
_FOLLOWERS: Final = "SELECT source FROM beside.edge WHERE target = $1"
_LISTS_A_COPY: Final = 200


class Beside:
    """A connection to a schema of its own."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    @classmethod
    async def opened(cls, url: URL) -> "Beside":
        """Connect, and make the tables if there are none."""
        connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
        await connection.execute(_SCHEMA)
        return cls(connection)

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    async def fill(self, lists: Path, ends: NDArray[np.int64], registered: Ids) -> dict[str, Any]:
        """Copy everybody's links in, then make nodes and indexes, which is the quickest way there is."""
        begun = time.perf_counter()
        with lists.open("rb") as file:
            for first in range(0, len(ends), _LISTS_A_COPY):
                some = range(first, min(first + _LISTS_A_COPY, len(ends)))
                starts = [int(ends[number - 1]) if number else 0 for number in some]
                keys = np.fromfile(file, np.int64, int(ends[some[-1]]) - starts[0])
                counts = [int(ends[number]) - start for number, start in zip(some, starts, strict=True)]
                rows = zip(np.repeat(np.array(some), counts).tolist(), keys.tolist(), strict=True)
                await self._connection.copy_records_to_table("edge", schema_name="beside", records=rows)
        await self._connection.execute(_INDEXES)
        seconds = time.perf_counter() - begun
        people = [(key, number) for number, key in enumerate(registered.view(np.int64).tolist())]
        await self._connection.executemany(
            "INSERT INTO beside.node VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET person = EXCLUDED.person", people
        )
        size = await self._connection.fetchval(
            "SELECT pg_total_relation_size('beside.node') + pg_total_relation_size('beside.edge')"
        )
        return {"links_a_second": round(int(ends[-1]) / seconds), "bytes_a_link": round(size / int(ends[-1]), 1)}

    async def store_ms(self, source: int, keys: Ids) -> float:
        """Store one list in one transaction; return how many milliseconds that takes."""
        rows = [(source, key) for key in keys.view(np.int64).tolist()]
        begun = time.perf_counter()
        async with self._connection.transaction():
            await self._connection.execute("CREATE TEMP TABLE coming (source bigint, target bigint) ON COMMIT DROP")
            await self._connection.copy_records_to_table("coming", records=rows)
            await self._connection.execute(_NEW_NODES)
            await self._connection.execute(_NEW_EDGES)
        return 1000 * (time.perf_counter() - begun)

    async def match_ms(self, source: int) -> float:
        """Find who of a list is here by a join; return how many milliseconds that takes."""
        begun = time.perf_counter()
        await self._connection.fetch(_MATCH, source)
        return 1000 * (time.perf_counter() - begun)

    async def look_up_ms(self, key: np.uint64) -> float:
        """Find everybody who has a key in their list; return how many milliseconds that takes."""
        begun = time.perf_counter()
        await self._connection.fetch(_FOLLOWERS, int(key.view(np.int64)))
        return 1000 * (time.perf_counter() - begun)


async def filled(url: URL, lists: Path, ends: NDArray[np.int64], registered: Ids, popular: np.uint64) -> dict[str, Any]:
    """Fill the tables, match some of the lists, and look the most popular account up."""
    beside = await Beside.opened(url)
    figures = await beside.fill(lists, ends, registered)
    figures["match_ms"] = round(statistics.median([await beside.match_ms(source) for source in range(20)]), 2)
    figures["most_popular_ms"] = round(statistics.median([await beside.look_up_ms(popular) for _ in range(20)]), 2)
    await beside.close()
    return figures
