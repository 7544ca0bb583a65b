"""Who the accounts are that our server speaks of: by the actor URI, which not every server tells."""

import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bot.networks import webfinger
from bot.networks.errors import NetworkError, Refused

if TYPE_CHECKING:
    from bot.networks.guard import GuardedClient
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_statuses import Ourselves

_KNOWN: Final = 10_000


class Actors:
    """The actor URIs that WebFinger told: before Mastodon 4.2, and elsewhere, the API has none."""

    def __init__(self, guard: "GuardedClient") -> None:
        self._guard = guard
        self._known: OrderedDict[str, str] = OrderedDict()

    async def of(self, line: "MastodonClient", us: "Ourselves", account: Any) -> str:
        """Return an account's actor URI; KeyError for a malformed account."""
        if account.get("uri"):
            return str(account["uri"])
        acct = us.full(str(account["acct"]))
        if acct not in self._known:
            actor = await self._ask(line, us, acct, str(account["url"]))
            if actor is None:
                return str(account["url"])
            self._known[acct] = actor
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return self._known[acct]

    async def _ask(self, line: "MastodonClient", us: "Ourselves", acct: str, url: str) -> str | None:
        if acct.endswith(f"@{us.domain}"):
            # Our own server is Unavailable as a whole, or answers.
            with contextlib.suppress(Refused):
                return webfinger.actor_in(await line.read(webfinger.PATH, resource=f"acct:{acct}"))
            return None
        # The server that the name names, or else the one where the account's page is. One that is down must not keep a
        # message from being heard.
        for server in (acct.rpartition("@")[2], urlsplit(url).netloc):
            with contextlib.suppress(NetworkError):
                response = await webfinger.ask(self._guard, self._guard.base_url(server), acct)
                if actor := webfinger.actor_in(webfinger.described(response)):
                    return actor
        return None

    async def our_domain(self, line: "MastodonClient", number: str, acct: str) -> str | None:
        """Return the server's name as our own account has it: one server may house accounts of several names."""
        with contextlib.suppress(NetworkError):
            return webfinger.domain_in(await line.read(webfinger.PATH, resource=f"acct:{acct}"))
        # Takahē answers to no other name than the right one, but tells that of everybody whom one asks for.
        with contextlib.suppress(NetworkError, KeyError, TypeError):
            account = await line.read(f"/api/v1/accounts/{number}")
            return str(account["acct"]).partition("@")[2].lower() or None
        return None
