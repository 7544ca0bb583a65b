"""What the bot says on any Mastodon-API server reaches whom it is for, nobody else, whole, and once."""

from dataclasses import replace

import pytest

from bot.networks.errors import BLOCKED, GONE, Refused, Unavailable
from bot.networks.text import split
from bot.sandbox.faults import Fault
from tests.contract.mastodon import Scene, answer, dm, unique
from tests.contract.town import Received, StandInTown, TownHands


async def one_received(scene: Scene, reader: TownHands, word: str) -> Received:
    """Return the one status with a word that somebody gets, as soon as it is there."""

    async def there() -> bool:
        return bool(await reader.received(scene.flock, word))

    await scene.town.until(there)
    (found,) = await reader.received(scene.flock, word)
    return found


async def test_a_public_answer_stands_in_its_thread_and_addresses_only_its_reader(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    asked = await mastodon.alice.post(f"{mastodon.flock.handle} hello, says {mastodon.bob.handle}")
    (heard,) = await mastodon.heard(bot, cursor)
    word = unique()
    await bot.say(answer(heard, f"{word} Is {mastodon.bob.handle} the @{mastodon.bob.name} you mean?"))
    found = await one_received(mastodon, mastodon.alice, word)
    assert found.reply_to == asked
    assert found.visibility == "unlisted"
    assert found.mentions == {mastodon.alice.name}
    assert await mastodon.bob.received(mastodon.flock, word) == []


async def test_a_private_answer_reaches_one_person_only(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    asked = await mastodon.alice.post(f"{mastodon.flock.handle} contacts", visibility="direct")
    (heard,) = await mastodon.heard(bot, cursor)
    word = unique()
    await bot.say(answer(heard, f"{word} 1. {mastodon.bob.handle}"))
    found = await one_received(mastodon, mastodon.alice, word)
    assert (found.reply_to, found.visibility) == (asked, "direct")
    assert found.mentions == {mastodon.alice.name}
    assert await mastodon.bob.received(mastodon.flock, word) == []


async def test_who_never_wrote_is_found_by_name(mastodon: Scene) -> None:
    bot = await mastodon.start()
    word = unique()
    await bot.say(dm(mastodon.bob, f"{word} has arrived"))
    found = await one_received(mastodon, mastodon.bob, word)
    assert found.visibility == "direct"
    assert found.mentions == {mastodon.bob.name}


async def test_a_public_question_is_answered_in_private_where_the_answer_is_personal(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    await mastodon.alice.post(f"{mastodon.flock.handle} status")
    (heard,) = await mastodon.heard(bot, cursor)
    word = unique()
    await bot.say(answer(heard, word, public=False))
    assert (await one_received(mastodon, mastodon.alice, word)).visibility == "direct"


async def test_a_long_text_comes_in_as_many_pieces_as_the_server_needs(mastodon: Scene) -> None:
    bot = await mastodon.start()
    word = unique()
    words = [f"{word}é{number:03}" for number in range(60)]
    text = " ".join(f"{each} https://reflock.example/{'x' * 60}" for each in words)
    pieces = split(text, lambda piece: bot.fits(piece, public=False))
    for piece in pieces:
        await bot.say(dm(mastodon.alice, piece))

    async def all_there() -> bool:
        said = " ".join(one.text for one in await mastodon.alice.received(mastodon.flock, word))
        return all(each in said for each in words)

    await mastodon.town.until(all_there)
    assert len(await mastodon.alice.received(mastodon.flock, word)) <= len(pieces)


async def test_a_text_that_is_too_long_is_refused_as_such(mastodon: Scene) -> None:
    bot = await mastodon.start()
    text = "x" * 200_000
    assert not bot.fits(text, public=False)
    with pytest.raises(Refused) as refusal:
        await bot.say(dm(mastodon.alice, text))
    assert refusal.value.reason == "invalid"


async def test_what_is_said_again_is_said_once(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    await mastodon.alice.post(f"{mastodon.flock.handle} hello")
    (heard,) = await mastodon.heard(bot, cursor)
    first_at, public, private = mastodon.clock(), unique(), unique()
    link = "https://reflock.example/guide?a=1&b=2"
    ours = [
        [
            await bot.say(answer(heard, f"{public}\n\nSee {link} & ask", again=again, first_at=first_at)),
            await bot.say(dm(mastodon.alice, f"{private}\n\nSee {link} & ask", again=again, first_at=first_at)),
        ]
        for again in (False, True)
    ]
    assert ours[0] == ours[1]
    assert len(set(ours[0])) == 2
    await one_received(mastodon, mastodon.alice, public)
    await one_received(mastodon, mastodon.alice, private)


async def test_what_was_said_but_not_confirmed_is_not_said_again(mastodon: Scene) -> None:
    bot = await mastodon.start()
    first_at, word = mastodon.clock(), unique()
    mastodon.town.plan(Fault("/api/v1/statuses", "cut", after=True, method="POST"))
    with pytest.raises(Unavailable):
        await bot.say(dm(mastodon.alice, word))
    await bot.say(dm(mastodon.alice, word, again=True, first_at=first_at))
    await one_received(mastodon, mastodon.alice, word)


async def test_the_same_words_to_another_person_are_not_taken_for_said(mastodon: Scene) -> None:
    bot = await mastodon.start()
    first_at, word = mastodon.clock(), unique()
    await bot.say(dm(mastodon.alice, word))
    await bot.say(dm(mastodon.bob, word, again=True, first_at=first_at))
    await one_received(mastodon, mastodon.alice, word)
    await one_received(mastodon, mastodon.bob, word)


async def test_a_private_message_that_was_deleted_is_answered_all_the_same(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    asked = await mastodon.alice.post(f"{mastodon.flock.handle} hello", visibility="direct")
    (heard,) = await mastodon.heard(bot, cursor)
    await mastodon.alice.delete(asked)
    word = unique()
    await bot.say(answer(heard, word))
    assert (await one_received(mastodon, mastodon.alice, word)).mentions == {mastodon.alice.name}


async def test_a_public_question_that_was_deleted_is_answered_to_nobody_else(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    asked = await mastodon.alice.post(f"{mastodon.flock.handle} hello")
    (heard,) = await mastodon.heard(bot, cursor)
    await mastodon.alice.delete(asked)
    word = unique()
    refusals: list[str] = []
    try:
        await bot.say(answer(heard, word))
    except Refused as refusal:
        refusals.append(refusal.reason)
    else:
        assert (await one_received(mastodon, mastodon.alice, word)).mentions == {mastodon.alice.name}
    if isinstance(mastodon.town, StandInTown):
        assert refusals == ([] if mastodon.town.sandbox.quirks.deleted_parents else [GONE])
    else:  # some servers take it, most do not
        assert refusals in ([], [GONE])


async def test_who_blocks_the_bot_is_left_in_peace(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    await mastodon.alice.post(f"{mastodon.flock.handle} hello", visibility="direct")
    (heard,) = await mastodon.heard(bot, cursor)
    await mastodon.alice.block(mastodon.flock)

    async def blocked() -> bool:
        try:
            await bot.say(answer(heard, unique()))
        except Refused as refusal:
            return refusal.reason == BLOCKED
        return False

    await mastodon.town.until(blocked)
    with pytest.raises(Refused) as refusal:
        await bot.say(dm(mastodon.alice, unique()))
    assert refusal.value.reason == BLOCKED


async def test_who_does_not_exist_is_gone(mastodon: Scene) -> None:
    bot = await mastodon.start()
    nobody = replace(dm(mastodon.alice, unique()), handle=f"@{unique('nobody')}@{mastodon.town.domain}")
    with pytest.raises(Refused) as refusal:
        await bot.say(nobody)
    assert refusal.value.reason == GONE
