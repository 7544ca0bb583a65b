"""How many things are decided in one transaction."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# No more than are computed in so many seconds: others wait for the write lock meanwhile.
_SECONDS: Final = 0.01


class Portion:
    """As many as were decided lately in the time for which the others may be kept from writing."""

    def __init__(self, most: int = 50) -> None:
        self.size = self._most = most

    @contextmanager
    def taken(self, n: int) -> Iterator[None]:
        """Decide so many inside."""
        # By what is computed: the clock would make a busy machine's portions smaller, and with that its work more.
        begun = time.thread_time()
        yield
        pace = n / max(time.thread_time() - begun, 1e-6)
        fitting = min(self._most, max(1, int(pace * _SECONDS)))
        # Of a few each takes longer than of many: what was left over does not make the next portion smaller.
        self.size = fitting if n >= self.size else max(self.size, fitting)
