"""What somebody does to get onto the pages and with their forms, in a browser that runs no scripts."""

import re
from typing import Any, Final

import httpx
import pytest

from bot.sandbox.archive import following_js
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.demo.browser import find_form
from handlers import one_time
from storage.codes import Purpose
from tests.flock import Flock

SCRIPT: Final = ("files", ("following.js", following_js([11, 12, 13]), "text/javascript"))


async def asks(flock: Flock, person: BlueskyPerson, words: str) -> str:
    """Write to the bot, and return its last answer."""
    person.dm(flock.bluesky_bot, words)
    await flock.settle()
    return person.received_dms(flock.bluesky_bot)[-1].text


@pytest.fixture
async def alice(flock: Flock) -> BlueskyPerson:
    """Give somebody on Bluesky who has said hello."""
    person = flock.bluesky.create_account("alice.test")
    await asks(flock, person, "hello")
    return person


async def link(flock: Flock, person: BlueskyPerson, words: str) -> str:
    """Ask for a one-time link."""
    found = re.search(r"http://\S+/(?:import|connect|contacts|export)/\S+", await asks(flock, person, words))
    assert found
    return found[0]


async def link_to(flock: Flock, person: BlueskyPerson, purpose: Purpose) -> str:
    """Give somebody a one-time link without a conversation about it."""
    async with flock.app.events.event("the test", person.actor) as ctx:
        address = await one_time.link(ctx, purpose)
    assert address
    return address


def csrf(page: httpx.Response) -> str:
    """Return what the forms of a page prove themselves with."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert found, page.text
    return found[1]


def said(page: httpx.Response) -> str:
    """Return the words of what just happened, with which a page begins."""
    found = re.search(r'<div class="said".*?</div>', page.text, re.DOTALL)
    return found[0] if found else ""


async def spend(browser: httpx.AsyncClient, address: str) -> httpx.Response:
    """Open a one-time link and press its button."""
    landing = await browser.get(address)
    return await browser.post(address, data=find_form(landing, lambda form: "csrf" in form.fields).fields)


async def enter(browser: httpx.AsyncClient, address: str) -> httpx.Response:
    """Open a one-time link and go on to the page behind it."""
    spent = await spend(browser, address)
    assert spent.status_code == 303, spent.text
    page = await browser.get(str(spent.url.join(spent.headers["location"])))
    assert page.status_code == 200, page.text
    return page


async def upload(browser: httpx.AsyncClient, page: httpx.Response, *files: Any) -> httpx.Response:
    """Send files with the form of the upload page, and return the page that it leads to."""
    fields = find_form(page, lambda form: "key" in form.fields).fields
    return await browser.post(str(page.url.join("/import")), data=fields, files=list(files), follow_redirects=True)


async def chooses(browser: httpx.AsyncClient, page: httpx.Response, **data: str) -> httpx.Response:
    """Choose an account or a server on the page where consent begins."""
    return await browser.post(str(page.url.join("/connect")), data={"csrf": csrf(page), **data})


async def begins(browser: httpx.AsyncClient, page: httpx.Response, **data: str) -> str:
    """Choose like that, and return where the browser is sent."""
    begun = await chooses(browser, page, **data)
    assert begun.status_code == 303, begun.text
    return begun.headers["location"]
