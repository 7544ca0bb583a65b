"""Somebody without any account plays the whole way in a real browser: from hello to reconnected, and one arrival."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.looking import axe, in_order, shot
from tests.browser.overhearing import Overhearing
from tests.playground import Playground, open_playground

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE = 40_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def playground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Playground]:
    async with open_playground(tmp_path_factory.mktemp("demo")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def page(request: pytest.FixtureRequest, chromium: Browser, playground: Playground) -> AsyncIterator[Page]:
    """Give the page on which a name is chosen; a parameter sets the browser up differently."""
    stage = playground.stage
    servers = (playground.page, stage.public_url, stage.bluesky.url, stage.mastodon.url)
    profile = await chromium.new_context(**{"locale": "en", **getattr(request, "param", {})})
    profile.set_default_timeout(PATIENCE)
    overhearing = Overhearing(profile, [urlsplit(server).netloc for server in servers])
    opened = await profile.new_page()
    await opened.goto(playground.page)
    yield opened
    await profile.close()
    assert overhearing.complaints == []


async def begin(page: Page, name: str) -> None:
    await page.get_by_label("What is your name?").fill(name)
    await page.get_by_role("button", name="Play").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"Play as {name}")


async def click(page: Page, network: str, words: str) -> None:
    """Send one of the suggested messages."""
    await page.get_by_role("region", name=network, exact=True).get_by_role("button", name=words, exact=True).click()


async def hears(page: Page, network: str, words: str) -> None:
    log = page.get_by_role("log", name=f"{network} Direct messages with the bot")
    await expect(log).to_contain_text(words, timeout=PATIENCE)


async def follow_link(page: Page, purpose: str) -> Page:
    """Open the last link of a kind that the bot has given, in another tab."""
    async with page.expect_popup() as popup:
        await page.locator(f'[data-log="messages-bluesky"] a[href*="/{purpose}/"]').last.click()
    return await popup.value


async def hand_over(page: Page, folder: Path) -> None:
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download the archive").click()
    archive = folder / "twitter-archive.zip"
    await (await download.value).save_as(archive)
    pages = await follow_link(page, "import")
    await pages.locator('input[type="file"]').set_input_files(archive)
    await pages.get_by_role("button", name=re.compile("^Send")).click()
    await pages.wait_for_url("**/contacts")
    await pages.close()


async def consent(page: Page, network: str) -> None:
    await page.get_by_role("region", name="Bluesky", exact=True).get_by_label("Write to the bot").fill("connect")
    before = await page.locator('[data-log="messages-bluesky"] a[href*="/connect/"]').count()
    await page.get_by_role("button", name="Send on Bluesky").click()
    links = page.locator('[data-log="messages-bluesky"] a[href*="/connect/"]')
    await expect(links).to_have_count(before + 1, timeout=PATIENCE)
    pages = await follow_link(page, "connect")
    await pages.get_by_role("button", name=re.compile(rf"^Connect .+\({network}\)")).click()
    await expect(pages.get_by_text("You are signed in as")).to_be_visible()
    await axe(pages)
    await pages.get_by_role("button", name=re.compile("^(Approve|Authorize)$")).click()
    await pages.wait_for_url("**/contacts")
    await pages.close()


async def test_from_hello_to_an_arrival_on_both_networks(page: Page, playground: Playground, tmp_path: Path) -> None:
    await axe(page)
    await begin(page, "Nell")
    bluesky = page.get_by_role("region", name="Bluesky", exact=True)
    mastodon = page.get_by_role("region", name="Mastodon", exact=True)
    x = page.get_by_role("region", name="X", exact=True)

    await mastodon.get_by_label("Mention the bot").fill("hello")
    await mastodon.get_by_label("Mention the bot").press("Enter")
    await expect(page.get_by_role("log", name="Mastodon Timeline")).to_contain_text("I find the people you followed")
    await click(page, "Bluesky", "start")
    await hears(page, "Bluesky", "in three steps")
    await click(page, "Bluesky", "link")
    await mastodon.get_by_role("button", name=re.compile("^link LK-")).click()
    await hears(page, "Mastodon", "These accounts are one person")

    await click(page, "Bluesky", "claim nell_old")
    await x.get_by_role("button", name="Post this farewell on X").click()
    await bluesky.get_by_role("button", name="https://x.com/nell_old/status/").click()
    await hears(page, "Bluesky", "Proved: @nell_old was you.")

    await hand_over(page, tmp_path)
    await hears(page, "Bluesky", "already here")
    await consent(page, "Bluesky")
    await consent(page, "Mastodon")
    await click(page, "Bluesky", "follow all")
    await click(page, "Bluesky", "yes")
    for network, column in (("bluesky", bluesky), ("mastodon", mastodon)):
        for resident in playground.here:
            if network in resident.homes:
                await expect(column.locator(".names")).to_contain_text(resident.name, timeout=PATIENCE)
    await click(page, "Bluesky", "auto on")
    await hears(page, "Bluesky", "auto is on now")

    await x.get_by_role("button", name="Somebody I followed arrives now").click()
    arrival = x.get_by_role("status")
    await expect(arrival).to_contain_text("has arrived", timeout=PATIENCE)
    newcomer = (await arrival.inner_text()).partition(" has arrived")[0]
    await hears(page, "Bluesky", "1 person you followed on X has arrived")
    followed = page.locator('[data-part^="follows-"] .names li', has_text=newcomer)
    await expect(followed.first).to_be_visible(timeout=PATIENCE)
    await expect(page.locator("#lost")).to_be_empty()
    await in_order(page)
    await axe(page)
    await shot(page, "play")


@pytest.mark.parametrize(
    "page",
    [
        {"viewport": {"width": 360, "height": 740}},
        {"color_scheme": "dark"},
        {"viewport": {"width": 1600, "height": 900}},
    ],
    indirect=True,
    ids=["on a phone", "in the dark", "on a large screen"],
)
async def test_the_page_fits_and_is_usable_everywhere(page: Page) -> None:
    await in_order(page)
    await begin(page, "Otto")
    await click(page, "Mastodon", "start")
    await hears(page, "Mastodon", "in three steps")

    await in_order(page)
    await axe(page)
    size, colours = page.viewport_size, await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    await shot(page, f"play-{size['width'] if size else 0}{'-dark' if colours else ''}")


async def test_the_next_step_is_one_key_away(page: Page) -> None:
    await begin(page, "Pia")
    start = page.get_by_role("region", name="Bluesky", exact=True).get_by_role("button", name="start", exact=True)
    await start.focus()

    await page.keyboard.press("Enter")
    link = page.get_by_role("region", name="Bluesky", exact=True).get_by_role("button", name="link", exact=True)
    await expect(link).to_be_focused(timeout=PATIENCE)


@pytest.mark.parametrize("page", [{"java_script_enabled": False}], indirect=True)
async def test_without_scripts_the_page_says_so_and_works_by_reloading(page: Page) -> None:
    await begin(page, "Quinn")
    await expect(page.get_by_text("Without JavaScript this page does not change by itself")).to_be_visible()

    await click(page, "Bluesky", "start")
    log = page.get_by_role("log", name="Bluesky Direct messages with the bot")
    await expect(log).to_contain_text("start")
