"""The bot's Mastodon server on the launch day, and an adapter that imitates the product's.

The product's own asks through an SDK, in threads, and reads HTML and WebFinger; to stand in for all of that would be most of
a server. What one would look for before it says something again is found here by its key. Limits are those of the sandbox.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from bench.launchday_networks import Server, Weather
from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Incoming, Say
from bot.networks.errors import NetworkError, PartlyDone, Unavailable
from bot.networks.ratelimits import AnnouncedLimits, RateLimited
from bot.networks.text import mastodon_length
from bot.sandbox.mastodon import limits
from bot.sandbox.mastodon.errors import ApiError
from storage.records import NetworkName

_PAGE: Final = 40
_ENOUGH: Final = 500
_STATUS: Final = 450


class MastodonServer(Server):
    """The bot's server."""

    name = NetworkName.MASTODON

    def __init__(self, weather: Weather, heard: Callable[[Say], None]) -> None:
        super().__init__(weather, heard)
        self._written: deque[tuple[int, Incoming]] = deque()
        self._last = 0
        self.news = asyncio.Event()
        loop = weather.loop
        self._limits = limits.RateLimits(lambda: loop.epoch_ms() / 1000, enabled=True)
        self._announced = AnnouncedLimits(loop.epoch_ms)

    def connect(self) -> "Mastodon":
        """Connect a bot."""
        return Mastodon(self)

    def write(self, actor: str, handle: str, text: str) -> str:
        """Take somebody's message to the bot; return the id under which the bot will know it."""
        self._last += 1
        message = Incoming(
            id=f"m{self._last}",
            network=self.name,
            actor=actor,
            handle=handle,
            text=text,
            public=False,
            thread=actor,
            thread_key=actor,
            at=self.weather.loop.epoch_ms(),
        )
        self._written.append((self._last, message))
        self.news.set()
        return message.id

    def waiting(self) -> set[str]:
        """Return the messages that nobody has heard for sure."""
        return {message.id for _, message in self._written}

    def page(self, after: int) -> list[tuple[int, Incoming]]:
        """Return the next messages."""
        return list(islice((each for each in self._written if each[0] > after), _PAGE))

    def forget(self, until: int) -> None:
        """Forget messages that the bot has decided."""
        while self._written and self._written[0][0] <= until:
            self._written.popleft()

    def count(self, rule: str, whom: str) -> None:
        """Count a request against a limit of the platform; RateLimited when it is reached."""
        try:
            self._limits.count(rule, whom)
        except ApiError as error:
            self.refused_429 += 1
            raise RateLimited("429, deserved", self._announced.retry_in(error.headers or {})) from None

    def raise_limits(self) -> None:
        """Be a server of the bot's own, whose operator has switched off the limits for the bot's account."""
        unlimited = limits.Rule(1_000_000, 300)
        self._limits.rules |= {limits.STATUSES: unlimited, limits.TOKEN: unlimited}

    def say(self, say: Say) -> str:
        """Bring a text to its reader, by its idempotency key once."""
        if not self.has_said(say.key):
            self.expect(say)
            self.read(say.actor, say.text)
        return f"{hash(say.key)}"


class Mastodon:
    """One bot's connection to its server: the port."""

    name = NetworkName.MASTODON
    handle = "@reflock@bots.example"

    def __init__(self, server: MastodonServer) -> None:
        self._server = server
        self._weather = server.weather

    async def start(self) -> None:
        """Need no log-in."""

    async def close(self) -> None:
        """Hold nothing."""

    async def _ask(self, effect: Callable[[], Any] | None = None) -> Any:
        """Ask the bot's own server."""
        self._server.count(limits.TOKEN, "bot")
        try:
            return await self._weather.ask(self.name.value, effect)
        except Unavailable as problem:
            problem.begun = effect is not None
            raise

    async def hear(self, cursor: str | None) -> Batch:
        """Hand over what was written since, page by page."""
        self._server.news.clear()
        last, heard = int(cursor or 0), []
        self._server.forget(last)
        while True:
            found = await self._ask(partial(self._server.page, last))
            heard += [message for _, message in found]
            last = found[-1][0] if found else last
            if len(found) < _PAGE or len(heard) >= _ENOUGH:
                return Batch(heard, str(last))

    async def wait(self, seconds: float) -> None:
        """Wait until the server tells that there is news, or it is time to look anyway."""
        try:
            async with asyncio.timeout(seconds):
                await self._server.news.wait()
        except TimeoutError:
            return

    async def say(self, say: Say) -> str:
        """Say it once: before it is said again it is looked for."""
        await self._ask()
        if say.again:
            await self._ask()
            if self._server.has_said(say.key):
                return f"{hash(say.key)}"
        self._server.count(limits.STATUSES, "bot")
        return str(await self._ask(partial(self._server.say, say)))

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Follow, one after the other."""
        outcomes: list[FollowOutcome] = []
        for order in orders:
            begun = False
            try:
                await self._weather.ask(self.name.value)
                self._server.count(limits.FOLLOWS, grant.account_id)
                begun = True
                follow = partial(self._server.follow, grant.account_id, order)
                outcomes.append(await self._weather.ask(self.name.value, follow))
            except NetworkError as cause:
                if isinstance(cause, Unavailable):
                    cause.begun = begun
                if outcomes:
                    raise PartlyDone(outcomes, cause) from cause
                raise
        return outcomes

    async def unfollow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Take follows back, one after the other."""
        return [
            await self._weather.ask(self.name.value, partial(self._server.unfollow, grant.account_id, each))
            for each in orders
        ]

    async def revoke(self, _secret: str) -> None:
        """End a consent."""
        await self._weather.ask(self.name.value)

    def fits(self, text: str, *, public: bool) -> bool:
        """Take what the network takes."""
        return not public and mastodon_length(text) <= _STATUS
