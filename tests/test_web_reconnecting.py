"""Reconnecting from the page of the contacts: begun once, told as it goes, and undone, with scripts and without."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import sqlalchemy as sa

from bot.sandbox.bluesky.people import BlueskyPerson
from storage.records import DeliveryKind
from storage.tables import delivery
from tests.flock import Flock, flock
from tests.reader import Reader, alice, batches
from tests.statements import asked_of
from tests.visits import csrf

__all__ = ["alice", "flock"]  # fixtures


async def test_one_click_reconnects_and_the_page_tells_how_it_goes(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.consents()
    page = await alice.opens()
    assert "I would follow for you: 2 on Bluesky." in page.text
    assert "That takes less than a minute." in page.text
    begun = await alice.reconnects("bob", "dave", page=page)
    assert begun.status_code == 303
    going = await alice.opens(begun.headers["location"])
    assert "Here we go: I follow 2 accounts for you." in going.text
    assert "Following: 0 of 2 so far." in going.text
    assert "<h1>Reconnecting</h1>" in going.text
    assert going.text.count("That takes less than a minute.") == 1
    assert '<noscript><meta http-equiv="refresh"' in going.text
    assert "follow still to come" in (await alice.opens()).text
    assert alice.person.follows == set()

    await flock.settle()  # nobody has the page open
    assert alice.person.follows == {alice.there["bob"].actor, alice.there["dave"].actor}
    done = await alice.opens(begun.headers["location"])
    assert "Done: I followed 2 accounts for you." in done.text
    assert "http-equiv" not in done.text
    assert "<h1>Reconnected</h1>" in done.text
    assert "Done: I followed 2 accounts for you." in alice.person.received_dms(flock.bluesky_bot)[-1].text
    page = await alice.opens()
    assert "followed on Bluesky" in alice.row(page, "bob")
    assert alice.ticked(page) == set()
    assert "Nobody is chosen." in page.text


async def test_without_scripts_the_button_leads_to_a_preview_that_asks(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.consents()
    preview = await alice.reconnects("bob", confirmed="")
    assert preview.status_code == 200
    assert "I would follow for you: 1 on Bluesky." in preview.text
    assert await batches(flock) == 0
    begun = await alice.reconnects("bob", page=preview)
    assert begun.headers["location"].startswith("/contacts/batch?batch=")
    await flock.settle()
    assert alice.person.follows == {alice.there["bob"].actor}
    nobody = await alice.reconnects(confirmed="")
    assert "Nobody is chosen." in nobody.text
    assert "Yes, reconnect" not in nobody.text


async def test_the_preview_follows_what_is_ticked(alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.befriends("carol", on="mastodon")
    await alice.consents()
    page = await alice.opens()
    preview = await alice.sends("/contacts/preview", alice.form(page, "bob", "carol"))
    assert preview.json()["lines"] == [
        "I would follow for you: 1 on Bluesky.",
        "That takes less than a minute.",
        "1 is on Mastodon, where I do not have your consent yet.",
    ]
    nobody = await alice.sends("/contacts/preview", alice.form(page))
    assert nobody.json()["lines"] == ["Nobody is chosen. Tick whom I shall follow for you."]


async def test_a_double_click_or_a_form_sent_again_follows_nobody_twice(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.consents()
    page = await alice.opens()
    clicks = await asyncio.gather(*(alice.reconnects("bob", page=page) for _ in range(3)))
    assert len({each.headers["location"] for each in clicks}) == 1
    assert await batches(flock) == 1
    await flock.settle()
    undone = await alice.sends("/contacts/undo", {"csrf": csrf(page), "batch": "1", "confirmed": "yes"})
    assert undone.status_code == 303
    await flock.settle()
    assert alice.person.follows == set()
    again = await alice.reconnects("bob", page=page)
    assert again.status_code == 200
    assert "Nothing has begun yet" in again.text
    await flock.settle()
    assert alice.person.follows == set()
    assert await batches(flock) == 1


async def test_a_missing_consent_is_one_click_away_and_what_was_wished_is_kept(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob")
    page = await alice.opens()
    assert "On Bluesky I may not follow for you yet." in page.text
    assert "http:" in page.headers["content-security-policy"]
    button = re.search(r'action="/connect">.*?name="account" value="([^"]+)"', page.text, re.DOTALL)
    assert button
    assert "1 is on Bluesky, where I do not have your consent yet." in page.text
    kept = await alice.reconnects("bob", page=page)
    assert kept.headers["location"] == "/contacts"
    page = await alice.opens()
    assert "I have noted 1 person: I follow them as soon as I have your consent." in page.text
    assert "to be followed as soon as I have your consent" in alice.row(page, "bob")
    begun = await alice.sends("/connect", {"csrf": csrf(page), "account": button[1]})
    back = await alice.browser.get(await alice.person.approve(begun.headers["location"]))
    assert back.headers["location"] == "/contacts/batch?batch=1"
    going = await alice.opens(back.headers["location"])
    assert "Here we go: I follow 1 account for you." in going.text
    assert going.text.count("That takes less than a minute.") == 1
    await flock.settle()
    assert alice.person.follows == {alice.there["bob"].actor}
    assert "may not follow" not in (await alice.opens()).text


async def test_a_refusal_is_told_with_its_reason_and_may_be_tried_again(flock: Flock, alice: Reader) -> None:
    await alice.befriends("carol", "bob")
    await alice.consents()
    carol = alice.there["carol"]
    assert isinstance(carol, BlueskyPerson)
    carol.block(alice.person)
    begun = await alice.reconnects("carol", "bob")
    await flock.settle()
    assert "one of you blocks the other" in (await alice.opens(begun.headers["location"])).text
    page = await alice.opens()
    assert "could not be followed on Bluesky (one of you blocks the other)" in alice.row(page, "carol")
    assert alice.shown(await alice.opens("/contacts?show=open")) == {"carol"}


async def test_a_batch_is_undone_after_a_question(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.consents()
    begun = await alice.reconnects("bob", "dave")
    await flock.settle()
    page = await alice.opens(begun.headers["location"])
    fields: dict[str, str | list[str]] = {"csrf": csrf(page), "batch": "1"}
    asked = await alice.sends("/contacts/undo", fields)
    assert "I would unfollow 2 accounts that I followed." in asked.text
    assert len(alice.person.follows) == 2
    undone = await alice.sends("/contacts/undo", {**fields, "confirmed": "yes"})
    going = await alice.opens(undone.headers["location"])
    assert "I am unfollowing 2 accounts." in going.text
    assert "Taken back: 0 of 2 so far." in going.text
    await flock.settle()
    assert alice.person.follows == set()
    done = await alice.opens(undone.headers["location"])
    assert "Undone: 2 follows are taken back." in done.text
    assert "Undo</button>" not in done.text
    assert "<h1>Undone</h1>" in done.text
    page = await alice.opens()
    assert alice.ticked(page) == set()
    assert "taken back" in alice.row(page, "bob")
    assert "2 on Bluesky" in (await alice.sends("/contacts/preview", alice.form(page, "bob", "dave"))).text
    twice = await alice.sends("/contacts/undo", {**fields, "confirmed": "yes"})
    assert "That was undone already." in (await alice.opens(twice.headers["location"])).text


async def test_every_batch_that_stands_is_named_also_when_a_later_one_is_undone(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave", "frank")
    await alice.consents()
    earlier = (await alice.reconnects("bob", "dave")).headers["location"]
    await flock.settle()
    later = (await alice.reconnects("frank")).headers["location"]
    await flock.settle()
    page = await alice.opens()
    assert re.search(
        rf'href="{re.escape(earlier)}">2 follows on Bluesky, begun on .*See them, or undo them<', page.text
    )
    assert re.search(rf'href="{re.escape(later)}">1 follow on Bluesky, begun on .*See it, or undo it<', page.text)
    shown = await alice.opens(later)
    assert "2 follows on Bluesky, begun on" in shown.text
    assert "1 follow on Bluesky, begun on" not in shown.text

    await alice.sends("/contacts/undo", {"csrf": csrf(page), "batch": later.partition("=")[2], "confirmed": "yes"})
    await flock.settle()
    undone = await alice.opens(later)
    assert "2 earlier follows on Bluesky still stand. See them, or undo them too" in undone.text
    page = await alice.opens()
    assert earlier in page.text
    assert later not in page.text


async def test_undoing_thousands_asks_the_database_no_more_often(flock: Flock, alice: Reader) -> None:
    await alice.befriends(*(f"friend{number}" for number in range(12)))
    await alice.consents()
    page = await alice.opens()
    await alice.reconnects(*alice.friends, page=page)
    await flock.settle()
    with asked_of(flock.app.events.database._writer) as asked:
        await alice.sends("/contacts/undo", {"csrf": csrf(page), "batch": "1", "confirmed": "yes"})
    assert len([statement for statement, _ in asked if "FROM account" in statement]) < 8
    async with flock.app.events.database.reading() as connection:
        promised = await connection.scalars(
            sa.select(delivery.c.payload).where(delivery.c.kind == DeliveryKind.UNFOLLOW.value)
        )
        handles = {json.loads(each)["handle"] for each in promised}
    assert handles
    assert handles <= {f"{name}.test" for name in alice.friends}


async def events_of(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


async def test_progress_is_told_as_it_goes_and_ends_with_the_batch(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.consents()
    begun = await alice.reconnects("bob", "dave")
    address = begun.headers["location"].replace("batch?", "progress?")
    async with alice.browser.stream("GET", flock.pages + address) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        told = events_of(response)
        first = await anext(told)
        assert (first["done"], first["total"], first["over"]) == (0, 2, False)
        assert first["lines"] == ["Following: 0 of 2 so far.", "That takes less than a minute."]
        await flock.settle()
        *_, last = [each async for each in told]
    assert last["over"]
    assert last["lines"] == ["Done: I followed 2 accounts for you."]


async def test_so_many_streams_at_once_and_no_more(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob")
    await alice.consents()
    begun = await alice.reconnects("bob")
    address = flock.pages + begun.headers["location"].replace("batch?", "progress?")
    async with AsyncExitStack() as open_streams:
        told = []  # kept: an iterator that is thrown away closes its stream
        for _ in range(3):
            response = await open_streams.enter_async_context(alice.browser.stream("GET", address))
            told.append(events_of(response))
            assert (await anext(told[-1]))["done"] == 0
        refused = await alice.browser.get(address)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    # Who closes a page makes room for the next one.
    async with asyncio.timeout(20):
        while True:
            async with alice.browser.stream("GET", address) as response:
                if response.status_code == 200:
                    break
    await flock.settle()
    async with alice.browser.stream("GET", address) as response:
        assert [each["over"] async for each in events_of(response)] == [True]
