"""What the bot hears in public on Bluesky: mentions and answers, once each, whatever happened meanwhile."""

import asyncio
from dataclasses import replace

from bot.networks.bluesky_records import POST
from tests.contract.bluesky import Drawer, Scene, answer


async def test_a_mention_is_heard_wherever_it_stands(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice, flock = await bluesky.person("alice"), f"@{bluesky.flock.handle}"
    await bluesky.sky.settle()
    first = await alice.post(f"{flock} hello", langs=["fr", "en"])
    await alice.post(f"well, {flock}: hello")
    await alice.post(f"hello ({flock})")
    third = await alice.post("by the way", reply_to=first)
    await alice.post(f"héllo 👨‍👩‍👧‍👦 {flock}", reply_to=third)
    heard = await bluesky.heard(bot, cursor)
    assert [message.text for message in heard] == [
        f"{flock} hello",
        f"well, {flock}: hello",
        f"hello ({flock})",
        f"héllo 👨‍👩‍👧‍👦 {flock}",
    ]
    assert heard[0].id == first
    assert all(message.public for message in heard)
    assert {(message.actor, message.handle) for message in heard} == {(alice.did, alice.handle)}
    assert heard[0].languages == ("fr", "en")
    assert heard[3].thread_key == heard[0].thread_key == first
    assert abs(heard[0].at - bluesky.clock()) < 300_000


async def test_what_only_looks_like_a_mention_is_none(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    await alice.post(f"I wonder what {bluesky.flock.handle} does")
    await alice.post("@nobody.test hello")
    assert await bluesky.heard(bot, cursor) == []


async def test_several_people_at_once_are_all_heard(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    people = await bluesky.people(5)
    await bluesky.sky.settle()
    flock = f"@{bluesky.flock.handle}"
    posts = await asyncio.gather(*(each.post(f"{flock} number {n}") for each in people for n in range(3)))
    heard = await bluesky.heard(bot, cursor)
    assert {message.id for message in heard} == set(posts)
    assert len(heard) == len(posts)
    assert [message.at for message in heard] == sorted(message.at for message in heard)


async def test_a_reply_counts_when_it_answers_us_and_not_when_it_only_stands_below(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice, bob = await bluesky.people(2)
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} hello")
    batch = await bluesky.hear(bot, cursor)
    ours = await bot.say(answer(batch.messages[0], "Welcome!"))
    await bluesky.sky.settle()
    below = await alice.post("thank you", reply_to=ours)
    await bob.post("who is that?", reply_to=below)
    assert [message.text for message in await bluesky.heard(bot, batch.cursor)] == ["thank you"]


async def test_the_bots_own_posts_are_not_heard(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} hello")
    batch = await bluesky.hear(bot, cursor)
    own = await bot.say(answer(batch.messages[0], "Welcome!"))
    await bluesky.sky.settle()
    await bluesky.flock.post(f"@{bluesky.flock.handle} I talk to myself", reply_to=own)
    assert await bluesky.heard(bot, batch.cursor) == []


async def test_nothing_is_lost_while_the_bot_is_down_and_nothing_is_heard_twice(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    await bot.close()
    people = await bluesky.people(3)
    await bluesky.sky.settle()
    texts = [f"@{bluesky.flock.handle} message {number}" for number in range(120)]  # more than a page of them
    for number, text in enumerate(texts):
        await people[number % 3].post(text)
    again = await bluesky.start()
    batch = await bluesky.hear(again, cursor)
    assert [message.text for message in batch.messages] == texts
    assert await bluesky.heard(again, batch.cursor) == []
    # The same cursor gives the same messages: nobody has said yet that they were taken in.
    assert len(await bluesky.heard(again, cursor)) == len(texts)


async def test_a_cursor_serves_another_process(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} first")
    await alice.dm(bluesky.flock.did, "second")
    batch = await bluesky.hear(bot, cursor)
    await bot.close()
    await alice.post(f"@{bluesky.flock.handle} third")
    await alice.dm(bluesky.flock.did, "fourth")
    other = await bluesky.start(drawer=Drawer())
    heard = await bluesky.heard(other, batch.cursor)
    assert {message.text for message in heard} == {f"@{bluesky.flock.handle} third", "fourth"}


async def test_a_writer_whose_clock_is_wrong_is_heard_all_the_same(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    flock, now = f"@{bluesky.flock.handle}", bluesky.clock() / 1000
    await alice.post(f"{flock} right")
    cursor = (await bluesky.hear(bot, cursor)).cursor
    for name, error in (("slow", -7200), ("a day behind", -86400), ("fast", 7200)):
        await alice.post(f"{flock} {name}", written_at=now + error)
        batch = await bluesky.hear(bot, cursor)
        assert [message.text for message in batch.messages] == [f"{flock} {name}"]
        cursor = batch.cursor
    await alice.post(f"{flock} right again")
    assert [message.text for message in await bluesky.heard(bot, cursor)] == [f"{flock} right again"]


async def test_one_post_that_concerns_us_twice_is_heard_once(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} @{bluesky.flock.handle} hello")
    batch = await bluesky.hear(bot, cursor)
    ours = await bot.say(answer(batch.messages[0], "Welcome!"))
    await bluesky.sky.settle()
    await alice.post(f"thank you @{bluesky.flock.handle}", reply_to=ours)
    assert [message.text for message in await bluesky.heard(bot, batch.cursor)] == [
        f"thank you @{bluesky.flock.handle}"
    ]


async def test_a_new_bot_begins_with_what_nobody_has_answered(bluesky: Scene) -> None:
    alice = await bluesky.talker("alice")
    await bluesky.flock.allow_incoming("all")
    await bluesky.sky.settle()
    answered = await alice.post(f"@{bluesky.flock.handle} answered")
    await bluesky.flock.post("hello", reply_to=answered)
    await alice.post(f"@{bluesky.flock.handle} waiting")
    await alice.dm(bluesky.flock.did, "waiting too")
    bot = await bluesky.start()
    heard = await bluesky.heard(bot, None)
    assert {message.text for message in heard} == {f"@{bluesky.flock.handle} waiting", "waiting too"}


async def test_a_post_that_was_deleted_before_it_was_heard_is_not_heard(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    await alice.delete(await alice.post(f"@{bluesky.flock.handle} oh no"))
    assert await bluesky.heard(bot, cursor) == []


async def test_who_is_blocked_in_either_direction_is_not_heard(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    blocker, blocked = await bluesky.people(2)
    await blocker.block(bluesky.flock.did)
    await bluesky.flock.block(blocked.did)
    await bluesky.sky.settle()
    for each in (blocker, blocked):
        await each.post(f"@{bluesky.flock.handle} hello")
    assert await bluesky.heard(bot, cursor) == []


async def test_who_left_before_they_were_heard_is_not_heard(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    closed, taken = await bluesky.people(2)
    await bluesky.sky.settle()
    for each in (closed, taken):
        await each.post(f"@{bluesky.flock.handle} hello")
    await closed.deactivate()
    await taken.take_down()
    assert await bluesky.heard(bot, cursor) == []


async def test_a_changed_handle_is_heard_and_the_account_stays_the_same(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} before")
    before = alice.handle
    await alice.rename(f"n{before.partition('.')[0]}")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} after")
    await alice.dm(bluesky.flock.did, "in private")
    heard = await bluesky.heard(bot, cursor)
    assert {message.text.partition(" ")[2] for message in heard if message.public} == {"before", "after"}
    assert {message.actor for message in heard} == {alice.did}
    # Whoever asks later is told the name of the moment.
    assert {message.handle for message in heard} == {alice.handle} != {before}
    assert (await bluesky.identities.resolve(alice.handle)).did == alice.did


async def test_other_bots_are_known_as_such(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    other = await bluesky.person("robot")
    robot = await bluesky.start(other, drawer=Drawer())
    assert robot.handle == other.handle
    await bluesky.sky.settle()
    await other.post(f"@{bluesky.flock.handle} beep")
    await other.dm(bluesky.flock.did, "beep")
    assert [message.by_bot for message in await bluesky.heard(bot, cursor)] == [True, True]


async def test_a_public_answer_stands_in_its_thread_once_however_often_it_is_said(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    asked = await alice.post(f"@{bluesky.flock.handle} hello")
    (heard,) = await bluesky.heard(bot, cursor)
    first_at = bluesky.clock()
    uri = await bot.say(answer(heard, "Hi!", first_at=first_at))
    for _ in range(2):
        assert await bot.say(answer(heard, "Hi!", again=True, first_at=first_at)) == uri
    (record,) = await bluesky.records(bluesky.flock.did, POST)
    assert record["uri"] == uri
    assert record["value"]["reply"]["parent"]["uri"] == record["value"]["reply"]["root"]["uri"] == asked
    assert record["value"]["langs"] == ["en"]


async def test_an_answer_to_a_deleted_post_is_said_all_the_same(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    asked = await alice.post(f"@{bluesky.flock.handle} hello")
    (heard,) = await bluesky.heard(bot, cursor)
    await alice.delete(asked)
    await bluesky.sky.settle()
    uri = await bot.say(answer(heard, "Hi!"))
    assert [record["uri"] for record in await bluesky.records(bluesky.flock.did, POST)] == [uri]


async def test_an_answer_to_somebody_who_blocks_us_or_has_left_hurts_nobody(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    blocker, closed, taken = await bluesky.people(3)
    await bluesky.sky.settle()
    for each in (blocker, closed, taken):
        await each.post(f"@{bluesky.flock.handle} hello")
    heard = await bluesky.heard(bot, cursor)
    await blocker.block(bluesky.flock.did)
    await closed.deactivate()
    await taken.take_down()
    await bluesky.sky.settle()
    uris = {await bot.say(answer(message, "Hi!")) for message in heard}
    assert len(uris) == 3


async def test_the_same_answer_to_two_messages_is_two_posts(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    for _ in range(2):
        await alice.post(f"@{bluesky.flock.handle} hello")
    first, second = await bluesky.heard(bot, cursor)
    assert first == replace(second, id=first.id, thread=first.thread, thread_key=first.thread_key, at=first.at)
    assert await bot.say(answer(first, "Hi!")) != await bot.say(answer(second, "Hi!"))
    assert len(await bluesky.records(bluesky.flock.did, POST)) == 2
