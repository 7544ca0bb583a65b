"""From the bot's link to the flock that comes back, as people do it: with a mouse, with keys alone, without scripts."""

from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from bot.sandbox.archive import write_archive
from bot.sandbox.consent_page import SESSION_COOKIE
from handlers.texts import Catalogue
from tests.browser.browsing import Look, Opens
from tests.flock import Flock
from tests.reunion import traveller
from tests.test_journey import Traveller, one_time_link

_SESSION = "alice is signed in"
_MOST_CLICKS = 6
_MOST_TABS = 60


class Journey:
    """Alice, whose friends are here, and her browser, in which she is signed in at her network."""

    def __init__(self, flock: Flock, page: Page, alice: Traveller, friends: list[Traveller], language: str) -> None:
        self.flock = flock
        self.page = page
        self.alice = alice
        self.friends = friends
        self.text = Catalogue().texts(language).text

    async def link(self) -> str:
        """Return the link that the bot gives her by direct message."""
        return one_time_link(await self.alice.write("import"), "import")

    def archive(self, folder: Path) -> Path:
        """Return her archive, as X packed it."""
        path = folder / "twitter-2026-11-01.zip"
        x, followed = self.alice.x, [friend.x.x_id for friend in self.friends]
        write_archive(
            path, x_id=x.x_id, screen_name=x.screen_name, following=[*followed, 999_999], followers=followed[:1]
        )
        return path

    def button(self, words: str, **values: object) -> Locator:
        """Return the button that says this, in the language of the page."""
        return self.page.get_by_role("button", name=self.text(words, **values), exact=True)

    @property
    def files(self) -> Locator:
        return self.page.locator("input[type=file]")

    @property
    def connect(self) -> Locator:
        name = self.alice.person.handle.removeprefix("@")
        network = self.alice.network.capitalize()
        return self.button("Connect {account} ({network})", account=name, network=network)

    @property
    def approve(self) -> Locator:
        """What is pressed on her own server, which speaks as it likes."""
        return self.page.locator("button[value=approve]")

    async def is_at(self, path: str) -> None:
        """See that the browser has come to a page."""
        await expect(self.page).to_have_url(f"{self.flock.pages}{path}")

    async def is_reconnecting(self) -> None:
        """See that it goes, by what the page says and by whom she follows in the end."""
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(self.text("Reconnecting"))
        await self.flock.settle()
        assert self.alice.person.follows == {friend.person.actor for friend in self.friends}


async def begin(flock: Flock, page: Page, network: str, language: str = "en") -> Journey:
    """Have two friends arrive, and alice prove who she was; she is signed in at her network."""
    friends = [traveller(flock, network, name) for name in ("bob", "carol")]
    for friend in friends:
        await friend.prove()
    alice = traveller(flock, network, "alice")
    await alice.prove()
    await alice.write(f"lang {language}")
    alice.person.sign_in(_SESSION)
    await page.context.add_cookies([{"name": SESSION_COOKIE, "value": _SESSION, "url": flock.pages}])
    return Journey(flock, page, alice, friends, language)


@pytest.mark.parametrize("language", ["en", "fr", "ar"])
@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_six_clicks_lead_from_the_bots_link_to_reconnecting(
    flock: Flock, opens: Opens, network: str, language: str, tmp_path: Path
) -> None:
    page = await opens(Look(language=language))
    journey = await begin(flock, page, network, language)
    clicks = 0

    async def click(what: Locator) -> None:
        nonlocal clicks
        clicks += 1
        await what.click()

    clicks += 1  # on the link, in the bot's message
    await page.goto(await journey.link())
    await journey.is_at("/import")
    assert await page.locator("html").get_attribute("dir") == ("rtl" if language == "ar" else "ltr")

    async with page.expect_file_chooser() as choosing:
        await click(journey.files)
    await (await choosing.value).set_files(journey.archive(tmp_path))
    await expect(page.get_by_role("status").first).to_contain_text(f"@{journey.alice.x.screen_name}")
    await click(journey.button("Send"))

    await journey.is_at("/contacts")
    await click(journey.connect)
    await click(journey.approve)

    await journey.is_at("/contacts")
    assert journey.alice.person.follows == set()
    await click(journey.button("Reconnect selected"))
    await journey.is_reconnecting()
    await expect(page.locator("progress")).to_have_js_property("position", 1)
    assert clicks <= _MOST_CLICKS


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_without_scripts_two_more_buttons_lead_there(
    flock: Flock, page_without_scripts: Page, network: str, tmp_path: Path
) -> None:
    page = page_without_scripts
    journey = await begin(flock, page, network)
    await page.goto(await journey.link())
    await journey.button("Go on").click()

    await journey.is_at("/import")
    await expect(page.get_by_text("Without JavaScript")).to_be_visible()
    await journey.files.set_input_files(journey.archive(tmp_path))
    await journey.button("Send").click()

    await journey.is_at("/contacts")
    await journey.connect.click()
    await journey.approve.click()

    await journey.is_at("/contacts")
    await journey.button("Reconnect selected").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Before we go")
    assert journey.alice.person.follows == set()
    await journey.button("Yes, reconnect").click()
    await journey.is_reconnecting()
    await page.reload()
    await expect(page.locator("progress")).to_have_js_property("position", 1)


async def test_keys_alone_lead_there(flock: Flock, page: Page, tmp_path: Path) -> None:
    journey = await begin(flock, page, "mastodon")

    async def press(what: Locator) -> None:
        """Go to something with the tabulator, and press it."""
        await expect(what).to_be_visible()
        for _ in range(_MOST_TABS):
            await page.keyboard.press("Tab")
            if await what.evaluate("element => element === document.activeElement"):
                break
        await expect(what).to_be_focused()
        await page.keyboard.press("Enter")

    await page.goto(await journey.link())
    await journey.is_at("/import")
    async with page.expect_file_chooser() as choosing:
        await press(journey.files)
    await (await choosing.value).set_files(journey.archive(tmp_path))
    await press(journey.button("Send"))
    await journey.is_at("/contacts")
    await press(journey.connect)
    await press(journey.approve)
    await journey.is_at("/contacts")
    await press(journey.button("Reconnect selected"))
    await journey.is_reconnecting()
