"""The Mastodon adapter against a small Mastodon: hearing, speaking, and what goes wrong meanwhile."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot.networks import Incoming, Say
from bot.networks.errors import BLOCKED, GONE, LOGIN_REFUSED, Refused, Unavailable
from bot.networks.guard import GuardedClient
from bot.networks.mastodon import MastodonNetwork
from bot.networks.mastodon_pages import down_to
from bot.networks.oauth_mastodon import MastodonOauth
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.accounts import Visibility
from bot.sandbox.mastodon.limits import STATUSES, TOKEN, Rule
from bot.sandbox.mastodon.quirks import HOLLO, SNAC, Quirks
from tests.conftest import OwnClock

Start = Callable[..., Awaitable[MastodonNetwork]]


@pytest.fixture
async def town(clock: OwnClock) -> AsyncIterator[MastodonSandbox]:
    async with MastodonSandbox(now=lambda: clock() / 1000) as sandbox:
        yield sandbox


@pytest.fixture
def flock(town: MastodonSandbox) -> MastodonPerson:
    return town.create_account("flock")


@pytest.fixture
def alice(town: MastodonSandbox) -> MastodonPerson:
    person = town.create_account("alice")
    person.allow_private_mentions(allowed=True)
    return person


@pytest.fixture
async def start(town: MastodonSandbox, flock: MastodonPerson, clock: OwnClock) -> AsyncIterator[Start]:
    """Start a bot; as often as a test likes."""
    running: list[MastodonNetwork] = []
    async with GuardedClient(allow_private=frozenset({urlsplit(town.url).netloc})) as guard:
        oauth = MastodonOauth(guard, public_url=None, clock=lambda: clock() / 1000)

        async def start(token: str = flock.token, *, streaming: bool = False, poll: float = 0.01) -> MastodonNetwork:
            network = MastodonNetwork(
                base_url=town.url,
                access_token=token,
                guard=guard,
                oauth=oauth,
                clock=clock,
                poll_seconds=poll,
                streaming=streaming,
            )
            running.append(network)
            await network.start()
            return network

        yield start
        for network in running:
            await network.close()


@pytest.fixture
async def bot(start: Start) -> MastodonNetwork:
    return await start()


@pytest.fixture
async def cursor(bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson) -> str:
    """Let the bot hear a first message, so that it has a place to go on from."""
    alice.post("@flock first")
    return (await bot.hear(None)).cursor


@contextlib.asynccontextmanager
async def bot_among(quirks: Quirks, clock: OwnClock) -> AsyncIterator[tuple[MastodonNetwork, MastodonSandbox]]:
    """Start a bot on a server of another character, where its account is "flock"."""
    async with (
        MastodonSandbox(now=lambda: clock() / 1000, quirks=quirks) as there,
        GuardedClient(allow_private=frozenset({there.domain})) as guard,
    ):
        bot = MastodonNetwork(
            base_url=there.url,
            access_token=there.create_account("flock").token,
            guard=guard,
            oauth=MastodonOauth(guard, public_url=None, clock=lambda: clock() / 1000),
            clock=clock,
            poll_seconds=1,
            streaming=False,
        )
        await bot.start()
        yield bot, there
        await bot.close()


def flock_of(there: MastodonSandbox) -> MastodonPerson:
    return next(person for person in there.people.values() if person.acct == "flock")


def reply_to(heard: Incoming, text: str, *, key: str = "k1", public: bool = True, first_at: int = 0) -> Say:
    return Say(
        key,
        heard.actor,
        heard.handle,
        text,
        public=public,
        thread=heard.thread,
        language="en",
        again=first_at > 0,
        first_at=first_at,
    )


def dm_to(person: MastodonPerson, text: str, *, key: str = "k1", first_at: int = 0) -> Say:
    return Say(
        key,
        person.actor,
        person.handle,
        text,
        public=False,
        thread=None,
        language="fr",
        again=first_at > 0,
        first_at=first_at,
    )


def published_as(town: MastodonSandbox, flock: MastodonPerson, shown_to: Visibility) -> None:
    """Have the next status published in another way than it was asked for."""
    answer = {"id": flock.post("for others", visibility=shown_to), "visibility": shown_to}
    town.faults.plan(Fault("/api/v1/statuses", status=200, body=json.dumps(answer).encode(), method="POST"))


def forget_keys(town: MastodonSandbox) -> None:
    """Make the server one of those that honour no idempotency key."""
    town.idempotency.honoured = False


# Starting.


async def test_the_bot_knows_who_it_is_says_that_it_is_one_and_lets_everybody_write(
    bot: MastodonNetwork, flock: MastodonPerson
) -> None:
    assert bot.handle == flock.handle
    assert flock.account.bot
    assert flock.account.policy["for_private_mentions"] == "accept"


async def test_a_page_that_repeats_our_token_is_quoted_without_any_part_of_it(
    start: Start, flock: MastodonPerson, town: MastodonSandbox
) -> None:
    for before in range(280, 300, 3):
        page = f"{'x' * before}{flock.token}".encode()
        town.faults.plan(Fault("verify_credentials", status=403, body=page, headers={"content-type": "text/html"}))
        with pytest.raises(Refused) as refusal:
            await start()
        assert flock.token[:4] not in str(refusal.value)
        assert "x" * before in str(refusal.value)


async def test_what_stands_in_a_netrc_does_not_take_our_tokens_place(
    start: Start, alice: MastodonPerson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    alice.post("@flock hello")
    bot = await start()
    assert [message.text for message in (await bot.hear(None)).messages] == ["@flock hello"]


async def test_a_token_that_is_no_good_is_refused_with_a_reason(start: Start, flock: MastodonPerson) -> None:
    with pytest.raises(Refused) as refusal:
        await start("nonsense")
    assert refusal.value.reason == LOGIN_REFUSED
    with pytest.raises(Refused) as narrow:
        await start(flock.token_for("read"))
    assert narrow.value.reason == LOGIN_REFUSED


@pytest.mark.parametrize("status", [401, 404, 503])
async def test_a_server_that_tells_nothing_of_itself_gets_the_usual_limits(
    start: Start, town: MastodonSandbox, status: int
) -> None:
    town.faults.plan(Fault("/instance", status=status, body=b"{}", times=2))
    town.faults.plan(Fault("/notifications/policy", status=404, body=b"{}"))
    bot = await start()
    assert bot.fits("x" * 468, public=True)
    assert not bot.fits("x" * 469, public=True)
    assert bot.handle.endswith(urlsplit(town.url).netloc)


async def test_a_server_that_is_down_is_unavailable(start: Start, town: MastodonSandbox) -> None:
    for fault in (Fault("verify_credentials", "cut"), Fault("verify_credentials", "malformed"), Fault("verify")):
        town.faults.plan(fault)
        with pytest.raises(Unavailable):
            await start()


# Hearing.


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
    bot = await start(streaming=True, poll=30)
    for number in range(2):
        async with asyncio.timeout(10):
            while not town.streaming.open_streams:  # noqa: ASYNC110  # the town has no event for it
                await asyncio.sleep(0.01)
            alice.post(f"@flock message {number}")
            await bot.wait(60)
        assert [message.text for message in (await bot.hear('{"notified": "0"}')).messages][-1:] == [
            f"@flock message {number}"
        ]
        town.streaming.close()
        while town.streaming.open_streams:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0.01)


async def test_a_server_without_streaming_is_polled(start: Start, town: MastodonSandbox, alice: MastodonPerson) -> None:
    town.faults.plan(Fault("/streaming", status=404, times=100))
    bot = await start(streaming=True)
    batch = await bot.hear(None)
    alice.post("@flock hello")
    await bot.wait(60)
    assert len((await bot.hear(batch.cursor)).messages) == 1


# Speaking.


async def test_a_public_answer_addresses_only_the_one_who_asked(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, town: MastodonSandbox
) -> None:
    bob = town.create_account("bob")
    asked = alice.post("@flock @bob hello")
    (heard,) = (await bot.hear(cursor)).messages
    await bot.say(reply_to(heard, f"Is {bob.handle} the @bob you mean? https://reflock.example/@bob"))
    (answer,) = alice.replies_to(asked)
    status = town.world.status(int(answer.uri), alice.account)
    assert status.visibility == "unlisted"
    assert status.mentions == [alice.account]
    assert status.language == "en"


async def test_a_direct_message_reaches_one_person_only(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox
) -> None:
    bob = town.create_account("bob")
    alice.dm(flock, "contacts")
    (heard,) = (await bot.hear(cursor)).messages
    await bot.say(reply_to(heard, f"1. {bob.handle}", public=False))
    await bot.say(dm_to(alice, "@bob has arrived", key="k2"))
    assert [message.text for message in alice.received_dms(flock)] == [
        f"@alice@{town.domain} 1. bob@{town.domain}",
        f"@alice@{town.domain} bob has arrived",
    ]
    assert bob.received_dms(filtered=True) == []
    assert bob.received_dms() == []


@pytest.mark.parametrize("shown_to", ["public", "unlisted", "private"])
async def test_what_a_server_shows_others_against_our_will_is_deleted_again(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox, shown_to: Visibility
) -> None:
    published_as(town, flock, shown_to)
    with pytest.raises(Refused, match="deleted again"):
        await bot.say(dm_to(alice, "for you alone"))
    assert flock.account.statuses == []


async def test_a_public_answer_too_is_shown_as_it_was_asked_or_not_at_all(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox
) -> None:
    alice.post("@flock hello")
    (heard,) = (await bot.hear(cursor)).messages
    published_as(town, flock, "public")
    with pytest.raises(Refused, match="deleted again"):
        await bot.say(reply_to(heard, "Hi!"))
    assert flock.account.statuses == []


async def test_what_could_not_be_deleted_again_is_not_said_to_be(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox
) -> None:
    published_as(town, flock, "public")
    town.faults.plan(Fault("/api/v1/statuses/", method="DELETE"))
    with pytest.raises(Refused, match="could not be deleted"):
        await bot.say(dm_to(alice, "for you alone"))


async def test_what_went_to_others_is_not_taken_for_the_private_word(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson, clock: OwnClock
) -> None:
    flock.post(f"{alice.handle} Hello!")
    await bot.say(dm_to(alice, "Hello!", first_at=clock()))
    assert len(alice.received_dms(flock)) == 1


async def test_an_answer_is_never_wider_than_its_question(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, town: MastodonSandbox
) -> None:
    asked = alice.post("@flock hello", visibility="private")
    (heard,) = (await bot.hear(cursor)).messages
    await bot.say(reply_to(heard, "Hi!"))
    assert town.world.status(int(alice.replies_to(asked)[0].uri), alice.account).visibility == "direct"


@pytest.mark.parametrize("honoured", [True, False])
async def test_what_was_said_but_not_confirmed_is_not_said_again(
    bot: MastodonNetwork,
    cursor: str,
    alice: MastodonPerson,
    flock: MastodonPerson,
    town: MastodonSandbox,
    clock: OwnClock,
    honoured: bool,
) -> None:
    town.idempotency.honoured = honoured
    asked = alice.post("@flock hello")
    (heard,) = (await bot.hear(cursor)).messages
    first_at = clock()
    text = f"Hi! See\n\n<this> & https://reflock.example/guide?a=1&b=2 or ask {alice.handle}"
    for say in (reply_to(heard, text), dm_to(alice, text, key="k2")):
        town.faults.plan(Fault("/api/v1/statuses", "cut", after=True, method="POST"))
        with pytest.raises(Unavailable):
            await bot.say(say)
    clock.pass_seconds(600)
    await bot.say(reply_to(heard, text, first_at=first_at))
    await bot.say(dm_to(alice, text, key="k2", first_at=first_at))
    assert len(alice.replies_to(asked)) == 1
    assert len(alice.received_dms(flock)) == 1


async def test_what_was_never_said_is_said_and_old_words_are_not_taken_for_it(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox, clock: OwnClock
) -> None:
    forget_keys(town)
    await bot.say(dm_to(alice, "One more is here."))
    clock.pass_seconds(3600)
    await bot.say(dm_to(alice, "One more is here.", key="k2", first_at=clock()))
    assert len(alice.received_dms(flock)) == 2


async def test_the_same_words_in_another_thread_are_not_taken_for_said(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, town: MastodonSandbox, clock: OwnClock
) -> None:
    forget_keys(town)
    threads = [alice.post("@flock hello"), alice.post("@flock hello again")]
    first, second = (await bot.hear(cursor)).messages
    await bot.say(reply_to(first, "Welcome"))
    await bot.say(reply_to(second, "Welcome", key="k2", first_at=clock()))
    assert [len(alice.replies_to(thread)) for thread in threads] == [1, 1]


async def test_the_same_words_to_a_namesake_are_not_taken_for_said(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox, clock: OwnClock
) -> None:
    forget_keys(town)
    first_at = clock()
    await bot.say(dm_to(alice, "Welcome"))
    to_namesake = town.views.status(flock.account.statuses[0])
    to_namesake["mentions"][0] |= {"acct": "alice@elsewhere.example", "url": "https://elsewhere.example/@alice"}
    body = json.dumps([to_namesake]).encode()
    town.faults.plan(Fault(f"/accounts/{flock.id}/statuses", status=200, body=body))
    town.faults.plan(Fault("/timelines/home", status=200, body=body))
    await bot.say(dm_to(alice, "Welcome", key="k2", first_at=first_at))
    assert len(alice.received_dms(flock)) == 2


@pytest.mark.parametrize("status", [403, 404])
async def test_a_server_that_hides_the_bots_own_timeline_lets_it_speak_again(
    bot: MastodonNetwork,
    alice: MastodonPerson,
    flock: MastodonPerson,
    town: MastodonSandbox,
    clock: OwnClock,
    status: int,
) -> None:
    body = json.dumps({"error": "This action is not allowed"}).encode()
    town.faults.plan(Fault("/timelines/home", status=status, body=body))
    await bot.say(dm_to(alice, "Hello!", first_at=clock()))
    assert len(alice.received_dms(flock)) == 1


async def test_a_second_look_ends_where_a_server_gives_the_first_page_whatever_it_is_asked(clock: OwnClock) -> None:
    async with bot_among(HOLLO, clock) as (bot, there):
        alice, flock = there.create_account("alice"), flock_of(there)
        for number in range(50):
            flock.post(f"something {number}")
        there.limits.rules[TOKEN] = Rule(20, 300)
        await bot.say(dm_to(alice, "Hello!", first_at=clock()))
        assert len(alice.received_dms(flock)) == 1


async def test_a_bot_that_is_locked_out_refuses_nobody(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox
) -> None:
    town.oauth.tokens[flock.token].revoked = True
    with pytest.raises(Unavailable):
        await bot.say(dm_to(alice, "Hello!"))
    with pytest.raises(Refused) as refusal:
        await bot.hear(None)
    assert refusal.value.reason == LOGIN_REFUSED


async def test_who_cannot_be_reached_is_told_apart(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox
) -> None:
    gone, blocker = town.create_account("gone"), town.create_account("blocker")
    blocker.block(flock)
    gone.suspend()
    alice.dm(flock, "hello")
    (heard,) = (await bot.hear(cursor)).messages
    for person, reason in ((gone, GONE), (blocker, BLOCKED)):
        with pytest.raises(Refused) as refusal:
            await bot.say(dm_to(person, "Hello!"))
        assert refusal.value.reason == reason
    alice.block(flock)
    with pytest.raises(Refused) as refusal:
        await bot.say(reply_to(heard, "Hello!", public=False))
    assert refusal.value.reason == BLOCKED
    assert town.journal.of("dm", by=flock.actor) == []


async def test_a_message_that_was_deleted_meanwhile_is_answered_all_the_same_but_not_in_public(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson, flock: MastodonPerson
) -> None:
    private, public = alice.dm(flock, "hello"), alice.post("@flock hello")
    first, second = (await bot.hear(cursor)).messages
    alice.delete(private)
    alice.delete(public)
    await bot.say(reply_to(first, "Hello!", public=False))
    assert len(alice.received_dms(flock)) == 1
    with pytest.raises(Refused) as refusal:
        await bot.say(reply_to(second, "Hello!"))
    assert refusal.value.reason == GONE


async def test_lengths_are_counted_as_the_server_counts(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson
) -> None:
    link = "https://reflock.example/" + "x" * 300
    longest = f"{link} {link} " + "é" * (468 - 48)
    assert bot.fits(longest, public=False)
    assert not bot.fits(longest + "é", public=False)
    await bot.say(dm_to(alice, longest))
    assert len(alice.received_dms(flock)) == 1
    with pytest.raises(Refused) as refusal:
        await bot.say(dm_to(alice, "x" * 600, key="k2"))
    assert refusal.value.reason == "invalid"


async def test_the_last_of_an_allowance_is_left_alone(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox, clock: OwnClock
) -> None:
    town.limits.rules[STATUSES] = Rule(20, 3600)
    for number in range(19):
        await bot.say(dm_to(alice, f"message {number}", key=f"k{number}"))
    with pytest.raises(Unavailable) as full:
        await bot.say(dm_to(alice, "one more", key="more"))
    assert full.value.retry_in is not None
    assert len(alice.received_dms(flock)) == 19
    clock.pass_seconds(full.value.retry_in + 1)
    await bot.say(dm_to(alice, "one more", key="more"))


async def test_a_rate_limit_names_its_time(bot: MastodonNetwork, alice: MastodonPerson, town: MastodonSandbox) -> None:
    headers = {"retry-after": "77"}
    town.faults.plan(Fault("/api/v1/statuses", status=429, headers=headers, method="POST"))
    with pytest.raises(Unavailable) as limit:
        await bot.say(dm_to(alice, "Hello!"))
    assert limit.value.retry_in == 77


async def test_a_thread_is_written_for_the_adapter_alone(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson
) -> None:
    asked = alice.post("@flock hello")
    (heard,) = (await bot.hear(cursor)).messages
    assert json.loads(heard.thread) == {"status": asked, "account": alice.id, "visibility": "public"}
