"""What is said to the bot on any Mastodon-API server is heard: whoever said it, however, and whenever the bot was there."""

import asyncio

from bot.networks.text import clean
from bot.sandbox.faults import Fault
from tests.contract.mastodon import Scene, answer, unique


async def test_a_mention_is_heard_at_the_start_in_the_middle_at_the_end_and_in_a_reply(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    alice, us = mastodon.alice, mastodon.flock.handle
    words = start, middle, end, below = [unique() for _ in range(4)]
    first = await alice.post(f"{us} {start}")
    await alice.post(f"well {us} {middle}")
    await alice.post(f"{end} {us}")
    await alice.post(f"and {us} {below}", reply_to=first)
    messages = await mastodon.heard(bot, cursor, 4)
    heard = {word: message for word in words for message in messages if word in message.text}
    assert all(f"@{mastodon.flock.name}" in message.text.lower() for message in messages)
    assert heard[middle].text.startswith("well @")
    assert {(message.actor, message.handle, message.public) for message in messages} == {
        (alice.actor, alice.handle.lower(), True)
    }
    assert heard[below].thread_key == heard[start].thread_key
    assert len({message.thread_key for message in messages}) == 3


async def test_the_bots_name_is_understood_with_and_without_its_server_in_any_case(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    name, word = mastodon.flock.name, unique()
    domain = mastodon.flock.handle.rpartition("@")[2]
    for written in (name, f"{name}@{domain}", f"{name}@{domain.upper()}", f"{name.upper()}@{domain.lower()}"):
        await mastodon.alice.post(f"@{written} {word}")
    heard = await mastodon.heard(bot, cursor, 4)
    assert {message.text.partition(" ")[2] for message in heard} == {word}
    assert {message.text.partition(" ")[0].lower() for message in heard} <= {f"@{name}", f"@{name}@{domain}".lower()}


async def test_several_people_at_once_are_all_heard_once(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    word = unique()
    people = [mastodon.alice, mastodon.bob, await mastodon.town.carol()]
    await asyncio.gather(
        *(one.post(f"{mastodon.flock.handle} {word} {number}") for one in people for number in range(4))
    )
    heard = await mastodon.heard(bot, cursor, 12)
    assert len({message.id for message in heard}) == 12
    assert {message.actor for message in heard} == {one.actor for one in people}


async def test_nothing_is_lost_while_the_bot_is_down_and_nothing_is_heard_twice(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    await bot.close()
    word, some = unique(), 60  # more than a page of most servers, and no more than snac shows
    for number in range(some):
        await mastodon.alice.post(f"{mastodon.flock.handle} {word} {number:02}")
    again = await mastodon.start()
    heard, after = await mastodon.heard_on(again, cursor, some)
    assert sorted(message.text[-2:] for message in heard) == [f"{number:02}" for number in range(some)]
    for listener in (again, await mastodon.start()):
        assert (await listener.hear(after)).messages == []


async def test_what_is_delivered_again_is_the_same_message(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    await mastodon.alice.post(f"{mastodon.flock.handle} {unique()}")
    (first,) = await mastodon.heard(bot, cursor)
    (second,) = await mastodon.heard(await mastodon.start(), cursor)
    assert first == second


async def test_a_cursor_that_was_kept_goes_on_where_it_stopped(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    for _ in range(3):
        word = unique()
        await mastodon.alice.post(f"{mastodon.flock.handle} {word}")
        (message,), cursor = await mastodon.heard_on(bot, cursor)
        assert message.text.endswith(word)
        await bot.close()
        bot = await mastodon.start()
    assert (await bot.hear(cursor)).messages == []


async def test_a_private_mention_is_heard_as_one(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    word = unique()
    await mastodon.bob.post(f"{mastodon.flock.handle} {word}", visibility="direct")
    (message,) = await mastodon.heard(bot, cursor)
    assert not message.public
    assert message.text.endswith(word)
    assert message.actor == mastodon.bob.actor


async def test_the_bots_own_words_are_not_news(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    await mastodon.flock.post(f"{mastodon.flock.handle} talks to itself, and to {mastodon.alice.handle}")
    word = unique()
    await mastodon.alice.post(f"{mastodon.flock.handle} {word}")
    (message,) = await mastodon.heard(bot, cursor)
    assert message.text.endswith(word)


async def test_links_come_whole_and_lines_stay_lines(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    short, long = "https://x.com/alice", f"https://www.example.com/{'path/' * 12}?a=1&b=2"
    await mastodon.alice.post(f"{mastodon.flock.handle} I was {short} there\nsee {long}\n\nlast & least")
    (message,) = await mastodon.heard(bot, cursor)
    lines = [line.strip() for line in clean(message.text).splitlines() if line.strip()]
    assert lines[0].endswith(f"I was {short} there")
    assert lines[1:] == [f"see {long}", "last & least"]


async def test_others_who_are_mentioned_keep_their_names(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    await mastodon.alice.post(f"{mastodon.flock.handle} why {mastodon.bob.handle}")
    (message,) = await mastodon.heard(bot, cursor)
    assert message.text.rpartition(" ")[2].lower() in (f"@{mastodon.bob.name}", mastodon.bob.handle.lower())


async def test_a_bot_that_is_new_hears_what_is_still_unanswered(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    public, private, waiting = unique(), unique(), unique()
    await mastodon.alice.post(f"{mastodon.flock.handle} {public}")
    await mastodon.bob.post(f"{mastodon.flock.handle} {private}", visibility="direct")
    for message in await mastodon.heard(bot, cursor, 2):
        await bot.say(answer(message, unique()))
    await mastodon.alice.post(f"{mastodon.flock.handle} {waiting}")

    async def heard() -> str:
        again = await mastodon.start()
        return " ".join(message.text for message in (await again.hear(None)).messages)

    async def only_the_last_is_waiting() -> bool:
        words = await heard()
        return waiting in words and public not in words and private not in words

    await mastodon.town.until(only_the_last_is_waiting)


async def test_threads_that_the_server_cannot_show_keep_nobody_from_being_heard(mastodon: Scene) -> None:
    mastodon.town.plan(Fault("/context", "cut", method="GET", times=1000))
    bot, cursor = await mastodon.attentive()
    first, second, third = unique(), unique(), unique()
    above = await mastodon.bob.post(f"birds of a feather {first}")
    await mastodon.alice.post(f"{mastodon.flock.handle} {first}", reply_to=above)
    await mastodon.alice.post(f"{mastodon.flock.handle} {second}")
    messages, cursor = await mastodon.heard_on(bot, cursor, 2)
    await bot.say(answer(next(message for message in messages if first in message.text), unique()))
    await mastodon.alice.post(f"{mastodon.flock.handle} {third}")
    (message,) = await mastodon.heard(bot, cursor)
    assert third in message.text
    waiting = " ".join(message.text for message in (await (await mastodon.start()).hear(None)).messages)
    assert second in waiting
    assert third in waiting
    assert first not in waiting


async def test_a_server_is_listened_to_with_or_without_a_stream(mastodon: Scene) -> None:
    bot = await mastodon.start(streaming=True)
    _, cursor = await mastodon.attentive()
    for _ in range(2):
        word = unique()
        await bot.wait(0.2)
        await mastodon.alice.post(f"{mastodon.flock.handle} {word}")
        (message,), cursor = await mastodon.heard_on(bot, cursor)
        assert message.text.endswith(word)
