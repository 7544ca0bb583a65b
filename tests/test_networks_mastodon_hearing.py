"""The Mastodon adapter hears what a small Mastodon tells it: all of it, once, whatever goes wrong meanwhile."""

import asyncio
import itertools
import json

import pytest

from bot.networks.errors import Unavailable
from bot.networks.mastodon import MastodonNetwork
from bot.networks.mastodon_pages import down_to
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.limits import TOKEN, Rule
from bot.sandbox.mastodon.quirks import HOLLO, SNAC
from tests.conftest import OwnClock
from tests.mastodon_bot import Start, alice, bot, bot_among, cursor, flock, guard, start, town
from tests.reunion import until
from tests.saying import reply_to

__all__ = ["alice", "bot", "cursor", "flock", "guard", "start", "town"]  # fixtures


async def test_a_mention_is_heard_wherever_it_stands_and_a_private_one_is_private(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox
) -> None:
    first = alice.post("@flock hello\n\nI was on X.", language="fr")
    alice.post("well @flock hello")
    below = alice.post("hello @flock", reply_to=first)
    alice.dm(flock, "claim old_alice")
    heard = (await bot.hear(cursor)).messages
    assert [message.text for message in heard] == [
        "@flock hello\n\nI was on X.",
        "well @flock hello",
        "hello @flock",
        "@flock claim old_alice",
    ]
    assert [message.public for message in heard] == [True, True, True, False]
    assert heard[0].id == f"{alice.actor}/statuses/{first}"
    assert (heard[0].actor, heard[0].handle) == (alice.actor, f"@alice@{town.domain}")
    assert heard[0].languages == ("fr",)
    assert heard[2].thread_key == heard[0].thread_key == first
    assert below != first


async def test_a_long_thread_has_one_key_also_after_a_restart(
    bot: MastodonNetwork, start: Start, cursor: str, alice: MastodonPerson
) -> None:
    first = alice.post("@flock hello")
    batch = await bot.hear(cursor)
    await bot.say(reply_to(batch.messages[0], "Hi!"))
    ours = alice.replies_to(first)[0].uri
    alice.post("thank you", reply_to=ours)
    (second,) = (await bot.hear(batch.cursor)).messages
    (anew,) = (await (await start()).hear(batch.cursor)).messages
    assert second.thread_key == anew.thread_key == first


async def test_nothing_is_lost_while_the_bot_is_down_and_nothing_is_heard_twice(
    bot: MastodonNetwork, start: Start, cursor: str, alice: MastodonPerson, clock: OwnClock
) -> None:
    await bot.close()
    for number in range(130):
        alice.post(f"@flock message {number}")
        clock.pass_seconds(60)
    again = await start()
    batch = await again.hear(cursor)
    assert [message.text for message in batch.messages] == [f"@flock message {n}" for n in range(130)]
    assert (await again.hear(batch.cursor)).messages == []


async def test_what_is_shown_later_than_its_number_says_is_heard_all_the_same(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, flock: MastodonPerson, clock: OwnClock
) -> None:
    alice.post("@flock slow")
    alice.post("@flock quick")
    notifications = flock.account.notifications
    slow = notifications.pop(-2)  # numbered, and not yet committed
    batch = await bot.hear(cursor)
    assert [message.text for message in batch.messages] == ["@flock quick"]
    clock.pass_seconds(30)
    notifications.insert(-1, slow)
    later = await bot.hear(batch.cursor)
    assert [message.text for message in later.messages] == ["@flock slow"]
    for _ in range(3):
        clock.pass_seconds(60)
        later = await bot.hear(later.cursor)
        assert later.messages == []
    settled = json.loads(later.cursor)
    assert (settled["notified"], settled["recent"]) == (str(notifications[-1].id), {})


async def test_a_late_one_is_heard_however_many_were_quicker(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, flock: MastodonPerson
) -> None:
    alice.post("@flock slow")
    slow = flock.account.notifications.pop()
    for number in range(150):
        alice.post(f"@flock quick {number}")
    batch = await bot.hear(cursor)
    assert len(batch.messages) == 150
    flock.account.notifications.insert(1, slow)
    assert [message.text for message in (await bot.hear(batch.cursor)).messages] == ["@flock slow"]


async def test_a_new_bot_begins_with_what_nobody_has_answered(
    start: Start, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox, clock: OwnClock
) -> None:
    flock.allow_private_mentions(allowed=True)
    alice.post("@flock too old")
    clock.pass_seconds(4 * 86400)
    answered = alice.post("@flock answered")
    flock.post("hello", reply_to=answered)
    discussed = alice.post("@flock waiting")
    town.create_account("bob").post("me too", reply_to=discussed)
    alice.dm(flock, "waiting too")
    bot = await start()
    batch = await bot.hear(None)
    assert [message.text for message in batch.messages] == ["@flock waiting", "@flock waiting too"]
    assert (await bot.hear(batch.cursor)).messages == []


async def test_a_new_bot_looks_once_at_a_server_that_gives_the_first_page_whatever_it_is_asked(clock: OwnClock) -> None:
    async with bot_among(HOLLO, clock) as (bot, there):
        alice = there.create_account("alice")
        for number in range(50):
            alice.post(f"{bot.handle} {number}")
        assert len((await bot.hear(None)).messages) == 50


async def test_more_than_a_page_is_heard_where_a_server_gives_the_first_page_whatever_it_is_asked(
    clock: OwnClock,
) -> None:
    async with bot_among(HOLLO, clock) as (bot, there):
        alice = there.create_account("alice")
        for number in range(170):
            alice.post(f"{bot.handle} {number}")
        batch = await bot.hear(None)
        assert [message.text for message in batch.messages] == [f"@flock {number}" for number in range(170)]
        clock.pass_seconds(120)
        cursor = (await bot.hear(batch.cursor)).cursor
        for number in range(90):
            alice.post(f"{bot.handle} again {number}")
        assert len((await bot.hear(cursor)).messages) == 90


async def test_a_list_without_an_end_is_left_some_time() -> None:
    numbers = itertools.count()

    async def page(_below: str | None, size: int) -> list[dict[str, str]]:
        return [{"id": str(next(numbers))} for _ in range(size)]

    found, end = await down_to(page, 20, lambda _entry: False)
    assert (len(found), end) == (2_000, None)


async def test_a_first_look_goes_on_where_the_rate_limit_stopped_it(
    start: Start, alice: MastodonPerson, town: MastodonSandbox, clock: OwnClock
) -> None:
    for number in range(60):
        alice.post(f"@flock message {number}", reply_to=alice.post("something"))
    bot = await start()
    town.limits.rules[TOKEN] = Rule(40, 300)
    with pytest.raises(Unavailable) as full:
        await bot.hear(None)
    assert full.value.retry_in is not None
    clock.pass_seconds(full.value.retry_in + 1)
    heard = (await bot.hear(None)).messages
    assert [message.text for message in heard] == [f"@flock message {number}" for number in range(60)]


async def test_what_is_too_old_to_be_answered_is_not_asked_about(
    start: Start, alice: MastodonPerson, town: MastodonSandbox, clock: OwnClock
) -> None:
    alice.post("@flock hello", reply_to=alice.post("something"))
    clock.pass_seconds(4 * 86400)
    bot = await start()
    unasked = town.faults.plan(Fault("/context"))
    assert (await bot.hear(None)).messages == []
    assert unasked.times == 1


async def test_old_messages_stay_heard_when_the_one_before_the_news_is_deleted(clock: OwnClock) -> None:
    async with bot_among(SNAC, clock) as (bot, there):
        alice = there.create_account("alice")
        for number in range(5):
            alice.post(f"@flock old {number}")
        clock.pass_seconds(40 * 86400)
        newest = alice.post("@flock new")
        batch = await bot.hear(None)
        assert [message.text for message in batch.messages] == [f"{bot.handle} new"]
        clock.pass_seconds(120)
        batch = await bot.hear(batch.cursor)
        alice.delete(newest)
        assert (await bot.hear(batch.cursor)).messages == []
        alice.post("@flock once more")
        assert len((await bot.hear(batch.cursor)).messages) == 1


async def test_a_bot_that_nobody_has_written_to_keeps_looking(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson
) -> None:
    batch = await bot.hear(None)
    assert batch.messages == []
    alice.post("@flock first")
    assert [message.text for message in (await bot.hear(batch.cursor)).messages] == ["@flock first"]


async def test_other_bots_are_known_as_such_and_its_own_words_are_not_news(
    bot: MastodonNetwork, cursor: str, town: MastodonSandbox, flock: MastodonPerson
) -> None:
    town.create_account("robot", bot=True).post("@flock beep")
    flock.post("@flock talks to itself")
    heard = (await bot.hear(cursor)).messages
    assert [(message.text, message.by_bot) for message in heard] == [("@flock beep", True)]


async def test_a_malformed_notification_does_not_hide_the_others(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, flock: MastodonPerson
) -> None:
    alice.post("@flock one")
    alice.post("@flock broken")
    flock.account.notifications[-1].status = None
    alice.post("@flock two")
    assert [message.text for message in (await bot.hear(cursor)).messages] == ["@flock one", "@flock two"]


async def test_a_thread_that_cannot_be_seen_does_not_keep_its_message_from_being_heard(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, town: MastodonSandbox
) -> None:
    parent = alice.post("something")
    alice.post("@flock hello", reply_to=parent)
    town.faults.plan(Fault("/context"))
    (heard,) = (await bot.hear(cursor)).messages
    assert heard.thread_key == parent


@pytest.mark.parametrize(
    "fault", [Fault("/notifications"), Fault("/notifications", "cut"), Fault("/notifications", "malformed")]
)
async def test_a_sick_server_is_unavailable_and_loses_nothing(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, town: MastodonSandbox, fault: Fault
) -> None:
    alice.post("@flock hello")
    town.faults.plan(fault)
    with pytest.raises(Unavailable):
        await bot.hear(cursor)
    assert len((await bot.hear(cursor)).messages) == 1


async def test_the_stream_tells_at_once_and_comes_back_after_it_broke(
    start: Start, town: MastodonSandbox, alice: MastodonPerson, flock: MastodonPerson
) -> None:
    bot = await start(streaming=True, poll=600)
    for number in range(2):
        await until(lambda: town.streaming.open_streams)
        alice.post(f"@flock message {number}")
        async with asyncio.timeout(60):
            await bot.wait(600)
        assert [message.text for message in (await bot.hear('{"notified": "0"}')).messages][-1:] == [
            f"@flock message {number}"
        ]
        town.streaming.close()
        await until(lambda: not town.streaming.open_streams)


async def test_a_server_without_streaming_is_polled(start: Start, town: MastodonSandbox, alice: MastodonPerson) -> None:
    town.faults.plan(Fault("/streaming", status=404, times=100))
    bot = await start(streaming=True)
    batch = await bot.hear(None)
    alice.post("@flock hello")
    await bot.wait(60)
    assert len((await bot.hear(batch.cursor)).messages) == 1
