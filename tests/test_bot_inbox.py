"""What is heard is answered once; what crashes is not lost; what is too much is not answered."""

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from bot.inbox import Inbox
from bot.networks import Incoming
from bot.sandbox.faults import Fault
from handlers.commands import router
from handlers.routing import Router, command
from storage import messages
from storage.database import Database
from storage.records import NetworkName
from storage.tables import message, person
from tests.conftest import START, OwnClock
from tests.flock import Flock, flock, open_flock
from tests.reunion import code_in, traveller

__all__ = ["flock"]  # fixtures


@command("help", "Break", fr=("aide",))
async def breaks(_context: object) -> str | None:
    """Fail as a handler of ours might."""
    raise RuntimeError("a mistake of ours")


class Killed(BaseException):
    """The end of the process, as far as a handler can notice it."""


@command("help", "Kill", fr=("aide",))
async def dies(_context: object) -> str | None:
    """End as with kill -9."""
    raise Killed


def broken_router() -> Router:
    return Router([breaks], {}, [], router._unknown)


async def test_a_mention_is_answered_in_public_and_what_is_personal_by_dm(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    alice.follow(flock.bluesky_bot)
    uri = alice.post("@reflock.test claim @alice_on_x", [flock.bluesky_bot])
    await flock.settle()
    (dm,) = alice.received_dms(flock.bluesky_bot)
    assert "RF-" in dm.text
    (public,) = alice.replies_to(uri)
    assert "direct message" in public.text
    assert "RF-" not in public.text


async def test_a_closed_dm_is_told_in_public_with_its_remedy(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    alice.allow_incoming = "none"
    uri = alice.post("@reflock.test claim @alice_on_x", [flock.bluesky_bot])
    await flock.settle()
    (public,) = alice.replies_to(uri)
    assert "allow messages from everyone" in public.text
    assert alice.received_dms(flock.bluesky_bot) == []


@pytest.mark.parametrize("name", ["bluesky", "mastodon"])
async def test_a_crash_is_answered_with_a_reference_and_the_message_is_decided_anew(flock: Flock, name: str) -> None:
    network = NetworkName(name)
    person, bot = (
        (flock.bluesky.create_account("alice.test"), flock.bluesky_bot)
        if network is NetworkName.BLUESKY
        else (flock.mastodon.create_account("alice"), flock.mastodon_bot)
    )
    working = flock.app.inboxes[network]
    broken = Inbox(flock.app.events, broken_router(), flock.app.networks[network])
    flock.app = replace(flock.app, inboxes={network: broken})
    person.dm(bot, "help")  # type: ignore[arg-type]  # each network's people write to their own bot
    await flock.settle()
    (apology,) = person.received_dms(bot)  # type: ignore[arg-type]  # as above
    async with flock.app.events.database.reading() as connection:
        (failed,) = await messages.failed(connection)
    assert failed.reference in apology.text

    dying = Inbox(flock.app.events, Router([dies], {}, [], router._unknown), flock.app.networks[network])
    with pytest.raises(Killed):
        await dying.retry(failed)
    assert await working.retry(failed)
    assert not await working.retry(failed)
    await flock.settle()
    assert "start: " in person.received_dms(bot)[1].text  # type: ignore[arg-type]  # as above
    async with flock.app.events.database.reading() as connection:
        assert await messages.failed(connection) == []


async def test_what_is_heard_twice_is_answered_once(flock: Flock) -> None:
    alice = flock.mastodon.create_account("alice")
    alice.dm(flock.mastodon_bot, "hello")
    await flock.settle()
    before = await flock.app.networks[NetworkName.MASTODON].hear(None)
    alice.dm(flock.mastodon_bot, "help claim")
    await flock.settle()
    again = await flock.app.networks[NetworkName.MASTODON].hear(before.cursor)
    assert len(again.messages) == 1
    answered = len(alice.received_dms(flock.mastodon_bot))
    inbox = flock.app.inboxes[NetworkName.MASTODON]
    assert not await inbox.handle(again.messages)
    await flock.settle()
    assert len(alice.received_dms(flock.mastodon_bot)) == answered


async def test_a_public_thread_is_not_answered_for_ever(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    root = alice.post("@reflock.test hello", [flock.bluesky_bot])
    for _ in range(8):
        alice.post("@reflock.test hello", [flock.bluesky_bot], reply_to=root)
        await flock.settle()
    answers = flock.bluesky.journal.of("post", by=flock.bluesky_bot.did)
    assert len(answers) == flock.config.config.conversation.replies_per_thread


async def test_stop_is_heeded_where_nothing_is_answered_any_more(flock: Flock) -> None:
    alice = flock.bluesky.create_account("alice.test")
    alice.allow_incoming = "all"
    root = alice.post("@reflock.test hello", [flock.bluesky_bot])
    for words in ("hello", "hello", "hello", "hello", "hello", "stop"):
        alice.post(f"@reflock.test {words}", [flock.bluesky_bot], reply_to=root)
        await flock.settle()
    async with flock.app.events.database.reading() as connection:
        assert await connection.scalar(sa.select(person.c.stopped)) is True
    answers = flock.bluesky.journal.of("post", by=flock.bluesky_bot.did)
    assert len(answers) == flock.config.config.conversation.replies_per_thread
    assert alice.received_dms(flock.bluesky_bot) != []


async def test_two_who_send_one_anothers_codes_at_once_become_one_person(flock: Flock) -> None:
    alice, alias = traveller(flock, "bluesky", "alice"), traveller(flock, "mastodon", "alias")
    codes = [code_in(await each.write("link"), "LK") for each in (alice, alias)]
    alice.person.dm(alice.bot, f"link {codes[1]}")  # type: ignore[arg-type]  # each network's people have their own bot
    alias.person.dm(alias.bot, f"link {codes[0]}")  # type: ignore[arg-type]  # as above
    await asyncio.gather(*(inbox.turn() for inbox in flock.app.inboxes.values()))
    await flock.settle()
    assert sum("Joined" in each.read() for each in (alice, alias)) == 1
    async with flock.app.events.database.reading() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(person)) == 1
        assert await messages.failed(connection) == []


async def test_other_bots_are_not_answered(flock: Flock) -> None:
    parrot = flock.mastodon.create_account("parrot", bot=True)
    parrot.dm(flock.mastodon_bot, "hello")
    await flock.settle()
    assert parrot.received_dms(flock.mastodon_bot) == []
    async with flock.app.events.database.reading() as connection:  # nor is it kept who they are
        (kept,) = await connection.execute(sa.select(message.c.id, message.c.account_id, message.c.thread_key))
    assert kept.id.startswith("~")
    assert (kept.account_id, kept.thread_key) == ("", "")


async def let_write(database: Database, switch: str) -> None:
    async with database._writer.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver._execute(driver._conn.execute, f"PRAGMA query_only={'OFF' if switch == 'ON' else 'ON'}")


async def test_while_the_database_is_in_trouble_messages_wait_and_are_not_called_failures(
    tmp_path: Path, clock: OwnClock
) -> None:
    async with open_flock(f"sqlite:///{tmp_path / 'reflock.sqlite3'}", clock) as flock:
        alice = flock.bluesky.create_account("alice.test")
        alice.dm(flock.bluesky_bot, "status")
        database = flock.app.events.database
        await let_write(database, "OFF")
        with pytest.raises(DBAPIError):
            await flock.app.inboxes[NetworkName.BLUESKY].turn()
        await let_write(database, "ON")
        await flock.settle()
        (answer,) = alice.received_dms(flock.bluesky_bot)
        assert "RF-" not in answer.text
        async with database.reading() as connection:
            assert await messages.failed(connection) == []


async def test_a_failed_message_with_half_a_character_is_kept_too(flock: Flock) -> None:
    network = flock.app.networks[NetworkName.BLUESKY]
    broken = Inbox(flock.app.events, broken_router(), network)
    alice = flock.bluesky.create_account("alice.test")
    alice.dm(flock.bluesky_bot, "help")
    (heard,) = (await network.hear(None)).messages
    halved = replace(heard, text="help \ud83d")
    await broken._decide([halved])
    async with flock.app.events.database.reading() as connection:
        (failed,) = await messages.failed(connection)
    assert failed.secret is not None


MOMENT = datetime.fromtimestamp(START / 1000, UTC).isoformat()


def odd_mentions(odd: str) -> dict[NetworkName, tuple[str, Any]]:
    """Return for each network where mentions are asked for, and mentions each of which is odd at another place."""

    def on_bluesky(number: int, **odd: Any) -> dict[str, Any]:
        here = {"uri": f"at://did:plc:mallory/app.bsky.feed.post/{number}", "cid": "cid"}
        root = {"root": {**here, **odd.pop("root", {})}, "parent": {"uri": f"at://{odd.pop('to')}/app/1", "cid": "cid"}}
        record = {"text": "help", "langs": ["en"], "reply": root, **odd.pop("record", {})}
        author = {"did": "did:plc:mallory", "handle": "mallory.test", **odd.pop("author", {})}
        return {**here, "author": author, "record": record, "indexedAt": MOMENT, "reason": "reply", **odd}

    def on_mastodon(number: int, account: dict[str, Any] | None = None, **odd: Any) -> dict[str, Any]:
        mallory = {"id": "7", "acct": "mallory@evil.test", "uri": "https://evil.test/mallory", **(account or {})}
        status = {
            "id": f"m{number}",
            "uri": f"https://evil.test/{number}",
            "account": mallory,
            "visibility": "direct",
            "content": "help",
            "created_at": MOMENT,
            "language": "en",
        }
        return {"id": f"m{number}", "type": "mention", "created_at": MOMENT, "status": {**status, **odd}}

    bluesky: list[dict[str, Any]] = [
        {"author": {"handle": f"m{odd}.test"}},
        {"author": {"did": f"did:plc:m{odd}"}},
        {"uri": f"at://did:plc:mallory/app.bsky.feed.post/{odd}"},
        {"root": {"uri": f"at://did:plc:mallory/app.bsky.feed.post/{odd}"}},
        {"record": {"langs": ["en", odd]}},
        {"record": {"text": f"help{odd}"}},
    ]
    mastodon: list[dict[str, Any]] = [
        {"account": {"acct": f"m{odd}@evil.test"}},
        {"account": {"uri": f"https://evil.test/{odd}"}},
        {"uri": f"https://evil.test/{odd}"},
        {"language": f"e{odd}"},
        {"content": f"help{odd}"},
        {"spoiler_text": odd},
    ]
    return {
        NetworkName.BLUESKY: (
            "listNotifications",
            lambda us: {"notifications": [on_bluesky(n, to=us, **each) for n, each in enumerate(bluesky)]},
        ),
        NetworkName.MASTODON: (
            "/api/v1/notifications",
            lambda _us: [on_mastodon(n, **each) for n, each in enumerate(mastodon, 1)],
        ),
    }


@pytest.mark.parametrize(
    ("name", "odd"),
    [(NetworkName.BLUESKY, "\0"), (NetworkName.MASTODON, "\0"), (NetworkName.MASTODON, "\ud83d")],
    ids=["NUL on Bluesky", "NUL on Mastodon", "half a character on Mastodon"],  # which Bluesky's SDK does not let in
)
async def test_what_no_database_holds_stops_nobody_elses_words(flock: Flock, name: NetworkName, odd: str) -> None:
    path, mentions = odd_mentions(odd)[name]
    at_bluesky = name is NetworkName.BLUESKY
    body = json.dumps(mentions(flock.bluesky_bot.did)).encode()
    sandbox = flock.bluesky if at_bluesky else flock.mastodon
    sandbox.faults.plan(Fault(path, status=200, headers={"content-type": "application/json"}, body=body))
    await flock.app.inboxes[name].turn()
    alice = traveller(flock, name.value, "alice")
    assert "start: " in await alice.write("help")
    async with flock.app.events.database.reading() as connection:
        assert await messages.failed(connection) == []
        heard = set(await connection.scalars(sa.select(message.c.id)))
    assert len(heard) == 4 - at_bluesky  # with odd words or languages all the same, but from nobody and nowhere odd


@given(
    words=st.lists(st.text(st.characters(codec=None) | st.sampled_from("\0\ud83d"), max_size=5), min_size=7, max_size=7)
)
def test_what_is_heard_can_be_kept_and_is_from_nobody_else_than_it_says(words: list[str]) -> None:
    actor, handle, thread, thread_key, number, text, language = words
    heard = None
    with suppress(ValueError):
        heard = Incoming(
            id=number,
            network=NetworkName.BLUESKY,
            actor=actor,
            handle=handle,
            text=text,
            public=True,
            thread=thread,
            thread_key=thread_key,
            at=START,
            languages=(language, "fr"),
        )
    if heard is not None:
        assert (heard.id, heard.actor, heard.handle, heard.thread, heard.thread_key) == (
            number,
            actor,
            handle,
            thread,
            thread_key,
        )
        assert heard.languages[-1] == "fr"
        assert b"\0" not in "".join([*words[:5], heard.text, *heard.languages]).encode()
        assert msgspec.json.decode(msgspec.json.encode(asdict(heard)), type=Incoming) == heard
