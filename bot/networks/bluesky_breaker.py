"""What the bot does about a chat service that says 429."""

from collections.abc import Callable
from typing import Final

from bot.networks.ratelimits import AllowanceUsed


class Breaker:
    """Leave the chat service alone after it said 429, and begin slowly again.

    Its limits are not published; refusals for hours were seen at five messages a minute, with allowance left in the
    headers.
    """

    _FIRST_SECONDS: Final = 60.0
    _LONGEST_SECONDS: Final = 3600.0
    _SLOW_MS: Final = 5_000.0

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._closed_until = 0.0
        self._next_at = 0.0
        self._pace_ms = 0.0
        self._refusals = 0

    @property
    def pauses(self) -> bool:
        """Tell whether the service is being left alone."""
        return self._clock() < self._closed_until

    def check(self) -> None:
        """Raise AllowanceUsed unless a message may be sent now."""
        wait = max(self._closed_until, self._next_at) - self._clock()
        if wait > 0:
            raise AllowanceUsed("Direct messages pause, as the chat service asked.", wait / 1000)

    def refused(self, retry_in: float | None) -> None:
        """Note a 429: keep to the time that it names; where it names none, every further pause is twice as long."""
        now = self._clock()
        self._pace_ms = self._SLOW_MS
        if retry_in is not None:
            self._closed_until = max(self._closed_until, now + 1000 * retry_in)
        elif not self.pauses:  # and it is not one of several that were under way when it began to
            self._closed_until = now + 1000 * min(self._FIRST_SECONDS * 2**self._refusals, self._LONGEST_SECONDS)
            self._refusals = min(self._refusals + 1, 10)

    def sent(self) -> None:
        """Note a success: each halves the distance to the next, until there is none."""
        self._refusals = 0
        self._next_at = self._clock() + self._pace_ms
        self._pace_ms = self._pace_ms / 2 if self._pace_ms > 1000 else 0.0
