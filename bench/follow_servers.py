"""Networks that keep the real servers' rate limits and nothing else: what they refuse is counted.

The limits are the stand-ins' own (bot/sandbox), and are listened to as the adapters listen to them. A server sees what
it is asked a moment later than we did it, each time by another moment.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Say
from bot.networks.errors import PartlyDone, Unavailable
from bot.networks.ratelimits import AnnouncedLimits, RateLimited
from bot.sandbox.bluesky import limits as bluesky_limits
from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.settings import Settings as BlueskySettings
from bot.sandbox.mastodon import limits as mastodon_limits
from bot.sandbox.mastodon.errors import ApiError
from storage.records import NetworkName

_LATEST_SECONDS: Final = 2.0


class Server:
    """A network's port, as far as following needs it. `clock` gives epoch milliseconds.

    `followed` are the moments of every follow, by the account that was acted for; `refusals` counts 429s by what was
    asked for.
    """

    name: NetworkName
    handle = "reflock.example"

    def __init__(self, clock: Callable[[], int], seed: int) -> None:
        self._clock = clock
        self._chance: Final = random.Random(seed)
        self._announced: Final = AnnouncedLimits(clock)
        self._seen_at: dict[str, float] = {}
        self._now = 0.0
        self.followed: dict[str, list[int]] = {}
        self.refusals: Counter[str] = Counter()
        self.said = 0

    async def start(self) -> None:
        """Need no log-in."""

    async def close(self) -> None:
        """Hold nothing."""

    async def hear(self, cursor: str | None) -> Batch:
        """Have nothing to tell."""
        return Batch([], cursor or "")

    async def wait(self, seconds: float) -> None:
        """Have nothing to wait for."""

    async def say(self, say: Say) -> str:
        """Take it at once: how fast the bot may speak is not what is measured."""
        self.said += 1
        return f"at://{say.key}"

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Follow, within the limits for follows."""
        raise NotImplementedError

    async def unfollow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Be asked for nothing but to follow."""
        raise NotImplementedError

    async def revoke(self, secret: str) -> None:
        """Be asked for nothing but to follow."""

    def fits(self, text: str, *, public: bool) -> bool:
        """Take what the networks take, roughly."""
        return len(text) <= (300 if public else 1_000)

    def _done(self, account_id: str, n: int = 1) -> None:
        self.followed.setdefault(account_id, []).extend([self._clock()] * n)

    @contextmanager
    def _asked(self, what: str, account_id: str) -> Iterator[None]:
        """Let a moment go by until the server is asked for something, and hear what it says of its limits."""
        late = self._clock() / 1000 + self._chance.uniform(0, _LATEST_SECONDS)
        self._now = self._seen_at[account_id] = max(late, self._seen_at.get(account_id, 0.0))
        try:
            yield
        except (XrpcError, ApiError) as error:
            self.refusals[what] += 1
            raise _nothing_begun(RateLimited(str(error), self._announced.retry_in(error.headers))) from error

    def _check(self, name: str) -> None:
        """Do as the adapters do: not ask while an announced allowance is nearly used."""
        try:
            self._announced.check(name)
        except Unavailable as error:
            raise _nothing_begun(error) from None


def _nothing_begun(error: Unavailable) -> Unavailable:
    error.begun = False
    return error


class BlueskyServer(Server):
    """All follows of a batch are one call, which costs the points of each."""

    name = NetworkName.BLUESKY

    def __init__(self, clock: Callable[[], int], seed: int) -> None:
        super().__init__(clock, seed)
        self._limits = bluesky_limits.RateLimits(BlueskySettings(now=lambda: self._now, rate_limits=True))

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Write the records, all or none."""
        account_id = grant.account_id
        self._check(account_id)
        with self._asked("follow", account_id):
            points = bluesky_limits.WRITE_POINTS["create"] * len(orders)
            headers = self._limits.consume("write", account_id, bluesky_limits.WRITE_RULES, points)
        self._announced.remember(account_id, headers)
        self._done(account_id, len(orders))
        return [FollowOutcome("done", f"at://{account_id}/{order.key}") for order in orders]


class MastodonServer(Server):
    """One after the other: search, see how things stand, follow; each a request."""

    name = NetworkName.MASTODON

    def __init__(self, clock: Callable[[], int], seed: int) -> None:
        super().__init__(clock, seed)
        self._limits = mastodon_limits.RateLimits(lambda: self._now, enabled=True)

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Follow one after the other, as far as it goes."""
        done: list[FollowOutcome] = []
        for order in orders:
            try:
                for what in ("searches", "relationships", "follows"):
                    self._ask(what, grant.account_id)
            except Unavailable as error:
                if done:
                    raise PartlyDone(done, error) from error
                raise
            self._done(grant.account_id)
            done.append(FollowOutcome("done", order.key))
        return done

    def _ask(self, what: str, account_id: str) -> None:
        name = f"{what} of {account_id}"
        self._check(name)
        with self._asked(what, account_id):
            headers: Mapping[str, str] = self._limits.count(mastodon_limits.TOKEN, account_id)
            if what == "follows":
                headers = mastodon_limits.tightest(headers, self._limits.count(mastodon_limits.FOLLOWS, account_id))
        self._announced.remember(name, headers)
