"""Where hearing goes on: not behind the newest notification, for an older one may still appear.

Servers number a notification when it is made, and show it when its transaction is committed; of several people who
write at once the later number is now and then shown first. So the newest of the last minute are read anew each time.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from bot.networks.mastodon_pages import id_of, is_older, moment_of

# On GoToSocial and Takahē late ones came hundreds of milliseconds after their number's turn (docs/compatibility.md).
_SETTLED_MS: Final = 60_000
# So many people in a minute, and the late ones among them may be lost: what has been heard is kept in the cursor.
_MOST_RECENT: Final = 400
# Whoever nobody can tell for so long is not heard; a silent server is asked again every five minutes (patience.py).
_PATIENCE_MS: Final = 1_200_000
# Numbers follow time only roughly. What is heard again within so much is known by its id.
_ROUGHLY_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Place:
    """`settled` is the notification below which nothing more appears; `recent` are those above that have been heard.

    The latter come with when they were first seen, in epoch milliseconds of our own clock. `settled_at` is when the
    former was made, by the server's: it finds the place should the notification itself be gone with its status. Those
    `waiting`, with when that began, have been seen and are to be read again.
    """

    settled: str | None = None
    settled_at: int | None = None
    recent: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def at(cls, entry: Any) -> Self:
        """Return the place just above a notification."""
        return cls(id_of(entry), moment_of(entry))

    @classmethod
    def read(cls, cursor: str | None) -> Self:
        """Read what `write` gave; None for the beginning."""
        kept = json.loads(cursor) if cursor else {}
        return cls(kept.get("notified"), kept.get("at"), kept.get("recent", {}), kept.get("waiting", {}))

    def write(self) -> str:
        """Return the port's cursor."""
        waiting = {"waiting": dict(self.waiting)} if self.waiting else {}
        return json.dumps({"notified": self.settled, "at": self.settled_at, "recent": dict(self.recent), **waiting})

    @property
    def is_beginning(self) -> bool:
        """Tell whether nothing was ever heard."""
        return self.settled is None and not self.recent

    def is_below(self, entry: Any) -> bool:
        """Tell whether from this notification on, downwards, everything has been heard."""
        if id_of(entry) == self.settled:
            return True
        return self.settled_at is not None and is_older(entry, self.settled_at - _ROUGHLY_MS)

    def after(self, newest_first: Sequence[Any], now: int, untold: Iterable[str] = ()) -> "Place":
        """Return the place after these notifications, which are all that stand above `settled`.

        Those `untold` are read again until they have waited too long; what stands above them does not settle before.
        """
        since_when = {each: self.waiting.get(each, now) for each in untold}
        waiting = {each: since for each, since in since_when.items() if now - since < _PATIENCE_MS}
        last = max((place for place, entry in enumerate(newest_first) if id_of(entry) in waiting), default=-1)
        recent: dict[str, int] = {}
        for number, entry in enumerate(newest_first):
            since = self.recent.get(id_of(entry), now)
            if (since <= now - _SETTLED_MS and number > last) or len(recent) == _MOST_RECENT:
                kept = {each: since for each, since in waiting.items() if each in recent}
                return replace(Place.at(entry), recent=recent, waiting=kept)
            recent[id_of(entry)] = since
        return replace(self, recent=recent, waiting=waiting)
