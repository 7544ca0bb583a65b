"""The bot's own login on Bluesky: kept, renewed, lost and refused."""

import asyncio

import pytest

from bot.networks.errors import LOGIN_REFUSED, Refused, Unavailable
from bot.sandbox.faults import Fault
from tests.contract.bluesky import Drawer, Scene, Skipping, answer, dm


async def end_session(scene: Scene) -> None:
    """Have the server forget the kept session, as its owner can from elsewhere."""
    _, refresh = scene.drawer.tokens
    url = f"{scene.sky.url}/xrpc/com.atproto.server.deleteSession"
    (await scene.http.post(url, headers={"authorization": f"Bearer {refresh}"})).raise_for_status()


async def test_the_bot_knows_who_it_is_once_it_has_logged_in(bluesky: Scene) -> None:
    bot = await bluesky.start()
    assert bot.handle == bluesky.flock.handle
    assert len(bluesky.drawer.kept) == 1
    await bot.close()
    await bluesky.start()
    assert bluesky.drawer.saved == 1  # taken up again, without another login


async def test_an_app_password_with_direct_messages_is_all_that_the_bot_needs(bluesky: Scene) -> None:
    password = await bluesky.flock.add_app_password(chat=True)
    bot = await bluesky.start(password=password)
    assert bot.handle == bluesky.flock.handle


async def test_a_wrong_password_is_refused_with_a_reason(bluesky: Scene) -> None:
    with pytest.raises(Refused) as refusal:
        await bluesky.start(password="wrong")
    assert refusal.value.reason == LOGIN_REFUSED


async def test_a_password_without_the_right_to_direct_messages_is_told_at_once(bluesky: Scene) -> None:
    password = await bluesky.flock.add_app_password(chat=False)
    with pytest.raises(Refused, match="allows access to them") as refusal:
        await bluesky.start(password=password)
    assert refusal.value.reason == LOGIN_REFUSED


async def test_a_session_that_is_about_to_expire_is_rotated_and_the_new_one_kept(bluesky: Scene) -> None:
    bot = await bluesky.start()
    before = bluesky.drawer.tokens
    bluesky.let_session_age()
    await bluesky.hear(bot)
    assert bluesky.drawer.saved == 2
    assert bluesky.drawer.tokens[1] != before[1]


async def test_an_access_token_that_the_server_does_not_take_is_replaced(bluesky: Scene) -> None:
    await (await bluesky.start()).close()
    bluesky.drawer.spoil_access()
    bot = await bluesky.start()
    assert bluesky.drawer.saved == 2
    assert (await bluesky.hear(bot)).messages == []


async def test_many_calls_at_once_renew_the_session_once(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    bluesky.let_session_age()
    sent = await asyncio.gather(*(bot.say(dm(alice, f"message {number}")) for number in range(12)))
    assert len(set(sent)) == 12
    assert bluesky.drawer.saved == 2


async def test_many_calls_whose_token_has_expired_renew_the_session_once(
    small_world: Scene, time_of_all: Skipping
) -> None:
    bot = await small_world.start()
    alice = await small_world.talker("alice")
    time_of_all.skip(7200)
    small_world.clock.run_ahead(-7200)  # the bot's clock is slow: it believes that its token is good
    sent = await asyncio.gather(*(bot.say(dm(alice, f"message {number}")) for number in range(6)))
    assert len(set(sent)) == 6
    assert small_world.drawer.saved == 2


async def test_many_calls_whose_token_was_refused_renew_the_session_once(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    expired = b'{"error":"ExpiredToken","message":"Token has expired"}'
    await bluesky.sky.plan(Fault("chat.bsky.convo.", status=400, body=expired, times=6))
    sent = await asyncio.gather(*(bot.say(dm(alice, f"message {number}")) for number in range(6)))
    assert len(set(sent)) == 6
    assert bluesky.drawer.saved == 2


async def test_a_kept_session_that_is_nonsense_leads_to_a_new_login(bluesky: Scene) -> None:
    await (await bluesky.start()).close()
    (name,) = bluesky.drawer.kept
    bluesky.drawer.kept[name] = "nonsense"
    assert (await bluesky.start()).handle == bluesky.flock.handle
    assert bluesky.drawer.saved == 2


async def test_a_session_that_was_ended_elsewhere_is_begun_anew(bluesky: Scene) -> None:
    await (await bluesky.start()).close()
    await end_session(bluesky)
    bluesky.drawer.spoil_access()
    bot = await bluesky.start()
    assert bluesky.drawer.saved == 2
    assert bot.handle == bluesky.flock.handle


async def test_a_session_that_was_ended_elsewhere_is_noticed_when_it_must_be_renewed(bluesky: Scene) -> None:
    bot = await bluesky.start()
    await end_session(bluesky)
    bluesky.let_session_age()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    await bot.say(dm(alice, "Hello!"))
    assert bluesky.drawer.saved == 2


async def test_a_password_that_was_taken_back_locks_the_bot_out(bluesky: Scene) -> None:
    password = await bluesky.flock.add_app_password(chat=True)
    bot = await bluesky.start(password=password)
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    await bluesky.flock.revoke_app_password(password)
    bluesky.let_session_age()
    with pytest.raises(Refused) as refusal:
        await bluesky.hear(bot)
    assert refusal.value.reason == LOGIN_REFUSED
    with pytest.raises(Unavailable, match="cannot log in"):  # a delay, and no refusal of Alice's
        await bot.say(dm(alice, "Hello!"))


async def test_a_bot_that_was_taken_down_is_locked_out(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} hello")
    (heard,) = await bluesky.heard(bot, cursor)
    await bluesky.flock.take_down()
    # Its token goes on serving to read; what it wants to say must wait.
    assert (await bluesky.hear(bot, cursor)).cursor
    with pytest.raises(Unavailable, match="cannot log in"):
        await bot.say(answer(heard, "Hello!"))
    for drawer in (bluesky.drawer, Drawer()):
        with pytest.raises(Refused) as refusal:
            await bluesky.start(drawer=drawer)
        assert refusal.value.reason == LOGIN_REFUSED


async def test_a_bot_that_was_closed_hears_and_speaks_again_once_it_is_open(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} hello")
    (heard,) = await bluesky.heard(bot, cursor)
    await bluesky.flock.deactivate()
    with pytest.raises(Unavailable, match="cannot log in"):
        await bot.say(answer(heard, "Hello!"))
    await bluesky.flock.reactivate()
    assert await bot.say(answer(heard, "Hello!", again=True, first_at=bluesky.clock()))


async def test_a_renamed_bot_is_the_same_bot(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.flock.rename(f"n{bluesky.flock.handle.partition('.')[0]}")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} hello")
    assert [message.text for message in await bluesky.heard(bot, cursor)] == [f"@{bluesky.flock.handle} hello"]
    assert (await bluesky.start()).handle == bluesky.flock.handle


async def test_the_bot_says_that_it_is_one_and_lets_everybody_write_to_it(bluesky: Scene) -> None:
    await bluesky.start()
    (profile,) = await bluesky.records(bluesky.flock.did, "app.bsky.actor.profile")
    assert {"val": "bot"} in profile["value"]["labels"]["values"]
    (declaration,) = await bluesky.records(bluesky.flock.did, "chat.bsky.actor.declaration")
    assert declaration["value"]["allowIncoming"] == "all"
    await bluesky.start()
    assert await bluesky.records(bluesky.flock.did, "app.bsky.actor.profile") == [profile]
