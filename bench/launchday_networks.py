"""What a network is on the launch day, in this process: how long it takes, when it fails and how, and what it keeps.

A `Server` is what a network is, whatever becomes of the bot; it connects one bot after the other, behind the port of
`bot.networks`.
"""

import asyncio
import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

import httpx

from bench.launchday_clock import SimulatedLoop
from bench.launchday_notes import Marks
from bot.networks import FollowOrder, FollowOutcome, Network, Say
from bot.networks.errors import Unavailable
from bot.networks.ratelimits import RateLimited
from storage.records import NetworkName

_REQUEST_SECONDS: Final = (0.05, 0.3)
# At this part of a request the server has done what it was asked for: a kill may come after it, and before the answer.
_DONE_AT: Final = 0.7
_TIMEOUT_SECONDS: Final = 10.0
_TIMEOUTS: Final = 0.3
_STORM_SHARE: Final = 0.7
_STORM_RETRY: Final = 30.0
_LOST_ANSWERS: Final = 0.002

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


class Server(ABC):
    """One network: what people wrote to the bot, and what the bot said and whom it followed, each of it once or not."""

    name: ClassVar[NetworkName]

    def __init__(self, weather: Weather, heard: Callable[[Say], None]) -> None:
        self.weather = weather
        self._heard = heard
        # What the bot was told to say and nobody has read yet, by its reader and its words.
        self._expected: dict[tuple[str, str], list[Say]] = {}
        self.said = Marks()
        self.followed = Marks()
        self.follows = 0
        self.doubled = 0
        self.refused_429 = 0

    @abstractmethod
    def connect(self) -> Network:
        """Connect a bot."""

    @abstractmethod
    def write(self, actor: str, handle: str, text: str) -> str:
        """Take somebody's message to the bot; return the id under which the bot will know it."""

    @abstractmethod
    def waiting(self) -> set[str]:
        """Return the messages that nobody has heard for sure."""

    # Speaking.

    def expect(self, say: Say) -> None:
        """Know what the bot is told to say: a reader does not see its key, and knows it by its words.

        Of several that say the same to somebody, the first that is not read yet is taken to be the one.
        """
        expected = self._expected.get((say.actor, say.text), [])
        if not self.has_said(say.key) and all(each.key != say.key for each in expected):
            self._expected[say.actor, say.text] = [*expected, say]

    def read(self, actor: str, text: str) -> None:
        """Bring a text to its reader; it is doubled unless the bot was told to say it once more than it was read."""
        expected = self._expected.get((actor, text))
        say = expected.pop(0) if expected else None
        if not expected:
            self._expected.pop((actor, text), None)
        if say is None or not self.said.add(hash(say.key)):
            self.doubled += 1
        else:
            self._heard(say)

    def has_said(self, key: str) -> bool:
        """Tell whether a text was brought to its reader."""
        return hash(key) in self.said

    # Following.

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
