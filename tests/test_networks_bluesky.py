"""The Bluesky adapter against a small Bluesky: logging in, hearing, speaking, and what goes wrong meanwhile."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send

from bot.networks import Incoming, Say
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.bluesky_chat import Breaker
from bot.networks.bluesky_records import is_bot, plain_text, tid_for
from bot.networks.errors import BLOCKED, DM_CLOSED, GONE, LOGIN_REFUSED, Refused, Unavailable
from bot.networks.guard import GuardedClient
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.oauth_atproto import AtprotoOauth
from bot.networks.sessions import DatabaseSessions
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.bluesky.ids import is_tid
from bot.sandbox.bluesky.limits import WRITE_RULES
from bot.sandbox.faults import Fault, FaultMiddleware
from storage.database import Database
from storage.keys import Keys
from tests.conftest import OwnClock

LOGIN = "com.atproto.server.createSession"
REFRESH = "com.atproto.server.refreshSession"
NOTIFICATIONS = "app.bsky.notification.listNotifications"
SEND = "chat.bsky.convo.sendMessage"
LOG = "chat.bsky.convo.getLog"

Start = Callable[..., Awaitable[BlueskyNetwork]]


class Drawer:
    """A place for sessions that lasts as long as a test."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def load(self, name: str) -> str | None:
        return self.kept.get(name)

    async def save(self, name: str, secret: str) -> None:
        self.kept[name] = secret


class Requests:
    """Counts what the server is asked, by method."""

    def __init__(self, sky: BlueskySandbox) -> None:
        self.asked: list[str] = []
        middleware = sky.app
        assert isinstance(middleware, FaultMiddleware)
        self._app = middleware.app
        middleware.app = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"].rpartition("/")[2])
        await self._app(scope, receive, send)


@pytest.fixture
async def sky(clock: OwnClock) -> AsyncIterator[BlueskySandbox]:
    async with BlueskySandbox(now=lambda: clock() / 1000) as sandbox:
        yield sandbox


@pytest.fixture
def flock(sky: BlueskySandbox) -> BlueskyPerson:
    return sky.create_account("flock.test")


@pytest.fixture
def alice(sky: BlueskySandbox) -> BlueskyPerson:
    person = sky.create_account("alice.test")
    person.allow_incoming = "all"
    return person


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
async def guard(sky: BlueskySandbox) -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allow_private=frozenset({urlsplit(sky.url).netloc})) as client:
        yield client


@pytest.fixture
async def start(
    sky: BlueskySandbox, flock: BlueskyPerson, drawer: Drawer, guard: GuardedClient, clock: OwnClock
) -> AsyncIterator[Start]:
    """Start a bot; as often as a test likes."""
    running: list[BlueskyNetwork] = []
    oauth = AtprotoOauth(
        guard,
        IdentityResolver(guard, plc_url=sky.url, resolver_url=sky.url),
        public_url="http://127.0.0.1:8899",
        clock=lambda: clock() / 1000,
    )

    async def start(password: str = flock.password) -> BlueskyNetwork:
        network = BlueskyNetwork(
            service_url=sky.url,
            handle=flock.handle,
            app_password=password,
            oauth=oauth,
            sessions=drawer,
            clock=clock,
            poll_seconds=0.01,
        )
        running.append(network)
        await network.start()
        return network

    yield start
    for network in running:
        await network.close()


@pytest.fixture
async def bot(start: Start) -> BlueskyNetwork:
    return await start()


def reply_to(heard: Incoming, text: str, *, key: str = "k1", public: bool = True, again: bool = False) -> Say:
    first_at = heard.at if again else 0
    return Say(
        key,
        heard.actor,
        heard.handle,
        text,
        public=public,
        thread=heard.thread,
        language="en",
        again=again,
        first_at=first_at,
    )


def dm_to(person: BlueskyPerson, text: str, *, again: bool = False, first_at: int = 0) -> Say:
    return Say(
        "k1", person.did, person.handle, text, public=False, thread=None, language="en", again=again, first_at=first_at
    )


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
    sky.faults.plan(Fault(NOTIFICATIONS, status=400, body=expired))
    sky.faults.plan(Fault(LOG, status=400, body=expired))
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


# Hearing.


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


# Speaking.


async def test_a_public_answer_stands_in_its_thread_once_however_often_it_is_said(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox, clock: OwnClock
) -> None:
    cursor = (await bot.hear(None)).cursor
    asked = alice.post("@flock.test hello")
    (heard,) = (await bot.hear(cursor)).messages
    say = reply_to(heard, "Hi! Näheres: https://reflock.example/guide.")
    uri = await bot.say(say)
    clock.pass_seconds(30)
    assert await bot.say(reply_to(heard, say.text, again=True)) == uri
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
    await bot.say(reply_to(heard, "Hi!", again=True))
    assert len(alice.replies_to(asked)) == 1


async def test_a_direct_message_whose_outcome_was_lost_is_looked_for_before_it_is_sent_again(
    bot: BlueskyNetwork, alice: BlueskyPerson, flock: BlueskyPerson, sky: BlueskySandbox, clock: OwnClock
) -> None:
    sky.faults.plan(Fault(SEND, "cut", after=True))
    first_at = clock()
    with pytest.raises(Unavailable):
        await bot.say(dm_to(alice, "Hello! https://reflock.example"))
    clock.pass_seconds(60)
    sent = await bot.say(dm_to(alice, "Hello! https://reflock.example", again=True, first_at=first_at))
    (received,) = alice.received_dms(flock)
    assert sent.endswith(f"/{received.id}")
    assert received.facets is not None
    # What was never sent is sent; and the same words from long ago are not this attempt's.
    clock.pass_seconds(3600)
    await bot.say(dm_to(alice, "Hello! https://reflock.example", again=True, first_at=clock()))
    await bot.say(dm_to(alice, "Something else", again=True, first_at=first_at))
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


async def test_waiting_ends_by_itself(bot: BlueskyNetwork) -> None:
    await bot.wait(60)


async def test_sessions_are_kept_encrypted_in_the_database(database: Database, keys: Keys) -> None:
    sessions = DatabaseSessions(database, keys)
    assert await sessions.load("bluesky:1") is None
    await sessions.save("bluesky:1", "a secret")
    await sessions.save("bluesky:1", "a newer secret")
    assert await sessions.load("bluesky:1") == "a newer secret"
    others = DatabaseSessions(database, Keys(*[key if n == 0 else [key] for n, key in enumerate(Keys.generate())]))  # type: ignore[arg-type]
    assert await others.load("bluesky:1") is None
