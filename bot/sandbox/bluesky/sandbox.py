"""A small Bluesky on one loopback port: PDS, AppView, chat, PLC directory and OAuth server."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from bot.sandbox.bluesky import methods_app, methods_chat, methods_repo, methods_server
from bot.sandbox.bluesky.chat import Chat
from bot.sandbox.bluesky.clients import Clients
from bot.sandbox.bluesky.identity import Identity
from bot.sandbox.bluesky.ids import Json
from bot.sandbox.bluesky.limits import RateLimits
from bot.sandbox.bluesky.oauth import OAuthServer
from bot.sandbox.bluesky.oauth_web import OAuthPages
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.bluesky.sessions import Sessions
from bot.sandbox.bluesky.settings import Settings
from bot.sandbox.bluesky.world import Account, World
from bot.sandbox.bluesky.xrpc import Method, PdsCall, PdsXrpc
from bot.sandbox.consent_page import SignedIn
from bot.sandbox.faults import FaultMiddleware, Faults
from bot.sandbox.server import LoopbackServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp

T = TypeVar("T")


class BlueskySandbox(Settings):
    """Serve a small Bluesky and let a story act on it in process.

    Every setting may be changed at any time; `journal` holds what came true, `faults` what is to go wrong.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        rate_limits: bool = True,
        port: int = 0,
    ) -> None:
        super().__init__(now=now, rate_limits=rate_limits)
        self._server = LoopbackServer(port=port)
        self._http: httpx.AsyncClient | None = None
        self.url = self._server.url
        self.faults = Faults()
        self.world = World(self)
        self.journal = self.world.journal
        self.chat = Chat(self.world, self)
        self.sessions = Sessions(self.world, self)
        self.limits = RateLimits(self)
        self.identity = Identity(self.world, self.url)
        self.oauth = OAuthServer(self.world, self, Clients(self, self.url, self._fetch_json), self.url)
        self.people: dict[str, BlueskyPerson] = {}
        self.signed_in = SignedIn[Account]()
        self.app: ASGIApp = FaultMiddleware(self._routes(), self.faults)
        self._server.app = self.app

    def _routes(self) -> Starlette:
        methods: dict[str, Method[PdsCall]] = {
            **methods_server.METHODS,
            **methods_repo.METHODS,
            **methods_app.METHODS,
            **methods_chat.methods(self.chat),
        }
        xrpc = PdsXrpc(self, methods)
        return Starlette(
            routes=[
                Route("/xrpc/{nsid}", xrpc.serve, methods=["GET", "POST"]),
                *OAuthPages(self, self.oauth).routes(),
                *self.identity.routes(),
            ]
        )

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
        await self._server.stop()

    def create_account(
        self, handle: str, *, password: str | None = None, chat: bool = True, bot: bool = False
    ) -> BlueskyPerson:
        """Open an account; `chat` says whether its password may use direct messages, `bot` labels it as one."""
        password = password or f"pw-{handle}"
        account = self.world.create_account(handle, password, chat=chat)
        self.world.set_profile(account, bot=bot)
        person = self.people[account.did] = BlueskyPerson(self, account, password)
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
        """The one client with which people and the server itself go out; made when first needed."""
        if self._http is None:
            self._http = httpx.AsyncClient(trust_env=False)
        return self._http

    async def _fetch_json(self, url: str) -> Json:
        answer = await self.http.get(url, headers={"accept": "application/json"})
        answer.raise_for_status()
        document = answer.json()
        if not isinstance(document, dict):
            raise TypeError(f"{url} is no JSON object")
        return document
