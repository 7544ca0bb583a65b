"""Following with somebody's consent on any Mastodon-API server: once each, undone only where it was ours, honest throughout."""

from contextlib import AsyncExitStack

import pytest

from bot.networks import FollowOrder, FollowOutcome
from bot.networks.errors import BLOCKED, GONE, GRANT_LOST, Refused, Unavailable
from bot.networks.mastodon import MastodonNetwork
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonSandbox
from tests.contract.mastodon import Scene, order, unique
from tests.contract.town import StandInTown, TownHands


async def follow(scene: Scene, bot: MastodonNetwork, who: TownHands, *others: TownHands) -> list[FollowOutcome]:
    """Have the bot follow others on behalf of somebody."""
    return await bot.follow(await scene.consent(who), [order(other) for other in others])


async def comes_true(scene: Scene, who: TownHands, other: TownHands, what: str = "yes") -> None:
    """Return as soon as somebody follows another, has asked to, or does not."""

    async def true() -> bool:
        return await who.follows(other) == what

    await scene.town.until(true)


async def test_a_follow_is_made_and_undone(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    await bob.lock(locked=False)
    grant = await mastodon.consent(alice)
    (outcome,) = await bot.follow(grant, [order(bob)])
    assert (outcome.state, outcome.uri) in (("done", bob.id), ("requested", bob.id))
    await comes_true(mastodon, alice, bob)
    for _ in range(2):
        (undone,) = await bot.unfollow(grant, [order(bob, uri=outcome.uri)])
        assert undone.state == "done"
    await comes_true(mastodon, alice, bob, "no")


async def test_who_is_followed_already_is_left_as_it_is(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    await bob.lock(locked=False)
    await alice.follow(bob)
    await comes_true(mastodon, alice, bob)
    grant = await mastodon.consent(alice)
    for _ in range(2):
        assert await bot.follow(grant, [order(bob)]) == [FollowOutcome("already")]
    assert [outcome.state for outcome in await bot.unfollow(grant, [order(bob)])] == ["already"]
    assert await alice.follows(bob) == "yes"


async def test_followed_twice_is_followed_once(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    await bob.lock(locked=False)
    await follow(mastodon, bot, alice, bob)
    await comes_true(mastodon, alice, bob)
    assert await follow(mastodon, bot, alice, bob) == [FollowOutcome("already")]


async def test_a_follow_whose_outcome_was_lost_counts_as_ours(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    await bob.lock(locked=False)
    grant = await mastodon.consent(alice)
    mastodon.town.plan(Fault("/follow", "cut", after=True, method="POST"))
    with pytest.raises(Unavailable):
        await bot.follow(grant, [order(bob)])
    assert await bot.follow(grant, [order(bob, again=True)]) == [FollowOutcome("done", bob.id)]


async def test_a_locked_account_is_asked_and_may_agree_late(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    await bob.lock(locked=True)
    assert await follow(mastodon, bot, alice, bob) == [FollowOutcome("requested", bob.id)]
    await comes_true(mastodon, alice, bob, "asked")
    assert await follow(mastodon, bot, alice, bob) == [FollowOutcome("requested")]
    await bob.accept(alice)
    await comes_true(mastodon, alice, bob)
    assert await follow(mastodon, bot, alice, bob) == [FollowOutcome("already")]


async def test_a_request_that_nobody_has_answered_can_be_taken_back(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    await bob.lock(locked=True)
    grant = await mastodon.consent(alice)
    (outcome,) = await bot.follow(grant, [order(bob)])
    await comes_true(mastodon, alice, bob, "asked")
    assert [undone.state for undone in await bot.unfollow(grant, [order(bob, uri=outcome.uri)])] == ["done"]
    await comes_true(mastodon, alice, bob, "no")


async def test_whoever_blocks_or_is_blocked_is_not_followed(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    carol = await mastodon.town.carol()
    await bob.block(alice)
    await alice.block(carol)
    outcomes: list[FollowOutcome] = []

    async def both_known() -> bool:
        outcomes[:] = await follow(mastodon, bot, alice, bob, carol)
        return {outcome.state for outcome in outcomes} == {"refused"}

    await mastodon.town.until(both_known)
    assert outcomes == [FollowOutcome("refused", reason=BLOCKED)] * 2
    assert (await alice.follows(bob), await alice.follows(carol)) == ("no", "no")


async def test_who_is_gone_is_gone_and_nobody_else_is_taken_for_them(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    grant = await mastodon.consent(alice)
    nobody = unique("nobody")
    gone = FollowOrder("gone", bob.actor.replace(bob.name, nobody), f"@{nobody}@{mastodon.town.domain}")
    assert await bot.follow(grant, [gone]) == [FollowOutcome("refused", reason=GONE)]
    assert await alice.follows(bob) == "no"


async def test_a_name_that_belongs_to_somebody_else_by_now_is_not_followed(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    grant = await mastodon.consent(alice)
    former = FollowOrder("former", bob.actor.replace(bob.name, unique("former")), bob.handle)
    assert await bot.follow(grant, [former]) == [FollowOutcome("refused", reason=GONE)]
    assert await alice.follows(bob) == "no"


async def test_nobody_follows_themselves(mastodon: Scene) -> None:
    bot, alice = await mastodon.start(), mastodon.alice
    assert await follow(mastodon, bot, alice, alice) == [FollowOutcome("refused", reason="invalid")]


async def test_several_are_followed_in_one_go(mastodon: Scene) -> None:
    bot, alice = await mastodon.start(), mastodon.alice
    people = [mastodon.bob, await mastodon.town.carol(), mastodon.flock]
    for one in people:
        await one.lock(locked=False)
    outcomes = await follow(mastodon, bot, alice, *people)
    assert [outcome.uri for outcome in outcomes] == [one.id for one in people]
    for one in people:
        await comes_true(mastodon, alice, one)


async def test_a_consent_that_does_not_hold_is_lost_and_says_nothing_of_anybody(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    grant = mastodon.narrow(alice, "nonsense")
    for act in (bot.follow, bot.unfollow):
        with pytest.raises(Refused) as refusal:
            await act(grant, [order(bob, uri=bob.id)])
        assert refusal.value.reason == GRANT_LOST


async def test_a_consent_that_covers_too_little_is_lost_and_blames_nobody(mastodon: Scene) -> None:
    bot, alice, bob = await mastodon.start(), mastodon.alice, mastodon.bob
    grant = mastodon.narrow(alice, await alice.token_for("read"))
    for act in (bot.follow, bot.unfollow):
        with pytest.raises(Refused) as refusal:
            await act(grant, [order(bob, uri=bob.id)])
        assert refusal.value.reason == GRANT_LOST
    assert await alice.follows(bob) == "no"


async def test_the_same_number_on_two_servers_is_two_people(mastodon: Scene) -> None:
    if not isinstance(mastodon.town, StandInTown):
        pytest.skip("not tried here: it takes two servers")
    bot, bob = await mastodon.start(), mastodon.bob
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(
            MastodonSandbox(now=lambda: mastodon.clock() / 1000, quirks=mastodon.town.sandbox.quirks)
        )
        there = StandInTown(sandbox)
        scene = await stack.enter_async_context(Scene.on(there, mastodon.clock))
        other = await scene.start()
        assert there.bob.id == bob.id
        for who, whom, on, by in ((mastodon.alice, bob, mastodon, bot), (there.alice, there.bob, scene, other)):
            await whom.lock(locked=False)
            (outcome,) = await by.follow(await on.consent(who), [order(whom)])
            assert outcome.uri == whom.id
            await comes_true(on, who, whom)
