"""A small Mastodon server on one loopback port."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from bot.sandbox.consent_page import SignedIn
from bot.sandbox.faults import FaultMiddleware, Faults
from bot.sandbox.mastodon import (
    methods_accounts,
    methods_instance,
    methods_notifications,
    methods_statuses,
)
from bot.sandbox.mastodon.accounts import Account
from bot.sandbox.mastodon.api import Api
from bot.sandbox.mastodon.discovery import Discovery
from bot.sandbox.mastodon.idempotency import Idempotency
from bot.sandbox.mastodon.limits import RateLimits
from bot.sandbox.mastodon.oauth import OAuthServer
from bot.sandbox.mastodon.oauth_web import OAuthPages
from bot.sandbox.mastodon.people import MastodonPerson
from bot.sandbox.mastodon.quirks import MASTODON, Quirks
from bot.sandbox.mastodon.streaming import Streaming
from bot.sandbox.mastodon.views import Views
from bot.sandbox.mastodon.world import World
from bot.sandbox.server import LoopbackServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp

T = TypeVar("T")
_METHODS = (
    *methods_instance.METHODS,
    *methods_accounts.METHODS,
    *methods_statuses.METHODS,
    *methods_notifications.METHODS,
)


class MastodonSandbox:
    """Serve a small Mastodon and let a story act on it in process.

    `journal` holds what came true, `faults` what is to go wrong; `limits` and `idempotency` may be changed at any time.
    `quirks` are the character of another server software.
    With a clock of its own a test should stay at or after the real present: Mastodon.py forgets a reset in the past.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        rate_limits: bool = True,
        port: int = 0,
        quirks: Quirks = MASTODON,
    ) -> None:
        self._server = LoopbackServer(port=port)
        # The host by which the accounts are named, where it is another: it only sends WebFinger on.
        self._name_server = (
            LoopbackServer(Starlette(routes=[_sends_on(self._server.url)])) if quirks.split_domain else None
        )
        self._http: httpx.AsyncClient | None = None
        self.now = now
        self.url = self._server.url
        self.quirks = quirks
        self.host = self.url.removeprefix("http://")
        self.domain = f"localhost:{self._name_server.port}" if self._name_server else self.host
        if quirks.upper_case_domain:
            self.domain = self.domain.upper()
        self.faults = Faults()
        self.world = World(now, self.url, self.domain, quirks)
        self.journal = self.world.journal
        self.views = Views(self.world)
        self.oauth = OAuthServer(now, quirks)
        self.limits = RateLimits(now, enabled=rate_limits)
        self.idempotency = Idempotency(now, honoured=quirks.idempotency)
        self.streaming = Streaming(self)
        self.world.listener = self.streaming
        self.people: dict[str, MastodonPerson] = {}
        self.signed_in = SignedIn[Account]()
        routes = [
            *self.streaming.routes(),
            *OAuthPages(self).routes(),
            *Discovery(self).routes(),
            *Api(self, _METHODS).routes(),
        ]
        self.app: ASGIApp = FaultMiddleware(Starlette(routes=routes), self.faults)
        self._server.app = self.app

    async def __aenter__(self) -> Self:
        await self._server.start()
        if self._name_server is not None:
            await self._name_server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.streaming.close()
        if self._http is not None:
            await self._http.aclose()
        if self._name_server is not None:
            await self._name_server.stop()
        await self._server.stop()

    def create_account(
        self, name: str, *, locked: bool | None = None, bot: bool = False, domain: str | None = None
    ) -> MastodonPerson:
        """Open an account, locked as the server does by itself unless it is said; `people` finds it by its actor URI.

        A server may have accounts of several domains, and namesakes on them: its `host` may be a second one. ValueError for a name that is malformed or taken.
        """
        account = self.world.create_account(name, f"pw-{name}", domain)
        account.locked = self.quirks.locked_by_default if locked is None else locked
        account.bot = bot
        person = self.people[account.uri] = MastodonPerson(self, account)
        return person

    async def changed(self, predicate: Callable[[], T], timeout: float) -> T:  # noqa: ASYNC109  # a story says how long it waits
        """Wait until the predicate is true, asking again at every entry of the journal; return what it returned.

        Raises TimeoutError.
        """
        async with asyncio.timeout(timeout):
            while not (value := predicate()):
                await self.journal.entry()
        return value

    @property
    def http(self) -> httpx.AsyncClient:
        """The one client with which people go out; made when first needed."""
        if self._http is None:
            self._http = httpx.AsyncClient(trust_env=False)
        return self._http


def _sends_on(url: str) -> Route:
    async def webfinger(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{url}/.well-known/webfinger?{request.url.query}", 301)

    return Route("/.well-known/webfinger", webfinger)
