"""Rate limits on Bluesky: the bot reads what servers announce, stops before they say no, and obeys when they do."""

import pytest

from bot.networks.bluesky import BlueskyNetwork
from bot.networks.errors import LOGIN_REFUSED, PartlyDone, Refused, Unavailable
from bot.networks.ratelimits import RateLimited
from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.bluesky.limits import LOGIN_RULES, REQUEST_RULES, WRITE_RULES
from bot.sandbox.faults import Fault
from tests.contract.bluesky import Scene, Skipping, answer, dm, order, undoing

_LOGIN = "com.atproto.server.createSession"
_NOTIFICATIONS = "app.bsky.notification.listNotifications"
_SEND = "chat.bsky.convo.sendMessage"


async def wrong_logins(scene: Scene) -> int:
    """Try the wrong password until the server has had enough; return how often it listened."""
    for number in range(100):
        try:
            with pytest.raises(Refused):
                await scene.start(password="wrong")
        except RateLimited:
            return number
    raise AssertionError("The server goes on listening.")


async def hear_on(bot: BlueskyNetwork, cursor: str) -> None:
    """Listen more often than any allowance of requests lets."""
    for _ in range(REQUEST_RULES[0].points):
        cursor = (await bot.hear(cursor)).cursor


async def test_every_answer_announces_what_is_left(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    base = f"{bluesky.sky.url}/xrpc"
    rule = REQUEST_RULES[0]
    asked = await bluesky.http.get(f"{base}/com.atproto.identity.resolveHandle", params={"handle": alice.handle})
    assert asked.headers["ratelimit-limit"] == str(rule.points)
    assert asked.headers["ratelimit-policy"] == f"{rule.points};w={rule.seconds}"
    assert 0 < int(asked.headers["ratelimit-remaining"]) < rule.points
    assert int(asked.headers["ratelimit-reset"]) <= bluesky.clock() / 1000 + rule.seconds
    # Of several allowances the tightest.
    login = {"identifier": alice.handle, "password": "wrong"}
    refused = await bluesky.http.post(f"{base}/{_LOGIN}", json=login)
    assert (refused.status_code, refused.headers["ratelimit-limit"]) == (401, str(LOGIN_RULES[0].points))
    assert refused.headers["ratelimit-remaining"] == str(LOGIN_RULES[0].points - 1)


async def test_after_too_many_logins_the_bot_knows_to_the_second_when_to_come_again(bluesky: Scene) -> None:
    assert await wrong_logins(bluesky) == LOGIN_RULES[0].points
    before = bluesky.clock() / 1000
    with pytest.raises(RateLimited) as limit:
        await bluesky.start()  # with the right password, which the server does not even look at
    after = bluesky.clock() / 1000
    login = {"identifier": bluesky.flock.handle, "password": bluesky.flock.password}
    said = await bluesky.http.post(f"{bluesky.sky.url}/xrpc/{_LOGIN}", json=login)
    assert said.status_code == 429
    reset = int(said.headers["ratelimit-reset"])
    # The window ends within the second that `reset` names; Retry-After is rounded up from the moment of the answer.
    assert limit.value.retry_in is not None
    assert reset <= after + limit.value.retry_in
    assert before + limit.value.retry_in < reset + 2


async def test_a_429_is_obeyed_until_its_moment_and_no_longer(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    await alice.post(f"@{bluesky.flock.handle} hello")
    headers = {
        "ratelimit-limit": "3000",
        "ratelimit-remaining": "0",
        "ratelimit-reset": str(bluesky.clock() // 1000 + 1000),
        "ratelimit-policy": "3000;w=300",
        "retry-after": "1000",
    }
    body = b'{"error":"RateLimitExceeded","message":"Rate Limit Exceeded"}'
    await bluesky.sky.plan(Fault(_NOTIFICATIONS, status=429, headers=headers, body=body))
    with pytest.raises(Unavailable) as limit:
        await bluesky.hear(bot, cursor)
    assert limit.value.retry_in == 1000
    for _ in range(2):  # the server is well again, but it is not asked
        with pytest.raises(Unavailable) as still:
            await bot.hear(cursor)
        assert not isinstance(still.value, RateLimited)
        bluesky.clock.run_ahead(450)
    bluesky.clock.run_ahead(101)
    assert len((await bot.hear(cursor)).messages) == 1


async def test_the_chat_is_left_alone_after_it_said_no_and_begun_slowly(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    await bluesky.sky.plan(Fault(_SEND, status=429, headers={"retry-after": "1000"}, body=b"{}"))
    with pytest.raises(Unavailable) as pause:
        await bot.say(dm(alice, "one"))
    assert pause.value.retry_in == 1000
    bluesky.clock.run_ahead(900)
    with pytest.raises(Unavailable):
        await bot.say(dm(alice, "one"))
    bluesky.clock.run_ahead(101)
    await bot.say(dm(alice, "one"))
    with pytest.raises(Unavailable) as slowly:
        await bot.say(dm(alice, "two"))
    assert slowly.value.retry_in is not None
    bluesky.clock.run_ahead(slowly.value.retry_in)
    await bot.say(dm(alice, "two"))
    assert [message.text for message in alice.received_dms(bluesky.flock.did)] == ["one", "two"]


async def test_the_bot_stops_by_itself_before_somebodys_allowance_is_used(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.person("alice")
    grant = await bluesky.consent(alice)
    orders = [order(did) for did in await bluesky.sky.open_crowd(1000)]
    outcomes = await bluesky.follow(bot, grant, orders)
    await bot.unfollow(grant.use, undoing(orders, outcomes))
    with pytest.raises(PartlyDone) as partly:
        await bluesky.follow(bot, grant, orders)
    done = [outcome.state for outcome in partly.value.outcomes]
    assert set(done) == {"done"}
    assert len(await bluesky.followed_by(alice)) == len(done)
    # A follow is 3 points of 5,000 an hour, its end 1; the server never had to say no.
    used = 1000 * 3 + 1000 + len(done) * 3
    assert used <= WRITE_RULES[0].points
    assert isinstance(partly.value.cause, Unavailable)
    assert not isinstance(partly.value.cause, RateLimited)
    assert partly.value.cause.retry_in is not None
    assert 0 < partly.value.cause.retry_in <= 3600
    # What is somebody's allowance is nobody else's.
    bob = await bluesky.person("bob")
    assert (await bluesky.follow(bot, await bluesky.consent(bob), orders[:1]))[0].state == "done"


async def test_logins_are_taken_again_when_their_window_has_passed(small_world: Scene, time_of_all: Skipping) -> None:
    assert await wrong_logins(small_world) == LOGIN_RULES[0].points
    with pytest.raises(RateLimited) as limit:
        await small_world.start()
    assert limit.value.retry_in is not None
    time_of_all.skip(limit.value.retry_in)
    with pytest.raises(Refused) as refusal:
        await small_world.start(password="wrong")
    assert refusal.value.reason == LOGIN_REFUSED
    assert (await small_world.start()).handle == small_world.flock.handle


async def test_the_bot_slows_down_before_its_requests_are_used_up(
    small_world: Scene, stand_in: BlueskySandbox, time_of_all: Skipping
) -> None:
    bot, cursor = await small_world.attentive()
    stand_in.limits.consume("requests", "127.0.0.1", REQUEST_RULES, REQUEST_RULES[0].points - 160)
    with pytest.raises(Unavailable) as limit:
        await hear_on(bot, cursor)
    assert not isinstance(limit.value, RateLimited)
    assert limit.value.retry_in is not None
    assert 0 < limit.value.retry_in <= REQUEST_RULES[0].seconds
    time_of_all.skip(limit.value.retry_in + 1)
    assert (await bot.hear(cursor)).messages == []


async def test_the_last_of_the_bots_own_writes_are_left_alone(
    small_world: Scene, stand_in: BlueskySandbox, time_of_all: Skipping
) -> None:
    bot, cursor = await small_world.attentive()
    alice = await small_world.person("alice")
    await alice.post(f"@{small_world.flock.handle} hello")
    (heard,) = await small_world.heard(bot, cursor)
    stand_in.limits.consume("repo-write", small_world.flock.did, WRITE_RULES, 4750)
    await bot.say(answer(heard, "one", key="1"))
    with pytest.raises(Unavailable) as full:
        await bot.say(answer(heard, "two", key="2"))
    assert not isinstance(full.value, RateLimited)
    assert full.value.retry_in is not None
    time_of_all.skip(full.value.retry_in + 1)
    await bot.say(answer(heard, "two", key="2"))
