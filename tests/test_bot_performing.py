"""When an answer is lost nobody can know what happened: whatever is tried again must happen once."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from bot.networks.errors import Refused
from bot.performing import Acting
from bot.sandbox.faults import Fault, Faults
from storage import deliveries
from storage.records import DeliveryKind, DeliveryState
from storage.tables import delivery
from tests.conftest import OwnClock
from tests.flock import Flock, open_flock
from tests.reunion import begin, bot_dms, conversing, friends_of, kill, reborn, said_once, traveller, until
from tests.test_journey import Traveller

NETWORKS = ["bluesky", "mastodon"]
# Progress is nothing that somebody waits for, and leaves half of a burst to answers.
TALK: dict[str, object] = {"mastodon_messages_an_hour": 290, "message_burst": 140}
SPEAK = {"bluesky": "chat.bsky.convo.sendMessage", "mastodon": "/api/v1/statuses"}
FOLLOW = {"bluesky": "com.atproto.repo.applyWrites", "mastodon": "/follow"}
UNFOLLOW = {"bluesky": "com.atproto.repo.applyWrites", "mastodon": "/unfollow"}
LEASE = 61
HOUR = 3_600


@pytest.fixture
async def flock(database_url: str, clock: OwnClock) -> AsyncIterator[Flock]:
    async with open_flock(database_url, clock, pace=TALK) as opened:
        yield opened


def faults(flock: Flock, network: str) -> Faults:
    return flock.bluesky.faults if network == "bluesky" else flock.mastodon.faults


def lose_the_answer(flock: Flock, network: str, path: str) -> Fault:
    """Let the next such request be carried out, and its answer be lost."""
    return faults(flock, network).plan(Fault(path, "cut", after=True, method="POST"))


def hold_the_answer(flock: Flock, network: str, path: str, *, after: bool = True) -> Fault:
    """Let the next such request be carried out (or not), and never be answered."""
    return faults(flock, network).plan(Fault(path, "timeout", after=after, method="POST"))


def follow_effects(flock: Flock, network: str, by: str, kind: str = "follow") -> list[str | None]:
    sandbox = flock.bluesky if network == "bluesky" else flock.mastodon
    return [effect.to for effect in sandbox.journal.of(kind, by=by)]  # type: ignore[arg-type]  # one of its words


def lanes_worked_on() -> set[str]:
    """Name the kinds of lanes in which something is being performed."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return {name.partition(":")[0] for name in names if name.startswith("lane ")}


def no_commit(_: object) -> None:
    """Be a database that is lost at the moment of a commit."""
    raise ConnectionError("the database is gone")


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_direct_message_whose_answer_is_lost_is_said_once(flock: Flock, network: str) -> None:
    alice = await conversing(flock, network)
    before = len(bot_dms(flock, alice.person))
    lost = lose_the_answer(flock, network, SPEAK[network])
    await alice.write("help claim")
    for _ in range(3):
        await flock.pass_seconds(10)
    assert lost.times == 0
    assert len(said_once(flock, alice.person)) == before + 1


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_public_answer_whose_answer_is_lost_is_posted_once(flock: Flock, network: str) -> None:
    alice = traveller(flock, network, "alice")
    path = "com.atproto.repo.putRecord" if network == "bluesky" else "/api/v1/statuses"
    lost = lose_the_answer(flock, network, path)
    uri = alice.person.post("@reflock.test hello" if network == "bluesky" else "@reflock hello")
    await flock.settle()
    for _ in range(3):
        await flock.pass_seconds(10)
    assert lost.times == 0
    (_answer,) = alice.person.replies_to(uri)


@pytest.mark.parametrize("network", NETWORKS)
async def test_follows_whose_answer_is_lost_are_made_once_and_are_ours_to_undo(flock: Flock, network: str) -> None:
    alice, friends = await friends_of(flock, network, ["bob", "carol"])
    lost = lose_the_answer(flock, network, FOLLOW[network])
    await alice.write("follow all")
    await alice.write("yes")
    await flock.pass_seconds(30)
    assert lost.times == 0
    wanted = {friend.person.actor for friend in friends}
    assert alice.person.follows == wanted
    assert sorted(map(str, follow_effects(flock, network, alice.person.actor))) == sorted(wanted)
    assert "2" in alice.read()
    await alice.write("undo")
    await alice.write("yes")
    assert alice.person.follows == set()


@pytest.mark.parametrize("network", NETWORKS)
async def test_an_unfollow_whose_answer_is_lost_is_made_once(flock: Flock, network: str) -> None:
    alice, _ = await friends_of(flock, network, ["bob", "carol"])
    await alice.write("follow all")
    await alice.write("yes")
    lost = lose_the_answer(flock, network, UNFOLLOW[network])
    await alice.write("undo")
    await alice.write("yes")
    await flock.pass_seconds(30)
    assert lost.times == 0
    assert alice.person.follows == set()
    assert len(follow_effects(flock, network, alice.person.actor, "unfollow")) == 2
    assert sum("taken back" in text for text in said_once(flock, alice.person)) == 1


@pytest.mark.parametrize("worker", ["reflock-1", "reflock-2"])
@pytest.mark.parametrize("network", NETWORKS)
async def test_killed_while_it_speaks_it_has_spoken_once(flock: Flock, network: str, worker: str) -> None:
    """With its own name the next process goes on at once, with another when the lease has ended."""
    alice = await conversing(flock, network)
    hold_the_answer(flock, network, SPEAK[network])
    before = len(bot_dms(flock, alice.person))
    alice.person.dm(alice.bot, "help claim")  # type: ignore[arg-type]  # each network's people write to their own bot
    await begin(flock)
    await until(lambda: len(bot_dms(flock, alice.person)) > before)
    await kill()
    async with reborn(flock, worker):
        await flock.settle()
        await flock.pass_seconds(LEASE)
        await flock.pass_seconds(LEASE)
    assert len(said_once(flock, alice.person)) == before + 1


@pytest.mark.parametrize("worker", ["reflock-1", "reflock-2"])
@pytest.mark.parametrize("after", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("network", NETWORKS)
async def test_killed_while_it_follows_it_has_followed_once(
    flock: Flock, network: str, worker: str, *, after: bool
) -> None:
    alice, friends = await friends_of(flock, network, ["bob", "carol"])
    await alice.write("follow 1")
    await alice.write("yes")
    held = hold_the_answer(flock, network, FOLLOW[network], after=after)
    await alice.write("follow all")
    alice.person.dm(alice.bot, "yes")  # type: ignore[arg-type]  # each network's people write to their own bot
    await begin(flock)
    await until(lambda: held.times == 0 and (not after or len(alice.person.follows) == 2))
    await kill()
    async with reborn(flock, worker):
        await flock.settle()
        await flock.pass_seconds(LEASE)
        await flock.pass_seconds(LEASE)
        assert alice.person.follows == {friend.person.actor for friend in friends}
        assert len(follow_effects(flock, network, alice.person.actor)) == 2
        said = "\n".join(effect.text for effect in bot_dms(flock, alice.person))
        unclear = network == "mastodon" and after
        assert said.count("I followed 1 account") == (1 if unclear else 2)
        assert said.count("I cannot tell whether it was you or I") == unclear


@pytest.mark.parametrize("worker", ["reflock-1", "reflock-2"])
@pytest.mark.parametrize("after", [True, False], ids=["done", "not done"])
async def test_killed_in_the_middle_of_a_list_it_takes_none_of_her_own_follows_back(
    flock: Flock, worker: str, *, after: bool
) -> None:
    """Of the one that was being made nobody can tell whose it is; of the others everybody can."""
    alice, friends = await friends_of(flock, "mastodon", ["bob", "carol", "dave", "erin"])
    bob, carol, dave, erin = (friend.person for friend in friends)
    for hers in (carol, erin):
        alice.person.follow(hers)  # type: ignore[arg-type]  # both are of Mastodon
    held = hold_the_answer(flock, "mastodon", f"/{dave.id}/follow", after=after)  # type: ignore[union-attr]  # so is he
    await alice.write("follow all")
    alice.person.dm(alice.bot, "yes")  # type: ignore[arg-type]  # each network's people write to their own bot
    await begin(flock)
    await until(lambda: held.times == 0 and (dave.actor in alice.person.follows) is after)
    await kill()
    async with reborn(flock, worker):
        await flock.settle()
        await flock.pass_seconds(LEASE)
        await flock.pass_seconds(LEASE)
        assert alice.person.follows == {friend.person.actor for friend in friends}
        said = alice.read()
        await undoes(alice)
        await flock.pass_seconds(HOUR)
    assert alice.person.follows == {carol.actor, erin.actor} | ({dave.actor} if after else set())
    undone = follow_effects(flock, "mastodon", alice.person.actor, "unfollow")
    assert undone == ([bob.actor] if after else [bob.actor, dave.actor])
    assert "You followed 2 accounts already." in said
    assert ("I followed 1 account for you." if after else "I followed 2 accounts for you.") in said
    assert ("You follow 1 account, or have asked to, and I cannot tell whether it was you or I" in said) is after


@pytest.mark.parametrize("trouble", ["killed", "not written down"])
async def test_who_was_followed_before_us_stays_followed_though_that_was_not_written_down(
    flock: Flock, trouble: str
) -> None:
    alice, (bob,) = await friends_of(flock, "mastodon", ["bob"])
    alice.person.follow(bob.person)  # type: ignore[arg-type]  # both are of Mastodon
    looked = flock.mastodon.faults.plan(Fault("/search", "late", method="GET"))
    await alice.write("follow all")
    alice.person.dm(alice.bot, "yes")  # type: ignore[arg-type]  # each network's people write to their own bot
    await begin(flock)
    await until(lambda: looked.times == 0 and lanes_worked_on() == {"lane act"})  # not any more: what she is answered
    if trouble == "killed":
        await kill()
    else:
        sa.event.listen(sa.Engine, "commit", no_commit, once=True)
    looked.until.set()
    await flock.app.outbox.drain()
    for _ in range(3):
        await flock.pass_seconds(LEASE)
    said = alice.read()
    await undoes(alice)
    assert alice.person.follows == {bob.person.actor}
    assert follow_effects(flock, "mastodon", alice.person.actor, "unfollow") == []
    assert "You follow 1 account, or have asked to, and I cannot tell whether it was you or I" in said


async def test_a_follow_that_was_interrupted_and_then_asked_for_is_ours_though_the_answer_is_lost(flock: Flock) -> None:
    """Who goes on finds that it was not made, so what is found after it was asked for again was."""
    alice, (bob,) = await friends_of(flock, "mastodon", ["bob"])
    held = hold_the_answer(flock, "mastodon", FOLLOW["mastodon"], after=False)
    await alice.write("follow all")
    alice.person.dm(alice.bot, "yes")  # type: ignore[arg-type]  # each network's people write to their own bot
    await begin(flock)
    await until(lambda: held.times == 0)
    await kill()
    lost = lose_the_answer(flock, "mastodon", FOLLOW["mastodon"])
    sick = flock.mastodon.faults.plan(Fault("/search", status=503, method="GET"))
    async with reborn(flock):
        for _ in range(5):
            await flock.pass_seconds(LEASE)
        assert (lost.times, sick.times) == (0, 0)
        assert follow_effects(flock, "mastodon", alice.person.actor) == [bob.person.actor]
        assert "I followed 1 account for you." in alice.read()
        await undoes(alice)
    assert alice.person.follows == set()


@pytest.mark.parametrize("path", ["/search", "/relationships"])
async def test_who_was_followed_before_us_stays_followed_though_we_had_to_ask_twice(flock: Flock, path: str) -> None:
    alice, (bob, carol) = await friends_of(flock, "mastodon", ["bob", "carol"])
    for each in (bob, carol):
        alice.person.follow(each.person)  # type: ignore[arg-type]  # both are of Mastodon
    sick = flock.mastodon.faults.plan(Fault(path, status=503, times=2, method="GET"))
    await alice.write("follow all")
    await alice.write("yes")
    for _ in range(4):
        await flock.pass_seconds(60)
    assert sick.times == 0
    await alice.write("undo")
    await alice.write("yes")
    assert alice.person.follows == {bob.person.actor, carol.person.actor}
    assert follow_effects(flock, "mastodon", alice.person.actor, "unfollow") == []


async def test_a_server_that_is_never_well_again_is_given_up_though_nothing_was_begun(flock: Flock) -> None:
    alice, _ = await friends_of(flock, "mastodon", ["bob"])
    flock.mastodon.faults.plan(Fault("/search", status=503, times=10_000, method="GET"))
    await begin_following(alice)
    for _ in range(10):
        await flock.pass_seconds(8 * 3600)
    async with flock.app.events.database.reading() as connection:
        follows = await connection.execute(
            sa.select(delivery.c.state, delivery.c.reason).where(delivery.c.kind == DeliveryKind.FOLLOW.value)
        )
        assert [tuple(row) for row in follows] == [(DeliveryState.REFUSED.value, "unreachable")]


async def test_tokens_renewed_while_the_consent_is_taken_back_are_ended_too(flock: Flock) -> None:
    alice, _ = await friends_of(flock, "bluesky", ["bob"])
    events = flock.app.events
    await begin_following(alice)
    async with events.database.reading() as connection:
        (number,) = await connection.scalars(
            sa.select(delivery.c.id).where(delivery.c.kind == DeliveryKind.FOLLOW.value)
        )
        promised = await deliveries.get(connection, number)
    assert promised is not None
    in_use = await Acting(events, {}, 1)._grant(promised)
    await alice.write("disconnect")
    with pytest.raises(Refused, match="taken back"):
        await in_use.save('{"renewed": "tokens"}')
    async with events.database.reading() as connection:
        payloads = await connection.scalars(
            sa.select(delivery.c.payload).where(
                delivery.c.kind == DeliveryKind.REVOKE.value, delivery.c.state == DeliveryState.PROMISED.value
            )
        )
        secrets = [events.world.keys.decrypt(json.loads(each)["secret"].encode()) for each in payloads]
    assert secrets == ['{"renewed": "tokens"}']


async def begun(flock: Flock, network: str, *, after: bool = True) -> tuple[Traveller, Traveller]:
    """Let alice have begun to follow bob, of which she was not answered; also, `after` it was carried out."""
    alice, friends = await friends_of(flock, network, ["carol", "bob"])
    await alice.write("follow 1")  # so that the next request is not merely asked to come again with a nonce
    await alice.write("yes")
    (bob,) = [each for each in friends if each.person.actor not in alice.person.follows]
    lost = faults(flock, network).plan(Fault(FOLLOW[network], "cut", after=after, method="POST"))
    await begin_following(alice)
    assert lost.times == 0
    assert (bob.person.actor in alice.person.follows) is after
    return alice, bob


async def consents_again(alice: Traveller) -> str:
    """Let a consent that ended be given anew; return what the bot says from then on."""
    said = await alice.consent(await alice.write("connect"))
    for _ in range(3):
        await alice.flock.pass_seconds(HOUR)
    return said + alice.read()


async def undoes(alice: Traveller) -> None:
    await alice.write("undo")
    await alice.write("yes")


@pytest.mark.parametrize("by", ["disconnect", "their server"])
@pytest.mark.parametrize("network", NETWORKS)
async def test_a_follow_whose_answer_was_lost_is_recognised_with_the_next_consent(
    flock: Flock, network: str, by: str
) -> None:
    """On Bluesky by its record; on Mastodon nobody can tell who it was, and that is said."""
    alice, bob = await begun(flock, network)
    if by == "disconnect":
        said = await alice.write("disconnect")
    else:
        alice.person.withdraw_consents()
        await flock.pass_seconds(HOUR)
        said = alice.read()
    assert "1 was begun already: no answer came, so I cannot tell whether it was made." in said
    why = await alice.write(f"why {bob.x.screen_name}")
    assert "no answer came, so I cannot tell whether the follow was made" in why
    said = await consents_again(alice)
    assert follow_effects(flock, network, alice.person.actor).count(bob.person.actor) == 1
    why = await alice.write(f"why {bob.x.screen_name}")
    await undoes(alice)
    assert (bob.person.actor in alice.person.follows) is (network == "mastodon")
    if network == "bluesky":
        assert "I followed 1 account for you." in said
        assert "I followed them for you." in why
    else:
        assert "You follow 1 account, or have asked to, and I cannot tell whether it was you or I" in said
        assert "I cannot tell whether it was you or I" in why


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_follow_that_did_not_come_through_is_made_with_the_next_consent_and_is_ours(
    flock: Flock, network: str
) -> None:
    alice, bob = await begun(flock, network, after=False)
    await alice.write("disconnect")
    lost = lose_the_answer(flock, network, FOLLOW[network])
    assert "I followed 1 account for you." in await consents_again(alice)
    assert lost.times == 0
    assert follow_effects(flock, network, alice.person.actor).count(bob.person.actor) == 1
    await undoes(alice)
    assert bob.person.actor not in alice.person.follows


@pytest.mark.parametrize("network", NETWORKS)
async def test_whom_one_followed_by_hand_meanwhile_one_keeps_following(flock: Flock, network: str) -> None:
    alice, bob = await begun(flock, network, after=False)
    await alice.write("disconnect")
    alice.person.follow(bob.person)  # type: ignore[arg-type]  # both are of one network
    await consents_again(alice)
    await undoes(alice)
    assert bob.person.actor in alice.person.follows


async def test_what_was_begun_is_recognised_however_often_the_consent_ends(flock: Flock) -> None:
    alice, bob = await begun(flock, "bluesky")
    await alice.write("disconnect")
    sick = flock.bluesky.faults.plan(Fault("getRelationships", status=503, method="GET"))
    await alice.consent(await alice.write("connect"))
    await flock.pass_seconds(60)
    assert sick.times == 0
    await alice.write("disconnect")
    assert "I followed 1 account for you." in await consents_again(alice)
    await undoes(alice)
    assert bob.person.actor not in alice.person.follows


async def test_what_was_begun_is_recognised_when_the_contact_comes_back(flock: Flock) -> None:
    alice, bob = await begun(flock, "bluesky")
    await bob.write("discoverable off")
    await flock.pass_seconds(HOUR)
    await bob.write("discoverable everyone")
    await begin_following(alice)
    await undoes(alice)
    assert bob.person.actor not in alice.person.follows


async def test_what_was_begun_is_recognised_when_the_server_is_back_after_it_was_given_up(flock: Flock) -> None:
    alice, bob = await begun(flock, "bluesky")
    flock.bluesky.faults.plan(Fault("getRelationships", status=503, times=10_000, method="GET"))
    for _ in range(10):
        await flock.pass_seconds(8 * HOUR)
    flock.bluesky.faults.clear()
    assert "did not answer for days, so I cannot tell whether the follow was made" in alice.read()
    await begin_following(alice)
    await flock.pass_seconds(HOUR)
    await undoes(alice)
    assert bob.person.actor not in alice.person.follows


async def begin_following(alice: Traveller) -> None:
    await alice.write("follow all")
    await alice.write("yes")
