"""Contacts are looked at, chosen and followed, in a real browser: by mouse, by keyboard alone, on a phone."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from handlers import one_time
from storage.codes import Purpose
from storage.records import Evidence
from tests.browser.browsing import Look
from tests.browser.looking import axe, in_order, shot
from tests.flock import Flock
from tests.reader import Reader, reader

PHONE = Look(width=320, height=640)


async def opens(page: Page, flock: Flock, alice: Reader) -> None:
    """Let Alice follow a link to the page; without scripts she presses its button."""
    async with flock.app.events.event("the link", alice.person.actor) as ctx:
        address = await one_time.link(ctx, Purpose.CONTACTS)
    assert address
    await page.goto(address)
    if urlsplit(page.url).path != "/contacts":
        await page.get_by_role("button", name="Go on").click()
    await page.wait_for_url("**/contacts")


async def meets(flock: Flock) -> Reader:
    """Let five friends of Alice's be here, of whom one is not sure; she has consented on Bluesky."""
    alice = await reader(flock)
    await alice.befriends("bob", "dave", "frank")
    await alice.befriends("carol", on="mastodon")
    await alice.befriends("erin", evidence=Evidence.ARCHIVE)
    await alice.consents()
    return alice


async def test_reconnecting_by_keyboard_alone(page: Page, flock: Flock) -> None:
    alice = await meets(flock)
    await opens(page, flock, alice)
    preview = page.locator("#preview")
    await expect(preview).to_contain_text("I would follow for you: 3 on Bluesky.")
    await expect(preview).to_contain_text("1 is on Mastodon, where I do not have your consent yet.")
    await axe(page)
    await shot(page, "contacts")

    await page.get_by_role("checkbox", name="@dave_x").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("checkbox", name="@dave_x")).not_to_be_checked()
    await expect(preview).to_contain_text("I would follow for you: 2 on Bluesky.")
    await expect(page.locator("#counts")).to_have_text("Chosen: 3 · shown: 5")
    button = page.get_by_role("button", name="Reconnect selected")
    while not await button.evaluate("each => each === document.activeElement"):
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")

    await page.wait_for_url("**/contacts/batch?batch=*")
    await expect(page.locator("#lines")).to_contain_text("Following: 0 of 2 so far.")
    await axe(page)
    await shot(page, "reconnecting")
    await flock.settle()
    await expect(page.locator("#lines")).to_have_text("Done: I followed 2 accounts for you.")
    await expect(page.locator("#news")).to_have_text("Done: I followed 2 accounts for you.")
    await expect(page.locator("#goes-on")).to_be_hidden()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Reconnected")
    await expect(page).to_have_title("Reconnected · Reflock")
    assert await page.locator("progress").evaluate("bar => bar.value === bar.max")
    assert alice.person.follows == {alice.there["bob"].actor, alice.there["frank"].actor}

    await page.get_by_role("button", name="Undo").press("Enter")
    await expect(page.get_by_text("I would unfollow 2 accounts that I followed.")).to_be_visible()
    await axe(page)
    await page.get_by_role("button", name="Yes, undo them").press("Enter")
    await expect(page.locator("#lines")).to_contain_text("Taken back: 0 of 2 so far.")
    await flock.settle()
    await expect(page.locator("#lines")).to_have_text("Undone: 2 follows are taken back.")
    assert alice.person.follows == set()


async def test_searching_narrowing_and_ticking_what_is_shown(page: Page, flock: Flock) -> None:
    alice = await meets(flock)
    await opens(page, flock, alice)
    shown = page.locator(".contacts li:visible")
    await page.get_by_label("Search by name").fill("@BOB")
    await expect(shown).to_have_count(1)
    await page.get_by_role("button", name="Tick none shown").click()
    await expect(page.locator("#counts")).to_have_text("Chosen: 3 · shown: 1 · Chosen, but not shown just now: 3")
    await page.get_by_label("Search by name").fill("nobody")
    await expect(page.locator("#nobody")).to_be_visible()
    await page.get_by_label("Search by name").fill("")
    await page.get_by_label("Show").select_option("unsure")
    await expect(shown).to_have_count(1)
    await page.get_by_role("button", name="Tick all shown").click()
    await expect(page.locator("#preview")).to_contain_text("I would follow for you: 3 on Bluesky.")
    await page.get_by_label("Show").select_option("all")
    await page.get_by_role("button", name="Tick none shown").click()
    await expect(page.locator("#preview")).to_have_text("Nobody is chosen. Tick whom I shall follow for you.")


async def test_leaving_out_in_place_keeps_what_was_ticked(page: Page, flock: Flock) -> None:
    alice = await meets(flock)
    await opens(page, flock, alice)
    await page.get_by_role("checkbox", name="@erin_x").check()
    await page.get_by_role("button", name="Skip @bob_x").click()
    await expect(page.locator("#changed")).to_have_text("Left out: @bob.test. restore brings them back.")
    restore = page.get_by_role("button", name="Restore @bob_x")
    await expect(restore).to_be_focused()
    await expect(page.get_by_role("checkbox", name="@bob_x")).not_to_be_checked()
    await expect(page.get_by_role("checkbox", name="@erin_x")).to_be_checked()
    await expect(page.locator("#preview")).to_contain_text("I would follow for you: 3 on Bluesky.")
    await restore.click()
    await expect(page.get_by_role("checkbox", name="@bob_x")).to_be_checked()
    await expect(page.locator("#preview")).to_contain_text("I would follow for you: 4 on Bluesky.")


async def test_a_list_that_the_server_narrowed_is_narrowed_by_the_server_again(page: Page, flock: Flock) -> None:
    alice = await meets(flock)
    await opens(page, flock, alice)
    await page.goto(f"{flock.pages}/contacts?show=unsure")
    await page.get_by_label("Show").select_option("all")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator(".contacts li")).to_have_count(5)


async def test_everything_works_without_scripts(page_without_scripts: Page, flock: Flock) -> None:
    page = page_without_scripts
    alice = await meets(flock)
    await opens(page, flock, alice)
    await page.get_by_label("Show").select_option("open")
    await page.get_by_role("button", name="Show", exact=True).click()
    await page.get_by_role("checkbox", name="@dave_x").uncheck()
    await page.get_by_role("button", name="Reconnect selected").click()
    await expect(page.get_by_text("I would follow for you: 2 on Bluesky.")).to_be_visible()
    await page.get_by_role("button", name="Yes, reconnect").click()
    await expect(page.get_by_text("Following: 0 of 2 so far.")).to_be_visible()
    await flock.settle()
    # The page reloads itself.
    await expect(page.get_by_text("Done: I followed 2 accounts for you.")).to_be_visible(timeout=20_000)
    assert alice.person.follows == {alice.there["bob"].actor, alice.there["frank"].actor}


@pytest.mark.parametrize("page", [PHONE, Look(dark=True), Look(language="fr")], indirect=True)
async def test_it_fits_a_phone_the_dark_and_another_language(page: Page, flock: Flock) -> None:
    alice = await meets(flock)
    await opens(page, flock, alice)
    await in_order(page)
    await axe(page)
    # From right to left it fits as well; names go on being read from left to right.
    await page.evaluate("document.documentElement.dir = 'rtl'")
    assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    tick, label = (page.locator(f".contacts li {each}").first for each in ("input", "label"))
    ticked, labelled = await tick.bounding_box(), await label.bounding_box()
    assert ticked
    assert labelled
    assert ticked["x"] > labelled["x"]


@pytest.mark.parametrize("page", [PHONE], indirect=True)
async def test_on_a_phone_the_button_to_skip_comes_below_the_text(page: Page, flock: Flock) -> None:
    alice = await meets(flock)
    await opens(page, flock, alice)
    row = page.locator(".contacts li").filter(has_text="@bob_x")
    text, button = await row.locator("div").bounding_box(), await row.get_by_role("button").bounding_box()
    assert text
    assert button
    assert button["y"] >= text["y"] + text["height"]
    assert button["x"] == text["x"]


async def test_what_is_out_of_sight_is_not_laid_out(page: Page, flock: Flock) -> None:
    alice = await meets(flock)
    await alice.befriends(*(f"friend{number}" for number in range(50)))
    await opens(page, flock, alice)
    await expect(page.locator(".contacts li")).to_have_count(55)
    skipped = """() => [...document.querySelectorAll(".contacts li label")]
        .filter((each) => !each.checkVisibility({ contentVisibilityAuto: true })).length"""
    assert await page.evaluate(skipped) > 0
    last = page.locator(".contacts li").last
    await last.scroll_into_view_if_needed()
    await expect(last.get_by_role("link")).to_have_text(re.compile(r"\(Bluesky\)"))
