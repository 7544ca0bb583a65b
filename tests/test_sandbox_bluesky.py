"""The Bluesky stand-in, driven by the real SDK and by raw HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from atproto import AsyncClient, AsyncRequest, models
from atproto.exceptions import RateLimitExceededError
from atproto_client.exceptions import RequestErrorBase
from atproto_client.models.utils import get_or_create

from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox, DmRefused
from bot.sandbox.bluesky.ids import TidClock, is_tid
from bot.sandbox.faults import Fault

FOLLOW = "app.bsky.graph.follow"
CREATE = "com.atproto.repo.applyWrites#create"
DELETE = "com.atproto.repo.applyWrites#delete"


class Clock:
    """Epoch seconds that move only when a test says so."""

    def __init__(self) -> None:
        self.at = 4_000_000_000.0  # far ahead, because the SDK compares a token's end with the real time

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sky(clock: Clock) -> AsyncIterator[BlueskySandbox]:
    async with BlueskySandbox(now=clock) as sandbox:
        yield sandbox


@pytest.fixture
def flock(sky: BlueskySandbox) -> BlueskyPerson:
    person = sky.create_account("flock.test", bot=True)
    person.allow_incoming = "all"
    return person


@pytest.fixture
def alice(sky: BlueskySandbox) -> BlueskyPerson:
    return sky.create_account("alice.test")


@pytest.fixture
def bob(sky: BlueskySandbox) -> BlueskyPerson:
    return sky.create_account("bob.test")


@asynccontextmanager
async def sdk_client(sky: BlueskySandbox) -> AsyncIterator[AsyncClient]:
    """Open the SDK's client without the cost of a TLS context of its own, and close its connections."""
    request = AsyncRequest(verify=False, trust_env=False)
    yield AsyncClient(f"{sky.url}/xrpc", request=request)
    await request.close()


@pytest.fixture
async def sdk(sky: BlueskySandbox, flock: BlueskyPerson) -> AsyncIterator[AsyncClient]:
    """The bot's own client, signed in."""
    async with sdk_client(sky) as client:
        await client.login(flock.handle, flock.password, fetch_bsky_profile=False)
        yield client


@pytest.fixture
async def chat(sdk: AsyncClient) -> AsyncIterator[Any]:
    """The bot's client for direct messages."""
    proxied = sdk.with_bsky_chat_proxy()
    yield proxied.chat.bsky.convo
    await proxied.request.close()


async def refusal(awaitable: Any) -> tuple[int, str]:
    """Return status and error name of a call that is refused."""
    with pytest.raises(RequestErrorBase) as caught:
        await awaitable
    assert caught.value.response is not None
    content = caught.value.response.content
    return caught.value.response.status_code, content.error if hasattr(content, "error") else str(content)


def follow_write(other: BlueskyPerson, rkey: str | None = None) -> dict[str, Any]:
    value = {"$type": FOLLOW, "subject": other.did, "createdAt": "2026-11-21T00:00:00.000Z"}
    return {"$type": CREATE, "collection": FOLLOW, "value": value, **({"rkey": rkey} if rkey else {})}


async def apply_writes(sdk: AsyncClient, person: BlueskyPerson, writes: list[dict[str, Any]]) -> Any:
    return await sdk.com.atproto.repo.apply_writes({"repo": person.did, "writes": writes})


# Signing in.


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
    sky: BlueskySandbox, sdk: AsyncClient, clock: Clock
) -> None:
    session = sdk._session
    assert session is not None
    spent = session.refresh_jwt
    clock.at += sky.access_seconds
    assert await refusal(sdk.com.atproto.server.get_session()) == (400, "ExpiredToken")
    await sdk._refresh_and_set_session()
    assert (await sdk.com.atproto.server.get_session()).handle == "flock.test"

    # Within the two hours of grace the spent token gives the same successor; afterwards it is revoked.
    bearer = {"authorization": f"Bearer {spent}"}
    again = await sdk.com.atproto.server.refresh_session(headers=bearer)
    assert again.refresh_jwt == session.refresh_jwt
    clock.at += 2 * 3600
    late = sdk.com.atproto.server.refresh_session(headers=bearer)
    assert await refusal(late) == (400, "ExpiredToken")


async def test_the_thirty_first_login_within_five_minutes_is_refused_with_headers(
    sky: BlueskySandbox, alice: BlueskyPerson, clock: Clock
) -> None:
    async with sdk_client(sky) as client:
        for _ in range(30):
            await client.login(alice.handle, alice.password, fetch_bsky_profile=False)
        with pytest.raises(RateLimitExceededError) as caught:
            await client.login(alice.handle, alice.password, fetch_bsky_profile=False)
        error = caught.value
        assert (error.limit, error.remaining, error.policy, error.retry_after) == (30, 0, "30;w=300", 300)
        assert error.reset_at is not None
        assert error.reset_at.timestamp() == clock.at + 300
        clock.at += 300
        await client.login(alice.handle, alice.password, fetch_bsky_profile=False)


# Posts and notifications.


async def test_a_mention_and_an_answer_become_notifications(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, clock: Clock
) -> None:
    await sdk.app.bsky.notification.list_notifications({"limit": 1})
    clock.at += 1
    hello = alice.post("Grüße @flock.test, hilf mir!", langs=["de"])
    page = await sdk.app.bsky.notification.list_notifications({"reasons": ["mention", "reply"]})
    [mention] = page.notifications
    assert (mention.reason, mention.uri, mention.author.did, mention.is_read) == ("mention", hello, alice.did, False)
    record: Any = mention.record
    assert record.langs == ["de"]
    assert record.text.encode()[record.facets[0].index.byte_start :].startswith(b"@flock.test,")

    ref = models.ComAtprotoRepoStrongRef.Main(uri=hello, cid=mention.cid)
    reply = models.AppBskyFeedPost.ReplyRef(root=ref, parent=ref)
    answer = await sdk.send_post("Hallo!", profile_identify=flock.did, reply_to=reply)
    assert [effect.text for effect in alice.replies_to(hello)] == ["Hallo!"]
    alice.post("Danke", reply_to=answer.uri)
    page = await sdk.app.bsky.notification.list_notifications({"reasons": ["reply"]})
    assert [item.reason_subject for item in page.notifications] == [answer.uri]

    await sdk.app.bsky.notification.update_seen({"seen_at": page.notifications[0].indexed_at})
    page = await sdk.app.bsky.notification.list_notifications()
    assert [item.is_read for item in page.notifications] == [True, True]
    thread: Any = (await sdk.app.bsky.feed.get_post_thread({"uri": hello})).thread
    assert thread.replies[0].replies[0].post.record.text == "Danke"


async def test_the_first_look_of_a_new_account_counts_as_having_seen_what_was_there(
    sdk: AsyncClient, alice: BlueskyPerson
) -> None:
    alice.post("@flock.test are you there?")
    [item] = (await sdk.app.bsky.notification.list_notifications()).notifications
    assert item.is_read


async def test_notifications_are_paged_and_a_blocked_account_makes_none(
    sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    flock.block(bob)
    bob.post("@flock.test nobody hears me")
    uris = [alice.post(f"@flock.test {number}") for number in range(5)]
    found, cursor = [], None
    while True:
        page = await sdk.app.bsky.notification.list_notifications({"limit": 2, "cursor": cursor})
        found += [item.uri for item in page.notifications]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == uris[::-1]


@pytest.mark.parametrize(
    ("text", "fits"),
    [("a" * 300, True), ("a" * 301, False), ("👩‍👩‍👧‍👦" * 120, True), ("👩‍👩‍👧‍👦" * 121, False), ("é" * 300, True)],
)
async def test_a_post_has_at_most_300_graphemes_and_3000_bytes(
    sdk: AsyncClient, flock: BlueskyPerson, text: str, fits: bool
) -> None:
    call = sdk.send_post(text, profile_identify=flock.did)
    if fits:
        assert (await call).uri
    else:
        assert await refusal(call) == (400, "InvalidRequest")


async def test_a_facet_may_lie_anywhere_but_its_link_must_be_one(sdk: AsyncClient, flock: BlueskyPerson) -> None:
    index = models.AppBskyRichtextFacet.ByteSlice(byte_start=0, byte_end=4)

    def facet(uri: str) -> models.AppBskyRichtextFacet.Main:
        return models.AppBskyRichtextFacet.Main(index=index, features=[models.AppBskyRichtextFacet.Link(uri=uri)])

    astray = facet("https://example.org")
    assert (await sdk.send_post("abc", profile_identify=flock.did, facets=[astray])).uri
    no_link = facet("not a link")
    assert await refusal(sdk.send_post("abc", profile_identify=flock.did, facets=[no_link])) == (400, "InvalidRequest")


# Records.


async def test_a_second_follow_replaces_the_first_and_one_among_several_writes_does_not(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson
) -> None:
    flock.follow(alice)
    record = models.AppBskyGraphFollow.Record(subject=alice.did, created_at=sdk.get_current_time_iso())
    await sdk.app.bsky.graph.follow.create(flock.did, record)
    assert sky.world.duplicate_follows() == 0
    write = models.ComAtprotoRepoApplyWrites.Create(collection="app.bsky.graph.follow", value=record)
    await sdk.com.atproto.repo.apply_writes({"repo": flock.did, "writes": [write]})
    assert sky.world.duplicate_follows() == 1


async def test_more_than_thirty_relationships_are_too_many(
    sky: BlueskySandbox, flock: BlueskyPerson, alice: BlueskyPerson
) -> None:
    params = {"actor": flock.did, "others": [alice.did] * 31}
    answer = await sky.http.get(f"{sky.url}/xrpc/app.bsky.graph.getRelationships", params=params)
    assert (answer.status_code, answer.json()["error"]) == (400, "InvalidRequest")


async def test_apply_writes_does_everything_or_nothing(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    tids = TidClock(sky.now)
    first, second = tids.next(), tids.next()
    done = await apply_writes(sdk, flock, [follow_write(alice, first)])
    assert done.results[0].uri == f"at://{flock.did}/{FOLLOW}/{first}"

    taken = [follow_write(bob, second), follow_write(alice, first)]
    assert await refusal(apply_writes(sdk, flock, taken)) == (500, "InternalServerError")
    absent = [follow_write(bob, second), {"$type": DELETE, "collection": FOLLOW, "rkey": tids.next()}]
    assert await refusal(apply_writes(sdk, flock, absent)) == (500, "InternalServerError")
    malformed = [follow_write(bob, second), follow_write(alice, "not-a-tid")]
    assert await refusal(apply_writes(sdk, flock, malformed)) == (400, "InvalidRequest")
    assert await refusal(apply_writes(sdk, flock, [follow_write(bob)] * 201)) == (400, "InvalidRequest")
    assert flock.follows == {alice.did}

    await apply_writes(sdk, flock, [follow_write(bob, second), {"$type": DELETE, "collection": FOLLOW, "rkey": first}])
    assert flock.follows == {bob.did}


async def test_create_refuses_an_existing_key_and_put_does_not(sdk: AsyncClient, flock: BlueskyPerson) -> None:
    key = TidClock(lambda: 1_790_000_000.0).next()
    assert is_tid(key)
    record = {"$type": "app.bsky.feed.post", "text": "once", "createdAt": "2026-11-21T00:00:00.000Z"}
    data: Any = {"repo": flock.did, "collection": "app.bsky.feed.post", "rkey": key, "record": record}
    created = await sdk.com.atproto.repo.create_record(data)
    assert await refusal(sdk.com.atproto.repo.create_record(data)) == (500, "InternalServerError")
    assert (await sdk.com.atproto.repo.put_record(data)).cid == created.cid
    place: Any = {"repo": flock.did, "collection": "app.bsky.feed.post", "rkey": key}
    assert (await sdk.com.atproto.repo.get_record(place)).cid == created.cid
    await sdk.com.atproto.repo.delete_record(place)
    await sdk.com.atproto.repo.delete_record(place)
    assert await refusal(sdk.com.atproto.repo.get_record(place)) == (400, "RecordNotFound")


async def test_a_key_that_no_record_can_have_is_refused_as_such(sdk: AsyncClient, flock: BlueskyPerson) -> None:
    for rkey, said in (("not/a/key", "InvalidRequest"), ("3jzfcijpj2z2a", "RecordNotFound")):
        wanted = {"repo": flock.did, "collection": "app.bsky.feed.post", "rkey": rkey}
        assert await refusal(sdk.com.atproto.repo.get_record(wanted)) == (400, said)


async def test_records_are_listed_page_by_page(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    uris = [flock.follow(alice), flock.follow(bob)]
    where: Any = {"repo": flock.did, "collection": FOLLOW, "limit": 1}
    page = await sdk.com.atproto.repo.list_records(where)
    rest = await sdk.com.atproto.repo.list_records(where | {"cursor": page.cursor})
    assert [page.records[0].uri, rest.records[0].uri] == uris[::-1]


async def test_writes_beyond_five_thousand_points_an_hour_are_refused_with_headers(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, clock: Clock
) -> None:
    for _ in range(8):
        await apply_writes(sdk, flock, [follow_write(alice)] * 200)
    await apply_writes(sdk, flock, [follow_write(alice)] * 66)  # 4,998 points
    with pytest.raises(RateLimitExceededError) as caught:
        await apply_writes(sdk, flock, [follow_write(alice)])
    error = caught.value
    assert (error.limit, error.remaining, error.policy, error.retry_after) == (5000, 0, "5000;w=3600", 3600)
    clock.at += 3600
    await apply_writes(sdk, flock, [follow_write(alice)])


async def test_nobody_writes_into_anothers_repository(sdk: AsyncClient, alice: BlueskyPerson) -> None:
    assert await refusal(sdk.send_post("I am Alice", profile_identify=alice.did)) == (401, "AuthenticationRequired")


# Accounts that change.


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


# When things go wrong on purpose.


async def test_a_fault_before_the_effect_and_one_after_it(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson
) -> None:
    sky.faults.plan(Fault("createRecord", status=502))
    with pytest.raises(Exception, match="502"):
        await sdk.send_post("lost", profile_identify=flock.did)
    sky.faults.plan(Fault("createRecord", "cut", after=True))
    with pytest.raises(httpx.RemoteProtocolError):
        await sdk.send_post("kept, though nobody said so", profile_identify=flock.did)
    assert [effect.text for effect in sky.journal.of("post")] == ["kept, though nobody said so"]


async def test_every_view_holds_to_the_lexicons_string_formats(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson
) -> None:
    alice.post("@flock.test hello")
    alice.dm(flock, "hello")
    session = sdk._session
    assert session is not None
    headers = {"authorization": f"Bearer {session.access_jwt}", "atproto-proxy": f"{sky.chat_did}#bsky_chat"}
    views: list[tuple[str, dict[str, str], Any]] = [
        ("app.bsky.notification.listNotifications", {}, models.AppBskyNotificationListNotifications.Response),
        ("app.bsky.actor.getProfile", {"actor": flock.did}, models.AppBskyActorDefs.ProfileViewDetailed),
        ("app.bsky.graph.getFollowers", {"actor": flock.did}, models.AppBskyGraphGetFollowers.Response),
        ("chat.bsky.convo.listConvos", {}, models.ChatBskyConvoListConvos.Response),
        ("chat.bsky.convo.listConvoRequests", {}, models.ChatBskyConvoListConvoRequests.Response),
        ("chat.bsky.convo.getLog", {"cursor": "2222222222222"}, models.ChatBskyConvoGetLog.Response),
    ]
    for nsid, params, model in views:
        answer = await sky.http.get(f"{sky.url}/xrpc/{nsid}", params=params, headers=headers)
        assert answer.status_code == 200, answer.text
        assert get_or_create(answer.json(), model, strict_string_format=True)


async def test_a_story_waits_for_what_it_hopes_for(
    sky: BlueskySandbox, flock: BlueskyPerson, alice: BlueskyPerson, sdk: AsyncClient
) -> None:
    asked = alice.post("@flock.test?")
    await sdk.send_post("not this", profile_identify=flock.did)
    with pytest.raises(TimeoutError):
        await sky.changed(lambda: alice.replies_to(asked), 0.01)
    flock.post("this", reply_to=asked)
    [answer] = await sky.changed(lambda: alice.replies_to(asked), 1)
    assert answer.by == flock.did


# Direct messages.


async def test_a_request_is_accepted_and_both_write(
    sky: BlueskySandbox, chat: Any, flock: BlueskyPerson, alice: BlueskyPerson
) -> None:
    start = await chat.get_log()
    assert start.logs == []
    alice.dm(flock, "start")
    [request] = (await chat.list_convos({"status": "request", "read_state": "unread"})).convos
    assert (request.last_message.text, request.unread_count) == ("start", 1)
    assert (await chat.accept_convo({"convo_id": request.id})).rev
    assert (await chat.accept_convo({"convo_id": request.id})).rev is None

    log = await chat.get_log({"cursor": start.cursor})
    kinds = [entry.py_type.partition("#")[2] for entry in log.logs]
    assert kinds == ["logBeginConvo", "logCreateMessage", "logAcceptConvo"]
    assert log.logs[1].message.sender.did == alice.did
    assert (await chat.get_log({"cursor": log.cursor})).logs == []

    sent = await chat.send_message({"convo_id": request.id, "message": {"text": "Hello Alice"}})
    assert [(message.id, message.text) for message in alice.received_dms(flock)] == [(sent.id, "Hello Alice")]
    assert (await chat.update_read({"convo_id": request.id})).convo.unread_count == 0
    assert (await chat.list_convos({"status": "request"})).convos == []
    history = await chat.get_messages({"convo_id": request.id})
    assert [message.text for message in history.messages] == ["Hello Alice", "start"]
    assert [(effect.by, effect.to) for effect in sky.journal.of("dm")] == [
        (alice.did, flock.did),
        (flock.did, alice.did),
    ]


async def test_several_messages_go_in_one_batch(chat: Any, alice: BlueskyPerson) -> None:
    alice.allow_incoming = "all"
    convo = (await chat.get_convo_for_members({"members": [alice.did]})).convo
    items = [{"convo_id": convo.id, "message": {"text": text}} for text in ("one", "two")]
    assert len((await chat.send_message_batch({"items": items})).items) == 2
    assert [message.text for message in alice.received_dms()] == ["one", "two"]


async def test_every_refusal_has_its_own_name(
    sky: BlueskySandbox, chat: Any, flock: BlueskyPerson, alice: BlueskyPerson
) -> None:
    async def attempt(other: str) -> str:
        return (await refusal(chat.get_convo_for_members({"members": [other]})))[1]

    assert await attempt(alice.did) == "NotFollowedBySender"
    alice.allow_incoming = "none"
    assert await attempt(alice.did) == "MessagesDisabled"
    assert not (await chat.get_convo_availability({"members": [alice.did]})).can_chat
    flock.block(alice)
    assert await attempt(alice.did) == "BlockedSubject"
    flock.unblock(alice)
    alice.block(flock)
    assert await attempt(alice.did) == "BlockedActor"
    alice.take_down()
    assert await attempt(alice.did) == "AccountSuspended"
    assert await attempt("did:plc:nobody") == "RecipientNotFound"
    assert await refusal(chat.get_convo({"convo_id": "none"})) == (400, "InvalidConvo")


async def test_who_wrote_first_can_be_answered_whatever_the_setting(
    chat: Any, flock: BlueskyPerson, alice: BlueskyPerson
) -> None:
    alice.allow_incoming = "none"
    assert await refusal(chat.get_convo_for_members({"members": [alice.did]})) == (400, "MessagesDisabled")
    alice.dm(flock, "start")
    convo = (await chat.get_convo_for_members({"members": [alice.did]})).convo
    await chat.send_message({"convo_id": convo.id, "message": {"text": "welcome"}})
    assert [message.text for message in alice.received_dms()] == ["welcome"]


async def test_a_follow_opens_the_way_and_makes_no_request(
    chat: Any, flock: BlueskyPerson, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    with pytest.raises(DmRefused, match="NotFollowedBySender"):
        bob.dm(alice, "hello")
    alice.follow(flock)
    convo = (await chat.get_convo_for_members({"members": [alice.did]})).convo
    await chat.send_message({"convo_id": convo.id, "message": {"text": "hello"}})
    assert len(alice.received_dms(flock)) == 1


@pytest.mark.parametrize("text", ["a" * 1001, "👩‍👩‍👧‍👦" * 401])
async def test_a_message_has_at_most_1000_graphemes_and_10000_bytes(
    chat: Any, alice: BlueskyPerson, bob: BlueskyPerson, text: str
) -> None:
    alice.allow_incoming = "all"
    convo = (await chat.get_convo_for_members({"members": [alice.did]})).convo
    assert await refusal(chat.send_message({"convo_id": convo.id, "message": {"text": text}})) == (
        400,
        "InvalidRequest",
    )
    with pytest.raises(DmRefused, match="InvalidRequest"):
        bob.dm(alice, text)


async def test_the_chat_needs_its_header_and_a_password_that_may(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson
) -> None:
    assert await refusal(sdk.chat.bsky.convo.get_log()) == (501, "MethodNotImplemented")
    async with sdk_client(sky) as client:
        await client.login(flock.handle, flock.add_app_password(chat=False), fetch_bsky_profile=False)
        proxied = client.with_bsky_chat_proxy()
        assert await refusal(proxied.chat.bsky.convo.get_log()) == (400, "InvalidToken")
        await proxied.request.close()
