"""Listen to the rate limits that servers announce, and stop before they have to say no."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from bot.networks.errors import Unavailable

# The last part of an allowance is left alone: others use the same account, and a refusal may count against it.
_RESERVE: Final = 0.05
_REMEMBERED: Final = 4096
# A server that names a time further off is mistaken, or speaks of something else.
_LONGEST_SECONDS: Final = 86_400.0


class RateLimited(Unavailable):
    """The server said 429."""


class AllowanceUsed(Unavailable):
    """The server has not said no, and would soon."""

    begun = False


@dataclass(frozen=True, slots=True)
class _Window:
    limit: int
    remaining: int
    reset_at: float


class AnnouncedLimits:
    """What servers last said about each named allowance. `clock` gives epoch milliseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def remember(self, name: str, headers: Mapping[str, str]) -> None:
        """Take in the headers of any answer: RateLimit-* (Bluesky) or X-RateLimit-* (Mastodon)."""
        limit, remaining = (_number(_header(headers, which)) for which in ("limit", "remaining"))
        reset_at = _moment(_header(headers, "reset"))
        if limit is None or remaining is None or reset_at is None:
            return
        self._windows[name] = _Window(limit, remaining, reset_at)
        self._windows.move_to_end(name)
        while len(self._windows) > _REMEMBERED:
            self._windows.popitem(last=False)

    def check(self, name: str, points: int = 1) -> None:
        """Raise AllowanceUsed while so many points more would cut into the reserve of an allowance."""
        window = self._windows.get(name)
        if window is None or window.remaining - points >= window.limit * _RESERVE:
            return
        seconds = window.reset_at - self._clock() / 1000
        if seconds > 0:
            # Not by its name: that may be an account's.
            raise AllowanceUsed(
                "An allowance that the server announced is nearly used.", min(seconds, _LONGEST_SECONDS)
            )

    def retry_in(self, headers: Mapping[str, str]) -> float | None:
        """Return the seconds until a server that said 429 (or 503) may be asked again; None when it does not say."""
        after = headers.get("retry-after", headers.get("Retry-After", "")).strip()
        seconds = float(after) if re.fullmatch(r"\d{1,9}(\.\d+)?", after, re.ASCII) else None
        if seconds is None and (moment := _moment(after) or _moment(_header(headers, "reset"))) is not None:
            seconds = moment - self._clock() / 1000
        return None if seconds is None else min(max(seconds, 1.0), _LONGEST_SECONDS)


def _header(headers: Mapping[str, str], which: str) -> str:
    for name in (f"ratelimit-{which}", f"x-ratelimit-{which}", f"X-RateLimit-{which.title()}"):
        if name in headers:
            return headers[name].strip()
    return ""


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,12}", text, re.ASCII) else None


def _moment(text: str) -> float | None:
    """Read a time in any of the three ways servers write it: epoch seconds, ISO 8601, HTTP date."""
    if (epoch := _number(text)) is not None:
        return float(epoch)
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
        except (TypeError, ValueError):
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
