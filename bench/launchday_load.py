"""Those who are in before the launch day: with proved claims, lists, consents, and nobody told yet."""

import time
from typing import Any, Final

import numpy as np

from bench.launchday_clock import SimulatedLoop
from bench.launchday_crowd import Crowd
from storage import accounts, arrivals, claims, grants, links, segments
from storage.database import Database
from storage.keys import Keys
from storage.records import Direction, Evidence

_AT_ONCE: Final = 200


async def load(loop: SimulatedLoop, database: Database, crowd: Crowd, keys: Keys, opens_at: int) -> dict[str, Any]:
    """Write everybody down through the storage's functions; return what that came to."""
    begun = time.monotonic()
    await database.upgrade()
    total = 0
    for first in range(0, crowd.people, _AT_ONCE):
        async with database.transaction() as connection:
            seqs = []
            for me in range(first, min(first + _AT_ONCE, crowd.people)):
                now = loop.epoch_ms()
                actor, network = crowd.actor(me), crowd.network(me)
                account, person = await accounts.meet(connection, network, actor, crowd.handle(me), now)
                await accounts.heard_from(connection, {account.id: crowd.thread(me)}, now)
                claimed = await claims.declare(connection, keys, person.id, f"x{me}", now)
                outcome = await claims.raise_evidence(
                    connection,
                    keys,
                    claimed,
                    x_id=int(crowd.x_ids[me]),
                    x_handle=f"x{me}",
                    evidence=Evidence.POST,
                    now=now,
                )
                seqs.append(await arrivals.arrive(connection, outcome.claim, now))
                # As after an import before the opening: everybody is looked at when it opens.
                automatic = bool(crowd.consents[me]) and me % 2 == 0
                await accounts.change(connection, person.id, notice_due_at=opens_at, auto=automatic)
                if crowd.consents[me]:
                    await grants.keep(
                        connection,
                        keys,
                        person_id=person.id,
                        account_id=actor,
                        network=network,
                        issuer="https://example",
                        scope="follow",
                        secret="{}",
                        now=now,
                    )
                listed = np.sort(keys.of_ids(crowd.list_of(me)))
                source = f"archive:{crowd.x_ids[me]}"
                await links.add(connection, person.id, source, Direction.FOLLOWING, listed, now, replace=True)
                total += len(listed)
            await arrivals.advance(connection, [each for each in seqs if each is not None], None)
        while await segments.tend(database):
            pass
    return {"links": total, "seconds": round(time.monotonic() - begun)}
