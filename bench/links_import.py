"""From the bytes of X's archive to who of it is here, through the application's own functions, as an upload is handled."""

import asyncio
import json
import statistics
import time
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from bench.links_graph import Graph, Ids
from handlers import imports
from handlers.archive import read_archive
from handlers.registry import Registry
from storage import links
from storage.database import Database
from storage.keys import Keys, Keys64
from storage.records import ClaimState, Direction, Evidence
from storage.tables import claim

_CLAIMS_A_TRANSACTION: Final = 1_000


def archive(ids: Ids) -> bytes:
    """Return a list as X writes it into following.js."""
    entries = [
        {"following": {"accountId": str(x_id), "userLink": f"https://twitter.com/intent/user?user_id={x_id}"}}
        for x_id in ids.tolist()
    ]
    return b"window.YTD.following.part0 = " + json.dumps(entries, indent=2).encode()


async def register(database: Database, keys: Keys, people: int) -> Registry:
    """Have everybody hold the claim to an X account, every third of the most popular ones, and read who is here."""
    x_ids = np.array([Graph.popular(3 * number) for number in range(people)], np.uint64)
    x_keys = keys.of_ids(x_ids).view(np.int64).tolist()
    handle_keys = keys.of_handles([f"x{number}" for number in range(people)]).view(np.int64).tolist()
    rows = [
        {
            "person_id": number + 1,
            "x_handle": f"x{number}",
            "x_id": x_id,
            "x_key": x_key,
            "handle_key": handle_key,
            "evidence": Evidence.POST.value,
            "state": ClaimState.HELD.value,
            "version": number + 1,
            "created_at": 1,
        }
        for number, (x_id, x_key, handle_key) in enumerate(zip(x_ids.tolist(), x_keys, handle_keys, strict=True))
    ]
    for start in range(0, people, _CLAIMS_A_TRANSACTION):
        async with database.transaction() as connection:
            await connection.execute(sa.insert(claim), rows[start : start + _CLAIMS_A_TRANSACTION])
    registry = Registry()
    async with database.reading() as connection:
        await registry.refresh(connection)
    return registry


async def imported(
    database: Database, keys: Keys, registry: Registry, person: int, data: bytes
) -> tuple[dict[str, float], int]:
    """Import an archive; return how many milliseconds each part took, and how many of it are here."""
    times = [time.perf_counter()]

    def read() -> Keys64 | None:
        lists = read_archive([("following.js", data)])
        times.append(time.perf_counter())
        return imports.keyed(keys, lists).following

    following = await asyncio.to_thread(read)
    times.append(time.perf_counter())
    assert following is not None
    async with database.transaction() as connection:
        await links.add(connection, person, "archive:3", Direction.FOLLOWING, following, 1, replace=True)
        times.append(time.perf_counter())
        await registry.refresh(connection)
        found = registry.matches((await links.own(connection, person)).following)
        times.append(time.perf_counter())
    times.append(time.perf_counter())
    names = ("parsed", "keyed", "stored", "matched", "committed")
    each = dict(zip(names, (1000 * np.diff(times)).tolist(), strict=True))
    return {**each, "all": 1000 * (times[-1] - times[0])}, len(found)


async def figures(database: Database, keys: Keys, registry: Registry, archives: list[bytes]) -> dict[str, Any]:
    """Import archives for one person after the other; return medians in milliseconds."""
    done = [await imported(database, keys, registry, number + 1, data) for number, data in enumerate(archives)]
    medians = {f"{name}_ms": round(statistics.median(times[name] for times, _ in done), 3) for name in done[0][0]}
    async with database.transaction() as connection:
        for number in range(len(archives)):
            await links.remove(connection, number + 1, "archive:3")
    return {**medians, "found": statistics.median(found for _, found in done)}
