"""Accounts at the stand-in of Mastodon: found, named, followed and blocked."""

import httpx
import pytest
from mastodon import MastodonAPIError
from mastodon.errors import MastodonNotFoundError

from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from tests.sandbox_mastodon import alice, bearer, bob, call, flock, http, sdk, server

__all__ = ["alice", "bob", "flock", "http", "server"]  # fixtures


async def test_people_are_found_by_their_address_and_named_by_their_uri(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson, http: httpx.AsyncClient
) -> None:
    client = sdk(server, flock.token)
    me = await call(client.account_verify_credentials)
    assert (me.uri, me.acct, me.bot, me.url) == (flock.actor, "flock", True, f"{server.url}/@flock")
    assert (await call(client.account_update_credentials, bot=False, display_name="Reflock")).bot is False
    assert (await call(client.account_update_credentials, bot=True)).display_name == "Reflock"
    assert (await call(client.account_lookup, "Alice")).uri == alice.actor
    assert (await call(client.account, alice.id)).acct == "alice"
    for query in ("alice", "@alice", f"alice@{server.domain}", alice.handle, alice.actor, f"{server.url}/@alice"):
        found = await call(client.search_v2, query, resolve=True, result_type="accounts")
        assert [account.uri for account in found.accounts] == [alice.actor], query
        assert len(await call(client.account_search, query, resolve=True)) == 1
    assert (await call(client.search_v2, "@alice@elsewhere.example", resolve=True)).accounts == []
    assert (await http.get("/api/v2/search", params={"q": "alice", "resolve": "true"})).status_code == 401
    assert len((await http.get("/api/v2/search", params={"q": "alice"})).json()["accounts"]) == 1

    finger = (await http.get("/.well-known/webfinger", params={"resource": f"acct:alice@{server.domain}"})).json()
    assert {"rel": "self", "type": "application/activity+json", "href": alice.actor} in finger["links"]
    assert (await http.get(alice.actor)).json()["id"] == alice.actor
    unknown = {"resource": f"acct:zoe@{server.domain}"}
    assert (await http.get("/.well-known/webfinger", params=unknown)).status_code == 404
    assert (await call(client.instance_nodeinfo)).software.name == "mastodon"

    alice.suspend()
    for request in (client.account_lookup, client.account_follow):
        with pytest.raises(MastodonNotFoundError):
            await call(request, "alice" if request == client.account_lookup else alice.id)
    with pytest.raises(MastodonNotFoundError):
        await call(client.account, 999)
    with pytest.raises(MastodonAPIError, match="403"):
        await call(sdk(server, alice.token).account_verify_credentials)
    assert (await http.get("/api/v1/nothing", headers=bearer(flock.token))).status_code == 404


async def test_follows_open_locked_and_blocked(
    server: MastodonSandbox, alice: MastodonPerson, bob: MastodonPerson
) -> None:
    carol = server.create_account("carol", locked=True)
    client = sdk(server, alice.token)
    assert (await call(client.account_follow, bob.id)).following
    assert (await call(client.account_follow, bob.id)).following, "a second follow changes nothing"
    assert alice.follows == {bob.actor}
    locked = await call(client.account_follow, carol.id)
    assert (locked.following, locked.requested) == (False, True)
    assert alice.requested == {carol.actor}
    assert len(server.journal.of("follow", by=alice.actor)) == 1
    [asked] = await call(sdk(server, carol.token).notifications)
    assert asked.type == "follow_request"
    carol.accept(alice)
    both = await call(client.account_relationships, [bob.id, carol.id])
    assert [(one.id, one.following, one.requested) for one in both] == [(bob.id, True, False), (carol.id, True, False)]
    assert [effect.to for effect in server.journal.of("follow")] == [bob.actor, carol.actor]
    assert [one.acct for one in await call(client.account_following, alice.id)] == ["carol", "bob"]
    page = await call(client.account_following, alice.id, limit=1)
    assert [one.acct for one in await call(client.fetch_next, page)] == ["bob"]

    assert not (await call(client.account_unfollow, bob.id)).following
    await call(client.account_unfollow, bob.id)
    assert [effect.to for effect in server.journal.of("unfollow")] == [bob.actor]

    bob.block(alice)
    for number in (bob.id, alice.id):
        with pytest.raises(MastodonAPIError, match=r"403.*This action is not allowed"):
            await call(client.account_follow, number)
    assert (await call(client.account_relationships, bob.id))[0].blocked_by
    carol.block(alice)
    assert alice.follows == set()
    with pytest.raises(MastodonNotFoundError):
        await call(client.account_follow, 1)
