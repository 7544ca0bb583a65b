"""Following on Bluesky with somebody's consent: once each, honest about what did not work, and undone exactly."""

import asyncio
from typing import TYPE_CHECKING

import pytest

from bot.networks import FollowOrder, FollowOutcome
from bot.networks.bluesky_records import FOLLOW
from bot.networks.errors import BLOCKED, GONE, Unavailable
from bot.sandbox.faults import Fault
from tests.contract.bluesky import Scene, order, undoing

if TYPE_CHECKING:
    from bot.sandbox.bluesky.sky import Hands

_APPLY = "com.atproto.repo.applyWrites"
_UNKNOWN = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


async def test_somebody_is_followed_and_everybody_can_see_it(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    wanted = order(bob)
    (outcome,) = await bluesky.follow(bot, grant, [wanted])
    assert outcome == FollowOutcome("done", f"at://{alice.did}/{FOLLOW}/{wanted.key}")
    await bluesky.sky.settle()
    assert alice.follows == {bob.did}
    assert [record["uri"] for record in await bluesky.records(alice.did, FOLLOW)] == [outcome.uri]


async def test_following_twice_is_following_once(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob, carol = await bluesky.people(3)
    grant = await bluesky.consent(alice)
    once = order(bob)
    first = await bluesky.follow(bot, grant, [once])
    assert await bluesky.follow(bot, grant, [once]) == first
    assert await bot.follow(grant.use, [order(bob)]) == [FollowOutcome("already")]
    outcomes = await bluesky.follow(bot, grant, [order(carol), order(carol)])
    assert [outcome.state for outcome in outcomes] == ["done", "already"]
    assert sorted(await bluesky.followed_by(alice)) == sorted([bob.did, carol.did])


async def test_an_order_that_is_given_again_at_once_is_found_in_the_repository(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    once = order(bob)
    first = await bluesky.follow(bot, grant, [once])
    # Straight after, before any index can have seen it.
    assert await bot.follow(grant.use, [order(bob, again=True, key=once.key)]) == first
    assert await bluesky.followed_by(alice) == [bob.did]


async def test_who_was_followed_by_hand_before_stays_followed_by_hand(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    own = await alice.follow(bob.did)
    wanted = order(bob)
    outcomes = await bluesky.follow(bot, grant, [wanted])
    assert outcomes == [FollowOutcome("already")]
    assert await bot.unfollow(grant.use, undoing([wanted], outcomes)) == [FollowOutcome("already")]
    assert [record["uri"] for record in await bluesky.records(alice.did, FOLLOW)] == [own]


async def test_following_again_by_hand_leaves_one_record_which_is_not_ours_to_undo(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    wanted = order(bob)
    outcomes = await bluesky.follow(bot, grant, [wanted])
    own = await alice.follow(bob.did)  # a PDS then lets go of the earlier record
    assert [record["uri"] for record in await bluesky.records(alice.did, FOLLOW)] == [own]
    assert (await bot.unfollow(grant.use, undoing([wanted], outcomes)))[0].state == "done"
    assert await bluesky.followed_by(alice) == [bob.did]


async def test_every_kind_of_contact_gets_its_own_outcome(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, free, followed, blocker, blocked, closed, taken = await bluesky.people(7)
    grant = await bluesky.consent(alice)
    await alice.follow(followed.did)
    await blocker.block(alice.did)
    await alice.block(blocked.did)
    await closed.deactivate()
    await taken.take_down()
    everybody: list[Hands | str] = [free, followed, blocker, blocked, closed, taken, _UNKNOWN]
    outcomes = await bluesky.follow(bot, grant, [order(each) for each in everybody])
    assert [(outcome.state, outcome.reason) for outcome in outcomes] == [
        ("done", None),
        ("already", None),
        ("refused", BLOCKED),
        ("refused", BLOCKED),
        ("refused", GONE),
        ("refused", GONE),
        ("refused", GONE),
    ]
    assert sorted(await bluesky.followed_by(alice)) == sorted([free.did, followed.did])


async def test_who_blocks_the_bot_or_is_blocked_by_it_can_be_followed_by_others(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, blocker, blocked = await bluesky.people(3)
    grant = await bluesky.consent(alice)
    await blocker.block(bluesky.flock.did)
    await bluesky.flock.block(blocked.did)
    outcomes = await bluesky.follow(bot, grant, [order(blocker), order(blocked)])
    assert [outcome.state for outcome in outcomes] == ["done", "done"]


async def test_who_comes_back_can_be_followed(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob, carol = await bluesky.people(3)
    grant = await bluesky.consent(alice)
    await bob.deactivate()
    await alice.block(carol.did)
    orders = [order(bob), order(carol)]
    outcomes = await bluesky.follow(bot, grant, orders)
    assert [outcome.reason for outcome in outcomes] == [GONE, BLOCKED]
    await bob.reactivate()
    await alice.unblock(carol.did)
    assert [outcome.state for outcome in await bluesky.follow(bot, grant, orders)] == ["done", "done"]


async def test_a_renamed_account_is_followed_by_its_did(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    wanted = order(bob)
    await bob.rename(f"n{bob.handle.partition('.')[0]}")
    assert (await bluesky.follow(bot, grant, [wanted]))[0].state == "done"
    assert await bluesky.followed_by(alice) == [bob.did]


async def test_what_is_undone_is_what_we_did_and_nothing_else(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob, carol, dave, erin = await bluesky.people(5)
    grant = await bluesky.consent(alice)
    orders = [order(each) for each in (bob, carol, dave)]
    outcomes = await bluesky.follow(bot, grant, orders)
    own = await alice.follow(erin.did)
    theirs = await bob.follow(erin.did)
    await alice.unfollow(carol.did)
    foreign = [FollowOrder(order(erin).key, erin.did, erin.handle, uri) for uri in (theirs, None)]
    undone = await bot.unfollow(grant.use, [*undoing(orders, outcomes), *foreign])
    assert [outcome.state for outcome in undone] == ["done", "done", "done", "already", "already"]
    again = await bot.unfollow(grant.use, undoing(orders, outcomes, again=True))
    assert [outcome.state for outcome in again] == ["done"] * 3
    assert [record["uri"] for record in await bluesky.records(alice.did, FOLLOW)] == [own]
    assert [record["uri"] for record in await bluesky.records(bob.did, FOLLOW)] == [theirs]


async def test_a_batch_whose_outcome_was_lost_is_not_doubled_and_counts_as_ours(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, *friends = await bluesky.people(4)
    grant = await bluesky.consent(alice)
    orders = [order(each) for each in friends]
    await bluesky.sky.settle()
    await bluesky.sky.plan(Fault(_APPLY, "cut", after=True))
    with pytest.raises(Unavailable):
        await bot.follow(grant.use, orders)
    again = [order(each, again=True, key=wanted.key) for each, wanted in zip(friends, orders, strict=True)]
    assert [outcome.state for outcome in await bot.follow(grant.use, again)] == ["done"] * 3
    assert sorted(await bluesky.followed_by(alice)) == sorted(each.did for each in friends)


async def test_one_write_that_is_refused_does_not_hold_up_the_others(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, *friends = await bluesky.people(5)
    grant = await bluesky.consent(alice)
    orders = [order(each) for each in friends]
    orders[2] = order(friends[2], key="noTID")
    outcomes = await bluesky.follow(bot, grant, orders)
    assert [outcome.state for outcome in outcomes] == ["done", "done", "refused", "done"]
    assert len(await bluesky.followed_by(alice)) == 3


async def test_what_is_no_account_at_all_does_not_hold_up_the_others(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    outcomes = await bluesky.follow(bot, grant, [order(bob), order("no DID"), order("did:key:zQ3sh")])
    assert [(outcome.state, outcome.reason) for outcome in outcomes] == [
        ("done", None),
        ("refused", GONE),
        ("refused", GONE),
    ]


async def test_who_stands_twice_in_a_long_list_is_followed_once(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.person("alice")
    grant = await bluesky.consent(alice)
    crowd = (await bluesky.sky.open_crowd(1000))[:210]
    # More than one batch of writes, and no index has seen the first when the second comes.
    outcomes = await bluesky.follow(bot, grant, [order(did) for did in [*crowd, crowd[0], crowd[-1]]])
    assert [outcome.state for outcome in outcomes] == ["done"] * 210 + ["already"] * 2
    assert len(await bluesky.followed_by(alice)) == 210


async def test_several_people_are_served_at_once(bluesky: Scene) -> None:
    bot = await bluesky.start()
    *friends, bob = await bluesky.people(4)
    grants = [await bluesky.consent(each) for each in friends]
    await bluesky.sky.settle()
    outcomes = await asyncio.gather(*(bot.follow(grant.use, [order(bob)]) for grant in grants))
    assert [outcome.state for each in outcomes for outcome in each] == ["done"] * 3
    assert [await bluesky.followed_by(each) for each in friends] == [[bob.did]] * 3


async def test_a_thousand_are_followed_and_let_go_again(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.person("alice")
    grant = await bluesky.consent(alice)
    crowd = await bluesky.sky.open_crowd(1000)
    orders = [order(did) for did in crowd]
    outcomes = await bluesky.follow(bot, grant, orders)
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert sorted(await bluesky.followed_by(alice)) == sorted(crowd)
    undone = await bot.unfollow(grant.use, undoing(orders, outcomes))
    assert {outcome.state for outcome in undone} == {"done"}
    assert await bluesky.followed_by(alice) == []
