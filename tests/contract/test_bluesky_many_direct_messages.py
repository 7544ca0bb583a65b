"""Many direct messages at once on Bluesky: they go together, and each has an outcome of its own."""

import asyncio
from collections.abc import Sequence

from bot.networks import Incoming
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.errors import BLOCKED, Refused, Unavailable
from bot.networks.ratelimits import AllowanceUsed, RateLimited
from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.bluesky.sky import Hands
from bot.sandbox.faults import Fault
from tests.contract.bluesky import Scene, answer
from tests.reunion import until

_TOGETHER = "chat.bsky.convo.sendMessageBatch"
_ALONE = "chat.bsky.convo.sendMessage"


async def who_wrote(bluesky: Scene, size: int) -> tuple[BlueskyNetwork, list[Hands], list[Incoming]]:
    """Have so many people write to a bot; return it, them, and what it heard of each."""
    bot, cursor = await bluesky.attentive()
    people = await bluesky.people(size)
    await bluesky.sky.settle()
    for each in people:
        await each.dm(bluesky.flock.did, "hello")
    heard = {message.actor: message for message in await bluesky.heard(bot, cursor)}
    return bot, people, [heard[each.did] for each in people]


async def answer_all(
    bot: BlueskyNetwork, heard: Sequence[Incoming], *, again: bool = False
) -> list[str | BaseException]:
    """Answer all of them at once; return what came of each."""
    return await asyncio.gather(*(bot.say(answer(each, "Hi!", again=again)) for each in heard), return_exceptions=True)


def texts(of: Hands, sender: Hands) -> list[str]:
    return [message.text for message in of.received_dms(sender.did)]


async def test_what_comes_while_a_message_is_sent_goes_in_one_request(bluesky: Scene) -> None:
    bot, people, heard = await who_wrote(bluesky, 6)
    # The one request in which five go is refused, once, and all five know it; the first went alone.
    await bluesky.sky.plan(Fault(_TOGETHER, status=429, headers={"retry-after": "1000"}, body=b"{}"))
    first, *others = await answer_all(bot, heard)
    assert isinstance(first, str)
    assert [type(each) for each in others] == [RateLimited] * 5
    # Nor is the service asked again for any of them before it wants to be.
    assert [type(each) for each in await answer_all(bot, heard[1:])] == [AllowanceUsed] * 5
    assert [len(texts(each, bluesky.flock)) for each in people] == [1, 0, 0, 0, 0, 0]


async def test_each_of_those_who_are_answered_together_gets_their_own(bluesky: Scene) -> None:
    bot, people, heard = await who_wrote(bluesky, 4)
    sent = await asyncio.gather(*(bot.say(answer(each, f"Hi {each.handle}!")) for each in heard))
    assert [texts(each, bluesky.flock) for each in people] == [[f"Hi {each.handle}!"] for each in people]
    # And what each is called belongs to their conversation: said again, it is found under the same name.
    again = [answer(each, f"Hi {each.handle}!", again=True) for each in heard]
    assert [await bot.say(each) for each in again] == sent


async def test_one_who_refuses_costs_the_others_nothing(bluesky: Scene) -> None:
    bot, people, heard = await who_wrote(bluesky, 5)
    await people[3].block(bluesky.flock.did)
    await bluesky.sky.settle()
    outcomes = await answer_all(bot, heard)
    (refusal,) = [each for each in outcomes if not isinstance(each, str)]
    assert refusal is outcomes[3]
    assert isinstance(refusal, Refused)
    assert refusal.reason == BLOCKED
    assert [texts(each, bluesky.flock) for each in people] == [["Hi!"], ["Hi!"], ["Hi!"], [], ["Hi!"]]


async def test_who_cannot_be_looked_for_after_a_refusal_is_not_answered_twice(bluesky: Scene) -> None:
    bot, people, heard = await who_wrote(bluesky, 4)
    await people[3].block(bluesky.flock.did)
    await bluesky.sky.settle()
    # By the time that one of four refuses, some may have been answered; one of these cannot be asked for now.
    await bluesky.sky.plan(Fault("chat.bsky.convo.getMessages", status=500))
    outcomes = await answer_all(bot, heard)
    unknown = [number for number, each in enumerate(outcomes) if isinstance(each, Unavailable) and each.begun]
    assert len(unknown) == 1
    again = await answer_all(bot, [heard[unknown[0]]], again=True)
    assert [isinstance(each, str) or people[unknown[0]] is people[3] for each in again] == [True]
    assert [texts(each, bluesky.flock) for each in people] == [["Hi!"], ["Hi!"], ["Hi!"], []]


async def test_the_same_words_are_said_as_often_as_they_were_meant(bluesky: Scene) -> None:
    bot, people, heard = await who_wrote(bluesky, 3)
    await answer_all(bot, heard)
    await people[2].block(bluesky.flock.did)
    await bluesky.sky.settle()
    # A moment later the same words go to all again, and one of them refuses: what the others got before does not count.
    outcomes = await answer_all(bot, heard)
    assert [isinstance(each, str) for each in outcomes] == [True, True, False]
    assert [texts(each, bluesky.flock) for each in people] == [["Hi!", "Hi!"], ["Hi!", "Hi!"], ["Hi!"]]


async def test_after_a_lost_answer_nobody_is_answered_twice(bluesky: Scene) -> None:
    bot, people, heard = await who_wrote(bluesky, 5)
    await bluesky.sky.plan(Fault(_TOGETHER, "cut", after=True))
    outcomes = await answer_all(bot, heard)
    assert [isinstance(each, Unavailable) and each.begun for each in outcomes] == [False, True, True, True, True]
    assert not [each for each in await answer_all(bot, heard, again=True) if not isinstance(each, str)]
    assert [texts(each, bluesky.flock) for each in people] == [["Hi!"]] * 5


async def test_who_is_called_off_while_waiting_is_not_answered(small_world: Scene, stand_in: BlueskySandbox) -> None:
    bot, people, heard = await who_wrote(small_world, 4)
    held = stand_in.faults.plan(Fault(_ALONE, "late"))
    first, second, *others = [asyncio.create_task(bot.say(answer(each, "Hi!"))) for each in heard]
    await until(lambda: not held.times)
    second.cancel()
    held.until.set()
    await asyncio.gather(first, second, *others, return_exceptions=True)
    assert second.cancelled()
    assert [texts(each, small_world.flock) for each in people] == [["Hi!"], [], ["Hi!"], ["Hi!"]]


async def test_when_one_is_called_off_on_the_way_the_others_look_before_they_say_it_again(
    small_world: Scene, stand_in: BlueskySandbox
) -> None:
    bot, people, heard = await who_wrote(small_world, 3)
    alone = stand_in.faults.plan(Fault(_ALONE, "late"))
    first, second, third = [asyncio.create_task(bot.say(answer(each, "Hi!"))) for each in heard]
    await until(lambda: not alone.times)
    together = stand_in.faults.plan(Fault(_TOGETHER, "late"))
    alone.until.set()
    await until(lambda: not together.times)
    second.cancel()  # whose request it is
    _, _, lost = await asyncio.gather(first, second, third, return_exceptions=True)
    assert isinstance(lost, Unavailable)
    assert lost.begun
    together.until.set()
    await bot.say(answer(heard[2], "Hi!", again=True))
    assert texts(people[2], small_world.flock) == ["Hi!"]


async def test_many_who_write_at_once_are_looked_up_together(small_world: Scene, stand_in: BlueskySandbox) -> None:
    bot, cursor = await small_world.attentive()
    people = await small_world.people(5)
    await small_world.sky.settle()
    for each in people:
        await each.dm(small_world.flock.did, "hello")
        await each.dm(small_world.flock.did, "is anybody there?")
    # Were one of them asked for alone, nothing would be heard this time.
    stand_in.faults.plan(Fault("chat.bsky.convo.getConvo", status=500))
    heard = await small_world.heard(bot, cursor)
    assert sorted((message.handle, message.text) for message in heard) == sorted(
        (each.handle, text) for each in people for text in ("hello", "is anybody there?")
    )
    # Each of them is answered, and so was accepted.
    await asyncio.gather(*(bot.say(answer(message, "Hi!", key="first")) for message in heard[::2]))
    assert {len(texts(each, small_world.flock)) for each in people} == {1}


async def test_where_conversations_cannot_be_listed_each_is_asked_for(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    people = await bluesky.people(3)
    await bluesky.sky.settle()
    for each in people:
        await each.dm(bluesky.flock.did, "hello")
    body = b'{"error":"MethodNotImplemented","message":"Method Not Implemented"}'
    await bluesky.sky.plan(Fault("chat.bsky.convo.listConvos", status=501, body=body))
    heard = await bluesky.heard(bot, cursor)
    assert sorted(message.handle for message in heard) == sorted(each.handle for each in people)
