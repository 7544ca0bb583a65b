"""Rate limits in fixed UTC windows, with the headers of a real server.

Numbers: `config/initializers/rack_attack.rb` and `app/lib/rate_limiter.rb` of Mastodon 4.3; https://docs.joinmastodon.org/api/rate-limits/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.sandbox.mastodon.errors import ApiError


@dataclass(frozen=True, slots=True)
class Rule:
    """So many in so many seconds."""

    limit: int
    seconds: int


TOKEN = "token"  # noqa: S105  # the name of a limit
ADDRESS = "address"
PAGING = "paging"
DELETES = "deletes"
APPS = "apps"
FOLLOWS = "follows"
STATUSES = "statuses"

RULES: Mapping[str, Rule] = {
    TOKEN: Rule(300, 300),
    ADDRESS: Rule(300, 300),
    PAGING: Rule(300, 900),
    DELETES: Rule(30, 1800),
    APPS: Rule(5, 600),
    FOLLOWS: Rule(400, 86400),
    STATUSES: Rule(300, 10800),
}


class RateLimits:
    """Everybody's windows; `rules` may be changed, `enabled` switched off."""

    def __init__(self, now: Callable[[], float], *, enabled: bool) -> None:
        self._now = now
        self.enabled = enabled
        self.rules = dict(RULES)
        # (rule, whom it counts) -> (window's number, requests in it)
        self._used: dict[tuple[str, str], tuple[int, int]] = {}

    def count(self, name: str, key: str) -> dict[str, str]:
        """Count one against a rule and return its headers; ApiError 429 if the window was full."""
        if not self.enabled:
            return {}
        rule = self.rules[name]
        now = self._now()
        window = int(now // rule.seconds)
        held, used = self._used.get((name, key), (window, 0))
        used = used + 1 if held == window else 1
        self._used[name, key] = (window, used)
        reset = datetime.fromtimestamp((window + 1) * rule.seconds, UTC)
        headers = {
            "x-ratelimit-limit": str(rule.limit),
            "x-ratelimit-remaining": str(max(0, rule.limit - used)),
            "x-ratelimit-reset": reset.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
        if used > rule.limit:
            raise ApiError(429, "Too many requests", headers)
        return headers


def tightest(*found: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of the rule that is nearest to its end; of equals the first."""
    known = [headers for headers in found if headers]
    return dict(min(known, key=lambda headers: int(headers["x-ratelimit-remaining"]))) if known else {}
