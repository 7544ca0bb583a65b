"""The stand-in of Mastodon, driven by the real SDK and by raw HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from mastodon import CallbackStreamListener, Mastodon, MastodonAPIError, MastodonRatelimitError
from mastodon.errors import (
    MastodonInternalServerError,
    MastodonNetworkError,
    MastodonNotFoundError,
)

from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import ApiError, MastodonPerson, MastodonSandbox, Rule
from bot.sandbox.mastodon.accounts import Draft


class Clock:
    """A clock that moves when a test says so; it begins at the start of a window of every limit."""

    def __init__(self) -> None:
        self.at = float((int(time.time()) // 86400 + 1) * 86400)

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[MastodonSandbox]:
    async with MastodonSandbox(now=clock) as sandbox:
        yield sandbox


@pytest.fixture
def flock(server: MastodonSandbox) -> MastodonPerson:
    person = server.create_account("flock", bot=True)
    person.allow_private_mentions(allowed=True)
    return person


@pytest.fixture
def alice(server: MastodonSandbox) -> MastodonPerson:
    return server.create_account("alice")


@pytest.fixture
def bob(server: MastodonSandbox) -> MastodonPerson:
    return server.create_account("bob")


@pytest.fixture
async def http(server: MastodonSandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


def sdk(server: MastodonSandbox, token: str) -> Mastodon:
    """Return the SDK's client as the bot makes it."""
    return Mastodon(
        access_token=token,
        api_base_url=server.url,
        mastodon_version="4.3.0",
        ratelimit_method="throw",
        request_timeout=15,
        user_agent="reflock-tests",
    )


async def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call the SDK, which blocks, in a thread."""
    return await asyncio.to_thread(function, *arguments, **options)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# Mentions.


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
    await asyncio.wait_for(opened.wait(), 5)
    status = alice.post("Bonjour @flock !", language="fr")
    notification = await asyncio.wait_for(heard.get(), 5)
    assert (notification.type, notification.status.id, notification.status.language) == ("mention", status, "fr")
    alice.post("nobody is called")
    alice.follow(flock)
    assert (await asyncio.wait_for(heard.get(), 5)).type == "follow"
    handle.closed = True
    server.streaming.close()
    await call(handle.join, 5)
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


# Private mentions.


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


# Statuses.


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
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson, clock: Clock
) -> None:
    client = sdk(server, flock.token)

    async def say(key: str | None) -> str:
        return str((await call(client.status_post, "@alice hello", idempotency_key=key)).id)

    first = await say("one")
    assert await say("one") == first
    assert await say("two") != first
    assert str((await call(sdk(server, alice.token).status_post, "mine", idempotency_key="one")).id) != first
    clock.at += 3600
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


# Accounts and follows.


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


# Limits and failures.


async def test_too_many_requests_are_told_with_headers(
    server: MastodonSandbox, flock: MastodonPerson, clock: Clock, http: httpx.AsyncClient
) -> None:
    server.limits.rules["token"] = Rule(3, 300)
    clock.at += 100
    answers = [await http.get("/api/v1/notifications", headers=bearer(flock.token)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[3].headers["x-ratelimit-limit"] == "3"
    assert answers[3].headers["x-ratelimit-reset"].endswith(":05:00.000000Z"), "windows are fixed, not rolling"
    client = sdk(server, flock.token)
    with pytest.raises(MastodonRatelimitError):
        await call(client.account_verify_credentials)
    assert client.ratelimit_remaining == 0
    assert client.ratelimit_reset == pytest.approx(clock.at + 200 + (time.time() - _date(answers[3])), abs=3)
    other = await http.get("/api/v1/notifications", headers=bearer(flock.token_for("read")))
    assert other.status_code == 200, "each token has its own window"
    clock.at += 200
    assert await call(client.account_verify_credentials)
    server.limits.enabled = False
    answers = [await http.get("/api/v1/notifications", headers=bearer(flock.token)) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}


def _date(answer: httpx.Response) -> float:
    return parsedate_to_datetime(answer.headers["date"]).timestamp()


async def test_follows_and_statuses_have_limits_of_their_own(
    server: MastodonSandbox, alice: MastodonPerson, bob: MastodonPerson, clock: Clock, http: httpx.AsyncClient
) -> None:
    assert server.limits.rules["follows"] == Rule(400, 86400)
    assert server.limits.rules["statuses"] == Rule(300, 10800)
    server.limits.rules |= {"follows": Rule(1, 86400), "statuses": Rule(1, 10800)}
    carol = server.create_account("carol")

    async def follow(other: MastodonPerson) -> httpx.Response:
        return await http.post(f"/api/v1/accounts/{other.id}/follow", headers=bearer(alice.token))

    first = await follow(bob)
    assert (first.status_code, first.headers["x-ratelimit-limit"]) == (200, "1")
    assert (await follow(bob)).status_code == 200, "who is followed already does not count"
    refused = await follow(carol)
    assert (refused.status_code, refused.json()) == (429, {"error": "Too many requests"})
    assert alice.follows == {bob.actor}
    clock.at += 86400
    assert (await follow(carol)).status_code == 200

    statuses = [
        await http.post("/api/v1/statuses", headers=bearer(alice.token), json={"status": f"number {number}"})
        for number in range(2)
    ]
    assert [answer.status_code for answer in statuses] == [200, 429]
    assert len(alice.account.statuses) == 1


async def test_planned_failures_lose_the_request_or_only_its_answer(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson
) -> None:
    client = sdk(server, flock.token)
    server.faults.plan(Fault("/api/v1/statuses", status=500))
    with pytest.raises(MastodonInternalServerError):
        await call(client.status_post, "@alice hello", idempotency_key="k")
    assert server.journal.effects == []
    server.faults.plan(Fault("/api/v1/statuses", "cut", after=True))
    with pytest.raises(MastodonNetworkError):
        await call(client.status_post, "@alice hello", idempotency_key="k")
    assert len(server.journal.effects) == 1
    await call(client.status_post, "@alice hello", idempotency_key="k")
    assert len(server.journal.effects) == 1, "the key saves us from saying it twice"
    server.faults.plan(Fault("/api/v1/notifications", "malformed"))
    with pytest.raises(MastodonAPIError):
        await call(client.notifications)


async def test_a_story_waits_for_what_comes_true(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson
) -> None:
    hello = alice.post("@flock hello")
    answering = asyncio.create_task(
        call(sdk(server, flock.token).status_post, "@alice hi", in_reply_to_id=hello, visibility="unlisted")
    )
    replies = await server.changed(lambda: alice.replies_to(hello), timeout=5)
    assert replies[0].text == "@alice hi"
    await answering
    with pytest.raises(TimeoutError):
        await server.changed(alice.received_dms, timeout=0)
    with pytest.raises(ValueError, match="taken"):
        server.create_account("Alice")
    with pytest.raises(ValueError, match="no name"):
        server.create_account("a b")
