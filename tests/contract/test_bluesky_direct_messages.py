"""Direct messages on Bluesky: heard and accepted, said once, and refused with the right reason."""

import asyncio
import json

import pytest

from bot.networks import Say
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.errors import BLOCKED, DM_CLOSED, GONE, Refused, Unavailable
from bot.sandbox.bluesky.errors import DmRefused
from bot.sandbox.bluesky.sky import Hands
from bot.sandbox.faults import Fault
from tests.contract.bluesky import Scene, answer, dm

_SEND = "chat.bsky.convo.sendMessage"
_UNKNOWN = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


async def refusal(bot: BlueskyNetwork, to: Hands | str) -> str:
    """Return why the bot may not write to an account."""
    with pytest.raises(Refused) as caught:
        await bot.say(dm(to, "Hello!"))
    return caught.value.reason


def texts(of: Hands, sender: Hands) -> list[str]:
    """Return what somebody was sent, oldest first."""
    return [message.text for message in of.received_dms(sender.did)]


async def test_a_direct_message_is_heard_answered_and_its_request_accepted(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")  # takes messages from those she follows
    await bluesky.sky.settle()
    await alice.dm(bluesky.flock.did, "start")
    await alice.dm(bluesky.flock.did, "claim old_alice")
    batch = await bluesky.hear(bot, cursor)
    assert [(message.text, message.public) for message in batch.messages] == [
        ("start", False),
        ("claim old_alice", False),
    ]
    first = batch.messages[0]
    assert (first.actor, first.handle) == (alice.did, alice.handle)
    assert first.thread_key == batch.messages[1].thread_key
    assert abs(first.at - bluesky.clock()) < 300_000
    # She has written to us, so we may answer, though she does not follow us.
    await bot.say(answer(first, "Hello!"))
    assert await bluesky.heard(bot, batch.cursor) == []
    assert texts(alice, bluesky.flock) == ["Hello!"]


async def test_hearing_a_request_accepts_it(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    await alice.dm(bluesky.flock.did, "start")
    await bluesky.heard(bot, cursor)
    # It would have been a request's fate otherwise: to be shut out when the bot is open to nobody new.
    await bluesky.flock.allow_incoming("none")
    await bluesky.sky.settle()
    await alice.dm(bluesky.flock.did, "still there?")
    stranger = await bluesky.person("other")
    await bluesky.sky.settle()
    with pytest.raises(DmRefused):
        await stranger.dm(bluesky.flock.did, "me too")


async def test_several_people_write_at_once_and_each_gets_an_answer(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    people = await bluesky.people(5)
    await bluesky.sky.settle()
    await asyncio.gather(*(each.dm(bluesky.flock.did, f"I am {each.handle}") for each in people))
    heard = await bluesky.heard(bot, cursor)
    assert {(message.actor, message.text) for message in heard} == {
        (each.did, f"I am {each.handle}") for each in people
    }
    await asyncio.gather(*(bot.say(answer(message, f"Hello {message.handle}")) for message in heard))
    assert [texts(each, bluesky.flock) for each in people] == [[f"Hello {each.handle}"] for each in people]


async def test_nothing_that_was_written_while_the_bot_was_down_is_lost(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    await bot.close()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    written = [f"message {number}" for number in range(120)]  # more than a page of the log
    for text in written:
        await alice.dm(bluesky.flock.did, text)
    again = await bluesky.start()
    batch = await bluesky.hear(again, cursor)
    assert [message.text for message in batch.messages] == written
    assert len({message.id for message in batch.messages}) == len(written)
    assert await bluesky.heard(again, batch.cursor) == []


async def test_somebody_may_be_written_to_out_of_the_blue_if_they_let_everybody(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.talker("alice")
    bob = await bluesky.person("bob")
    await bob.follow(bluesky.flock.did)
    await bluesky.sky.settle()
    await bot.say(dm(alice, "Hello Alice!"))
    await bot.say(dm(bob, "Hello Bob!"))  # who follows us
    assert texts(alice, bluesky.flock) == ["Hello Alice!"]
    assert texts(bob, bluesky.flock) == ["Hello Bob!"]


async def test_every_refusal_has_its_reason(bluesky: Scene) -> None:
    bot = await bluesky.start()
    closed, stranger, blocker, blocked, away, taken = [await bluesky.talker() for _ in range(6)]
    silent = await bluesky.person("silent")  # has declared nothing, which means: those they follow
    await closed.allow_incoming("none")
    await stranger.allow_incoming("following")
    await blocker.block(bluesky.flock.did)
    await bluesky.flock.block(blocked.did)
    await away.deactivate()
    await taken.take_down()
    await bluesky.sky.settle()
    assert {
        "nobody may write": await refusal(bot, closed),
        "only those they follow": await refusal(bot, stranger),
        "nothing declared": await refusal(bot, silent),
        "blocks us": await refusal(bot, blocker),
        "blocked by us": await refusal(bot, blocked),
        "deactivated": await refusal(bot, away),
        "taken down": await refusal(bot, taken),
        "never was": await refusal(bot, _UNKNOWN),
    } == {
        "nobody may write": DM_CLOSED,
        "only those they follow": DM_CLOSED,
        "nothing declared": DM_CLOSED,
        "blocks us": BLOCKED,
        "blocked by us": BLOCKED,
        "deactivated": GONE,
        "taken down": GONE,
        "never was": GONE,
    }


async def test_who_changes_their_mind_can_be_written_to(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.talker("alice")
    await alice.allow_incoming("none")
    await alice.block(bluesky.flock.did)
    await bluesky.sky.settle()
    assert await refusal(bot, alice) == BLOCKED
    await alice.unblock(bluesky.flock.did)
    await bluesky.sky.settle()
    assert await refusal(bot, alice) == DM_CLOSED
    await alice.allow_incoming("all")
    await bluesky.sky.settle()
    await bot.say(dm(alice, "Hello!"))
    await alice.allow_incoming("none")
    await bluesky.sky.settle()
    assert await refusal(bot, alice) == DM_CLOSED
    assert texts(alice, bluesky.flock) == ["Hello!"]


async def test_who_leaves_in_the_middle_of_a_conversation_is_gone_and_may_come_back(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    await alice.dm(bluesky.flock.did, "start")
    (heard,) = await bluesky.heard(bot, cursor)
    await alice.deactivate()
    await bluesky.sky.settle()
    with pytest.raises(Refused) as gone:
        await bot.say(answer(heard, "Hello!"))
    assert gone.value.reason == GONE
    await alice.reactivate()
    await bluesky.sky.settle()
    await bot.say(answer(heard, "Hello!", key="later"))
    assert texts(alice, bluesky.flock) == ["Hello!"]


async def test_a_message_said_again_is_one_message(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    first_at = bluesky.clock()
    sent = await bot.say(dm(alice, "Hello! https://reflock.example", first_at=first_at))
    for _ in range(2):
        assert await bot.say(dm(alice, "Hello! https://reflock.example", again=True, first_at=first_at)) == sent
    await bot.say(dm(alice, "Something else", again=True, first_at=first_at))
    assert texts(alice, bluesky.flock) == ["Hello! https://reflock.example", "Something else"]


async def test_a_message_whose_outcome_was_lost_is_looked_for_before_it_is_sent_again(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.talker("alice"), await bluesky.talker("bob")
    await bluesky.sky.settle()
    first_at = bluesky.clock()
    for fault in (Fault(_SEND, "cut", after=True), Fault(_SEND, "cut")):
        person = alice if fault.after else bob
        await bluesky.sky.plan(fault)
        with pytest.raises(Unavailable):
            await bot.say(dm(person, "Hello!", first_at=first_at))
        await bot.say(dm(person, "Hello!", again=True, first_at=first_at))
        assert texts(person, bluesky.flock) == ["Hello!"]


async def test_a_conversation_that_is_gone_is_opened_anew(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    thread = json.dumps({"convo": "3kgone"})
    await bot.say(Say("k", alice.did, alice.handle, "Hello!", public=False, thread=thread, language="en"))
    assert texts(alice, bluesky.flock) == ["Hello!"]


async def test_one_side_is_heard_while_the_other_fails(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} public")
    await alice.dm(bluesky.flock.did, "private")
    await bluesky.sky.plan(Fault("chat.bsky.convo.getLog", status=502))
    batch = await bluesky.hear(bot, cursor)
    assert [message.text for message in batch.messages] == [f"@{bluesky.flock.handle} public"]
    await bluesky.sky.plan(Fault("app.bsky.notification.listNotifications", "malformed"))
    batch = await bluesky.hear(bot, batch.cursor)
    assert [message.text for message in batch.messages] == ["private"]
    await bluesky.sky.plan(Fault("app.bsky.notification.listNotifications", "cut"))
    with pytest.raises(Unavailable):
        await bot.hear(batch.cursor)
