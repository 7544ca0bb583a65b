"""However many lanes wait, who works on some is found without reading them all."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import lanes
from storage.database import Database
from storage.records import NetworkName
from tests.conftest import START
from tests.statements import asked_of

LEASE = 60_000
SPOKEN = lanes.speaking_on(NetworkName.BLUESKY)


async def plan_of(connection: AsyncConnection, statement: str, parameters: Any) -> str:
    """Return how a database goes about a statement."""
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(map(str, await connection.exec_driver_sql(f"{explain} {statement}", parameters)))


async def test_who_holds_lanes_is_looked_up_among_those_that_are_held(database: Database) -> None:
    async with database.transaction() as connection:
        waiting = {lanes.say_lane(NetworkName.BLUESKY, f"did:plc:{n}"): (0, START) for n in range(5_000)}
        await lanes.wake(connection, waiting)
        await lanes.lease(connection, "one", START, LEASE, 3, SPOKEN)
        await lanes.lease(connection, "two", START, LEASE, 3, SPOKEN)
        await connection.execute(sa.text("ANALYZE"))
    async with database.reading() as connection:
        with asked_of(connection.engine) as asked:
            holders = await lanes.holders(connection)
        ((statement, parameters),) = asked
        plan = await plan_of(connection, statement, parameters)
    assert sorted(holders) == ["one", "two"]
    assert "ix_lane_leased_until" in plan
