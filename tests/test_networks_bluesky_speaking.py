"""The Bluesky adapter speaks on a small Bluesky: once, and with the reason when it is not let through."""

import json

import pytest

from bot.networks import Say
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.bluesky_records import tid_for
from bot.networks.errors import BLOCKED, DM_CLOSED, GONE, Refused, Unavailable
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.bluesky.ids import is_tid
from bot.sandbox.faults import Fault
from tests.bluesky_bot import SEND, alice, bot, drawer, flock, guard, sky, start
from tests.conftest import OwnClock
from tests.saying import dm_to, reply_to

__all__ = ["alice", "bot", "drawer", "flock", "guard", "sky", "start"]  # fixtures


async def test_a_public_answer_stands_in_its_thread_once_however_often_it_is_said(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox, clock: OwnClock
) -> None:
    cursor = (await bot.hear(None)).cursor
    asked = alice.post("@flock.test hello")
    (heard,) = (await bot.hear(cursor)).messages
    say = reply_to(heard, "Hi! Näheres: https://reflock.example/guide.")
    uri = await bot.say(say)
    clock.pass_seconds(30)
    assert await bot.say(reply_to(heard, say.text, first_at=heard.at)) == uri
    (answer,) = alice.replies_to(asked)
    assert answer.by == flock.did
    record = sky.world.find_record(uri)
    assert record is not None
    assert record.value["langs"] == ["en"]
    (facet,) = record.value["facets"]
    start, end = facet["index"]["byteStart"], facet["index"]["byteEnd"]
    assert record.value["text"].encode()[start:end].decode() == facet["features"][0]["uri"]
    assert facet["features"][0]["uri"] == "https://reflock.example/guide"


async def test_an_answer_whose_outcome_was_lost_is_not_doubled(
    bot: BlueskyNetwork, alice: BlueskyPerson, sky: BlueskySandbox
) -> None:
    cursor = (await bot.hear(None)).cursor
    asked = alice.post("@flock.test hello")
    (heard,) = (await bot.hear(cursor)).messages
    sky.faults.plan(Fault("putRecord", "cut", after=True))
    with pytest.raises(Unavailable):
        await bot.say(reply_to(heard, "Hi!"))
    await bot.say(reply_to(heard, "Hi!", first_at=heard.at))
    assert len(alice.replies_to(asked)) == 1


async def test_a_direct_message_whose_outcome_was_lost_is_looked_for_before_it_is_sent_again(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox, clock: OwnClock
) -> None:
    sky.faults.plan(Fault(SEND, "cut", after=True))
    first_at = clock()
    with pytest.raises(Unavailable):
        await bot.say(dm_to(alice, "Hello! https://reflock.example"))
    clock.pass_seconds(60)
    sent = await bot.say(dm_to(alice, "Hello! https://reflock.example", first_at=first_at))
    (received,) = alice.received_dms(flock)
    assert sent.endswith(f"/{received.id}")
    assert received.facets is not None
    # What was never sent is sent; and the same words from long ago are not this attempt's.
    clock.pass_seconds(3600)
    await bot.say(dm_to(alice, "Hello! https://reflock.example", first_at=clock()))
    await bot.say(dm_to(alice, "Something else", first_at=first_at))
    assert len(alice.received_dms(flock)) == 3


async def test_a_direct_message_that_is_not_let_through_says_why(bot: BlueskyNetwork, sky: BlueskySandbox) -> None:
    reasons = {}
    for name in ("closed", "stranger", "blocker", "gone"):
        person = sky.create_account(f"{name}.test")
        person.allow_incoming = {"closed": "none", "stranger": "following"}.get(name, "all")
        if name == "blocker":
            person.block(sky.people[sky.world.find("flock.test").did])  # type: ignore[union-attr]
        if name == "gone":
            person.deactivate()
        with pytest.raises(Refused) as refusal:
            await bot.say(dm_to(person, "Hello!"))
        reasons[name] = refusal.value.reason
    assert reasons == {"closed": DM_CLOSED, "stranger": DM_CLOSED, "blocker": BLOCKED, "gone": GONE}


async def test_who_closed_their_messages_meanwhile_is_told_apart_from_a_failure(
    bot: BlueskyNetwork, alice: BlueskyPerson
) -> None:
    await bot.say(dm_to(alice, "Hello!"))
    alice.allow_incoming = "none"
    with pytest.raises(Refused) as refusal:
        await bot.say(dm_to(alice, "Are you there?"))
    assert refusal.value.reason == DM_CLOSED


async def test_a_conversation_that_is_gone_is_opened_anew(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson
) -> None:
    thread = json.dumps({"convo": "3kgone"})
    await bot.say(Say("k", alice.did, alice.handle, "Hello!", public=False, thread=thread, language="en"))
    assert [message.text for message in alice.received_dms(flock)] == ["Hello!"]


async def test_lengths_are_counted_as_readers_count(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson
) -> None:
    family = "👨‍👩‍👧‍👦"
    assert bot.fits("é" * 300, public=True)
    assert not bot.fits("é" * 301, public=True)
    assert bot.fits("é" * 1000, public=False)
    assert not bot.fits(family * 301, public=False) or len((family * 301).encode()) <= 10_000
    longest = family * 120
    assert bot.fits(longest, public=True)
    cursor = (await bot.hear(None)).cursor
    alice.post("@flock.test hello")
    (heard,) = (await bot.hear(cursor)).messages
    assert await bot.say(reply_to(heard, longest))
    with pytest.raises(Refused):
        await bot.say(reply_to(heard, "é" * 301, key="k2"))


def test_a_key_becomes_always_the_same_record_key() -> None:
    keys = {tid_for(f"delivery {number}") for number in range(1000)}
    assert len(keys) == 1000
    assert all(is_tid(key) for key in keys)
    assert tid_for("delivery 1") in keys
