"""Say in the log that the database does not answer, or refuses us, and that it does no more: once for the whole process."""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
import structlog

from storage.database import CONFIGURED
from storage.trouble import is_trouble, refusal, words_of

_log = structlog.get_logger()

# While it lasts, the log says so again this often, however many loops meet it.
_SAID_AGAIN_MS: Final = 60_000
# Nobody met it for so long: it was over. To connect in vain takes a minute, and whoever goes on trying pauses seconds.
_OVER_AFTER_MS: Final = 120_000


class Outage:
    """What everybody in this process knows of the database's trouble; `address` is its `url` as it may be shown."""

    def __init__(self, address: str, url: sa.URL, clock: Callable[[], int]) -> None:
        self._address: Final = address
        self._url: Final = url
        self._clock: Final = clock
        self._met_by: set[str] = set()
        self._began_at = self._met_at = 0
        self._said_at: int | None = None
        self._to_be_ended = False

    def met(self, who: str, error: BaseException, **facts: object) -> bool:
        """Tell whether it was the database's trouble that somebody met; the log has a line about that, now or already."""
        if not is_trouble(error):
            return False
        now = self._clock()
        if not self._met_by or self._is_long_ago(self._met_at, _OVER_AFTER_MS):
            self._began_at = now
        self._met_at = now
        self._met_by.add(who)
        if self._said_at is None or self._is_long_ago(self._said_at, _SAID_AGAIN_MS):
            self._said_at, self._to_be_ended = now, True
            refused = refusal(error, self._url, CONFIGURED)
            event = "the database refuses us" if refused else "the database does not answer"
            _log.warning(event, address=self._address, why=refused or words_of(error), **facts)
        return True

    def passed(self, who: str) -> None:
        """Take note that somebody got through; if they had met trouble, or nobody did any more, it is over."""
        if who in self._met_by or (self._met_by and self._is_long_ago(self._met_at, _OVER_AFTER_MS)):
            self._met_by.clear()
            if self._to_be_ended:
                self._to_be_ended = False
                # A daily tick knows only a day later that it is over.
                ended_at = min(self._clock(), self._met_at + _OVER_AFTER_MS)
                lasted = max(0, ended_at - self._began_at)
                _log.info("the database answers again", after_s=round(lasted / 1000, 1))

    def _is_long_ago(self, at: int, ms: int) -> bool:
        """Tell whether something was so long ago; of what is to come, by a clock that was set back, nobody knows."""
        return not 0 <= self._clock() - at < ms
