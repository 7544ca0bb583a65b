"""Fixed-window rate limits with the headers of a real PDS."""

import math
from dataclasses import dataclass

from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.settings import Settings


@dataclass(frozen=True, slots=True)
class Rule:
    """So many points in so many seconds, counted from the first one."""

    points: int
    seconds: int


@dataclass(slots=True)
class _Window:
    started_at: float
    used: int = 0


# https://docs.bsky.app/docs/advanced-guides/rate-limits: requests by address, logins by account, writes by points.
REQUEST_RULES = (Rule(3000, 300),)
LOGIN_RULES = (Rule(30, 300), Rule(300, 86400))
WRITE_RULES = (Rule(5000, 3600), Rule(35000, 86400))
WRITE_POINTS = {"create": 3, "update": 2, "delete": 1}


class RateLimits:
    """The windows of every account."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._windows: dict[tuple[str, str, Rule], _Window] = {}

    def consume(self, name: str, key: str, rules: tuple[Rule, ...], points: int = 1) -> dict[str, str]:
        """Count points against every rule; return the headers of the tightest one.

        Raises XrpcError 429 RateLimitExceeded. As in the real limiter the refused points are counted too.
        """
        if not self._settings.rate_limits:
            return {}
        now = self._settings.now()
        states = [(rule, self._spend((name, key, rule), now, points)) for rule in rules]
        rule, window = min(states, key=lambda state: state[0].points - state[1].used)
        ends_at = window.started_at + rule.seconds
        headers = {
            "ratelimit-limit": str(rule.points),
            "ratelimit-remaining": str(max(0, rule.points - window.used)),
            "ratelimit-reset": str(math.floor(ends_at)),
            "ratelimit-policy": f"{rule.points};w={rule.seconds}",
        }
        if window.used > rule.points:
            headers["retry-after"] = str(max(1, math.ceil(ends_at - now)))
            raise XrpcError("RateLimitExceeded", "Rate Limit Exceeded", status=429, headers=headers)
        return headers

    def _spend(self, key: tuple[str, str, Rule], now: float, points: int) -> _Window:
        window = self._windows.get(key)
        if window is None or now >= window.started_at + key[2].seconds:
            window = self._windows[key] = _Window(now)
        window.used += points
        return window


def tighter(one: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """Return those of two answers' headers that leave less."""
    if "ratelimit-remaining" not in one or not other:
        return other
    return min(one, other, key=lambda headers: int(headers["ratelimit-remaining"]))
