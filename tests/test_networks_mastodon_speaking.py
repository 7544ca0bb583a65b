"""The Mastodon adapter speaks on a small Mastodon: once, to whom it is meant for and to nobody else."""

import json

import pytest

from bot.networks.errors import BLOCKED, GONE, LOGIN_REFUSED, Refused, Unavailable
from bot.networks.mastodon import MastodonNetwork
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.accounts import Visibility
from bot.sandbox.mastodon.limits import TOKEN, Rule
from bot.sandbox.mastodon.quirks import HOLLO
from tests.conftest import OwnClock
from tests.mastodon_bot import (
    alice,
    bot,
    bot_among,
    cursor,
    flock,
    flock_of,
    forget_keys,
    guard,
    published_as,
    start,
    town,
)
from tests.saying import dm_to, reply_to

__all__ = ["alice", "bot", "cursor", "flock", "guard", "start", "town"]  # fixtures


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


async def test_a_thread_is_written_for_the_adapter_alone(
    bot: MastodonNetwork, cursor: str, alice: MastodonPerson
) -> None:
    asked = alice.post("@flock hello")
    (heard,) = (await bot.hear(cursor)).messages
    assert json.loads(heard.thread) == {"status": asked, "account": alice.id, "visibility": "public"}
