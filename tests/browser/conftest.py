"""A real Chromium: one for all tests of a worker, and a profile of its own for every page.

A test that takes `page` fails by itself when the browser logs an error, when a script throws, when something that a
page needs is not given, and when anybody but the flock is asked for anything. Fixtures that touch a page, too, need
`loop_scope="session"`.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.browser.browsing import Look, Opens, browsing
from tests.browser.chromium import installed
from tests.conftest import OwnClock
from tests.flock import Flock, open_flock

# Fit for root and for containers; and quiet, because a browser left to itself asks its maker for news.
_FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

# On a busy machine a page takes its time; who looks for something that does not come waits so long, in milliseconds.
expect.set_options(timeout=20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests here in one event loop: the browser, which lives through all of them, belongs to it."""
    for item in items:
        if Path(__file__).parent in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session")
async def flock(tmp_path: Path, clock: OwnClock) -> AsyncIterator[Flock]:
    """Give a whole Reflock, on SQLite: what another database could change is tested without a browser."""
    async with open_flock(f"sqlite:///{tmp_path / 'reflock.sqlite3'}", clock) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Give this worker's browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=installed(), args=_FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def opens(chromium: Browser, flock: Flock) -> AsyncIterator[Opens]:
    """Give what opens an empty page in a fresh profile."""
    async with browsing(chromium, flock.pages, flock.bluesky.url, flock.mastodon.url) as opening:
        yield opening


@pytest_asyncio.fixture(loop_scope="session")
async def page(request: pytest.FixtureRequest, opens: Opens) -> Page:
    """Give an empty page; `parametrize("page", [Look(dark=True)], indirect=True)` sets its browser up differently."""
    return await opens(getattr(request, "param", Look()))


@pytest_asyncio.fixture(loop_scope="session")
async def page_without_scripts(opens: Opens) -> Page:
    """Give an empty page of a browser in which JavaScript is switched off."""
    return await opens(Look(scripts=False))
