"""All pages, walked through in one story: in every look they are usable by everybody, and a picture is kept of each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route

from bot.sandbox.archive import write_archive
from bot.sandbox.consent_page import SESSION_COOKIE
from handlers.texts import Catalogue
from tests.browser.browsing import Look, Opens, browsing
from tests.browser.looking import axe, in_order, shot
from tests.flock import Flock
from tests.playground import open_playground
from tests.reunion import traveller
from tests.test_journey import one_time_link

LOOKS = {
    "wide": Look(),
    "wide-dark-rtl": Look(language="ar", dark=True),
    "phone-dark": Look(language="fr", width=320, height=640, dark=True),
    "phone-rtl": Look(language="ar", width=320, height=640),
}


class Walk:
    """Alice's way through all pages, by what is written on their buttons."""

    def __init__(self, flock: Flock, page: Page, language: str, folder: Path) -> None:
        self.flock = flock
        self.page = page
        self.folder = folder
        self.text = Catalogue().texts(language).text
        self.alice = traveller(flock, "bluesky", "alice")
        self.friends = [
            traveller(flock, network, name) for network, name in (("bluesky", "bob"), ("mastodon", "carol"))
        ]

    async def goes(self, path: str) -> None:
        """Open a page by its address."""
        await self.page.goto(f"{self.flock.pages}{path}")

    async def presses(self, words: str, leads_to: str = "", **values: object) -> None:
        """Press a button, and wait for the page that it leads to."""
        async with self.page.expect_navigation(url=f"{self.flock.pages}{leads_to}**"):
            await self.page.get_by_role("button", name=self.text(words, **values), exact=True).first.click()

    async def chooses(self, *files: Path) -> None:
        """Choose files, and wait for what the page says of them."""
        await self.page.locator("input[type=file]").set_input_files(files)
        await self.page.locator("[data-part=status]:not(:empty), [data-part=problem]:visible").first.wait_for()

    async def answers(self, decision: str) -> None:
        """Go from the contacts to the own server's question, and answer it."""
        await self.goes("/contacts")
        name = self.alice.person.handle
        await self.page.get_by_role(
            "button", name=self.text("Connect {account} ({network})", account=name, network="Bluesky"), exact=True
        ).click()
        await self.page.locator(f"button[value={decision}]").click()
        await self.page.wait_for_url(f"{self.flock.pages}/**")

    async def strangers_pages(self) -> AsyncIterator[str]:
        """Walk through what everybody sees."""
        for path, name in (
            ("/", "front"),
            ("/nowhere", "nothing-here"),
            ("/contacts", "stranger"),
            ("/import/made-up", "closed-link"),
            ("/connect/bluesky/callback?state=made-up&code=1", "consent-unknown"),
        ):
            await self.goes(path)
            yield name

    async def import_pages(self, language: str) -> AsyncIterator[str]:
        """Walk from the bot's link to the lists handed over."""
        await self.alice.prove()
        await self.alice.write(f"lang {language}")
        link = one_time_link(await self.alice.write("import"), "import")
        async with _without(self.page, "link.js"):
            await self.page.goto(link)
            yield "link"
            await self.presses("Go on", "/import")
        yield "import"
        await self.goes("/contacts")
        yield "contacts-no-list"
        await self.goes("/import")
        broken, archive = self.folder / "following.js", self.folder / "twitter.zip"
        broken.write_text("window.YTD.following.part0 = [ {")
        await self.chooses(broken)
        yield "import-problem"
        x, friends = self.alice.x, [friend.x.x_id for friend in self.friends]
        write_archive(archive, x_id=x.x_id, screen_name=x.screen_name, following=friends, followers=friends[:1])
        await self.chooses(archive)
        yield "import-found"
        await self.presses("Send", "/contacts")
        yield "contacts-nobody"

    async def consent_pages(self) -> AsyncIterator[str]:
        """Walk from the friends that have come to the consent, by way of a mistake and a change of mind."""
        for friend in self.friends:
            await friend.prove()
        await self.goes("/contacts")
        yield "contacts"
        await self.goes("/connect")
        yield "connect"
        await self.page.locator("#server").fill("nonsense")
        await self.presses("Connect Mastodon", "/connect")
        yield "connect-problem"
        self.alice.person.sign_in("alice")
        await self.page.context.add_cookies([{"name": SESSION_COOKIE, "value": "alice", "url": self.flock.pages}])
        await self.answers("refuse")
        yield "consent-refused"
        await self.answers("approve")
        yield "contacts-connected"

    async def reconnecting_pages(self) -> AsyncIterator[str]:
        """Walk from the preview to the question whether to take it back."""
        async with _without(self.page, "contacts.js"):
            await self.goes("/contacts")
            await self.presses("Reconnect selected", "/contacts/reconnect")
            yield "preview"
            await self.presses("Yes, reconnect", "/contacts/batch")
            yield "reconnecting"
        await self.flock.settle()
        await self.page.reload()
        yield "reconnected"
        await self.presses("Undo", "/contacts/undo")
        yield "undo"

    async def own_pages(self) -> AsyncIterator[str]:
        """Walk through what is held about alice, to the door."""
        await self.goes("/me")
        yield "me"
        await self.goes("/me/forget")
        yield "forget"
        await self.presses("Yes, forget me", "/me/forget")
        yield "forgotten"


class _without:  # noqa: N801  # a context manager reads as a preposition
    """Let a page be without one of its scripts, as it is for who runs none, while axe can still run its own."""

    def __init__(self, page: Page, script: str) -> None:
        self._page = page
        self._address = f"**/static/{script}"

    async def __aenter__(self) -> None:
        await self._page.route(self._address, _nothing)

    async def __aexit__(self, *_error: object) -> None:
        await self._page.unroute(self._address)


async def _nothing(route: Route) -> None:
    await route.fulfill(content_type="text/javascript", body="")


async def looks_well(page: Page, name: str, look: str) -> None:
    """See that a page is for everybody in this look, and keep a picture of it."""
    await shot(page, f"{name}-{look}")
    assert await page.locator("html").get_attribute("lang") == LOOKS[look].language, name
    await in_order(page)
    await axe(page)


@pytest.mark.parametrize("look", LOOKS)
async def test_every_page_is_for_everybody(flock: Flock, opens: Opens, look: str, tmp_path: Path) -> None:
    language = LOOKS[look].language
    page = await opens(LOOKS[look])
    walk = Walk(flock, page, language, tmp_path)
    seen = []
    for part in (
        walk.strangers_pages(),
        walk.import_pages(language),
        walk.consent_pages(),
        walk.reconnecting_pages(),
        walk.own_pages(),
    ):
        async for name in part:
            await looks_well(page, name, look)
            seen.append(name)
    assert len(seen) == len(set(seen)) == 23


async def test_the_page_of_the_demo_is_for_everybody(chromium: Browser, tmp_path: Path) -> None:
    async with (
        open_playground(tmp_path) as playground,
        browsing(chromium, playground.page, playground.stage.public_url) as opens,
    ):
        for name, look in LOOKS.items():
            page = await opens(look)
            await page.goto(playground.page)
            await looks_well(page, "play-door", name)
            await page.get_by_label(Catalogue().texts(look.language).text("What is your name?")).fill("Nadia")
            await page.locator("form button").click()
            await page.wait_for_url("**/play")
            await page.locator("[data-part=next-bluesky] button").first.wait_for()
            await looks_well(page, "play", name)
