"""The page of the contacts, as a browser without JavaScript and as its script see it."""

import asyncio
import csv
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from bot.sandbox.bluesky.people import BlueskyPerson
from storage import accounts
from storage.codes import Purpose
from storage.records import DeliveryKind, Evidence, NetworkName
from storage.tables import batch, delivery
from tests.conftest import START, OwnClock
from tests.flock import Flock, open_flock
from tests.reader import Reader, reader
from tests.visits import asks, csrf, enter, link_to

UNSURE = Evidence.ARCHIVE


@pytest.fixture
async def flock(database_url: str, clock: OwnClock) -> AsyncIterator[Flock]:
    async with open_flock(database_url, clock) as opened:
        yield opened


@pytest.fixture
async def alice(flock: Flock) -> Reader:
    return await reader(flock)


async def batches(flock: Flock) -> int:
    async with flock.app.events.database.reading() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(batch)) or 0)


async def test_who_is_here_is_shown_with_all_there_is_to_know(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.befriends("carol", on="mastodon")
    await alice.befriends("erin", evidence=UNSURE)
    await asks(flock, alice.person, "skip dave_x")
    page = await alice.opens()
    assert "4 people you followed on X are here:" in page.text
    assert alice.row(page, "bob") == "@bob_x on X bob.test (Bluesky) Skip"
    assert 'href="https://bsky.app/profile/bob.test"' in page.text
    assert f'href="https://{flock.mastodon.domain}/@carol"' in page.text
    assert "skipped Restore" in alice.row(page, "dave")
    assert "not sure · not proved by a post: choose by hand" in alice.row(page, "erin")
    assert alice.ticked(page) == {"bob", "carol"}


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


async def test_contacts_on_a_network_where_one_has_no_account_lead_to_the_page_of_consents(alice: Reader) -> None:
    await alice.befriends("carol", on="mastodon")
    page = await alice.opens()
    assert '<a href="/connect">Connect your account on Mastodon</a>' in page.text


async def test_leaving_out_and_bringing_back_with_and_without_scripts(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave", "frank")
    await alice.consents()
    page = await alice.opens()
    await alice.reconnects("frank", page=page)
    skipped = await alice.sends("/contacts/skip", alice.form(page, "bob", "frank"))
    assert skipped.headers["location"] == "/contacts"
    page = await alice.opens()
    assert "Left out: @bob.test and @frank.test." in page.text
    assert "1 follow still to come is cancelled." in page.text
    assert alice.ticked(page) == {"dave"}
    await flock.settle()
    assert alice.person.follows == set()

    one = {"csrf": csrf(page), "one": str(alice.friends["bob"])}
    restored = await alice.sends("/contacts/restore", {**one}, accept="application/json")
    assert restored.json()["words"] == "Back in the list: @bob.test."
    assert "checked" in restored.json()["rows"]
    again = await alice.sends("/contacts/restore", {**one}, accept="application/json")
    assert again.json()["words"] == "None of them was left out, so nothing changed."
    assert alice.ticked(await alice.opens()) == {"bob", "dave"}
    nobody = await alice.sends("/contacts/skip", alice.form(page))
    assert nobody.status_code == 303
    assert "Nobody is ticked, so nothing changed." in (await alice.opens()).text


async def test_the_list_is_narrowed_without_scripts_too(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.befriends("erin", evidence=UNSURE)
    await asks(flock, alice.person, "skip dave_x")
    for query, shown in (
        ("q=%40BOB", {"bob"}),
        ("q=erin.test", {"erin"}),
        ("show=skipped", {"dave"}),
        ("show=unsure", {"erin"}),
        ("show=open", {"bob", "erin"}),
        ("show=open&q=dave", set()),
        ("show=nonsense", {"bob", "dave", "erin"}),
    ):
        assert alice.shown(await alice.opens(f"/contacts?{query}")) == shown, query
    hostile = await alice.opens("/contacts?q=%22%3E%3Cscript%3E")
    assert '"><script>' not in hostile.text


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


async def test_only_ones_own_contacts_and_batches_can_be_named(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob")
    await alice.consents()
    begun = await alice.reconnects("bob")
    mallory = flock.bluesky.create_account("mallory.test")
    await asks(flock, mallory, "hello")
    intruder = Reader(flock, mallory, flock.new_browser(), alice.friends)
    page = await enter(intruder.browser, await link_to(flock, mallory, Purpose.CONTACTS))
    fields: dict[str, str | list[str]] = {"csrf": csrf(page), "newest": "0", "contact": [str(alice.friends["bob"])]}
    preview = await intruder.sends("/contacts/reconnect", {**fields, "confirmed": "yes"})
    assert "Nobody is chosen." in preview.text
    assert (await intruder.sends("/contacts/preview", fields)).json()["lines"][0].startswith("Nobody is chosen.")
    left_out = await intruder.sends("/contacts/skip", fields, accept="application/json")
    assert left_out.json() == {"words": "Nobody is ticked, so nothing changed.", "rows": ""}
    address = begun.headers["location"]
    assert (await intruder.opens(address)).headers["location"] == "/contacts"
    assert (await intruder.opens(address.replace("batch?", "progress?"))).status_code == 404
    undone = await intruder.sends("/contacts/undo", {**fields, "batch": address.partition("=")[2], "confirmed": "yes"})
    assert undone.headers["location"] == "/contacts"
    await flock.settle()
    assert alice.person.follows == {alice.there["bob"].actor}
    for path in ("/contacts/batch?batch=nonsense", "/contacts/batch", "/contacts/batch?batch=" + "9" * 30):
        assert (await alice.opens(path)).headers["location"] == "/contacts"


@pytest.mark.parametrize("path", ["reconnect", "preview", "skip", "restore", "undo"])
async def test_a_form_from_elsewhere_or_from_nobody_changes_nothing(flock: Flock, alice: Reader, path: str) -> None:
    await alice.befriends("bob")
    page = await alice.opens()
    form = alice.form(page, "bob", confirmed="yes", batch="1")
    forged = await alice.sends(f"/contacts/{path}", {**form, "csrf": "0" * 64})
    assert forged.status_code == 403
    strange = await alice.browser.post(f"{flock.pages}/contacts/{path}", json=form)
    assert strange.status_code == 403
    if path != "undo":
        for contact in ("-1", "1 OR 1=1", "9" * 40, "١"):
            assert (await alice.sends(f"/contacts/{path}", {**form, "contact": contact})).status_code == 403
    stranger = await flock.new_browser().post(f"{flock.pages}/contacts/{path}", data=form)
    assert stranger.status_code == 403
    assert await batches(flock) == 0


async def test_thousands_of_ticks_are_taken_and_millions_are_not(alice: Reader) -> None:
    await alice.befriends("bob")
    page = await alice.opens()
    form = alice.form(page, "bob")
    form["contact"] = [str(alice.friends["bob"]), *(str(number) for number in range(10**6, 10**6 + 20_000))]
    assert (await alice.sends("/contacts/preview", form)).status_code == 200
    form["contact"] = ["1234567890"] * 60_000
    assert (await alice.sends("/contacts/preview", form)).status_code == 403


async def test_mastodons_own_import_takes_the_list(flock: Flock, alice: Reader) -> None:
    await alice.befriends("carol", "gil", on="mastodon")
    await alice.befriends("bob")
    await alice.befriends("hugo", on="mastodon", evidence=UNSURE)
    events = flock.app.events
    async with events.database.transaction() as connection:
        hostile = '=HYPERLINK("https://evil.example")@evil.example'
        await accounts.meet(connection, NetworkName.MASTODON, alice.there["gil"].actor, hostile, flock.clock())
    page = await alice.opens()
    assert "following_accounts.csv" not in page.text  # a short list is followed one by one
    given = await alice.opens("/contacts/following_accounts.csv")
    assert given.headers["content-type"].startswith("text/csv")
    assert 'filename="following_accounts.csv"' in given.headers["content-disposition"]
    assert given.text.startswith("Account address,Show boosts,Notify on new posts,Languages\n")
    rows = list(csv.reader(io.StringIO(given.text)))[1:]
    assert rows == [[f"carol@{flock.mastodon.domain}", "true", "false", ""]]


async def test_a_long_list_on_mastodon_is_offered_to_its_own_import(alice: Reader) -> None:
    await alice.befriends(*(f"friend{number}" for number in range(101)), on="mastodon")
    page = await alice.opens()
    assert "more than 400 accounts a day" in page.text
    assert "Download following_accounts.csv (101 accounts)" in page.text


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


async def test_what_to_do_while_there_is_nothing_to_see(flock: Flock, alice: Reader) -> None:
    page = await alice.opens()
    assert "I do not know yet whom you followed on X." in page.text
    assert 'href="/import"' in page.text
    assert "Connect alice.test (Bluesky)" in page.text
    await alice.hands_over([77])
    page = await alice.opens()
    assert "I hold 1 account that you followed on X; it is not here yet." in page.text
    assert "Hand over the lists" not in page.text
    assert "Reconnect selected" not in page.text


async def test_before_the_opening_day_nothing_begins(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, notices={"opens_at": "2030-06-01T18:00:00+00:00"}) as flock:
        alice = await reader(flock)
        assert clock() == START
        await alice.befriends("bob")
        page = await alice.opens()
        assert "reconnection opens on Jun 1, 2030" in page.text
        assert "bob_x" not in page.text
        assert "Connect alice.test (Bluesky)" in page.text
        form: dict[str, str | list[str]] = {"csrf": csrf(page), "newest": "0", "contact": [str(alice.friends["bob"])]}
        early = await alice.sends("/contacts/reconnect", {**form, "confirmed": "yes"})
        assert "reconnection opens on" in early.text
        assert await batches(flock) == 0
        assert (await alice.opens("/contacts/following_accounts.csv")).text.count("\n") == 1


async def test_the_page_asks_the_database_as_often_for_many_as_for_few(flock: Flock, alice: Reader) -> None:
    friends = ("bob", "carol", "dave", "erin", "frank")
    await alice.befriends(*friends, "gil")
    await alice.consents()
    for name in friends:  # as many batches as the page names
        await alice.reconnects(name)
    await flock.settle()
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    engine = flock.app.events.database._reader.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    await alice.opens()
    few = len(asked)
    await alice.befriends(*(f"friend{number}" for number in range(30)))
    begun = await alice.reconnects(*(f"friend{number}" for number in range(20)))
    await flock.settle()
    await alice.opens()
    asked.clear()
    await alice.opens()
    many = len(asked)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert begun.status_code == 303
    assert 0 < many <= few


async def test_undoing_thousands_asks_the_database_no_more_often(flock: Flock, alice: Reader) -> None:
    await alice.befriends(*(f"friend{number}" for number in range(12)))
    await alice.consents()
    page = await alice.opens()
    await alice.reconnects(*alice.friends, page=page)
    await flock.settle()
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    engine = flock.app.events.database._writer.sync_engine
    sa.event.listen(engine, "before_cursor_execute", note)
    await alice.sends("/contacts/undo", {"csrf": csrf(page), "batch": "1", "confirmed": "yes"})
    sa.event.remove(engine, "before_cursor_execute", note)
    assert len([each for each in statements if "FROM account" in each]) < 8
    async with flock.app.events.database.reading() as connection:
        promised = await connection.scalars(
            sa.select(delivery.c.payload).where(delivery.c.kind == DeliveryKind.UNFOLLOW.value)
        )
        handles = {json.loads(each)["handle"] for each in promised}
    assert handles
    assert handles <= {f"{name}.test" for name in alice.friends}
