"""Open pages in the browser, each in a profile of its own, set up as somebody's browser is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.overhearing import Overhearing


@dataclass(frozen=True)
class Look:
    """How somebody's browser is set up; width and height are those of its window, in CSS pixels."""

    language: str = "en"
    width: int = 1280
    height: int = 800
    dark: bool = False
    scripts: bool = True


Opens = Callable[[Look], Awaitable[Page]]


@asynccontextmanager
async def browsing(chromium: Browser, *servers: str) -> AsyncIterator[Opens]:
    """Give what opens an empty page; at the end, fail for what the browser complained of, or asked of others than `servers`."""
    profiles: list[tuple[BrowserContext, Overhearing]] = []

    async def open_page(look: Look) -> Page:
        profile = await chromium.new_context(
            locale=look.language,
            viewport={"width": look.width, "height": look.height},
            color_scheme="dark" if look.dark else "light",
            java_script_enabled=look.scripts,
        )
        profiles.append((profile, Overhearing(profile, (urlsplit(server).netloc for server in servers))))
        return await profile.new_page()

    try:
        yield open_page
    finally:
        for profile, _ in profiles:
            await profile.close()
    complaints = [complaint for _, overhearing in profiles for complaint in overhearing.complaints]
    assert not complaints, "\n".join(complaints)
