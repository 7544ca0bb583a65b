"""Everything that is held is given out on request, and nothing of it stays when somebody wants to be forgotten."""

from pathlib import Path

import sqlalchemy as sa

from bot.inbox import Inbox
from bot.sandbox.archive import following_js
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.mastodon import MastodonPerson
from handlers import privacy, router
from handlers.archive import read_archive
from handlers.claims import evidence_from_archive
from handlers.imports import keyed, received
from storage import messages
from storage.records import Evidence, NetworkName
from storage.tables import account, claim, delivery, lane, message, metadata, person, upload
from tests.conftest import OwnClock
from tests.flock import Flock, flock, open_flock

__all__ = ["flock"]  # fixtures

DAY = 86_400
KEEP = {"keep_ms": 30 * DAY * 1000, "keep_failed_ms": 90 * DAY * 1000, "keep_unclaimed_ms": 90 * DAY * 1000}
NO_PAGES: dict[str, object] = {"public_url": ""}


async def asks(flock: Flock, somebody: BlueskyPerson | MastodonPerson, words: str) -> str:
    """Write to the bot, and return everything it has answered to that."""
    if isinstance(somebody, BlueskyPerson):
        before = len(somebody.received_dms(flock.bluesky_bot))
        somebody.dm(flock.bluesky_bot, words)
        await flock.settle()
        return "\n".join(each.text for each in somebody.received_dms(flock.bluesky_bot)[before:])
    before = len(somebody.received_dms(flock.mastodon_bot))
    somebody.dm(flock.mastodon_bot, words)
    await flock.settle()
    return "\n".join(each.text for each in somebody.received_dms(flock.mastodon_bot)[before:])


async def hands_over(flock: Flock, actor: str) -> None:
    async with flock.app.events.event(f"upload by {actor}", actor) as ctx:
        await received(ctx, keyed(ctx.world.keys, read_archive([("following.js", following_js([1, 2, 3]))])))


async def connects(flock: Flock, alice: MastodonPerson) -> None:
    answer = await asks(flock, alice, "connect")
    code = await alice.approve(next(word for word in answer.split() if "/oauth/authorize" in word))
    await asks(flock, alice, code)


async def everything(flock: Flock) -> str:
    """Return the text of the whole database."""
    found = []
    async with flock.app.events.database.reading() as connection:
        for table in metadata.sorted_tables:
            found += [f"{table.name}: {tuple(row)}" for row in await connection.execute(sa.select(table))]
    return "\n".join(found)


async def test_without_a_web_address_a_summary_comes_by_dm(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        await asks(flock, alice, "claim alice_old")
        await hands_over(flock, alice.actor)
        summary = await asks(flock, alice, "exporter")
        assert "alice_old" in summary
        assert "3" in summary
        addressed = [line for line in summary.splitlines() if line.startswith("@alice")]
        assert summary.count("@alice") == len(addressed)  # to whom it is said; nothing else in it may be an address


async def test_somebody_forgotten_leaves_nothing_and_is_told_so(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice, bob = flock.mastodon.create_account("alice"), flock.mastodon.create_account("bob")
        await asks(flock, bob, "claim bobby")
        async with flock.app.events.database.reading() as connection:
            before = await messages.read_cursor(connection, NetworkName.MASTODON)
        assert before is not None
        await asks(flock, alice, "claim alice_old")
        await hands_over(flock, alice.actor)
        await connects(flock, alice)
        (token,) = [each for each in flock.mastodon.oauth.tokens.values() if "write:follows" in each.scopes]

        assert "cannot be undone" in await asks(flock, alice, "forget me")
        assert "nothing was removed" in await asks(flock, alice, "no")
        await asks(flock, alice, "forget me")
        assert "Farewell" in await asks(flock, alice, "oui")

        assert token.revoked
        # Everything is heard again, as after a crash: who is forgotten is not met anew by it.
        async with flock.app.events.database.transaction() as connection:
            await messages.move_cursor(connection, NetworkName.MASTODON, before)
        again = Inbox(flock.app.events, router, flock.app.networks[NetworkName.MASTODON])
        assert await again.turn() == 0
        left = await everything(flock)
        assert alice.actor not in left
        assert "alice" not in left
        assert bob.actor in left
        assert "Hello! I am a bot" in await asks(flock, alice, "hello")


async def test_the_bytes_are_off_the_disk(tmp_path: Path, clock: OwnClock) -> None:
    path = tmp_path / "reflock.sqlite3"
    async with open_flock(f"sqlite:///{path}", clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        await asks(flock, alice, "claim very_old_name")
        files = [path, path.with_name(path.name + "-wal")]
        assert any(b"very_old_name" in file.read_bytes() for file in files)
        await asks(flock, alice, "forget me")
        await asks(flock, alice, "yes")
        await privacy.wipe(flock.app.events.database)
        assert not any(b"very_old_name" in file.read_bytes() for file in files)
        assert not any(alice.actor.encode() in file.read_bytes() for file in files)


async def test_somebody_who_said_stop_can_still_be_forgotten(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    await asks(flock, alice, "stop")
    assert "forget me oui" in await asks(flock, alice, "oublie-moi")
    assert "Adieu" in await asks(flock, alice, "forget me oui")
    assert alice.did not in await everything(flock)


async def test_whoever_was_frozen_because_of_the_forgotten_is_told(flock: Flock) -> None:
    alice, bob = flock.bluesky.create_account("alice.test"), flock.bluesky.create_account("bob.test")
    for somebody in (alice, bob):
        await asks(flock, somebody, "claim same_name")
        async with flock.app.events.event(f"archive of {somebody.did}", somebody.did) as ctx:
            ctx.say(await evidence_from_archive(ctx, 77, "same_name"))
        await flock.settle()
    await asks(flock, alice, "forget me")
    before = len(bob.received_dms(flock.bluesky_bot))
    await asks(flock, alice, "yes")
    assert "Nobody contests" in bob.received_dms(flock.bluesky_bot)[before:][0].text


async def test_what_is_old_goes_and_what_is_needed_stays(flock: Flock, clock: OwnClock) -> None:
    alice, idle = flock.bluesky.create_account("alice.test"), flock.bluesky.create_account("idle.test")
    gone = flock.bluesky.create_account("gone.test")
    await asks(flock, alice, "claim alice_old")
    await asks(flock, idle, "hello")
    await asks(flock, gone, "claim gone_old")
    await asks(flock, gone, "forget me yes")
    events = flock.app.events

    async def count(table: sa.Table) -> int:
        async with events.database.reading() as connection:
            return int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0)

    async def let_go() -> int:
        async with events.database.transaction() as connection:
            return await privacy.retention(connection, clock(), **KEEP)

    assert await count(person) == 3
    assert await count(claim) == 2
    clock.pass_seconds(DAY + 1)
    await let_go()  # the husk and its tombstone
    assert (await count(person), await count(claim)) == (2, 1)
    async with events.database.reading() as connection:
        assert await connection.scalar(sa.select(message.c.id).where(message.c.account_id == "")) is None
    clock.pass_seconds(30 * DAY)
    await let_go()
    assert (await count(delivery), await count(message), await count(lane)) == (0, 0, 0)
    clock.pass_seconds(60 * DAY)
    await let_go()
    assert (await count(person), await count(account)) == (1, 1)
    assert await let_go() == 0


async def test_everything_is_in_the_export(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        await asks(flock, alice, "claim alice_old")
        await hands_over(flock, alice.actor)
        await connects(flock, alice)
        async with flock.app.events.event("export", alice.actor) as ctx:
            held = await privacy.everything(ctx.connection, ctx.person.id, ctx.now)
            data = await ctx.connection.scalar(sa.select(upload.c.data))
        assert held["claims"][0]["x_handle"] == "alice_old"
        assert held["claims"][0]["evidence"] == Evidence.DECLARED
        assert held["uploads"][0]["bytes"] == len(data or b"")
        assert held["grants"][0]["state"] == "active"
        assert [each["state"] for each in held["messages"]] == ["handled"] * 3
        assert held["person"]["created_at"].endswith("+00:00")
        assert "secret" not in str(held["grants"])
