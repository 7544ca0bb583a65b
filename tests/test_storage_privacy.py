"""What is withdrawn or forgotten leaves nothing, in nobody else's rows either, and off the disk."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from bench.launchday_clock import SimulatedLoop, run_simulated
from storage import accounts, budgets, claims, privacy
from storage.budgets import Allowance
from storage.database import Database
from storage.engines import DatabaseError
from storage.keys import Keys
from storage.records import Claim, ClaimState, Evidence, NetworkName
from storage.tables import account, budget, claim, person, upload
from tests.conftest import OwnClock, fresh_postgres

_DAY = 86_400_000
_KEEP = {"keep_ms": 30 * _DAY, "keep_failed_ms": 90 * _DAY, "keep_unclaimed_ms": 90 * _DAY}


async def joins(database: Database, actor: str, now: int) -> int:
    async with database.transaction() as connection:
        return (await accounts.meet(connection, NetworkName.BLUESKY, actor, actor, now))[1].id


async def proves(database: Database, keys: Keys, person_id: int, now: int) -> Claim:
    async with database.transaction() as connection:
        known = await claims.declare(connection, keys, person_id, "old_name", now)
        outcome = await claims.raise_evidence(
            connection, keys, known, x_id=42, x_handle="old_name", evidence=Evidence.POST, now=now
        )
        return outcome.claim


async def test_a_claim_taken_back_names_no_x_account_and_goes_after_a_while(
    database: Database, keys: Keys, clock: OwnClock
) -> None:
    alice = await joins(database, "did:plc:alice", clock())
    held = await proves(database, keys, alice, clock())
    async with database.transaction() as connection:
        await claims.withdraw(connection, held, clock(), erase=True)
        (row,) = await connection.execute(sa.select(claim))
        (changed,) = await claims.since(connection, held.version, 10)
        assert (row.x_handle, row.x_id, row.x_key, row.handle_key) == (f"~{held.id}", None, None, 0)
        assert changed.state is ClaimState.WITHDRAWN
    again = await proves(database, keys, alice, clock())
    assert again.state is ClaimState.HELD
    async with database.transaction() as connection:
        await claims.withdraw(connection, again, clock(), erase=True)
    clock.pass_seconds(31 * _DAY / 1000)
    async with database.transaction() as connection:
        await privacy.retention(connection, clock(), **_KEEP)
        assert await connection.scalar(sa.select(sa.func.count()).select_from(claim)) == 0


async def test_a_withdrawn_claim_keeps_nobody(database: Database, keys: Keys, clock: OwnClock) -> None:
    alice = await joins(database, "did:plc:alice", clock())
    held = await proves(database, keys, alice, clock())
    async with database.transaction() as connection:
        await claims.withdraw(connection, held, clock())
    clock.pass_seconds(91 * _DAY / 1000)
    async with database.transaction() as connection:
        await privacy.retention(connection, clock(), **_KEEP)
        assert await connection.scalar(sa.select(sa.func.count()).select_from(person)) == 0


async def test_one_persons_budget_is_not_anothers(database: Database, clock: OwnClock, keys: Keys) -> None:
    al = await joins(database, "did:plc:al", clock())
    await joins(database, "did:plc:alice", clock())
    async with database.transaction() as connection:
        for actor in ("did:plc:al", "did:plc:alice"):
            await budgets.take(connection, f"follow:{actor}", (Allowance(10, 3_600_000, 5),), 1, clock())
        await privacy.forget(connection, keys, al, clock())
        left = list(await connection.scalars(sa.select(budget.c.name)))
    assert left
    assert all("did:plc:alice" in each for each in left)


async def test_a_claim_withdrawn_while_another_is_proved_freezes_nobody_for_ever(
    postgres: str, keys: Keys, clock: OwnClock
) -> None:
    database = Database(await fresh_postgres(postgres))
    await database.upgrade()
    alice, bob = [await joins(database, f"did:plc:{name}", clock()) for name in ("alice", "bob")]
    held = await proves(database, keys, alice, clock())

    async def withdraw() -> None:
        async with database.transaction() as connection:
            await claims.withdraw(connection, held, clock())

    async with database.transaction() as connection:
        known = await claims.declare(connection, keys, bob, "old_name", clock())
        await claims.raise_evidence(
            connection, keys, known, x_id=42, x_handle="old_name", evidence=Evidence.POST, now=clock()
        )
        withdrawing = asyncio.create_task(withdraw())
        while not await somebody_waits(database):
            pass
    await withdrawing
    async with database.reading() as connection:
        (left,) = await claims.of_person(connection, bob)
    await database.close()
    assert left.state is ClaimState.HELD


async def somebody_waits(database: Database) -> bool:
    async with database.reading() as connection:
        locks = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(await connection.scalar(locks))


def on_disk(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_deleted_rows_leave_the_disk(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, clock: OwnClock
) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'reflock.sqlite3'}"
    else:
        url = await fresh_postgres(request.getfixturevalue("postgres"))
    database = Database(url)
    await database.upgrade()
    alice = await joins(database, "did:plc:alice", clock())
    async with database.transaction() as connection:
        values = {"person_id": alice, "source": "typed", "direction": "following", "n": 1, "created_at": clock()}
        await connection.execute(sa.insert(upload).values(data=b"pseudonym", **values))
    async with database.transaction() as connection:
        await connection.execute(sa.delete(upload))
    await privacy.wipe(database)
    if kind == "sqlite":
        assert b"pseudonym" not in on_disk(tmp_path)
    else:
        async with database.reading() as connection:
            assert await connection.scalar(sa.text("SELECT pg_relation_size('upload')")) == 0
    await database.close()


# Holds the lock of whoever makes a checkpoint (sqlite.org/walformat.html: WAL_CKPT_LOCK) until it is told to end.
_CHECKPOINT = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX, 1, 121)
    print("held", flush=True)
    sys.stdin.read()
"""


@asynccontextmanager
async def another_checkpoint(path: Path) -> AsyncIterator[None]:
    """Be in the middle of a checkpoint, as one that runs beside is."""
    pipe = asyncio.subprocess.PIPE
    arguments = ("-c", _CHECKPOINT, f"{path}-shm")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        await process.communicate(b"")


async def test_deleted_rows_leave_the_disk_though_another_checkpoint_runs_beside(
    tmp_path: Path, clock: OwnClock
) -> None:
    path = tmp_path / "reflock.sqlite3"
    database = Database(f"sqlite:///{path}")
    await database.upgrade()
    await joins(database, "did:plc:pseudonym", clock())
    async with database.transaction() as connection:
        await connection.execute(sa.delete(account))
    async with another_checkpoint(path):
        with pytest.raises(DatabaseError, match="not off the disk yet"):
            await privacy.wipe(database, within=0)
        wiping = asyncio.create_task(privacy.wipe(database))
        done, _ = await asyncio.wait({wiping}, timeout=0.1)
        assert not done
        assert b"did:plc:pseudonym" in on_disk(tmp_path)
    await wiping
    assert b"did:plc:pseudonym" not in on_disk(tmp_path)
    await database.close()


def test_deleted_rows_leave_the_disk_though_somebody_writes_for_minutes(tmp_path: Path) -> None:
    """In simulated time: a wipe waits as long as it may, and says so when that did not suffice."""

    async def play(_loop: SimulatedLoop) -> None:
        database = Database(f"sqlite:///{tmp_path / 'reflock.sqlite3'}")
        await database.upgrade()
        await joins(database, "did:plc:pseudonym", 1)
        async with database.transaction() as connection:
            await connection.execute(sa.delete(account))
            with pytest.raises(DatabaseError, match="not off the disk yet"):
                await privacy.wipe(database, within=100)
            wiping = asyncio.create_task(privacy.wipe(database))
            await asyncio.sleep(200)
            assert not wiping.done()
            assert b"did:plc:pseudonym" in on_disk(tmp_path)
        await wiping
        assert b"did:plc:pseudonym" not in on_disk(tmp_path)
        await database.close()

    run_simulated(play)
