"""The front page, the page about oneself, and the way to a consent and back, as people have them before their eyes."""

import json

import pytest
from playwright.async_api import Page, expect

from bot.sandbox.bluesky.people import BlueskyPerson
from storage import accounts, census
from storage.census import Day
from storage.codes import Purpose
from storage.records import Cadence
from tests.browser.browsing import Look, Opens
from tests.browser.looking import axe, in_order, shot
from tests.conftest import START
from tests.flock import Flock
from tests.visits import asks, link_to

TODAY = START // 86_400_000
LOOKS = {
    "wide": Look(),
    "dark": Look(dark=True),
    "phone": Look(width=320, height=640),
    "french": Look(language="fr", width=390, height=844),
    "arabic": Look(language="ar", width=390, height=844),
    "no-scripts": Look(scripts=False),
}


async def somebody(flock: Flock) -> BlueskyPerson:
    alice = flock.bluesky.create_account("alice.test", password="her own")
    await asks(flock, alice, "hello")
    await asks(flock, alice, "claim alice_old")
    await asks(flock, alice, "import jack_smith marie75")
    return alice


async def enters(flock: Flock, page: Page, alice: BlueskyPerson, purpose: Purpose, look: Look | None = None) -> None:
    """Open a one-time link; without scripts its button has to be pressed."""
    await page.goto(await link_to(flock, alice, purpose))
    if look is not None and not look.scripts:
        await page.get_by_role("button").click()
    await page.wait_for_url(f"{flock.pages}/{'me' if purpose is Purpose.EXPORT else purpose.value}")


async def looks_well(page: Page, name: str, look: Look | None = None) -> None:
    await in_order(page)
    if look is None or look.scripts:  # axe is a script
        await axe(page)
    await shot(page, name)


async def cadence(flock: Flock, alice: BlueskyPerson) -> Cadence:
    async with flock.app.events.database.reading() as connection:
        account = await accounts.get(connection, alice.did)
        assert account is not None
        return (await accounts.get_person(connection, account.person_id)).cadence


async def answers_with(page: Page, decision: str, alice: BlueskyPerson) -> None:
    """Answer on the consent page of one's server."""
    if await page.locator("[name=password]").count():
        await page.locator("[name=identifier]").fill(alice.handle)
        await page.locator("[name=password]").fill(alice.password)
    await page.locator(f"[name=decision][value={decision}]").click()


@pytest.mark.parametrize("days", [0, 1, 2, 400])
async def test_the_front_page_shows_how_it_grew(flock: Flock, page: Page, days: int) -> None:
    async with flock.app.events.database.transaction() as connection:
        for each in range(days):
            grown = Day(TODAY - days + each, 80 * each, 117_500 * each, 3 * each * each)
            await census.keep(connection, grown)
    await page.goto(flock.pages)
    await expect(page.get_by_role("img")).to_have_count(3 if days else 0)
    if days:
        await expect(page.get_by_role("img", name="People registered")).to_be_visible()
        await page.get_by_text("The same in numbers").click()
        await expect(page.get_by_role("table")).to_be_visible()
    await looks_well(page, f"front-{days}-days")


@pytest.mark.parametrize("look", LOOKS)
async def test_the_front_page_fits_every_reader(flock: Flock, opens: Opens, look: str) -> None:
    async with flock.app.events.database.transaction() as connection:
        for each in range(1, 41):
            await census.keep(connection, Day(TODAY - each, 33_000 - 700 * each, 47_000_000 - each * 10**6, 9_000))
    page = await opens(LOOKS[look])
    await page.goto(flock.pages)
    await page.locator("summary").click()
    await looks_well(page, f"front-{look}", LOOKS[look])


@pytest.mark.parametrize("look", LOOKS)
async def test_the_page_about_oneself_fits_every_reader(flock: Flock, opens: Opens, look: str) -> None:
    alice = await somebody(flock)
    if look in ("french", "arabic"):
        await asks(flock, alice, f"lang {LOOKS[look].language}")
    page = await opens(LOOKS[look])
    await enters(flock, page, alice, Purpose.EXPORT, LOOKS[look])
    await looks_well(page, f"me-{look}", LOOKS[look])
    await page.locator("[href='/me/forget']").click()
    await looks_well(page, f"me-forget-{look}", LOOKS[look])
    await page.goto(f"{flock.pages}/connect")
    await looks_well(page, f"connect-{look}", LOOKS[look])


async def test_a_choice_is_made_with_the_keyboard_and_said_aloud(flock: Flock, page: Page) -> None:
    alice = await somebody(flock)
    await enters(flock, page, alice, Purpose.EXPORT)
    await page.get_by_role("radio", name="as they arrive").focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Save Newcomers")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("once a day, in the morning")
    await expect(page.get_by_role("radio", name="once a day")).to_be_checked()
    assert await cadence(flock, alice) is Cadence.DAILY


async def test_two_hours_that_are_one_are_refused_in_words(flock: Flock, page: Page) -> None:
    await enters(flock, page, await somebody(flock), Purpose.EXPORT)
    await page.get_by_label("From", exact=True).select_option("03:00")
    await page.get_by_label("To", exact=True).select_option("03:00")
    await page.get_by_role("button", name="Save Quiet hours").click()
    await expect(page.get_by_role("alert")).to_contain_text("two different hours")
    await axe(page)


async def test_everything_is_downloaded(flock: Flock, page: Page) -> None:
    await enters(flock, page, await somebody(flock), Purpose.EXPORT)
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Download everything").click()
    download = await downloading.value
    assert download.suggested_filename == "reflock-export.json"
    assert json.loads((await download.path()).read_text())["accounts"][0]["handle"] == "alice.test"


async def test_who_is_forgotten_leaves_no_cookie_behind(flock: Flock, page: Page) -> None:
    await enters(flock, page, await somebody(flock), Purpose.EXPORT)
    await page.get_by_role("link", name="Forget me").click()
    await page.get_by_role("button", name="Yes, forget me").click()
    await expect(page.get_by_role("heading", name="Goodbye")).to_be_visible()
    await axe(page)
    assert await page.context.cookies() == []
    answer = await page.goto(f"{flock.pages}/me")
    assert answer is not None
    assert answer.status == 403


async def test_a_consent_is_given_refused_and_taken_back(flock: Flock, page: Page) -> None:
    alice = await somebody(flock)
    await enters(flock, page, alice, Purpose.CONNECT)
    await page.get_by_role("button", name="Connect alice.test (Bluesky)").click()
    await answers_with(page, "refuse", alice)
    await expect(page.get_by_role("heading", name="Not connected")).to_be_visible()
    await looks_well(page, "not-connected")
    await page.get_by_role("link", name="Try again").click()
    await page.get_by_role("button", name="Connect alice.test (Bluesky)").click()
    await answers_with(page, "approve", alice)
    await page.wait_for_url(f"{flock.pages}/contacts")
    await expect(page.get_by_role("status")).to_contain_text("I may follow for you as alice.test")
    await page.get_by_role("link", name="Consent").click()
    await looks_well(page, "connected")
    await page.get_by_role("button", name="Disconnect alice.test").click()
    await expect(page.get_by_role("status")).to_contain_text("I no longer follow as alice.test")
    await flock.settle()
    assert flock.bluesky.oauth.sessions_of(alice.did) == []
