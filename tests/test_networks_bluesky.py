"""The Bluesky adapter logs in to a small Bluesky, keeps its session, and keeps to the limits."""

import asyncio

import pytest

from bot.networks.bluesky import BlueskyNetwork
from bot.networks.bluesky_breaker import Breaker
from bot.networks.bluesky_records import is_bot
from bot.networks.errors import LOGIN_REFUSED, Refused, Unavailable
from bot.networks.sessions import DatabaseSessions
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.bluesky.limits import WRITE_RULES
from bot.sandbox.faults import Fault
from storage.database import Database
from storage.keys import Keys
from tests.bluesky_bot import (
    LOG,
    LOGIN,
    NOTIFICATIONS,
    REFRESH,
    SEND,
    Drawer,
    Requests,
    Start,
    alice,
    bot,
    drawer,
    flock,
    guard,
    sky,
    start,
)
from tests.conftest import OwnClock
from tests.saying import dm_to, reply_to

__all__ = ["alice", "bot", "drawer", "flock", "guard", "sky", "start"]  # fixtures


# Logging in.


async def test_the_bot_logs_in_once_and_comes_back_with_its_session(
    start: Start, sky: BlueskySandbox, drawer: Drawer
) -> None:
    requests = Requests(sky)
    first = await start()
    await first.close()
    again = await start()
    assert requests.asked.count(LOGIN) == 1
    assert again.handle == "flock.test"
    (name,) = drawer.kept
    assert len(name) <= 64


async def test_a_kept_session_that_is_nonsense_or_revoked_leads_to_a_new_login(
    start: Start, sky: BlueskySandbox, drawer: Drawer
) -> None:
    requests = Requests(sky)
    await start()
    (name,) = drawer.kept
    drawer.kept[name] = "nonsense"
    await start()
    sky.sessions._refresh.clear()
    sky.sessions._secret = b"another server's" * 2
    await start()
    assert requests.asked.count(LOGIN) == 3


async def test_a_wrong_password_is_refused_with_a_reason(start: Start) -> None:
    with pytest.raises(Refused) as refusal:
        await start(password="wrong")
    assert refusal.value.reason == LOGIN_REFUSED


async def test_a_password_without_the_right_to_direct_messages_is_told_at_once(
    start: Start, flock: BlueskyPerson
) -> None:
    with pytest.raises(Refused, match="allows access to them") as refusal:
        await start(password=flock.add_app_password(chat=False))
    assert refusal.value.reason == LOGIN_REFUSED


async def test_the_password_goes_where_it_is_meant_to_and_nowhere_else(start: Start, sky: BlueskySandbox) -> None:
    async with BlueskySandbox() as elsewhere:
        requests = Requests(elsewhere)
        for path in (LOGIN, NOTIFICATIONS):
            sky.faults.plan(Fault(path, status=307, headers={"location": f"{elsewhere.url}/xrpc/{path}"}))
        with pytest.raises(Unavailable):
            await start()
        bot = await start()
        with pytest.raises(Unavailable):
            await bot.hear(None)
        assert requests.asked == []


async def test_a_server_that_is_down_is_unavailable(start: Start, sky: BlueskySandbox) -> None:
    sky.faults.plan(Fault(LOGIN, "cut"))
    with pytest.raises(Unavailable):
        await start()


async def test_tokens_are_renewed_before_they_expire_and_when_the_server_says_so(
    bot: BlueskyNetwork, sky: BlueskySandbox, drawer: Drawer, clock: OwnClock
) -> None:
    requests, kept = Requests(sky), dict(drawer.kept)
    clock.pass_seconds(sky.access_seconds - 600)
    await bot.hear(None)
    assert requests.asked.count(REFRESH) == 1
    assert drawer.kept != kept
    expired = b'{"error":"ExpiredToken","message":"Token has expired"}'
    for asked in (NOTIFICATIONS, LOG):
        sky.faults.plan(Fault(asked, status=400, body=expired))
        await bot.hear(None)
    assert requests.asked.count(REFRESH) == 3
    assert requests.asked.count(LOGIN) == 0


async def test_a_session_that_ended_for_good_is_begun_anew_and_a_lost_password_is_told(
    bot: BlueskyNetwork, sky: BlueskySandbox, flock: BlueskyPerson
) -> None:
    sky.sessions._refresh.clear()
    sky.sessions._secret = b"another server's" * 2
    await bot.hear(None)
    sky.sessions._refresh.clear()
    sky.sessions._secret = b"a third server's" * 2
    flock._account.passwords.clear()
    with pytest.raises(Refused) as refusal:
        await bot.hear(None)
    assert refusal.value.reason == LOGIN_REFUSED
    with pytest.raises(Unavailable):
        await bot.say(dm_to(flock, "to anybody"))


async def test_the_bot_says_that_it_is_one_and_lets_everybody_write_to_it(
    start: Start, sky: BlueskySandbox, flock: BlueskyPerson
) -> None:
    await start()
    profile = flock._account.record("app.bsky.actor.profile", "self")
    assert profile is not None
    assert is_bot({"labels": profile.value["labels"]["values"]})
    assert profile.value["displayName"] == "Flock"
    assert flock.allow_incoming == "all"
    requests = Requests(sky)
    await start()
    assert "com.atproto.repo.putRecord" not in requests.asked


# Keeping to limits.


async def test_the_chat_is_left_alone_after_it_said_no_and_begun_slowly(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox, clock: OwnClock
) -> None:
    cursor = (await bot.hear(None)).cursor
    sky.faults.plan(Fault(SEND, status=429, headers={"retry-after": "120"}))
    with pytest.raises(Unavailable) as pause:
        await bot.say(dm_to(alice, "one"))
    assert pause.value.retry_in == 120
    requests = Requests(sky)
    with pytest.raises(Unavailable):
        await bot.say(dm_to(alice, "one"))
    alice.post("@flock.test hello")
    batch = await bot.hear(cursor)
    assert [message.text for message in batch.messages] == ["@flock.test hello"]
    assert not [asked for asked in requests.asked if asked.startswith("chat.")]
    clock.pass_seconds(121)
    await bot.say(dm_to(alice, "one"))
    with pytest.raises(Unavailable) as slowly:
        await bot.say(dm_to(alice, "two"))
    assert slowly.value.retry_in is not None
    clock.pass_seconds(slowly.value.retry_in)
    await bot.say(dm_to(alice, "two"))
    assert [message.text for message in alice.received_dms(flock)] == ["one", "two"]


def test_many_refusals_at_once_are_one(clock: OwnClock) -> None:
    """Whatever was under way when the service began to say no must not lengthen the pause for each."""
    named, unnamed = Breaker(clock), Breaker(clock)
    for _ in range(20):
        named.refused(30)
        unnamed.refused(None)
    clock.pass_seconds(30)
    named.check()
    with pytest.raises(Unavailable) as pause:
        unnamed.check()
    assert pause.value.retry_in == 30
    clock.pass_seconds(30)
    unnamed.check()
    unnamed.refused(None)
    with pytest.raises(Unavailable) as longer:
        unnamed.check()
    assert longer.value.retry_in == 120


async def test_the_last_of_an_allowance_is_left_alone(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox, clock: OwnClock
) -> None:
    cursor = (await bot.hear(None)).cursor
    alice.post("@flock.test hello")
    (heard,) = (await bot.hear(cursor)).messages
    sky.limits.consume("repo-write", flock.did, WRITE_RULES, 4745)
    await bot.say(reply_to(heard, "one", key="k1"))
    requests = Requests(sky)
    with pytest.raises(Unavailable) as full:
        await bot.say(reply_to(heard, "two", key="k2"))
    assert full.value.retry_in is not None
    assert 0 < full.value.retry_in <= 3600
    assert requests.asked == []
    clock.pass_seconds(full.value.retry_in + 1)
    await bot.say(reply_to(heard, "after", key="k9"))


async def test_a_rate_limit_names_its_time(bot: BlueskyNetwork, sky: BlueskySandbox, clock: OwnClock) -> None:
    reset = str(clock() // 1000 + 77)
    headers = {"ratelimit-limit": "10", "ratelimit-remaining": "0", "ratelimit-reset": reset}
    sky.faults.plan(Fault(NOTIFICATIONS, status=429, headers=headers))
    with pytest.raises(Unavailable) as limit:
        await bot.hear(None)
    assert limit.value.retry_in == 77


async def test_waiting_ends_by_itself(bot: BlueskyNetwork, alice: BlueskyPerson) -> None:
    cursor = (await bot.hear(None)).cursor
    alice.post("@flock.test hello")
    async with asyncio.timeout(20):
        await bot.wait(60)
    assert len((await bot.hear(cursor)).messages) == 1


async def test_sessions_are_kept_encrypted_in_the_database(database: Database, keys: Keys) -> None:
    sessions = DatabaseSessions(database, keys)
    assert await sessions.load("bluesky:1") is None
    await sessions.save("bluesky:1", "a secret")
    await sessions.save("bluesky:1", "a newer secret")
    assert await sessions.load("bluesky:1") == "a newer secret"
    others = DatabaseSessions(database, Keys(*[key if n == 0 else [key] for n, key in enumerate(Keys.generate())]))  # type: ignore[arg-type]
    assert await others.load("bluesky:1") is None
