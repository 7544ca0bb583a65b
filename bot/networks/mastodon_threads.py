"""Threads: where they begin."""

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from bot.networks.errors import Refused, Unavailable
from bot.networks.mastodon_pages import id_of
from bot.networks.mastodon_statuses import MALFORMED
from bot.networks.ratelimits import AllowanceUsed, RateLimited

if TYPE_CHECKING:
    from bot.networks.mastodon_client import MastodonClient

_KNOWN: Final = 10_000
# A server that must ask others for a thread takes as long as they do; its first status is not worth a longer wait.
_TIMEOUT_SECONDS: Final = 3.0


class Threads:
    """The first statuses of threads, each asked for once."""

    def __init__(self) -> None:
        self._roots: OrderedDict[str, str] = OrderedDict()

    async def root(self, line: "MastodonClient", status: Any) -> str:
        """Return the id of the thread's first status, as far as our server knows it."""
        own, parent = str(status["id"]), status.get("in_reply_to_id")
        if own not in self._roots:
            root = self._roots.get(str(parent)) if parent else own
            self._keep(own, root or await _above(line, own) or str(parent))
        return self._roots[own]

    def add(self, status: str, parent: str) -> None:
        """Remember a status of our own and what it answers."""
        self._keep(status, self._roots.get(parent, parent))

    def _keep(self, status: str, root: str) -> None:
        self._roots[status] = root
        while len(self._roots) > _KNOWN:
            self._roots.popitem(last=False)


async def _above(line: "MastodonClient", status: str) -> str | None:
    path = f"/api/v1/statuses/{status}/context"
    try:
        context = await line.send("contexts", "GET", path, silence=_TIMEOUT_SECONDS)
        return next((number for one in context["ancestors"] if (number := id_of(one))), None)
    except (AllowanceUsed, RateLimited):
        raise
    except (Unavailable, Refused, *MALFORMED):
        return None  # a thread that cannot be seen just now must not keep its last message from being heard
