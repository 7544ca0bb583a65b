"""A whole Reflock beside its networks, turned step by step: messages in, what the networks received out."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property

import httpx
import pytest
from pydantic import SecretStr

from bot.app import App, open_app
from bot.config import Loaded, Secrets, parse
from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.x import XSandbox
from bot.web.app import web
from bot.web.serving import Server
from storage.keys import Keys
from tests.conftest import OwnClock

BOT = "reflock.test"


@dataclass
class Flock:
    """The bot, its networks, its pages, and the clock that all of them read."""

    app: App
    bluesky: BlueskySandbox
    mastodon: MastodonSandbox
    x: XSandbox
    bluesky_bot: BlueskyPerson
    mastodon_bot: MastodonPerson
    pages: str
    clock: OwnClock
    config: Loaded
    _stack: AsyncExitStack

    @cached_property
    def browser(self) -> httpx.AsyncClient:
        """Return the browser of whoever needs only one."""
        return self.new_browser()

    def new_browser(self) -> httpx.AsyncClient:
        """Give somebody a browser of their own, with its own cookies; it is closed with the flock."""
        browser = httpx.AsyncClient(follow_redirects=False, timeout=20)
        self._stack.push_async_callback(browser.aclose)
        return browser

    async def settle(self) -> None:
        """Turn everything until nothing is left to hear, to decide or to do at this moment."""
        while True:
            busy = 0
            for inbox in self.app.inboxes.values():
                busy += await inbox.turn()
            while (await self.app.outbox.begin())[0]:
                busy += 1
            await self.app.outbox.drain()
            while await self.app.announcing.turn():
                busy += 1
            if not busy and not (await self.app.outbox.begin())[0]:
                return

    async def pass_seconds(self, seconds: float) -> None:
        """Let time go by, then let everything happen that has become due."""
        self.clock.pass_seconds(seconds)
        await self.settle()


@asynccontextmanager
async def open_flock(database_url: str, clock: OwnClock, **sections: dict[str, object]) -> AsyncIterator[Flock]:
    """Start networks and a Reflock on them; `sections` override parts of the configuration."""
    async with AsyncExitStack() as stack:
        bluesky = await stack.enter_async_context(BlueskySandbox(now=clock.seconds))
        mastodon = await stack.enter_async_context(MastodonSandbox(now=clock.seconds))
        x = await stack.enter_async_context(XSandbox(now=clock.seconds))
        bluesky_bot = bluesky.create_account(BOT, password="bot-app-password", bot=True)
        mastodon_bot = mastodon.create_account("reflock", bot=True)
        server = Server()
        loaded = _configuration(database_url, bluesky, mastodon, x, server.url, mastodon_bot.token, sections)
        app = await stack.enter_async_context(open_app(loaded, clock))
        stack.push_async_callback(app.outbox.stop)
        server.app = web(app.events, app.consents, loaded)
        await stack.enter_async_context(server)
        yield Flock(app, bluesky, mastodon, x, bluesky_bot, mastodon_bot, server.url, clock, loaded, stack)


@pytest.fixture
async def flock(database_url: str, clock: OwnClock) -> AsyncIterator[Flock]:
    """Give a whole Reflock that is configured as most are."""
    async with open_flock(database_url, clock) as opened:
        yield opened


def _configuration(
    database_url: str,
    bluesky: BlueskySandbox,
    mastodon: MastodonSandbox,
    x: XSandbox,
    pages: str,
    token: str,
    sections: dict[str, dict[str, object]],
) -> Loaded:
    table: dict[str, dict[str, object]] = {
        "database": {"url": database_url},
        "bluesky": {"handle": BOT, "service_url": bluesky.url, "plc_url": bluesky.url},
        "mastodon": {"base_url": mastodon.url, "streaming": False},
        "web": {"public_url": pages},
        "x": {"syndication_url": x.url, "oembed_url": x.url},
        "guard": {"allow_private": [each.removeprefix("http://") for each in (bluesky.url, mastodon.url)]},
        "notices": {"delay_seconds": 60},
    }
    for name, values in sections.items():
        table[name] = {**table.get(name, {}), **values}
    pseudonym, grant = Keys.generate()
    secrets = Secrets(
        pseudonym_key=SecretStr(pseudonym),
        grant_keys=SecretStr(grant),
        bluesky_app_password=SecretStr("bot-app-password"),
        mastodon_access_token=SecretStr(token),
    )
    return Loaded(config=parse(table, "the test"), secrets=secrets)
