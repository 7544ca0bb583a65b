"""Who the accounts are that our server speaks of: by the actor URI, which not every server tells."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from bot.networks import webfinger
from bot.networks.errors import NetworkError, Refused, Unavailable
from bot.networks.ratelimits import AllowanceUsed, RateLimited

if TYPE_CHECKING:
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_statuses import Ourselves
    from bot.networks.webfinger import WebFinger


class UntoldError(Exception):
    """Who an account is cannot be told just now; nobody else shall wait for it."""


class Actors:
    """The actor URIs that WebFinger told: before Mastodon 4.2, and elsewhere, the API has none.

    A page is no identity: its address is not the actor's, and its owner may have chosen it.
    """

    def __init__(self, webfinger: "WebFinger") -> None:
        self._webfinger = webfinger
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def of(self, line: "MastodonClient", us: "Ourselves", account: Any) -> str:
        """Return an account's actor URI.

        UntoldError while nobody who may says it; ValueError or KeyError for a malformed account.
        """
        if uri := str(account.get("uri") or ""):
            if not uri.startswith(("https://", "http://")):
                raise ValueError("An actor has an address on the web.")  # and a DID is somebody's on Bluesky
            return uri
        acct = us.full(str(account["acct"]))
        # Who wrote many messages is asked about once.
        turn = self._turns.setdefault(acct, asyncio.Lock())
        async with turn:
            actor = self._webfinger.known(acct) or await self._ask(line, us, acct, str(account["url"]))
        if actor is None:
            raise UntoldError(f"Nobody who may says who {acct} is.")
        return actor

    async def _ask(self, line: "MastodonClient", us: "Ourselves", acct: str, page: str) -> str | None:
        try:
            if not acct.endswith(f"@{us.domain}"):
                return await self._webfinger.actor_of(acct, page)
            actor = webfinger.actor_in(await line.read(webfinger.PATH, resource=f"acct:{acct}"))
        except (AllowanceUsed, RateLimited):
            raise
        except (Unavailable, Refused):
            return None
        return actor and self._webfinger.learn(acct, actor)

    async def our_domain(self, line: "MastodonClient", number: str, acct: str) -> str | None:
        """Return the server's name as our own account has it: one server may house accounts of several names."""
        # Takahē has namesakes, and tells everybody's full name.
        with contextlib.suppress(NetworkError, KeyError, TypeError):
            account = await line.read(f"/api/v1/accounts/{number}")
            if domain := str(account["acct"]).partition("@")[2].lower():
                return domain
        with contextlib.suppress(NetworkError):
            subject = webfinger.subject_in(await line.read(webfinger.PATH, resource=f"acct:{acct}"))
            return subject.rpartition("@")[2] if subject else None
        return None
