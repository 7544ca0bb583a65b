"""Show what Reflock is to who has never seen it."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.web import growth
from bot.web.pages import Pages
from bot.web.visitors import Visitors
from handlers import router, stats
from handlers.names import plain_name
from handlers.texts import SOURCE
from storage.records import NetworkName


class FrontPages:
    """The page without anything personal in it."""

    def __init__(self, pages: Pages, visitors: Visitors) -> None:
        self._pages = pages
        self._visitors = visitors
        # Whoever comes first counts for all who come within the next minute.
        self._counting = asyncio.Lock()

    def routes(self) -> list[Route]:
        """Return the route of the page."""
        return [Route("/", self.show)]

    async def show(self, request: Request) -> Response:
        """Say what Reflock is, how it grew, and how to begin; who is on a visit gets the way back to it."""
        visitor, events = await self._visitors.of(request), self._pages.events
        texts = visitor.texts if visitor is not None else self._pages.texts(request)
        async with self._counting, events.database.reading() as connection:
            counted = await stats.counters(connection, events.world, events.clock())
            days = await stats.growth(connection, counted)
        bots = events.world.settings.bots
        values = {
            "growth": growth.draw(texts, days),
            "width": growth.WIDTH,
            "height": growth.HEIGHT,
            "word": _first_word(texts.language),
            "bots": {network.value: _profile(network, handle) for network, handle in bots.items() if handle},
        }
        owner = plain_name(visitor.account) if visitor is not None else None
        return self._pages.page(request, "front.html", texts, values, has_form=visitor is not None, visited=owner)


def _first_word(language: str) -> str:
    """Return the word with which to begin; whoever writes an alias is answered in its language."""
    start = router.find("start")
    assert start is not None  # noqa: S101  # a command of ours
    own = start.aliases.get(language) if language != SOURCE else None
    return own[0] if own else start.name


def _profile(network: NetworkName, handle: str) -> tuple[str, str]:
    """Return how the bot is called on a network, and where it is found."""
    name = handle.lstrip("@")
    if network is NetworkName.BLUESKY:
        return f"@{name}", f"https://bsky.app/profile/{name}"
    user, _, host = name.partition("@")
    return f"@{name}", f"https://{host}/@{user}"
