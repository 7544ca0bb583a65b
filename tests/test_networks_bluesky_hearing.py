"""The Bluesky adapter hears what a small Bluesky tells it: all of it, once, whatever goes wrong meanwhile."""

import pytest

from bot.networks.bluesky import BlueskyNetwork
from bot.networks.bluesky_records import plain_text
from bot.networks.errors import Unavailable
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.faults import Fault
from tests.bluesky_bot import LOG, NOTIFICATIONS, Start, alice, bot, drawer, flock, guard, sky, start
from tests.conftest import OwnClock
from tests.saying import reply_to

__all__ = ["alice", "bot", "drawer", "flock", "guard", "sky", "start"]  # fixtures


async def test_a_mention_is_heard_wherever_it_stands(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson
) -> None:
    cursor = (await bot.hear(None)).cursor
    first = alice.post("@flock.test hello", langs=["fr", "en"])
    alice.post("well @flock.test hello")
    alice.post("hello @flock.test", reply_to=first)
    heard = (await bot.hear(cursor)).messages
    assert [message.text for message in heard] == ["@flock.test hello", "well @flock.test hello", "hello @flock.test"]
    assert heard[0].id == first
    assert heard[0].public
    assert (heard[0].actor, heard[0].handle) == (alice.did, "alice.test")
    assert heard[0].languages == ("fr", "en")
    assert heard[2].thread_key == heard[0].thread_key == first


async def test_a_reply_counts_when_it_answers_us_and_not_when_it_only_stands_below(
    bot: BlueskyNetwork, alice: BlueskyPerson, sky: BlueskySandbox
) -> None:
    heard = (await bot.hear(None)).cursor
    alice.post("@flock.test hello")
    batch = await bot.hear(heard)
    ours = await bot.say(reply_to(batch.messages[0], "Welcome!"))
    below = alice.post("thank you", reply_to=ours)
    bob = sky.create_account("bob.test")
    bob.post("who is that?", reply_to=below)
    assert [message.text for message in (await bot.hear(batch.cursor)).messages] == ["thank you"]


async def test_nothing_is_lost_while_the_bot_is_down_and_nothing_is_heard_twice(
    bot: BlueskyNetwork, start: Start, alice: BlueskyPerson, clock: OwnClock
) -> None:
    cursor = (await bot.hear(None)).cursor
    await bot.close()
    for number in range(230):
        alice.post(f"@flock.test message {number}")
        clock.pass_seconds(60)
    again = await start()
    batch = await again.hear(cursor)
    assert [message.text for message in batch.messages] == [f"@flock.test message {n}" for n in range(230)]
    assert (await again.hear(batch.cursor)).messages == []
    # The same cursor gives the same messages: nobody has said yet that they were taken in.
    assert len((await again.hear(cursor)).messages) == 230


async def test_a_post_that_is_indexed_late_is_still_heard(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, clock: OwnClock
) -> None:
    cursor = (await bot.hear(None)).cursor
    alice.post("@flock.test late")
    late = flock._account.notifications.pop()
    clock.pass_seconds(60)
    alice.post("@flock.test early")
    batch = await bot.hear(cursor)
    assert [message.text for message in batch.messages] == ["@flock.test early"]
    flock._account.notifications.insert(-1, late)
    assert [message.text for message in (await bot.hear(batch.cursor)).messages] == ["@flock.test late"]


async def test_a_new_bot_begins_with_what_nobody_has_answered(
    start: Start, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox, clock: OwnClock
) -> None:
    alice.post("@flock.test too old")
    clock.pass_seconds(4 * 86400)
    flock.allow_incoming = "all"
    answered = alice.post("@flock.test answered")
    flock.post("hello", reply_to=answered)
    alice.post("@flock.test waiting")
    alice.dm(flock, "waiting too")
    bob = sky.create_account("bob.test")
    bob.allow_incoming = "all"
    bob.dm(flock, "answered")
    flock.dm(bob, "hello")
    bob.dm(flock, "and another")
    batch = await (await start()).hear(None)
    assert [message.text for message in batch.messages] == ["@flock.test waiting", "waiting too", "and another"]


async def test_a_direct_message_is_heard_and_its_request_accepted(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox
) -> None:
    cursor = (await bot.hear(None)).cursor
    alice.dm(flock, "start")
    alice.dm(flock, "claim old_alice")
    batch = await bot.hear(cursor)
    assert [(message.text, message.public) for message in batch.messages] == [
        ("start", False),
        ("claim old_alice", False),
    ]
    convo = sky.chat.between(flock._account, alice.did)
    assert convo is not None
    assert sky.chat.status(convo, flock.did) == "accepted"
    assert batch.messages[0].thread_key == convo.id
    assert batch.messages[0].id.startswith(f"{convo.id}/")
    await bot.say(reply_to(batch.messages[0], "Hello!", public=False))
    assert (await bot.hear(batch.cursor)).messages == []
    assert [message.text for message in alice.received_dms(flock)] == ["Hello!"]


async def test_other_bots_are_known_as_such(bot: BlueskyNetwork, sky: BlueskySandbox, flock: BlueskyPerson) -> None:
    cursor = (await bot.hear(None)).cursor
    robot = sky.create_account("robot.test", bot=True)
    robot.post("@flock.test beep")
    robot.dm(flock, "beep")
    assert [message.by_bot for message in (await bot.hear(cursor)).messages] == [True, True]


async def test_a_malformed_record_does_not_hide_the_others(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox
) -> None:
    cursor = (await bot.hear(None)).cursor
    alice.post("@flock.test one")
    for broken in ({"text": None}, {"reply": {"parent": 3}}, {"facets": [{"index": 1}, 7]}, {"langs": 5}):
        sky.world.find_record(alice.post("@flock.test broken")).value.update(broken)  # type: ignore[union-attr]
    alice.post("@flock.test two")
    alice.dm(flock, "three")
    sky.chat._logs[flock.did].append(("3zzzzzzzzzzzz", {"$type": "chat.bsky.convo.defs#logCreateMessage"}))
    heard = [message.text for message in (await bot.hear(cursor)).messages]
    assert heard[0] == "@flock.test one"
    assert "@flock.test two" in heard
    assert "three" in heard


async def test_one_side_is_heard_while_the_other_fails(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox
) -> None:
    cursor = (await bot.hear(None)).cursor
    alice.post("@flock.test public")
    alice.dm(flock, "private")
    sky.faults.plan(Fault(LOG, status=500))
    batch = await bot.hear(cursor)
    assert [message.text for message in batch.messages] == ["@flock.test public"]
    sky.faults.plan(Fault(NOTIFICATIONS, "malformed"))
    batch = await bot.hear(batch.cursor)
    assert [message.text for message in batch.messages] == ["private"]
    sky.faults.plan(Fault(NOTIFICATIONS, "cut"))
    with pytest.raises(Unavailable):
        await bot.hear(batch.cursor)


def test_a_shortened_link_is_read_whole() -> None:
    facet = {
        "index": {"byteStart": 4, "byteEnd": 18},
        "features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://x.com/alice/status/123"}],
    }
    assert plain_text({"text": "é: x.com/alice/..", "facets": [facet]}) == "é: https://x.com/alice/status/123"
    assert plain_text({"text": "short", "facets": [facet]}) == "short"
