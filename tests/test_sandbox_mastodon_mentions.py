"""Mentions at the stand-in of Mastodon, public and private: polled, streamed, and held back from strangers' ears."""

import asyncio
from typing import Any

import httpx
import pytest
from mastodon import CallbackStreamListener, MastodonAPIError
from mastodon.errors import MastodonNotFoundError

from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from tests.sandbox_mastodon import alice, bearer, bob, call, flock, http, sdk, server

__all__ = ["alice", "bob", "flock", "http", "server"]  # fixtures


async def test_a_mention_is_found_by_polling_with_a_cursor(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson
) -> None:
    client = sdk(server, flock.token)
    first = alice.post("@flock hello")
    found = await call(client.notifications, types=["mention"])
    assert [entry.status.id for entry in found] == [first]
    assert found[0].account.acct == "alice"
    assert found[0].account.uri == alice.actor
    assert found[0].status.content == (
        f'<p><span class="h-card" translate="no"><a href="{server.url}/@flock" class="u-url mention">@<span>flock</span></a></span> hello</p>'
    )

    rest = [alice.post(f"{flock.handle} number {number}") for number in range(5)]
    alice.follow(flock)
    since = await call(client.notifications, since_id=found[0].id, types=["mention"], limit=2)
    assert [entry.status.id for entry in since] == [rest[4], rest[3]], "since_id gives the newest first"
    after = await call(client.notifications, min_id=found[0].id, types=["mention"], limit=2)
    assert [entry.status.id for entry in after] == [rest[1], rest[0]], "min_id begins where one stopped"
    assert (await call(client.notifications, id=since[0].id)).status.id == rest[4]
    older = await call(client.fetch_next, since)
    assert [entry.status.id for entry in older] == [rest[2], rest[1]]
    everything = await call(client.notifications)
    assert [entry.type for entry in everything][:2] == ["follow", "mention"]


async def test_a_mention_comes_down_the_stream(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson
) -> None:
    client = sdk(server, flock.token)
    assert await call(client.stream_healthy)
    heard: asyncio.Queue[Any] = asyncio.Queue()
    opened = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Listener(CallbackStreamListener):
        def handle_heartbeat(self) -> None:
            loop.call_soon_threadsafe(opened.set)

        def on_notification(self, notification: Any) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, notification)

    handle = await call(client.stream_user, Listener(), run_async=True)  # type: ignore[no-untyped-call]  # the SDK's own constructor
    await asyncio.wait_for(opened.wait(), 20)
    status = alice.post("Bonjour @flock !", language="fr")
    notification = await asyncio.wait_for(heard.get(), 20)
    assert (notification.type, notification.status.id, notification.status.language) == ("mention", status, "fr")
    alice.post("nobody is called")
    alice.follow(flock)
    assert (await asyncio.wait_for(heard.get(), 20)).type == "follow"
    handle.closed = True
    server.streaming.close()
    await call(handle.join, 20)
    assert not handle.is_alive()
    assert server.streaming.open_streams == 0


async def test_the_stream_shows_the_home_timeline_and_knows_its_tokens(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson, http: httpx.AsyncClient
) -> None:
    assert (await http.get("/api/v1/streaming/user")).status_code == 401
    assert (await http.get("/api/v1/streaming/user", headers=bearer("nonsense"))).status_code == 401
    narrow = flock.token_for("read:statuses")
    assert (await http.get("/api/v1/streaming/user/notification", headers=bearer(narrow))).status_code == 401
    assert (await http.get("/api/v1/streaming/nothing", headers=bearer(flock.token))).status_code == 404
    flock.follow(alice)
    async with http.stream("GET", f"/api/v1/streaming/user?access_token={narrow}") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        assert await anext(lines) == ":)"
        status = alice.post("Good morning")
        assert await anext(lines) == "event: update"
        assert f'"id":"{status}"' in await anext(lines)
        assert await anext(lines) == ""
        alice.delete(status)
        assert await anext(lines) == "event: delete"
        assert await anext(lines) == f"data: {status}"


async def test_a_private_mention_goes_both_ways(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson, bob: MastodonPerson
) -> None:
    client = sdk(server, flock.token)
    asked = alice.dm(flock, "claim @old_alice")
    [heard] = await call(client.notifications, types=["mention"])
    assert heard.status.visibility == "direct"
    answer = await call(
        client.status_post,
        f"@{heard.account.acct} Here is your code",
        in_reply_to_id=heard.status.id,
        visibility="direct",
    )
    [received] = alice.received_dms(flock)
    assert (received.text, received.id, received.sender) == ("@alice Here is your code", answer.id, flock.actor)
    [effect] = alice.replies_to(asked)
    assert (effect.kind, effect.by, effect.to, effect.uri) == ("dm", flock.actor, alice.actor, answer.id)
    assert bob.received_dms() == []
    with pytest.raises(MastodonNotFoundError):
        await call(sdk(server, bob.token).status, answer.id)
    context = await call(client.status_context, answer.id)
    assert [status.id for status in context.ancestors] == [asked]
    assert [status.id for status in (await call(client.status_context, asked)).descendants] == [answer.id]


async def test_strangers_private_mentions_are_held_back_unless_they_answer_one(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson
) -> None:
    flock.dm(alice, "A newcomer!")
    assert alice.received_dms() == []
    assert [dm.text for dm in alice.received_dms(filtered=True)] == ["@alice A newcomer!"]
    client = sdk(server, alice.token)
    assert await call(client.notifications) == []
    policy = await call(client.notifications_policy)
    assert policy.for_private_mentions == "filter"
    assert policy.summary.pending_notifications_count == 1

    question = alice.dm(flock, "start")
    flock.dm(alice, "Welcome", reply_to=question)
    assert [dm.text for dm in alice.received_dms()] == ["@alice Welcome"]
    flock.dm(alice, "Another newcomer!")
    assert len(alice.received_dms()) == 1

    policy = await call(client.update_notifications_policy, for_private_mentions="accept")
    assert policy.for_private_mentions == "accept"
    flock.dm(alice, "And another!")
    assert [dm.text for dm in alice.received_dms(flock)] == ["@alice Welcome", "@alice And another!"]

    await call(client.update_notifications_policy, for_private_mentions="drop")
    flock.dm(alice, "Dropped")
    assert len(alice.received_dms()) == 2
    alice.follow(flock)
    flock.dm(alice, "A friend's word")
    assert alice.received_dms()[-1].text == "@alice A friend's word"
    with pytest.raises(MastodonAPIError, match="422"):
        await call(client.update_notifications_policy, for_private_mentions="perhaps")


async def test_a_private_mention_reaches_everybody_it_names(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson, bob: MastodonPerson
) -> None:
    alice.allow_private_mentions(allowed=True)
    bob.allow_private_mentions(allowed=True)
    flock.dm(alice, f"You know @bob, /@bob or name=@bob, and not x@{server.domain}")
    assert len(alice.received_dms()) == len(bob.received_dms()) == 1
    assert [effect.to for effect in server.journal.of("dm")] == [alice.actor, bob.actor]
    flock.dm(alice, "See http://example.com/@bob and mail@bob and =@bob")
    assert len(bob.received_dms()) == 1
    bob.block(flock)
    flock.dm(alice, "with @bob once more")
    assert len(bob.received_dms()) == 1
    assert len(server.journal.of("dm", to=bob.actor)) == 1
