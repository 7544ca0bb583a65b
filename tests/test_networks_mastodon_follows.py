"""Following on a Mastodon server with somebody's consent: once each, never twice, and honest about what did not work."""

import itertools
from urllib.parse import urlsplit

import pytest

from bot.networks import FollowOrder, FollowOutcome, GrantInUse
from bot.networks.errors import BLOCKED, GONE, GRANT_LOST, PartlyDone, Refused, Unavailable
from bot.networks.guard import GuardedClient
from bot.networks.mastodon import MastodonNetwork
from bot.networks.oauth_mastodon import MastodonOauth
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.limits import FOLLOWS, Rule
from tests.conftest import OwnClock
from tests.mastodon_bot import guard, town

__all__ = ["guard", "town"]  # fixtures

_NUMBERS = itertools.count()


@pytest.fixture
def oauth(guard: GuardedClient, clock: OwnClock) -> MastodonOauth:
    return MastodonOauth(guard, public_url=None, clock=clock.seconds)


@pytest.fixture
def bot(town: MastodonSandbox, guard: GuardedClient, oauth: MastodonOauth, clock: OwnClock) -> MastodonNetwork:
    """Make a bot; to act for others it need not even be logged in."""
    return MastodonNetwork(
        base_url=town.url,
        access_token="",
        guard=guard,
        oauth=oauth,
        clock=clock,
        poll_seconds=1,
    )


@pytest.fixture
def alice(town: MastodonSandbox) -> MastodonPerson:
    return town.create_account("alice")


@pytest.fixture
async def grant(town: MastodonSandbox, oauth: MastodonOauth, alice: MastodonPerson) -> GrantInUse:
    app = await oauth.register(town.domain)
    consent, url = oauth.start(app, alice.actor)
    tokens = await oauth.finish_with_code(app, consent, await alice.approve(url))
    return GrantInUse(alice.actor, tokens.to_json(), _never)


async def _never(secret: str) -> None:
    raise AssertionError("tokens of Mastodon do not change")


def people(town: MastodonSandbox, n: int) -> list[MastodonPerson]:
    return [town.create_account(f"person{next(_NUMBERS)}") for _ in range(n)]


def order(
    person: MastodonPerson, *, again: bool = False, in_doubt: bool = False, uri: str | None = None
) -> FollowOrder:
    return FollowOrder(f"order {next(_NUMBERS)}", person.actor, person.handle, uri, again=again, in_doubt=in_doubt)


async def test_people_are_followed_and_unfollowed(
    bot: MastodonNetwork, town: MastodonSandbox, alice: MastodonPerson, grant: GrantInUse
) -> None:
    friends = people(town, 5)
    outcomes = await bot.follow(grant, [order(friend) for friend in friends])
    assert outcomes == [FollowOutcome("done", friend.id) for friend in friends]
    assert alice.follows == {friend.actor for friend in friends}
    back = [order(friend, uri=outcome.uri) for friend, outcome in zip(friends, outcomes, strict=True)]
    for _ in range(2):
        assert {outcome.state for outcome in await bot.unfollow(grant, back)} == {"done"}
    assert alice.follows == set()
    assert len(town.journal.of("unfollow", by=alice.actor)) == 5


async def test_every_kind_of_contact_gets_its_own_outcome(
    bot: MastodonNetwork, town: MastodonSandbox, alice: MastodonPerson, grant: GrantInUse
) -> None:
    followed, blocker, blocked, gone, asked = people(town, 5)
    locked = town.create_account("locked", locked=True)
    asked.account.locked = True
    alice.follow(followed)
    alice.follow(asked)
    blocker.block(alice)
    alice.block(blocked)
    gone.suspend()
    orders = [order(each) for each in (followed, blocker, blocked, gone, locked, asked)]
    nobody = FollowOrder("k", f"{town.url}/users/nobody", f"@nobody@{town.domain}")
    outcomes = await bot.follow(grant, [*orders, nobody])
    assert outcomes == [
        FollowOutcome("already"),
        FollowOutcome("refused", reason=BLOCKED),
        FollowOutcome("refused", reason=BLOCKED),
        FollowOutcome("refused", reason=GONE),
        FollowOutcome("requested", locked.id),
        FollowOutcome("requested"),
        FollowOutcome("refused", reason=GONE),
    ]
    assert alice.requested == {locked.actor, asked.actor}
    back = [order(followed), order(locked, uri=locked.id), order(asked)]
    assert [outcome.state for outcome in await bot.unfollow(grant, back)] == ["already", "done", "already"]
    assert alice.requested == {asked.actor}
    assert alice.follows == {followed.actor}


async def test_only_exactly_the_account_that_was_meant_is_followed(
    bot: MastodonNetwork, town: MastodonSandbox, alice: MastodonPerson, grant: GrantInUse
) -> None:
    impostor, renamed = people(town, 2)
    moved = FollowOrder("k1", f"{town.url}/users/somebody_else", impostor.handle)
    old_name = FollowOrder("k2", renamed.actor, f"@old_name@{town.domain}")
    outcomes = await bot.follow(grant, [moved, old_name])
    assert [outcome.state for outcome in outcomes] == ["refused", "done"]
    assert alice.follows == {renamed.actor}


async def test_a_follow_whose_outcome_was_lost_counts_as_ours(
    bot: MastodonNetwork, town: MastodonSandbox, alice: MastodonPerson, grant: GrantInUse
) -> None:
    (bob,) = people(town, 1)
    town.faults.plan(Fault("/follow", "cut", after=True, method="POST"))
    with pytest.raises(Unavailable):
        await bot.follow(grant, [order(bob)])
    assert await bot.follow(grant, [order(bob, again=True)]) == [FollowOutcome("done", bob.id)]
    assert len(town.journal.of("follow", by=alice.actor)) == 1


async def test_nobody_can_tell_who_followed_or_asked_when_the_matter_rested(
    bot: MastodonNetwork, town: MastodonSandbox, alice: MastodonPerson, grant: GrantInUse
) -> None:
    followed, locked, neither = people(town, 3)
    locked.account.locked = True
    alice.follow(followed)
    alice.follow(locked)
    orders = [order(each, again=True, in_doubt=True) for each in (followed, locked, neither)]
    assert await bot.follow(grant, orders) == [
        FollowOutcome("unclear"),
        FollowOutcome("unclear"),
        FollowOutcome("done", neither.id),
    ]


async def test_a_server_that_takes_its_time_to_ask_a_far_account_is_believed(
    bot: MastodonNetwork, town: MastodonSandbox, grant: GrantInUse
) -> None:
    (bob,) = people(town, 1)
    body = b'{"id":"1","following":false,"requested":false}'
    town.faults.plan(Fault("/follow", status=200, body=body, method="POST"))
    assert await bot.follow(grant, [order(bob)]) == [FollowOutcome("requested", bob.id)]


async def test_what_was_done_before_a_limit_is_not_forgotten(
    bot: MastodonNetwork, town: MastodonSandbox, alice: MastodonPerson, grant: GrantInUse, clock: OwnClock
) -> None:
    town.limits.rules[FOLLOWS] = Rule(4, 86400)  # of which the last is left alone
    orders = [order(friend) for friend in people(town, 5)]
    with pytest.raises(PartlyDone) as partly:
        await bot.follow(grant, orders)
    assert [outcome.state for outcome in partly.value.outcomes] == ["done"] * 3
    assert isinstance(partly.value.cause, Unavailable)
    assert partly.value.cause.retry_in is not None
    clock.pass_seconds(partly.value.cause.retry_in + 1)
    assert len(await bot.follow(grant, orders[3:])) == 2
    assert len(alice.follows) == 5


async def test_a_refusal_by_the_server_itself_is_only_about_that_account(
    bot: MastodonNetwork, town: MastodonSandbox, grant: GrantInUse
) -> None:
    friends = people(town, 4)
    for status in (403, 404, 422):
        town.faults.plan(Fault("/follow", status=status, body=b'{"error":"no"}', method="POST"))
    outcomes = await bot.follow(grant, [order(friend) for friend in friends])
    assert [outcome.reason or outcome.state for outcome in outcomes] == [BLOCKED, GONE, "invalid", "done"]


async def test_a_consent_that_was_taken_back_is_lost(
    bot: MastodonNetwork, town: MastodonSandbox, alice: MastodonPerson, grant: GrantInUse
) -> None:
    (bob,) = people(town, 1)
    await bot.revoke(grant.secret)
    await bot.revoke(grant.secret)
    for act in (bot.follow, bot.unfollow):
        with pytest.raises(Refused) as refusal:
            await act(grant, [order(bob, uri=bob.id)])
        assert refusal.value.reason == GRANT_LOST
    with pytest.raises(Refused) as unreadable:
        await bot.follow(GrantInUse(alice.actor, "{}", _never), [order(bob)])
    assert unreadable.value.reason == GRANT_LOST
    assert alice.follows == set()


async def test_a_consent_that_covers_too_little_is_lost(
    bot: MastodonNetwork, town: MastodonSandbox, alice: MastodonPerson, grant: GrantInUse
) -> None:
    friends = people(town, 2)
    scopes = b'{"error":"This action is outside the authorized scopes"}'
    town.faults.plan(Fault(f"{friends[1].id}/follow", status=403, body=scopes, method="POST"))
    with pytest.raises(PartlyDone) as partly:
        await bot.follow(grant, [order(friend) for friend in friends])
    assert isinstance(partly.value.cause, Refused)
    assert partly.value.cause.reason == GRANT_LOST
    assert len(partly.value.outcomes) == 1


@pytest.mark.parametrize("path", ["/search", "/relationships", "/follow"])
async def test_a_sick_server_is_unavailable_and_never_a_refusal(
    bot: MastodonNetwork, town: MastodonSandbox, grant: GrantInUse, path: str
) -> None:
    (bob,) = people(town, 1)
    faults = [Fault(path, status=502), Fault(path, "cut"), Fault(path, "malformed")]
    for fault in faults:
        town.faults.plan(fault)
        with pytest.raises(Unavailable):
            await bot.follow(grant, [order(bob)])
    town.faults.plan(Fault(path, status=429, headers={"retry-after": "90"}))
    with pytest.raises(Unavailable) as limit:
        await bot.follow(grant, [order(bob)])
    assert limit.value.retry_in == 90


async def test_a_server_inside_our_walls_is_not_asked(
    oauth: MastodonOauth, town: MastodonSandbox, grant: GrantInUse, clock: OwnClock
) -> None:
    (bob,) = people(town, 1)
    async with GuardedClient() as strict:
        bot = MastodonNetwork(
            base_url=town.url,
            access_token="",
            guard=strict,
            oauth=oauth,
            clock=clock,
            poll_seconds=1,
        )
        with pytest.raises(Refused, match="https"):
            await bot.follow(grant, [order(bob)])
    assert urlsplit(town.url).scheme == "http"


@pytest.mark.parametrize("path", ["/search", "/relationships"])
async def test_trouble_before_the_follow_itself_leaves_no_unknown_outcome(
    bot: MastodonNetwork, town: MastodonSandbox, grant: GrantInUse, clock: OwnClock, path: str
) -> None:
    (bob,) = people(town, 1)
    for fault in (Fault(path, status=503), Fault(path, "cut"), Fault("/follow", status=429, method="POST")):
        town.faults.plan(fault)
        with pytest.raises(Unavailable) as trouble:
            await bot.follow(grant, [order(bob)])
        assert not trouble.value.begun
    town.limits.rules[FOLLOWS] = Rule(1, 86400)
    await bot.follow(grant, [order(bob)])
    with pytest.raises(Unavailable) as spent:
        await bot.follow(grant, [order(*people(town, 1))])
    assert not spent.value.begun
    clock.pass_seconds(86_401)
    town.faults.plan(Fault("/follow", "cut", method="POST"))
    with pytest.raises(Unavailable) as unknown:
        await bot.follow(grant, [order(*people(town, 1))])
    assert unknown.value.begun
