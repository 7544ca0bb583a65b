"""Threads: where they begin, and what we answered in them before we can remember."""

import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bot.networks.errors import Refused, Unavailable
from bot.networks.mastodon_pages import id_of
from bot.networks.mastodon_statuses import MALFORMED, Ourselves

if TYPE_CHECKING:
    from bot.networks.mastodon_client import MastodonClient

T = TypeVar("T")

_KNOWN: Final = 10_000


class Threads:
    """What is known of threads; asked for once, so that a look that was cut short goes on where it stopped."""

    def __init__(self) -> None:
        self._roots: OrderedDict[str, str] = OrderedDict()
        self._answered: OrderedDict[str, bool] = OrderedDict()

    async def root(self, line: "MastodonClient", status: Any) -> str:
        """Return the id of the thread's first status, as far as our server knows it."""
        own, parent = str(status["id"]), status.get("in_reply_to_id")
        if own not in self._roots:
            root = self._roots.get(str(parent)) if parent else own
            if root is None:
                ancestors: list[Any] = []
                # A thread that cannot be seen just now must not keep its last message from being heard.
                with contextlib.suppress(Unavailable):
                    ancestors, _ = await surroundings(line, own)
                root = id_of(ancestors[0]) if ancestors else str(parent)
            _keep(self._roots, own, root)
        return self._roots[own]

    async def is_answered(self, line: "MastodonClient", us: Ourselves, status: Any) -> bool:
        """Tell whether we answered a status in an earlier life, of which only the network itself remembers."""
        own = str(status["id"])
        if own not in self._answered:
            ancestors, descendants = await surroundings(line, own)
            root = id_of(ancestors[0]) if ancestors else str(status.get("in_reply_to_id") or own)
            _keep(self._roots, own, root)
            answered = any(is_by(one, us) and str(one.get("in_reply_to_id")) == own for one in descendants)
            _keep(self._answered, own, answered)
        return self._answered[own]

    def add(self, status: str, parent: str) -> None:
        """Remember a status of our own and what it answers."""
        _keep(self._roots, status, self._roots.get(parent, parent))


async def surroundings(line: "MastodonClient", status: str) -> tuple[list[Any], list[Any]]:
    """Return what stands above a status and what stands below; nothing where it is gone."""
    try:
        context = await line.call("contexts", lambda sdk: sdk.status_context(status))
        above, below = context["ancestors"], context["descendants"]
    except (Refused, *MALFORMED):
        return [], []
    return [one for one in above if id_of(one)], [one for one in below if id_of(one)]


def is_by(status: Any, us: Ourselves) -> bool:
    """Tell whether a status is ours."""
    try:
        return str(status["account"]["id"]) == us.id
    except MALFORMED:
        return False


def _keep(known: OrderedDict[str, T], key: str, value: T) -> None:
    known[key] = value
    while len(known) > _KNOWN:
        known.popitem(last=False)
