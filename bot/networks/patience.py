"""Try a few times, and then let it be for some minutes."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_TRIES: Final = 3
_PAUSE_MS: Final = 300_000
_KNOWN: Final = 10_000


class Patience:
    """The patience with each of many. `clock` gives epoch milliseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        # How many tries were spent, and when the last one was.
        self._spent: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def has_run_out(self, whom: str) -> bool:
        """Tell whether somebody is to be left alone for now."""
        return self._tries(whom) >= _TRIES

    def spend(self, whom: str) -> None:
        """Count a try that failed."""
        self._spent[whom] = (self._tries(whom) + 1, self._clock())
        while len(self._spent) > _KNOWN:
            self._spent.popitem(last=False)

    def restore(self, whom: str) -> None:
        """Forget what failed before."""
        self._spent.pop(whom, None)

    def _tries(self, whom: str) -> int:
        tries, last = self._spent.get(whom, (0, 0))
        return tries if self._clock() < last + _PAUSE_MS else 0
