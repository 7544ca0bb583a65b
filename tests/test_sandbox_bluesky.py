"""What the Bluesky stand-in is for: views as the lexicons want them, failures on purpose, and stories that wait."""

import asyncio
from typing import Any

import httpx
import pytest
from atproto import AsyncClient, models
from atproto_client.models.utils import get_or_create

from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.faults import Fault
from tests.sandbox_bluesky import alice, flock, sdk, sky

__all__ = ["alice", "flock", "sdk", "sky"]  # fixtures


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


async def test_a_story_waits_for_what_it_hopes_for(
    sky: BlueskySandbox, flock: BlueskyPerson, alice: BlueskyPerson, sdk: AsyncClient
) -> None:
    asked = alice.post("@flock.test?")
    await sdk.send_post("not this", profile_identify=flock.did)
    with pytest.raises(TimeoutError):
        await sky.changed(lambda: alice.replies_to(asked), timeout=0)

    async def answers() -> None:
        flock.post("this", reply_to=asked)

    [answer], _ = await asyncio.gather(sky.changed(lambda: alice.replies_to(asked), timeout=20), answers())
    assert answer.by == flock.did
