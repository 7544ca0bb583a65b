"""One-time links, and the visits that begin with them."""

import asyncio
import json
import re

import httpx
import sqlalchemy as sa
from starlette.responses import Response

from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.demo.browser import find_form
from bot.sandbox.faults import Fault
from bot.web.pages import Pages
from handlers import one_time
from storage.codes import Purpose
from storage.tables import upload as uploads
from tests.conftest import OwnClock
from tests.flock import Flock, flock, open_flock
from tests.visits import SCRIPT, alice, asks, begins, csrf, enter, link, link_to, said, spend, upload

__all__ = ["alice", "flock"]  # fixtures

LINKS = {
    Purpose.IMPORT: "/import",
    Purpose.CONNECT: "/connect",
    Purpose.CONTACTS: "/contacts",
    Purpose.EXPORT: "/me",
}


async def opens(flock: Flock, browser: httpx.AsyncClient, page: str = "/contacts") -> bool:
    """Tell whether a browser gets to a page of visitors; otherwise it is told how to become one."""
    answer = await browser.get(flock.pages + page)
    if answer.status_code != 200:
        assert answer.status_code == 403
        assert "send me: contacts" in answer.text
        assert '<a href="/">How to begin</a>' in answer.text
    return answer.status_code == 200


async def test_every_link_leads_to_its_page_and_from_there_to_all_others(flock: Flock, alice: BlueskyPerson) -> None:
    for purpose, path in LINKS.items():
        browser = flock.new_browser()
        page = await enter(browser, await link_to(flock, alice, purpose))
        assert page.url.path == path
        assert "You are here as alice.test" in page.text
        for other in LINKS.values():
            assert f'href="{other}"' in page.text
            assert await opens(flock, browser, other)


async def test_a_preview_of_a_link_spends_nothing(flock: Flock, alice: BlueskyPerson) -> None:
    for purpose, path in LINKS.items():
        address = await link_to(flock, alice, purpose)
        crawler = flock.new_browser()
        for _ in range(2):
            preview = await crawler.get(address)
            assert preview.status_code == 200
            assert "This link belongs to alice.test" in preview.text
        assert not await opens(flock, crawler, path)
        await enter(flock.new_browser(), address)


async def test_a_link_belongs_to_the_first_browser_that_goes_on(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link_to(flock, alice, Purpose.IMPORT)
    first, second = flock.new_browser(), flock.new_browser()
    landing = await second.get(address)  # it is open there already, but nobody has gone on
    await enter(first, address)
    await enter(first, address)

    late = await second.post(address, data={"csrf": csrf(landing)})
    for answer in (late, await second.get(address)):
        assert answer.status_code == 410
        assert "used already" in answer.text
    assert not await opens(flock, second)

    flock.clock.pass_seconds(3600)
    expired = await first.get(address)
    assert (expired.status_code, "expired" in expired.text) == (410, True)
    assert await opens(flock, first)  # the visit that began with it goes on


async def test_of_two_browsers_that_go_on_at_once_one_gets_in(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link_to(flock, alice, Purpose.CONTACTS)
    browsers = [flock.new_browser() for _ in range(4)]
    proofs = [csrf(await browser.get(address)) for browser in browsers]
    answers = await asyncio.gather(
        *(browser.post(address, data={"csrf": proof}) for browser, proof in zip(browsers, proofs, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [303, 410, 410, 410]


async def test_one_browser_that_sends_its_form_twice_at_once_gets_in_both_times(
    flock: Flock, alice: BlueskyPerson
) -> None:
    address = await link_to(flock, alice, Purpose.CONTACTS)
    browser = flock.new_browser()
    proof = csrf(await browser.get(address))
    answers = await asyncio.gather(*(browser.post(address, data={"csrf": proof}) for _ in range(4)))
    assert [answer.status_code for answer in answers] == [303] * 4


async def test_when_the_answer_is_lost_the_same_browser_goes_on_with_the_link(
    flock: Flock, alice: BlueskyPerson
) -> None:
    address = await link_to(flock, alice, Purpose.IMPORT)
    browser = flock.new_browser()
    cookies = dict((await browser.get(address)).cookies)
    assert (await spend(browser, address)).status_code == 303
    # The same browser as before the answer reached it: it has no visit, only what the page of the link gave it.
    browser.cookies = httpx.Cookies(cookies)
    assert not await opens(flock, browser)
    assert (await enter(browser, address)).url.path == "/import"


async def test_a_browser_that_keeps_no_cookies_spends_nothing(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link_to(flock, alice, Purpose.IMPORT)
    browser = flock.new_browser()
    proof = csrf(await browser.get(address))
    browser.cookies.clear()
    refused = await browser.post(address, data={"csrf": proof})
    assert (refused.status_code, "keeps no cookies of mine" in refused.text) == (400, True)
    await enter(flock.new_browser(), address)


async def test_somebody_elses_link_does_not_take_a_visit_over_by_itself(flock: Flock, alice: BlueskyPerson) -> None:
    bob = flock.bluesky.create_account("bob.test")
    await asks(flock, bob, "hello")
    browser = flock.new_browser()
    assert "data-at-once" in (await browser.get(await link_to(flock, alice, Purpose.IMPORT))).text
    await enter(browser, await link_to(flock, alice, Purpose.IMPORT))
    assert "data-at-once" in (await browser.get(await link_to(flock, alice, Purpose.CONNECT))).text
    landing = await browser.get(await link_to(flock, bob, Purpose.IMPORT))
    assert "data-at-once" not in landing.text
    assert "visiting as alice.test just now" in landing.text


async def test_a_link_is_good_only_for_what_it_was_given_out_for(flock: Flock, alice: BlueskyPerson) -> None:
    token = (await link_to(flock, alice, Purpose.IMPORT)).rpartition("/")[2]
    for path in (f"/connect/{token}", f"/contacts/{token}", f"/export/{token}", "/import/made-up"):
        answer = await flock.browser.get(flock.pages + path)
        assert (answer.status_code, "not a link of mine" in answer.text) == (410, True)
    assert (await flock.browser.get(f"{flock.pages}/claim/{token}")).status_code == 404


async def test_a_visit_ends_when_its_time_is_over(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web={"visit_hours": 2}) as flock:
        alice = flock.bluesky.create_account("alice.test")
        await asks(flock, alice, "hello")
        await enter(flock.browser, await link_to(flock, alice, Purpose.CONTACTS))
        clock.pass_seconds(2 * 3600 - 1)
        for page in LINKS.values():  # to look at them does not prolong it
            assert await opens(flock, flock.browser, page)
        clock.pass_seconds(1)
        for page in LINKS.values():
            assert not await opens(flock, flock.browser, page)
        await enter(flock.browser, await link_to(flock, alice, Purpose.CONTACTS))
        assert await opens(flock, flock.browser)


async def test_of_somebody_forgotten_no_visit_and_no_link_is_left(flock: Flock, alice: BlueskyPerson) -> None:
    unspent = await link_to(flock, alice, Purpose.EXPORT)
    await enter(flock.browser, await link_to(flock, alice, Purpose.CONTACTS))
    await asks(flock, alice, "forget me yes")
    assert not await opens(flock, flock.browser)
    assert (await flock.browser.get(unspent)).status_code == 410
    # Who comes again is somebody new to us: the visit of before stays over.
    await asks(flock, alice, "hello")
    assert not await opens(flock, flock.browser)


async def test_who_leaves_is_a_stranger_in_that_browser_only(flock: Flock, alice: BlueskyPerson) -> None:
    library, phone = flock.new_browser(), flock.new_browser()
    address = await link_to(flock, alice, Purpose.CONTACTS)
    page = await enter(library, address)
    await enter(phone, await link_to(flock, alice, Purpose.CONTACTS))
    left = await library.post(f"{flock.pages}/leave", data={"csrf": csrf(page)})
    assert (left.status_code, "is over" in left.text) == (200, True)
    assert not await opens(flock, library)
    assert (await library.get(address)).status_code == 410  # whoever finds the link in its history gets no further
    assert await opens(flock, phone)


async def test_a_browser_visits_for_one_person_at_a_time(flock: Flock, alice: BlueskyPerson) -> None:
    bob = flock.bluesky.create_account("bob.test")
    await asks(flock, bob, "hello")
    await enter(flock.browser, await link_to(flock, alice, Purpose.CONTACTS))
    page = await enter(flock.browser, await link_to(flock, bob, Purpose.CONTACTS))
    assert "bob.test" in page.text
    assert "alice.test" not in page.text


async def test_what_was_to_be_said_to_one_is_not_said_to_the_next(flock: Flock, alice: BlueskyPerson) -> None:
    page = await enter(flock.browser, await link_to(flock, alice, Purpose.IMPORT))
    sent = await flock.browser.post(
        page.url, data=find_form(page, lambda form: "key" in form.fields).fields, files=[SCRIPT]
    )
    assert sent.status_code == 303  # alice closes the browser before the next page is there
    bob = flock.bluesky.create_account("bob.test")
    await asks(flock, bob, "hello")
    assert said(await enter(flock.browser, await link_to(flock, bob, Purpose.CONTACTS))) == ""


async def test_the_pages_speak_the_language_of_their_reader(flock: Flock, alice: BlueskyPerson) -> None:
    wished = {"accept-language": "ja, fr-CA;q=0.5, en;q=0.3"}
    closed = await flock.browser.get(f"{flock.pages}/import/made-up", headers=wished)
    assert '<html lang="fr" dir="ltr">' in closed.text  # we do not know who reads it: their browser does

    await asks(flock, alice, "lang en")
    address = await link_to(flock, alice, Purpose.IMPORT)
    landing = await flock.browser.get(address, headers=wished)
    assert '<html lang="en" dir="ltr">' in landing.text  # what its owner speaks with us
    await enter(flock.browser, address)
    for page in LINKS.values():
        assert '<html lang="en"' in (await flock.browser.get(flock.pages + page, headers=wished)).text
    await asks(flock, alice, "lang fr")
    for page in LINKS.values():
        assert '<html lang="fr"' in (await flock.browser.get(flock.pages + page)).text


async def test_what_connect_was_given_stands_in_the_form_already(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link(flock, alice, 'connect mastodon"><b>.test')
    landing = await flock.browser.get(address)
    page = await enter(flock.browser, address)
    for each in (landing, page):
        assert 'value="mastodon&#34;&gt;&lt;b&gt;.test"' in each.text
        assert "<b>" not in each.text


async def test_forms_that_were_not_sent_from_their_own_page_change_nothing(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link_to(flock, alice, Purpose.CONNECT)
    visitor, stranger = flock.new_browser(), flock.new_browser()
    strangers = csrf(await stranger.get(address))
    for proof in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": strangers}, {"csrf": "\N{SNOWMAN}"}):
        await visitor.get(address)
        assert (await visitor.post(address, data=proof)).status_code == 403
        assert not await opens(flock, visitor)
    await enter(visitor, address)
    for proof in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": strangers}, {"csrf": "\N{SNOWMAN}"}):
        for path, files in (
            ("/import", [SCRIPT]),
            ("/connect", None),
            ("/me/export", None),
            ("/leave", None),
        ):
            data = {**proof, "account": alice.did}
            refused = await visitor.post(flock.pages + path, data=data, files=files)
            assert (refused.status_code, "not sent from its own page" in refused.text) == (403, True)
            assert "content-disposition" not in refused.headers
    assert await opens(flock, visitor)
    async with flock.app.events.database.reading() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(uploads)) == 0


async def test_a_form_that_is_sent_twice_is_answered_twice_and_said_once(flock: Flock, alice: BlueskyPerson) -> None:
    page = await enter(flock.browser, await link_to(flock, alice, Purpose.IMPORT))
    for _ in range(2):  # the second time because the first answer was lost
        done = await upload(flock.browser, page, SCRIPT)
        assert done.url.path == "/contacts"
        assert "3 accounts that you followed" in said(done)
        await flock.settle()
    received = [message.text for message in alice.received_dms(flock.bluesky_bot)]
    assert len([text for text in received if "3 accounts that you followed" in text]) == 1

    again = await flock.browser.get(f"{flock.pages}/import")  # with a new form it is a new upload
    await upload(flock.browser, again, SCRIPT)
    await flock.settle()
    received = [message.text for message in alice.received_dms(flock.bluesky_bot)]
    assert len([text for text in received if "3 accounts that you followed" in text]) == 2


async def test_the_words_of_what_happened_are_said_once_on_the_next_page(flock: Flock, alice: BlueskyPerson) -> None:
    page = await enter(flock.browser, await link_to(flock, alice, Purpose.IMPORT))
    assert "3 accounts that you followed" in said(await upload(flock.browser, page, SCRIPT))
    assert said(await flock.browser.get(f"{flock.pages}/contacts")) == ""


async def test_more_words_than_a_cookie_holds_break_off_at_the_end_of_a_line(
    flock: Flock, alice: BlueskyPerson
) -> None:
    await enter(flock.browser, await link_to(flock, alice, Purpose.CONTACTS))
    lines = [f"{number:03} of many lines" for number in range(100)]
    response = Response()
    Pages(flock.app.events, None).say_next(response, "\n".join(lines))
    flock.browser.cookies.set(*response.headers["set-cookie"].partition(";")[0].split("=", 1))
    shown = re.findall("<p>(.*?)</p>", said(await flock.browser.get(f"{flock.pages}/contacts")))
    assert len(shown) > 10
    assert shown == lines[: len(shown)]


async def test_whom_a_visit_belongs_to_cannot_be_read_out_of_a_browser(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link_to(flock, alice, Purpose.CONNECT)
    page = await enter(flock.browser, address)
    assert address.rpartition("/")[2] not in page.text + str(page.url)
    await flock.browser.get(await alice.approve(await begins(flock.browser, page, account=alice.did)))
    for name, value in flock.browser.cookies.items():
        assert re.fullmatch(r"reflock-[a-z]+", name)
        assert "alice" not in value
        assert alice.did not in value
    answer = await spend(flock.browser, address)
    (visit,) = [each for each in answer.headers.get_list("set-cookie") if each.startswith("reflock-visit=")]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(visit.split("; "))


async def test_links_that_a_server_showed_to_others_open_nothing(flock: Flock) -> None:
    """The server publishes as it likes what was for one reader, and refuses to take it back."""
    carol = flock.mastodon.create_account("carol")
    carol.dm(flock.mastodon_bot, "hello")
    await flock.settle()
    shown = {"id": flock.mastodon_bot.post("for others"), "visibility": "public"}
    flock.mastodon.faults.plan(Fault("/api/v1/statuses", status=200, body=json.dumps(shown).encode(), method="POST"))
    flock.mastodon.faults.plan(Fault("/api/v1/statuses/", method="DELETE"))
    async with flock.app.events.event("the test", carol.actor) as ctx:
        address = await one_time.link(ctx, Purpose.EXPORT)
    assert address
    assert "carol" in (await flock.new_browser().get(address)).text
    carol.dm(flock.mastodon_bot, "export")
    await flock.settle()
    page = await flock.new_browser().get(address)
    assert page.status_code != 200
    assert "carol" not in page.text
