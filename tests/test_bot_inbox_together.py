"""What is heard together is decided together, and yet each message stands for itself."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from bot.inbox import Inbox
from handlers.commands import router
from handlers.routing import Router, command
from storage import messages
from storage.records import NetworkName
from storage.tables import account, delivery, message, person
from tests.flock import Flock, flock

__all__ = ["flock"]  # fixtures


class Killed(BaseException):
    """The end of the process, as far as a handler can notice it."""


@command("guide", "Break", fr=("étapes",))
async def breaks(_context: object) -> str | None:
    """Fail as a handler of ours might."""
    raise RuntimeError("a mistake of ours")


@command("guide", "Kill", fr=("étapes",))
async def dies(_context: object) -> str | None:
    """End as with kill -9."""
    raise Killed


def with_guide(flock: Flock, guide: object) -> Inbox:
    """Return an inbox whose handler of one command is another one."""
    handlers = [guide if each.name == "guide" else each.handler for each in router.commands]
    other = Router(handlers, router.answers, router.patterns, router._unknown)  # type: ignore[arg-type]  # a handler all the same
    return Inbox(flock.app.events, other, flock.app.networks[NetworkName.BLUESKY])


async def test_one_crash_costs_nobody_else_the_answer(flock: Flock) -> None:
    people = [flock.bluesky.create_account(f"{name}.test") for name in ("alice", "bob", "carol", "dora")]
    for each, words in zip(people, ("claim @alice_on_x", "guide", "status", "claim @dora_on_x"), strict=True):
        each.dm(flock.bluesky_bot, words)
    broken = with_guide(flock, breaks)
    assert await broken.turn() == 4
    await flock.settle()
    async with flock.app.events.database.reading() as connection:
        (failed,) = await messages.failed(connection)
    alice, bob, carol, dora = (each.received_dms(flock.bluesky_bot) for each in people)
    assert ["@alice_on_x" in each.text for each in alice] == [True]
    assert [failed.reference in each.text for each in bob] == [True]
    assert ["Your accounts" in each.text for each in carol] == [True]
    assert ["@dora_on_x" in each.text for each in dora] == [True]


async def test_what_one_person_writes_at_once_is_answered_in_order(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    for words in ("lang fr", "claim @alice_on_x", "unclaim @alice_on_x", "oui", "claim"):
        alice.dm(flock.bluesky_bot, words)
    assert await flock.app.inboxes[NetworkName.BLUESKY].turn() == 5
    await flock.settle()
    chosen, farewell, question, gone, none = (each.text for each in alice.received_dms(flock.bluesky_bot))
    assert "français" in chosen
    assert "RF-" in farewell
    assert "oublie" in question.lower()
    assert "alice_on_x" in gone
    assert "alice_on_x" not in none
    async with flock.app.events.database.reading() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(person)) == 1


async def test_whoever_is_forgotten_and_writes_on_is_met_anew(flock: Flock) -> None:
    alice, bob = (flock.bluesky.create_account(f"{name}.test") for name in ("alice", "bob"))
    alice.dm(flock.bluesky_bot, "claim @alice_on_x")
    bob.dm(flock.bluesky_bot, "status")
    await flock.settle()
    for words in ("forget me", "yes", "claim"):
        alice.dm(flock.bluesky_bot, words)
    bob.dm(flock.bluesky_bot, "status")
    assert await flock.app.inboxes[NetworkName.BLUESKY].turn() == 4
    await flock.settle()
    assert "alice_on_x" not in alice.received_dms(flock.bluesky_bot)[-1].text
    assert len(alice.received_dms(flock.bluesky_bot)) == 3  # the question whether she is sure was forgotten with her
    assert len(bob.received_dms(flock.bluesky_bot)) == 2
    async with flock.app.events.database.reading() as connection:
        assert await messages.failed(connection) == []


async def test_whoever_is_forgotten_takes_along_what_was_to_be_said_to_them(flock: Flock) -> None:
    alice, bob = (flock.bluesky.create_account(f"{name}.test") for name in ("alice", "bob"))
    for person_, words in ((alice, "status"), (bob, "status"), (alice, "forget me"), (alice, "yes")):
        person_.dm(flock.bluesky_bot, words)
    await flock.app.inboxes[NetworkName.BLUESKY].turn()
    async with flock.app.events.database.reading() as connection:
        about_nobody = sa.select(delivery.c.account_id).where(delivery.c.account_id.is_not(None))
        known = sa.select(account.c.id)
        assert list(await connection.scalars(about_nobody.where(delivery.c.account_id.not_in(known)))) == []
    await flock.settle()
    assert [each.text[:5] for each in alice.received_dms(flock.bluesky_bot)] == ["Done."]
    assert len(bob.received_dms(flock.bluesky_bot)) == 1


async def test_stop_counts_for_what_is_written_after_it(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    for words in ("stop", "contacts", "guide", "status"):
        alice.dm(flock.bluesky_bot, words)
    await flock.settle()
    assert len(alice.received_dms(flock.bluesky_bot)) == 2


async def test_a_thread_is_answered_no_more_often_for_being_heard_at_once(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    root = alice.post("@reflock.test hello", [flock.bluesky_bot])
    for _ in range(8):
        alice.post("@reflock.test hello", [flock.bluesky_bot], reply_to=root)
    await flock.settle()
    answers = flock.bluesky.journal.of("post", by=flock.bluesky_bot.did)
    assert len(answers) == flock.config.config.conversation.replies_per_thread


async def test_a_kill_among_many_loses_nothing_and_doubles_nothing(flock: Flock) -> None:
    people = [flock.bluesky.create_account(f"{name}.test") for name in ("alice", "bob", "carol")]
    for each, words in zip(people, ("status", "guide", "status"), strict=True):
        each.dm(flock.bluesky_bot, words)
    with pytest.raises(Killed):
        await with_guide(flock, dies).turn()
    async with flock.app.events.database.reading() as connection:
        for table in (message, account, person, delivery):
            assert await connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
    await flock.settle()
    assert [len(each.received_dms(flock.bluesky_bot)) for each in people] == [1, 1, 1]


async def test_what_is_heard_twice_at_once_is_answered_once(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    alice.dm(flock.bluesky_bot, "status")
    (heard,) = (await flock.app.networks[NetworkName.BLUESKY].hear(None)).messages
    inbox = flock.app.inboxes[NetworkName.BLUESKY]
    assert await inbox.handle([heard, replace(heard), heard]) == 1
    await flock.settle()
    assert len(alice.received_dms(flock.bluesky_bot)) == 1
