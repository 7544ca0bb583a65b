"""What the tests of this folder look with notices what it is there for."""

import asyncio

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route

from tests.browser.browsing import Look, browsing
from tests.browser.looking import axe, in_order
from tests.flock import Flock

_PAGE = '<!doctype html><html lang="{language}" dir="ltr"><title>A page</title><h1>A page</h1>{body}</html>'


async def shows(page: Page, body: str, language: str = "en") -> None:
    await page.set_content(_PAGE.format(language=language, body=body))


async def test_what_cannot_be_read_is_found(page: Page) -> None:
    await shows(page, "<p>All is well</p>")
    await axe(page)
    await shows(page, '<p style="color: #ddd; background: #fff">Hardly to be seen</p>')
    with pytest.raises(AssertionError, match="color-contrast"):
        await axe(page)


@pytest.mark.parametrize(
    ("body", "language"),
    [
        ("<h1>Another</h1>", "en"),
        ('<input name="nameless">', "en"),
        ('<div style="inline-size: 2000px">wide</div>', "en"),
        ("", "ar"),
        ("", ""),
    ],
)
async def test_what_is_out_of_order_is_found(page: Page, body: str, language: str) -> None:
    await shows(page, "<p>All is well</p>")
    await in_order(page)
    await shows(page, body, language)
    with pytest.raises(AssertionError):
        await in_order(page)


async def test_a_page_is_looked_at_when_its_style_sheet_has_come(flock: Flock, page: Page) -> None:
    """Whoever clicks goes on when the next page begins to come; on a busy machine its looks come well after its words."""
    read = asyncio.Event()

    async def late(route: Route) -> None:
        """Come no sooner than somebody who does not wait has looked."""
        await read.wait()
        await Axe().run(page)
        await route.fulfill(content_type="text/css", body="a { display: inline-block; padding-block: 0.5rem }")

    links = '<ul><li><a href="/a">One</a><li><a href="/b">Another</a></ul>'
    head, body = _PAGE.format(language="en", body=links).split("<h1>")
    html = f'{head}<link rel="stylesheet" href="/late.css"><h1>{body}'
    await page.route("**/late", lambda route: route.fulfill(content_type="text/html", body=html))
    await page.route("**/late.css", late)
    await page.goto(f"{flock.pages}/late", wait_until="commit")
    await page.wait_for_load_state("domcontentloaded")
    read.set()
    await axe(page)


async def runs(script: str, address: str, chromium: Browser, *known: str) -> None:
    """Open a page, and run a script in it; only the known servers may be asked."""
    async with browsing(chromium, *known) as opens:
        page = await opens(Look())
        await page.goto(address)
        await page.evaluate(f"async () => {{ {script} }}")
        await page.evaluate("() => new Promise(requestAnimationFrame)")


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("console.error('oops')", "oops"),
        ("queueMicrotask(() => { throw new Error('thrown') })", "thrown"),
        ("document.body.setAttribute('style', 'color: blue')", "Content Security Policy"),
        ("await fetch('/nowhere')", "answered 404"),
    ],
)
async def test_what_a_browser_complains_of_is_overheard(
    flock: Flock, chromium: Browser, script: str, complaint: str
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        await runs(script, flock.pages, chromium, flock.pages)


async def test_whom_a_browser_asks_is_noticed(flock: Flock, chromium: Browser) -> None:
    await runs("", flock.pages, chromium, flock.pages)
    with pytest.raises(AssertionError, match="a stranger was asked"):
        await runs("", flock.pages, chromium, flock.mastodon.url)
