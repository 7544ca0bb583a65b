"""Direct messages at the Bluesky stand-in: who may write to whom, and what a refusal is called."""

from typing import Any

import pytest
from atproto import AsyncClient

from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox, DmRefused
from tests.sandbox_bluesky import alice, bob, chat, flock, refusal, sdk, sdk_client, sky

__all__ = ["alice", "bob", "chat", "flock", "sdk", "sky"]  # fixtures


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
