"""Look at a page: as who cannot see it, as who has a small screen, and as a picture."""

import asyncio
from pathlib import Path
from typing import Final

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

SCREENSHOTS: Final = Path(__file__).parents[2] / "build" / "screenshots"
_AXE: Final = Axe()
_WCAG_2_2_AA: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


async def _complete(page: Page) -> None:
    """Wait for all that belongs to a page: a click returns when it only begins to come, without its style sheets."""
    await page.wait_for_load_state("load")


async def axe(page: Page) -> None:
    """Have axe look for what breaks WCAG 2.2 AA, and fail with a list of what and where."""
    await _complete(page)
    options = {"runOnly": {"type": "tag", "values": _WCAG_2_2_AA}, "resultTypes": ["violations"]}
    async with asyncio.timeout(60):  # where scripts are switched off it would never be done
        found = (await _AXE.run(page, options=options)).response["violations"]
    problems = [
        f"{violation['id']}: {violation['help']}\n    {node['html']}\n    {node['failureSummary']}"
        for violation in found
        for node in violation["nodes"]
    ]
    assert not problems, f"axe on {page.url}:\n" + "\n".join(problems)


async def shot(page: Page, name: str) -> None:
    """Keep a picture of the whole page as build/screenshots/<name>.png."""
    await _complete(page)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


async def in_order(page: Page) -> None:
    """See that a page says what it is, in which language and direction, and fits the screen's width."""
    await _complete(page)
    said = await page.evaluate(
        """() => ({
            title: document.title.trim(),
            language: document.documentElement.lang,
            direction: document.documentElement.dir,
            headings: document.querySelectorAll("h1").length,
            unnamed: [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
                .filter((field) => !field.labels.length && !field.ariaLabel && !field.hasAttribute("aria-labelledby"))
                .map((field) => field.outerHTML),
            wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        })"""
    )
    where = f"{page.url}: {said}"
    assert said["title"], where
    assert said["language"], where
    assert said["direction"] == ("rtl" if said["language"] == "ar" else "ltr"), where
    assert said["headings"] == 1, where
    assert not said["unnamed"], where
    assert said["wider"] <= 0, where
