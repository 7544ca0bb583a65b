"""Alice, who looks at the page of her contacts in a browser that runs no scripts."""

import re
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.mastodon import MastodonPerson
from handlers import contests, imports
from handlers.archive import Lists
from storage import accounts, claims
from storage.codes import Purpose
from storage.records import Evidence, NetworkName
from storage.tables import batch
from tests.flock import Flock
from tests.visits import asks, csrf, enter, link_to


@dataclass
class Reader:
    """Alice, on Bluesky, who looks at the page of her contacts; `friends` are their person ids, by name."""

    flock: Flock
    person: BlueskyPerson
    browser: httpx.AsyncClient
    friends: dict[str, int] = field(default_factory=dict)
    there: dict[str, BlueskyPerson | MastodonPerson] = field(default_factory=dict)

    async def befriends(self, *names: str, on: str = "bluesky", evidence: Evidence = Evidence.POST) -> None:
        """Let people whom she followed on X arrive."""
        events = self.flock.app.events
        for name in names:
            x_id = 1_000 + len(self.friends)
            if on == "bluesky":
                self.there[name] = self.flock.bluesky.create_account(f"{name}.test")
                network, handle = NetworkName.BLUESKY, f"{name}.test"
            else:
                self.there[name] = self.flock.mastodon.create_account(name)
                network, handle = NetworkName.MASTODON, f"@{name}@{self.flock.mastodon.domain}"
            actor = self.there[name].actor
            async with events.database.transaction() as connection:
                await accounts.meet(connection, network, actor, handle, self.flock.clock())
            async with events.event(f"{name} arrives", actor) as ctx:
                keys = events.world.keys
                claim = await claims.declare(ctx.connection, keys, ctx.person.id, f"{name}_x", ctx.now)
                outcome = await claims.raise_evidence(
                    ctx.connection, keys, claim, x_id=x_id, x_handle=f"{name}_x", evidence=evidence, now=ctx.now
                )
                await contests.settle(ctx, outcome)
                self.friends[name] = ctx.person.id
        await self.hands_over(range(1_000, 1_000 + len(self.friends)))

    async def hands_over(self, following: Any) -> None:
        """Let her hand her list over."""
        events = self.flock.app.events
        lists = Lists(np.array(list(following), np.uint64), None)
        async with events.event("the list", self.person.actor) as ctx:
            await imports.received(ctx, imports.keyed(events.world.keys, lists))

    async def opens(self, path: str = "/contacts") -> httpx.Response:
        """Open a page."""
        return await self.browser.get(self.flock.pages + path)

    async def sends(self, path: str, fields: dict[str, str | list[str]], **headers: str) -> httpx.Response:
        """Send a form of the page; a list of values is the same field several times."""
        return await self.browser.post(self.flock.pages + path, data=fields, headers=headers)

    async def reconnects(
        self, *names: str, confirmed: str = "yes", page: httpx.Response | None = None
    ) -> httpx.Response:
        """Tick some, and press the button; with `confirmed` as the script does it."""
        page = page or await self.opens()
        return await self.sends("/contacts/reconnect", self.form(page, *names, confirmed=confirmed))

    def form(self, page: httpx.Response, *names: str, **fields: str) -> dict[str, str | list[str]]:
        """Return what the page's form sends when these are ticked."""
        newest = re.search(r'name="newest" value="(\d+)"', page.text)
        assert newest, page.text
        ticked = [str(self.friends[name]) for name in names]
        return {"csrf": csrf(page), "newest": newest[1], "contact": ticked, **fields}

    async def consents(self) -> None:
        """Let her consent on Bluesky."""
        begun = await self.sends("/connect", {"csrf": csrf(await self.opens("/connect")), "account": self.person.actor})
        await self.browser.get(await self.person.approve(begun.headers["location"]))
        await self.flock.settle()

    def ticked(self, page: httpx.Response) -> set[str]:
        """Return who is ticked on a page."""
        ids = {int(each) for each in re.findall(r'name="contact" value="(\d+)"[^>]* checked', page.text)}
        return {name for name, number in self.friends.items() if number in ids}

    def shown(self, page: httpx.Response) -> set[str]:
        """Return who is shown on a page."""
        return {name for name, number in self.friends.items() if f'id="contact-{number}"' in page.text}

    def row(self, page: httpx.Response, name: str) -> str:
        """Return what a page shows of somebody, without the markup."""
        found = re.search(rf'<li id="contact-{self.friends[name]}".*?</li>', page.text, re.DOTALL)
        assert found, page.text
        return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split())


async def reader(flock: Flock) -> Reader:
    """Return Alice, whose visit has begun."""
    alice = flock.bluesky.create_account("alice.test", password="her own")
    await asks(flock, alice, "hello")
    browser = flock.new_browser()
    await enter(browser, await link_to(flock, alice, Purpose.CONTACTS))
    return Reader(flock, alice, browser)


@pytest.fixture
async def alice(flock: Flock) -> Reader:
    return await reader(flock)


async def batches(flock: Flock) -> int:
    """Return how many batches have been begun."""
    async with flock.app.events.database.reading() as connection:
        return int(await connection.scalar(sa.select(sa.func.count()).select_from(batch)) or 0)
