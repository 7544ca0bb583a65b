"""Consent is checked again at the moment of following; a failure belongs to one person, target and network."""

from collections.abc import AsyncIterator

import pytest

from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson
from tests.conftest import OwnClock
from tests.flock import Flock, open_flock
from tests.reunion import bot_dms, code_in, friends_of, kill, reborn, traveller
from tests.test_journey import Traveller

NETWORKS = ["bluesky", "mastodon"]
PACE: dict[str, object] = {
    "bluesky_follows_an_hour": 6,
    "bluesky_follows_a_day": 3000,
    "mastodon_follows_a_day": 8,
    "follow_burst": 2,
}
TALK: dict[str, object] = {"mastodon_messages_an_hour": 290, "message_burst": 140}
HOUR, DAY = 3_600, 86_400
WINDOW = {"bluesky": (6, HOUR), "mastodon": (8, DAY)}


@pytest.fixture
async def flock(database_url: str, clock: OwnClock) -> AsyncIterator[Flock]:
    async with open_flock(database_url, clock, pace=TALK) as opened:
        yield opened


@pytest.fixture
async def slow(database_url: str, clock: OwnClock) -> AsyncIterator[Flock]:
    """Give a flock that follows two at once and then slowly, so that there is time in between."""
    async with open_flock(database_url, clock, pace={**PACE, **TALK}) as opened:
        yield opened


def followed(flock: Flock, network: str, alice: Traveller) -> list[tuple[float, str | None]]:
    sandbox = flock.bluesky if network == "bluesky" else flock.mastodon
    return [(effect.at, effect.to) for effect in sandbox.journal.of("follow", by=alice.person.actor)]


def names(n: int) -> list[str]:
    return [f"friend{number}" for number in range(n)]


async def follow_all(alice: Traveller) -> None:
    assert "yes" in await alice.write("follow all")
    await alice.write("yes")


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_batch_is_spread_over_time_and_never_too_fast(slow: Flock, network: str) -> None:
    alice, friends = await friends_of(slow, network, names(12))
    await follow_all(alice)
    n, window = WINDOW[network]
    assert len(followed(slow, network, alice)) == 2
    for round_ in range(24):
        if round_ == 3:  # what is used of a budget is remembered over a restart
            await kill()
            async with reborn(slow):
                await slow.settle()
                await slow.pass_seconds(window / 6)
                continue
        await slow.pass_seconds(window / 6)
    made = followed(slow, network, alice)
    assert {to for _, to in made} == {friend.person.actor for friend in friends}
    assert len(made) == 12
    assert all(sum(start <= at < start + window for at, _ in made) <= n for start, _ in made)
    assert sum("I followed 12 accounts" in effect.text for effect in bot_dms(slow, alice.person)) == 1


async def test_follows_are_made_as_many_together_as_may_be_made_at_once(slow: Flock) -> None:
    """Each needs a look at the consents of both; at the even pace the last one comes as early as it would alone."""
    alice, _ = await friends_of(slow, "bluesky", names(5))
    await follow_all(alice)
    made = []
    for _ in range(4):
        made.append(len(followed(slow, "bluesky", alice)))
        await slow.pass_seconds(HOUR / 5 + 1)
    assert made == [2, 2, 4, 5]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("words", ["stop", "disconnect", "forget me yes"])
async def test_who_takes_the_consent_back_is_not_acted_for(slow: Flock, network: str, words: str) -> None:
    alice, _ = await friends_of(slow, network, names(5))
    await follow_all(alice)
    await alice.write(words)
    for _ in range(4):
        await slow.pass_seconds(DAY)
    assert len(followed(slow, network, alice)) == 2


@pytest.mark.parametrize("network", NETWORKS)
async def test_who_is_skipped_is_not_followed(slow: Flock, network: str) -> None:
    alice, friends = await friends_of(slow, network, names(4))
    await follow_all(alice)
    await alice.write("skip 4")
    for _ in range(4):
        await slow.pass_seconds(DAY)
    assert len(alice.person.follows) == 3
    assert friends[3].person.actor not in alice.person.follows


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("words", ["unclaim @{x}", "discoverable off", "forget me yes", "stop"])
async def test_who_no_longer_wants_to_be_found_is_not_followed(slow: Flock, network: str, words: str) -> None:
    """A target's own stop means silence towards them; they stay to be found."""
    alice, friends = await friends_of(slow, network, names(3))
    await follow_all(alice)
    last = next(friend for friend in friends if friend.person.actor not in alice.person.follows)
    await last.write(words.format(x=last.x.screen_name))
    if words.startswith("unclaim"):
        await last.write("yes")
    for _ in range(4):
        await slow.pass_seconds(DAY)
    assert (last.person.actor in alice.person.follows) is (words == "stop")
    if words in ("unclaim @{x}", "discoverable off"):
        assert any("I followed 2 accounts" in effect.text for effect in bot_dms(slow, alice.person))


async def test_who_is_contested_meanwhile_is_not_followed(slow: Flock) -> None:
    alice, friends = await friends_of(slow, "bluesky", names(3))
    await follow_all(alice)
    last = next(friend for friend in friends if friend.person.actor not in alice.person.follows)
    rival = traveller(slow, "bluesky", "rival")
    rival.x = last.x
    code = code_in(await rival.write(f"claim @{last.x.screen_name}"))
    await rival.write(last.x.post(f"#eXit {code}"))
    for _ in range(4):
        await slow.pass_seconds(DAY)
    assert len(alice.person.follows) == 2
    assert last.person.actor not in alice.person.follows


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_consent_that_ended_is_told_once_and_with_a_new_one_it_goes_on(slow: Flock, network: str) -> None:
    alice, friends = await friends_of(slow, network, names(5))
    await follow_all(alice)
    alice.person.withdraw_consents()
    for _ in range(3):
        await slow.pass_seconds(DAY)
    told = [effect.text for effect in bot_dms(slow, alice.person) if "your consent there has ended" in effect.text]
    assert len(told) == 1
    assert "3 follows wait for it" in told[0]
    assert "begun" not in told[0]
    assert len(alice.person.follows) == 2

    await alice.consent(await alice.write("connect"))
    for _ in range(5):
        await slow.pass_seconds(DAY)
    assert alice.person.follows == {friend.person.actor for friend in friends}
    assert len(followed(slow, network, alice)) == 5


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_block_is_told_by_name_and_the_others_are_followed(flock: Flock, network: str) -> None:
    alice, friends = await friends_of(flock, network, names(3))
    friends[1].person.block(alice.person)  # type: ignore[arg-type]  # both are of one network
    await follow_all(alice)
    assert alice.person.follows == {friends[0].person.actor, friends[2].person.actor}
    (summary,) = [each.text for each in bot_dms(flock, alice.person) if "could not be followed" in each.text]
    assert "I followed 2 accounts" in summary
    assert "blocks the other" in summary
    assert "friend1" in summary


async def test_who_has_a_lock_on_the_door_is_asked_and_that_is_told(flock: Flock) -> None:
    alice, friends = await friends_of(flock, "mastodon", names(2))
    locked = friends[0].person
    assert isinstance(locked, MastodonPerson)
    assert isinstance(alice.person, MastodonPerson)
    locked.account.locked = True
    await follow_all(alice)
    assert alice.person.requested == {locked.actor}
    assert alice.person.follows == {friends[1].person.actor}
    assert any("1 account has yet to agree" in each.text for each in bot_dms(flock, alice.person))


async def test_one_whom_the_server_chokes_on_does_not_hold_up_the_others(flock: Flock) -> None:
    alice, friends = await friends_of(flock, "mastodon", names(3))
    first = friends[0].person
    assert isinstance(first, MastodonPerson)
    path = f"/api/v1/accounts/{first.id}/follow"
    choking = flock.mastodon.faults.plan(Fault(path, status=500, times=1_000))
    await follow_all(alice)
    for _ in range(3):
        _, due_at = await flock.app.outbox.begin()
        assert due_at is not None
        await flock.pass_seconds((due_at - flock.clock()) / 1000)
    assert alice.person.follows == {friends[1].person.actor, friends[2].person.actor}
    for _ in range(100):
        await flock.pass_seconds(HOUR)
    assert 20 < 1_000 - choking.times < 200
    (summary,) = [each.text for each in bot_dms(flock, alice.person) if "could not be followed" in each.text]
    assert "did not answer for days" in summary
    assert "I followed 2 accounts" in summary


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", ["status", "malformed", "cut"])
async def test_a_sick_server_is_asked_again(flock: Flock, network: str, kind: str) -> None:
    alice, friends = await friends_of(flock, network, names(3))
    sandbox = flock.bluesky if network == "bluesky" else flock.mastodon
    paths = ["getRelationships", "applyWrites"] if network == "bluesky" else ["/search", "/follow"]
    for path in paths:
        sandbox.faults.plan(Fault(path, kind, times=2))  # type: ignore[arg-type]  # one of its words
    await follow_all(alice)
    for _ in range(12):
        await flock.pass_seconds(120)
    assert alice.person.follows == {friend.person.actor for friend in friends}
    assert len(followed(flock, network, alice)) == 3


@pytest.mark.parametrize("network", NETWORKS)
async def test_no_follow_before_the_time_that_a_server_names(flock: Flock, network: str) -> None:
    alice, friends = await friends_of(flock, network, names(2))
    sandbox = flock.bluesky if network == "bluesky" else flock.mastodon
    path = "applyWrites" if network == "bluesky" else "/follow"
    sandbox.faults.plan(Fault(path, status=429, headers={"retry-after": "600"}))
    await follow_all(alice)
    await flock.pass_seconds(598)
    assert alice.person.follows == set()
    await flock.pass_seconds(3)
    assert alice.person.follows == {friend.person.actor for friend in friends}
