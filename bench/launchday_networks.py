"""The networks of the launch day, in this process: what they keep, how long they take, when they fail and how.

A `Server` is what a network is, whatever becomes of the bot; an `Adapter` is one bot's connection to it, behind the port
of `bot.networks`. Limits are those of the sandbox. What one would look for before it says something again is found here by
its key.
"""

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final, Literal

import httpx

from bench.launchday_clock import SimulatedLoop
from bench.launchday_notes import Marks
from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Incoming, Say
from bot.networks.bluesky_breaker import Breaker
from bot.networks.bluesky_chat import APART_SECONDS, MOST_AT_ONCE
from bot.networks.errors import NetworkError, PartlyDone, Unavailable
from bot.networks.mailbag import Mailbag
from bot.networks.ratelimits import AnnouncedLimits, RateLimited
from bot.networks.text import graphemes, mastodon_length
from bot.sandbox.bluesky import limits as bluesky_limits
from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.settings import Settings as BlueskySettings
from bot.sandbox.mastodon import limits as mastodon_limits
from bot.sandbox.mastodon.errors import ApiError
from storage.records import NetworkName

REQUESTS: Final = mastodon_limits.TOKEN
_REQUEST_SECONDS: Final = (0.05, 0.3)
# At this part of a request the server has done what it was asked for: a kill may come after it, and before the answer.
_DONE_AT: Final = 0.7
_TIMEOUT_SECONDS: Final = 10.0
_TIMEOUTS: Final = 0.3
_STORM_SHARE: Final = 0.7
_STORM_RETRY: Final = 30.0
_LOST_ANSWERS: Final = 0.002
_PAGE: Final = {NetworkName.BLUESKY: 100, NetworkName.MASTODON: 40}
# As the adapter has them (bot/networks/bluesky_chat.py).
_CONVO_KNOWN_MS: Final = 600_000
_ENOUGH: Final = 500
_SIDE_BY_SIDE: Final = 10
_DM: Final = {NetworkName.BLUESKY: 1_000, NetworkName.MASTODON: 450}

Where = Literal["bluesky", "mastodon", "x", "all"]
Kind = Literal["storm", "down", "killed"]


@dataclass(frozen=True, slots=True)
class Outage:
    """Something that was done to us: where, what, and from when to when, in epoch milliseconds."""

    where: Where
    kind: Kind
    begins: int
    ends: int


@dataclass
class Weather:
    """What fails when, and how long requests take; drawn by a seed."""

    loop: SimulatedLoop
    chance: random.Random
    outages: list[Outage] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def now(self, where: str) -> Outage | None:
        """Return the outage that there is now."""
        now = self.loop.epoch_ms()
        return next((each for each in self.outages if each.where == where and each.begins <= now < each.ends), None)

    async def ask(self, where: str, effect: Callable[[], Any] | None = None) -> Any:
        """Make a request: it takes its time, and has its effect, or fails, or has its effect and fails all the same."""
        took, outage = self.chance.uniform(*_REQUEST_SECONDS), self.now(where)
        self.counts[f"{where} requests"] += 1
        if outage is not None and outage.kind == "storm" and self.chance.random() < _STORM_SHARE:
            await asyncio.sleep(took)
            raise RateLimited("429, planned", _STORM_RETRY)
        down = outage is not None and outage.kind == "down"
        if down and self.chance.random() < _TIMEOUTS:
            await asyncio.sleep(_TIMEOUT_SECONDS)
            raise Unavailable("no answer, planned")
        await asyncio.sleep(took * _DONE_AT)
        answer = effect() if effect is not None and (not down or self.chance.random() < 0.5) else None
        await asyncio.sleep(took * (1 - _DONE_AT))
        if down or self.chance.random() < _LOST_ANSWERS:
            raise Unavailable("the answer was lost, planned")
        return answer


class Server:
    """One network: what people wrote to the bot, and what the bot said and whom it followed, each of it once or not."""

    def __init__(self, name: NetworkName, weather: Weather, heard: Callable[[Say], None]) -> None:
        self.name = name
        self.weather = weather
        self._heard = heard
        self._written: deque[tuple[int, Incoming]] = deque()
        self._last = 0
        self.news = asyncio.Event()
        # Whose conversations there are, the latest at the end; and which are no requests any more.
        self._convos: dict[str, None] = {}
        self.accepted: set[str] = set()
        self.said = Marks()
        self.followed = Marks()
        self.follows = 0
        self.doubled: list[str] = []
        self.refused_429 = 0
        loop = weather.loop
        self._statuses = mastodon_limits.RateLimits(lambda: loop.epoch_ms() / 1000, enabled=True)
        settings = BlueskySettings(now=lambda: loop.epoch_ms() / 1000, rate_limits=True)
        self._writes = bluesky_limits.RateLimits(settings)
        self._announced = AnnouncedLimits(loop.epoch_ms)

    def waiting(self) -> list[Incoming]:
        """Return the messages that nobody has heard for sure."""
        return [message for _, message in self._written]

    def write(self, message: Incoming) -> None:
        """Take a message to the bot."""
        self._last += 1
        self._written.append((self._last, message))
        self._convos.pop(message.actor, None)
        self._convos[message.actor] = None
        self.news.set()

    def page(self, after: int) -> list[tuple[int, Incoming]]:
        """Return the next messages."""
        return list(islice((each for each in self._written if each[0] > after), _PAGE[self.name]))

    def latest(self, number: int) -> set[str]:
        """List a page of conversations, those first that were written in last."""
        start = number * _PAGE[self.name]
        return set(islice(reversed(self._convos), start, start + _PAGE[self.name]))

    def forget(self, until: int) -> None:
        """Forget messages that the bot has decided."""
        while self._written and self._written[0][0] <= until:
            self._written.popleft()

    def count(self, rule: str, whom: str, n: int = 1) -> None:
        """Count requests against a limit of the platform; RateLimited when it is reached."""
        try:
            if self.name is NetworkName.MASTODON:
                for _ in range(n):
                    self._statuses.count(rule, whom)
            elif rule == REQUESTS:
                self._writes.consume("requests", whom, bluesky_limits.REQUEST_RULES)
            elif rule == "follows":
                points = n * bluesky_limits.WRITE_POINTS["create"]
                self._writes.consume("repo-write", whom, bluesky_limits.WRITE_RULES, points)
        except (ApiError, XrpcError) as error:
            self.refused_429 += 1
            raise RateLimited("429, deserved", self._announced.retry_in(error.headers or {})) from None

    def say(self, say: Say) -> str:
        """Bring a text to its reader."""
        mark = hash(say.key)
        if not self.said.add(mark):
            if self.name is NetworkName.MASTODON:  # its idempotency key
                return f"{mark}"
            self.doubled.append(say.key)
        self._heard(say)
        return f"{mark}"

    def has_said(self, key: str) -> bool:
        """Tell whether a text was brought to its reader."""
        return hash(key) in self.said

    def raise_limits(self) -> None:
        """Be a Mastodon server of the bot's own, whose operator has switched off the limits for the bot's account."""
        unlimited = mastodon_limits.Rule(1_000_000, 300)
        self._statuses.rules |= {mastodon_limits.STATUSES: unlimited, REQUESTS: unlimited}

    def unfollow(self, account: str, order: FollowOrder) -> FollowOutcome:
        """Let an account no longer follow another one."""
        for mark in (hash((account, order.key)), hash((account, order.actor))):
            self.followed.discard(mark)
        return FollowOutcome("done")

    def follow(self, account: str, order: FollowOrder) -> FollowOutcome:
        """Let an account follow another one."""
        mark, pair = hash((account, order.key)), hash((account, order.actor))
        if mark in self.followed:
            return FollowOutcome("done", f"at://{mark}")
        if pair in self.followed:
            return FollowOutcome("already")
        self.followed.add(mark)
        self.followed.add(pair)
        self.follows += 1
        return FollowOutcome("done", f"at://{mark}")

    def has_followed(self, result: str) -> bool:
        """Tell whether it was done what such an outcome says."""
        return int(result.removeprefix("at://")) in self.followed


class Adapter:
    """One bot's connection to a server: the port."""

    def __init__(self, server: Server) -> None:
        self.name = server.name
        self.handle = "reflock.example" if server.name is NetworkName.BLUESKY else "@reflock@bots.example"
        self._server = server
        self._weather = server.weather
        self._breaker = Breaker(server.weather.loop.epoch_ms)
        self._mailbag = Mailbag(self._post, at_most=MOST_AT_ONCE, apart=APART_SECONDS)
        self._convos: dict[str, int] = {}

    async def start(self) -> None:
        """Need no log-in."""

    async def close(self) -> None:
        """Hold nothing."""

    async def _ask(self, effect: Callable[[], Any] | None = None) -> Any:
        """Ask the bot's own server: on Bluesky the chat service, behind the adapter's breaker."""
        self._server.count(REQUESTS, "bot")
        try:
            return await self._weather.ask(self.name.value, effect)
        except Unavailable as problem:
            problem.begun = effect is not None
            if isinstance(problem, RateLimited):
                self._breaker.refused(problem.retry_in)
            raise

    async def hear(self, cursor: str | None) -> Batch:
        """Hand over what was written since, page by page; on Bluesky each conversation is looked at."""
        self._server.news.clear()
        last, heard = int(cursor or 0), []
        self._server.forget(last)
        if self.name is NetworkName.BLUESKY:
            self._server.count(REQUESTS, "bot")
            await self._weather.ask(self.name.value)  # the notifications
            if self._breaker.pauses:
                return Batch([], str(last))
        while True:
            found = await self._ask(partial(self._server.page, last))
            if self.name is NetworkName.BLUESKY:
                await self._know(dict.fromkeys(message.actor for _, message in found))
            heard += [message for _, message in found]
            last = found[-1][0] if found else last
            # On Bluesky the log is asked until it has nothing more.
            ended = not found if self.name is NetworkName.BLUESKY else len(found) < _PAGE[self.name]
            if ended or len(heard) >= _ENOUGH:
                return Batch(heard, str(last))

    async def _know(self, actors: Collection[str]) -> None:
        """Look up the conversations that are not known, many of them together, and accept the new ones."""
        now = self._weather.loop.epoch_ms()
        unknown = {each for each in actors if now - self._convos.get(each, 0) > _CONVO_KNOWN_MS}
        for number in range(len(unknown)):
            if len(unknown) < 2:
                break
            page = await self._ask(partial(self._server.latest, number))
            self._convos |= dict.fromkeys(page, now)
            unknown -= page
        for actor in unknown:
            await self._ask()
            self._convos[actor] = now
        new = [each for each in actors if each not in self._server.accepted]
        for start in range(0, len(new), _SIDE_BY_SIDE):
            await asyncio.gather(*(self._accept(each) for each in new[start : start + _SIDE_BY_SIDE]))

    async def _accept(self, actor: str) -> None:
        with suppress(Unavailable):
            await self._ask(partial(self._server.accepted.add, actor))

    async def wait(self, seconds: float) -> None:
        """Wait for the next look; Mastodon tells that there is news."""
        if self.name is NetworkName.BLUESKY:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._server.news.wait()
        except TimeoutError:
            return

    async def say(self, say: Say) -> str:
        """Say it once: before it is said again it is looked for."""
        if self.name is NetworkName.BLUESKY:
            self._breaker.check()
        else:
            await self._ask()
        if say.again:
            await self._ask()
            if self._server.has_said(say.key):
                return f"{hash(say.key)}"
        self._server.count(mastodon_limits.STATUSES, "bot")
        if self.name is NetworkName.BLUESKY:
            return await self._mailbag.put(say)
        return str(await self._ask(lambda: self._server.say(say)))

    async def _post(self, says: list[Say]) -> list[str | NetworkError]:
        """Say several in one request."""
        self._breaker.check()
        said = await self._ask(lambda: [self._server.say(say) for say in says])
        self._breaker.sent()
        return list(said)

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Follow: all at once on Bluesky, one after the other on Mastodon."""
        me = grant.account_id
        if self.name is NetworkName.BLUESKY:
            await self._weather.ask(self.name.value)
            await self._weather.ask(self.name.value)
            self._server.count("follows", me, len(orders))
            done = await self._weather.ask(self.name.value, lambda: [self._server.follow(me, each) for each in orders])
            return list(done)
        outcomes: list[FollowOutcome] = []
        for order in orders:
            begun = False
            try:
                await self._weather.ask(self.name.value)
                self._server.count(mastodon_limits.FOLLOWS, me)
                begun = True
                outcomes.append(await self._weather.ask(self.name.value, partial(self._server.follow, me, order)))
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
        """Take what the networks take."""
        length = graphemes if self.name is NetworkName.BLUESKY else mastodon_length
        return not public and length(text) <= _DM[self.name]


class X(httpx.AsyncBaseTransport):
    """X's look-up of posts, as the proof's own code asks it over HTTP; `posts` are codes by the writer's number."""

    FIRST_POST: Final = 1_900_000_000_000_000_000

    def __init__(self, weather: Weather, x_id_of: Callable[[int], int]) -> None:
        self._weather = weather
        self._x_id_of = x_id_of
        self.posts: dict[int, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Show a post."""
        found = re.search(r"[?&]id=(\d+)", str(request.url))
        try:
            await self._weather.ask("x")
        except Unavailable:
            return httpx.Response(503, request=request)
        if "tweet-result" not in request.url.path:  # the other source, which does not tell numbers
            return httpx.Response(503, request=request)
        number = int(found[1]) - self.FIRST_POST if found else -1
        if number not in self.posts:
            return httpx.Response(404, request=request)
        user = {"id_str": str(self._x_id_of(number)), "screen_name": f"x{number}"}
        text = f"Goodbye! #eXit {self.posts[number]}"
        tweet = {"__typename": "Tweet", "id_str": str(self.FIRST_POST + number), "text": text, "user": user}
        return httpx.Response(200, json=tweet, request=request)
