"""Posts at the Bluesky stand-in, and the notifications that they make."""

from typing import Any

import pytest
from atproto import AsyncClient, models

from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from tests.conftest import OwnClock
from tests.sandbox_bluesky import alice, bob, flock, refusal, sdk, sky

__all__ = ["alice", "bob", "flock", "sdk", "sky"]  # fixtures


async def test_a_mention_and_an_answer_become_notifications(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, clock: OwnClock
) -> None:
    await sdk.app.bsky.notification.list_notifications({"limit": 1})
    clock.pass_seconds(1)
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
