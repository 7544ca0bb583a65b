"""The import page, open before somebody, and what they do with it: the stage of stories about handing lists over."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest_asyncio
import sqlalchemy as sa
from playwright.async_api import Browser, Page, expect

from bot.sandbox.bluesky.people import BlueskyPerson
from storage.codes import Purpose
from storage.records import Direction
from storage.tables import upload
from tests.browser import archives
from tests.browser.wire import Wire
from tests.flock import Flock
from tests.visits import asks, link_to

FOLLOWING = [12, 2**63 - 1, 1_234_567_890_123_456_789, 14, 15]
FOLLOWERS = [12, 99, 1_234_567_890_123_456_781]
FOUND = "5 people you followed, 3 followers, archive of @old_handle; nothing else leaves your device."
MEGABYTE = 2**20


@pytest_asyncio.fixture(loop_scope="session")
async def alice(flock: Flock) -> BlueskyPerson:
    person = flock.bluesky.create_account("alice.test")
    await asks(flock, person, "hello")
    return person


@pytest_asyncio.fixture(loop_scope="session")
async def page(flock: Flock, alice: BlueskyPerson, page: Page) -> Page:
    """Give the import page, open."""
    await enter(flock, alice, page)
    return page


@pytest_asyncio.fixture(loop_scope="session")
async def wire(flock: Flock) -> AsyncIterator[Wire]:
    async with Wire(flock.pages) as laid:
        yield laid


@pytest_asyncio.fixture(loop_scope="session")
async def wired(chromium: Browser, flock: Flock, alice: BlueskyPerson, wire: Wire) -> AsyncIterator[Page]:
    """Give the import page over a wire, in a browser that may complain of what happens to it."""
    profile = await chromium.new_context(locale="en")
    page = await profile.new_page()
    await enter(flock, alice, page, over=wire.url)
    yield page
    await profile.close()


async def enter(flock: Flock, person: BlueskyPerson, page: Page, *, over: str | None = None) -> None:
    await page.goto((await link_to(flock, person, Purpose.IMPORT)).replace(flock.pages, over or flock.pages))
    await page.wait_for_url("**/import")


async def chooses(page: Page, *paths: Path) -> None:
    await page.set_input_files("#files", paths)


async def finds(page: Page, words: str) -> None:
    await expect(page.get_by_role("status")).to_have_text(words)
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    await expect(page.get_by_role("alert")).to_be_hidden()


async def refuses(page: Page, words: str) -> None:
    await expect(page.get_by_role("alert")).to_contain_text(words)
    await expect(page.get_by_role("button", name="Send")).to_be_hidden()


async def sends(page: Page) -> None:
    await page.get_by_role("button", name="Send").click()
    await page.wait_for_url("**/contacts")


async def held(flock: Flock, direction: Direction) -> list[int]:
    """Return the pseudonyms that are kept of all lists of a direction."""
    async with flock.app.events.database.reading() as connection:
        blobs = await connection.scalars(sa.select(upload.c.data).where(upload.c.direction == direction.value))
        return sorted(int(key) for blob in blobs for key in np.frombuffer(blob, "<u8"))


def pseudonyms(flock: Flock, ids: list[int]) -> list[int]:
    return sorted(flock.app.events.world.keys.of_ids(np.array(ids, np.uint64)).tolist())


def written(folder: Path, files: dict[str, bytes]) -> list[Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def long_archive(folder: Path, count: int) -> Path:
    ids = range(10**18, 10**18 + count)
    return archives.write(folder / "long.zip", archives.archive(ids, ids))
