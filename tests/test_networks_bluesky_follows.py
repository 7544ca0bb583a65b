"""Following on Bluesky with somebody's consent: once each, never twice, and honest about what did not work."""

import itertools
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from bot.networks import FollowOrder, FollowOutcome, GrantInUse
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.bluesky_records import tid_for
from bot.networks.errors import BLOCKED, GONE, GRANT_LOST, PartlyDone, Refused, Unavailable
from bot.networks.guard import GuardedClient
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.oauth_atproto import AtprotoOauth, AtprotoTokens
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.bluesky.limits import WRITE_RULES
from bot.sandbox.faults import Fault
from tests.bluesky_bot import Drawer, guard, sky
from tests.conftest import OwnClock

__all__ = ["guard", "sky"]  # fixtures

APPLY = "com.atproto.repo.applyWrites"
_NUMBERS = itertools.count()


@pytest.fixture
def oauth(sky: BlueskySandbox, guard: GuardedClient, clock: OwnClock) -> AtprotoOauth:
    identities = IdentityResolver(guard, plc_url=sky.url, resolver_url=sky.url)
    return AtprotoOauth(guard, identities, public_url="http://127.0.0.1:8899", clock=clock.seconds)


@pytest.fixture
async def bot(
    sky: BlueskySandbox, guard: GuardedClient, oauth: AtprotoOauth, clock: OwnClock
) -> AsyncIterator[BlueskyNetwork]:
    flock = sky.create_account("flock.test")
    network = BlueskyNetwork(
        service_url=sky.url,
        handle=flock.handle,
        app_password=flock.password,
        oauth=oauth,
        sessions=Drawer(),
        clock=clock,
        poll_seconds=1,
    )
    await network.start()
    yield network
    await network.close()


@pytest.fixture
def alice(sky: BlueskySandbox) -> BlueskyPerson:
    return sky.create_account("alice.test")


class Grant:
    """Alice's consent, and what was kept of it."""

    def __init__(self, tokens: AtprotoTokens) -> None:
        self.saved: list[str] = []
        self.use = GrantInUse(tokens.did, tokens.to_json(), self._save)

    async def _save(self, secret: str) -> None:
        self.saved.append(secret)


@pytest.fixture
async def grant(bot: BlueskyNetwork, oauth: AtprotoOauth, alice: BlueskyPerson) -> Grant:
    asked, url = await oauth.start(alice.handle)
    back = await alice.approve(url)
    return Grant(await oauth.finish(asked, dict(parse_qsl(urlsplit(back).query))))


def order(person: BlueskyPerson, *, again: bool = False, key: str | None = None) -> FollowOrder:
    return FollowOrder(key or tid_for(f"order {next(_NUMBERS)}"), person.did, person.handle, again=again)


def people(sky: BlueskySandbox, n: int) -> list[BlueskyPerson]:
    return [sky.create_account(f"person{next(_NUMBERS)}.test") for _ in range(n)]


async def test_a_whole_list_is_followed_and_unfollowed(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant
) -> None:
    friends = people(sky, 230)
    orders = [order(friend) for friend in friends]
    outcomes = await bot.follow(grant.use, orders)
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert alice.follows == {friend.did for friend in friends}
    assert outcomes[7].uri == f"at://{alice.did}/app.bsky.graph.follow/{orders[7].key}"
    back = [
        FollowOrder(each.key, each.actor, each.handle, outcome.uri)
        for each, outcome in zip(orders, outcomes, strict=True)
    ]
    assert {outcome.state for outcome in await bot.unfollow(grant.use, back)} == {"done"}
    assert alice.follows == set()
    assert len(sky.journal.of("unfollow", by=alice.did)) == 230


async def test_two_orders_about_one_account_make_one_record(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant
) -> None:
    bob = sky.create_account("bob.test")
    outcomes = await bot.follow(grant.use, [order(bob), order(bob)])
    assert [outcome.state for outcome in outcomes] == ["done", "already"]
    assert sky.world.duplicate_follows() == 0


async def test_every_kind_of_contact_gets_its_own_outcome(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant
) -> None:
    free, followed, blocker, blocked, closed, taken = people(sky, 6)
    alice.follow(followed)
    blocker.block(alice)
    alice.block(blocked)
    closed.deactivate()
    taken.take_down()
    unknown = FollowOrder(tid_for("unknown"), "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "nobody.test")
    orders = [order(each) for each in (free, followed, blocker, blocked, closed, taken)]
    outcomes = await bot.follow(grant.use, [*orders, unknown])
    assert [(outcome.state, outcome.reason) for outcome in outcomes] == [
        ("done", None),
        ("already", None),
        ("refused", BLOCKED),
        ("refused", BLOCKED),
        ("refused", GONE),
        ("refused", GONE),
        ("refused", GONE),
    ]
    assert sky.world.duplicate_follows() == 0


async def test_a_batch_whose_outcome_was_lost_is_not_doubled_and_counts_as_ours(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant
) -> None:
    orders = [order(friend) for friend in people(sky, 3)]
    sky.faults.plan(Fault(APPLY, "cut", after=True))
    with pytest.raises(Unavailable):
        await bot.follow(grant.use, orders)
    again = [FollowOrder(each.key, each.actor, each.handle, again=True) for each in orders]
    outcomes = await bot.follow(grant.use, [*again, order(people(sky, 1)[0], again=True)])
    assert [outcome.state for outcome in outcomes] == ["done"] * 4
    assert len(alice.follows) == 4
    assert sky.world.duplicate_follows() == 0


async def test_what_the_index_has_not_seen_yet_is_found_in_the_repository(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant
) -> None:
    (bob,) = people(sky, 1)
    first = order(bob)
    await bot.follow(grant.use, [first])
    relations = sky.world.follows.pop((alice.did, bob.did))
    (outcome,) = await bot.follow(grant.use, [order(bob, again=True, key=first.key)])
    sky.world.follows[alice.did, bob.did] = relations
    assert outcome == FollowOutcome("done", relations[0])


async def test_one_write_that_is_refused_does_not_hold_up_the_others(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant
) -> None:
    orders = [order(friend) for friend in people(sky, 5)]
    orders[3] = FollowOrder("no TID at all", orders[3].actor, orders[3].handle)
    outcomes = await bot.follow(grant.use, orders)
    assert [outcome.state for outcome in outcomes] == ["done", "done", "done", "refused", "done"]
    assert len(alice.follows) == 4


async def test_what_was_done_before_a_failure_is_not_forgotten(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant, clock: OwnClock
) -> None:
    sky.limits.consume("repo-write", alice.did, WRITE_RULES, 5000 - 3 * 210)
    orders = [order(friend) for friend in people(sky, 230)]
    with pytest.raises(PartlyDone) as partly:
        await bot.follow(grant.use, orders)
    assert [outcome.state for outcome in partly.value.outcomes] == ["done"] * 200
    assert isinstance(partly.value.cause, Unavailable)
    assert partly.value.cause.retry_in is not None
    clock.pass_seconds(partly.value.cause.retry_in + 1)
    rest = await bot.follow(grant.use, orders[200:])
    assert len(rest) == 30
    assert len(alice.follows) == 230


async def test_tokens_are_renewed_and_kept_before_they_are_used(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant, clock: OwnClock
) -> None:
    clock.pass_seconds(sky.oauth_access_seconds - 30)
    (bob, carol) = people(sky, 2)
    before = grant.use.secret
    await bot.follow(grant.use, [order(bob)])
    assert grant.saved == [grant.use.secret]
    assert grant.use.secret != before
    sky.faults.plan(Fault(APPLY, status=401, body=b'{"error":"invalid_token","message":"expired"}'))
    await bot.follow(grant.use, [order(carol)])
    assert len(grant.saved) == 2
    assert alice.follows == {bob.did, carol.did}


async def test_a_consent_that_was_taken_back_is_lost(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant
) -> None:
    (bob,) = people(sky, 1)
    await bot.revoke(grant.use.secret)
    await bot.revoke(grant.use.secret)
    for attempt in (bot.follow, bot.unfollow):
        with pytest.raises(Refused) as refusal:
            await attempt(
                grant.use, [FollowOrder(tid_for("x"), bob.did, bob.handle, f"at://{alice.did}/app.bsky.graph.follow/x")]
            )
        assert refusal.value.reason == GRANT_LOST
    with pytest.raises(Refused) as unreadable:
        await bot.follow(GrantInUse(alice.did, "{}", grant.use.save), [order(bob)])
    assert unreadable.value.reason == GRANT_LOST
    assert alice.follows == set()


async def test_a_consent_that_covers_too_little_is_lost(
    bot: BlueskyNetwork, oauth: AtprotoOauth, sky: BlueskySandbox
) -> None:
    (bob, carol) = people(sky, 2)
    asked, url = await oauth.start(bob.handle)
    back = await bob.approve(url, scope="atproto")
    tokens = await oauth.finish(asked, dict(parse_qsl(urlsplit(back).query)))
    with pytest.raises(Refused) as refusal:
        await bot.follow(Grant(tokens).use, [order(carol)])
    assert refusal.value.reason == GRANT_LOST


async def test_an_unfollow_touches_only_what_we_did_and_takes_what_is_gone_for_done(
    bot: BlueskyNetwork, sky: BlueskySandbox, alice: BlueskyPerson, grant: Grant
) -> None:
    bob, carol, dave, erin = people(sky, 4)
    await bot.follow(grant.use, orders := [order(each) for each in (bob, carol, dave)])
    own = alice.follow(erin)
    alice.unfollow(carol)
    base = f"at://{alice.did}/app.bsky.graph.follow/"
    backs = [FollowOrder(each.key, each.actor, each.handle, base + each.key) for each in orders]
    foreign = FollowOrder(tid_for("f"), erin.did, erin.handle, f"at://{bob.did}/app.bsky.graph.follow/3kaaaaaaaaaaa")
    outcomes = await bot.unfollow(grant.use, [*backs, foreign, order(erin)])
    assert [outcome.state for outcome in outcomes] == ["done", "done", "done", "already", "already"]
    assert alice.follows == {erin.did}
    repeated = [FollowOrder(each.key, each.actor, each.handle, each.uri, again=True) for each in backs]
    assert [outcome.state for outcome in await bot.unfollow(grant.use, repeated)] == ["done"] * 3
    assert sky.world.find_record(own) is not None


async def test_a_sick_server_is_unavailable_and_never_a_refusal(
    bot: BlueskyNetwork, sky: BlueskySandbox, grant: Grant
) -> None:
    (bob,) = people(sky, 1)
    for fault in (
        Fault(APPLY),
        Fault(APPLY, "malformed"),
        Fault("getRelationships", status=502),
        Fault("getProfiles", "cut"),
    ):
        sky.faults.plan(fault)
        with pytest.raises(Unavailable):
            await bot.follow(grant.use, [order(bob)])
    reset = Fault(APPLY, status=429, headers={"retry-after": "90"})
    sky.faults.plan(reset)
    with pytest.raises(Unavailable) as limit:
        await bot.follow(grant.use, [order(bob)])
    assert limit.value.retry_in == 90
