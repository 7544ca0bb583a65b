"""Statuses at the stand-in of Mastodon: how long, written how, said once, answered and deleted."""

import httpx
import pytest
from mastodon import MastodonAPIError
from mastodon.errors import MastodonNotFoundError

from bot.sandbox.mastodon import ApiError, MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.accounts import Draft
from tests.conftest import OwnClock
from tests.sandbox_mastodon import alice, bob, call, flock, http, sdk, server

__all__ = ["alice", "bob", "flock", "http", "server"]  # fixtures


async def test_lengths_count_links_as_23_and_remote_mentions_by_their_local_part(
    server: MastodonSandbox, alice: MastodonPerson
) -> None:
    client = sdk(server, alice.token)
    limits = (await call(client.instance_v2)).configuration.statuses
    assert (limits.max_characters, limits.characters_reserved_per_url) == (500, 23)
    assert (await call(client.instance_v1)).configuration.statuses.max_characters == 500
    assert await call(client.status_post, "x" * 500)
    link = "https://example.com/" + "long/" * 60
    assert await call(client.status_post, "x" * 476 + " " + link)
    assert await call(client.status_post, "@somebody@example.social" + " " + "x" * 489)
    assert await call(client.status_post, "👩‍👩‍👧‍👦" * 500), "graphemes count, not code points"
    for text in ("x" * 501, "x" * 477 + " " + link, "@somebody@example.social" + " " + "x" * 491, " \n"):
        with pytest.raises(MastodonAPIError, match=r"422.*Validation failed"):
            await call(client.status_post, text)
    with pytest.raises(ApiError) as refused:
        alice.post("x" * 501)
    assert refused.value.status == 422


async def test_content_is_html_as_mastodon_writes_it(
    server: MastodonSandbox, alice: MastodonPerson, bob: MastodonPerson
) -> None:
    client = sdk(server, alice.token)
    status = await call(
        client.status_post,
        f"Tom & <Jerry>\nwith @BOB@{server.domain}, @nobody@else.example #eXit\n\n\nhttps://www.example.com/a/very/long/path/to/somewhere?x=1&y=2. (http://x.com)",
    )
    rel = 'target="_blank" rel="nofollow noopener noreferrer" translate="no"'
    assert status.content == (
        "<p>Tom &amp; &lt;Jerry&gt;<br />with "
        f'<span class="h-card" translate="no"><a href="{server.url}/@bob" class="u-url mention">@<span>bob</span></a></span>, '
        f'@nobody@else.example <a href="{server.url}/tags/eXit" class="mention hashtag" rel="tag">#<span>eXit</span></a></p>'
        f'<p><a href="https://www.example.com/a/very/long/path/to/somewhere?x=1&amp;y=2" {rel}>'
        '<span class="invisible">https://www.</span><span class="ellipsis">example.com/a/very/long/path/t</span>'
        '<span class="invisible">o/somewhere?x=1&amp;y=2</span></a>. '
        f'(<a href="http://x.com" {rel}><span class="invisible">http://</span><span class="">x.com</span><span class="invisible"></span></a>)</p>'
    )
    assert [mention.acct for mention in status.mentions] == ["bob"]


async def test_an_idempotency_key_is_honoured_for_an_hour(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson, clock: OwnClock
) -> None:
    client = sdk(server, flock.token)

    async def say(key: str | None) -> str:
        return str((await call(client.status_post, "@alice hello", idempotency_key=key)).id)

    first = await say("one")
    assert await say("one") == first
    assert await say("two") != first
    assert str((await call(sdk(server, alice.token).status_post, "mine", idempotency_key="one")).id) != first
    clock.pass_seconds(3600)
    assert await say("one") != first
    server.idempotency.honoured = False
    assert await say("one") != await say("one")
    assert len(server.journal.of("post", by=flock.actor, to=alice.actor)) == 5


async def test_statuses_can_be_answered_listed_hidden_and_deleted(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson, bob: MastodonPerson, http: httpx.AsyncClient
) -> None:
    hello = alice.post("@flock hello")
    reply = flock.post("Three steps: …", reply_to=hello)
    [effect] = alice.replies_to(hello)
    assert (effect.text, effect.to, effect.reply_to) == ("@alice Three steps: …", alice.actor, hello)
    followers_only = alice.post("for followers", visibility="private")
    client = sdk(server, bob.token)
    with pytest.raises(MastodonNotFoundError):
        await call(client.status, followers_only)
    bob.follow(alice)
    assert (await call(client.status, followers_only)).visibility == "private"
    assert [status.id for status in await call(client.account_statuses, alice.id)] == [followers_only, hello]
    assert len((await http.get(f"/api/v1/accounts/{alice.id}/statuses")).json()) == 1
    with pytest.raises(MastodonNotFoundError):
        await call(client.status_delete, reply)
    gone = await call(sdk(server, flock.token).status_delete, reply)
    assert gone.text == "@alice Three steps: …"
    assert [entry.type for entry in await call(sdk(server, alice.token).notifications)] == ["follow"]
    with pytest.raises(MastodonNotFoundError):
        await call(client.status_reply, gone, "too late")
    with pytest.raises(ApiError, match="does not appear to exist"):
        server.world.publish(bob.account, Draft("hm", reply_to=12345))
