"""Where hearing goes on: not behind the newest notification, for an older one may still appear.

Servers number a notification when it is made, and show it when its transaction is committed; of several people who
write at once the later number is now and then shown first. So the newest of the last minute are read anew each time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

# Late ones were measured to come hundreds of milliseconds after their number's turn.
_SETTLED_MS: Final = 60_000
# Two pages: a burst of messages is not worth more requests than that.
_MOST_RECENT: Final = 80


@dataclass(frozen=True, slots=True)
class Place:
    """`settled` is the notification below which nothing more appears; `recent` are those above that have been heard.

    The latter come with when they were first seen, in epoch milliseconds of our own clock.
    """

    settled: str | None = None
    recent: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None) -> "Place":
        """Read what `write` gave; None for the beginning."""
        kept = json.loads(cursor) if cursor else {}
        return cls(kept.get("notified"), kept.get("recent", {}))

    def write(self) -> str:
        """Return the port's cursor."""
        return json.dumps({"notified": self.settled, "recent": dict(self.recent)})

    @property
    def is_beginning(self) -> bool:
        """Tell whether nothing was ever heard."""
        return self.settled is None and not self.recent

    def after(self, newest_first: Sequence[str], now: int) -> "Place":
        """Return the place after these, which are all that stand above `settled`."""
        seen = {number: self.recent.get(number, now) for number in newest_first}
        recent: dict[str, int] = {}
        for number, since in seen.items():
            if since <= now - _SETTLED_MS or len(recent) == _MOST_RECENT:
                return Place(number, recent)
            recent[number] = since
        return Place(self.settled, recent)
