"""Accounts at the Bluesky stand-in: how one signs in, and what becomes of them."""

import pytest
from atproto import AsyncClient
from atproto.exceptions import RateLimitExceededError

from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from tests.conftest import OwnClock
from tests.sandbox_bluesky import alice, bob, flock, refusal, sdk, sdk_client, sky

__all__ = ["alice", "bob", "flock", "sdk", "sky"]  # fixtures


async def test_a_wrong_password_is_refused_and_the_right_one_gives_a_profile(
    sky: BlueskySandbox, flock: BlueskyPerson
) -> None:
    async with sdk_client(sky) as client:
        assert await refusal(client.login(flock.handle, "wrong")) == (401, "AuthenticationRequired")
        me = await client.login(flock.handle, flock.password)
    assert me is not None
    assert (me.did, me.handle) == (flock.did, "flock.test")
    assert [label.val for label in me.labels or ()] == ["bot"]


async def test_an_access_token_ends_and_the_refresh_token_gives_the_next_one(
    sky: BlueskySandbox, sdk: AsyncClient, clock: OwnClock
) -> None:
    session = sdk._session
    assert session is not None
    spent = session.refresh_jwt
    clock.pass_seconds(sky.access_seconds)
    assert await refusal(sdk.com.atproto.server.get_session()) == (400, "ExpiredToken")
    await sdk._refresh_and_set_session()
    assert (await sdk.com.atproto.server.get_session()).handle == "flock.test"

    # Within the two hours of grace the spent token gives the same successor; afterwards it is revoked.
    bearer = {"authorization": f"Bearer {spent}"}
    again = await sdk.com.atproto.server.refresh_session(headers=bearer)
    assert again.refresh_jwt == session.refresh_jwt
    clock.pass_seconds(2 * 3600)
    late = sdk.com.atproto.server.refresh_session(headers=bearer)
    assert await refusal(late) == (400, "ExpiredToken")


async def test_the_thirty_first_login_within_five_minutes_is_refused_with_headers(
    sky: BlueskySandbox, alice: BlueskyPerson, clock: OwnClock
) -> None:
    async with sdk_client(sky) as client:
        for _ in range(30):
            await client.login(alice.handle, alice.password, fetch_bsky_profile=False)
        with pytest.raises(RateLimitExceededError) as caught:
            await client.login(alice.handle, alice.password, fetch_bsky_profile=False)
        error = caught.value
        assert (error.limit, error.remaining, error.policy, error.retry_after) == (30, 0, "30;w=300", 300)
        assert error.reset_at is not None
        assert error.reset_at.timestamp() == clock.seconds() + 300
        clock.pass_seconds(300)
        await client.login(alice.handle, alice.password, fetch_bsky_profile=False)


async def test_a_renamed_account_keeps_its_did_and_frees_its_handle(
    sky: BlueskySandbox, sdk: AsyncClient, alice: BlueskyPerson
) -> None:
    alice.rename("alicia.test")
    assert (await sdk.resolve_handle("alicia.test")).did == alice.did
    assert await refusal(sdk.resolve_handle("alice.test")) == (400, "InvalidRequest")
    document = (await sky.http.get(f"{sky.url}/{alice.did}")).json()
    assert document["alsoKnownAs"] == ["at://alicia.test"]
    assert document["service"][0]["serviceEndpoint"] == sky.url
    assert sky.create_account("alice.test").did != alice.did


async def test_closed_and_suspended_accounts_say_so(sdk: AsyncClient, alice: BlueskyPerson, bob: BlueskyPerson) -> None:
    alice.deactivate()
    bob.take_down()
    assert await refusal(sdk.get_profile(alice.did)) == (400, "AccountDeactivated")
    assert await refusal(sdk.get_profile(bob.did)) == (400, "AccountTakedown")
    assert (await sdk.get_profiles([alice.did, bob.did])).profiles == []
