"""Put the pages together: routes, headers that every answer carries, and a reference for what goes wrong."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.config import Loaded
from bot.consents import Consents
from bot.events import Events
from bot.networks.oauth_atproto import METADATA_PATH
from bot.web.connect import ConnectPages
from bot.web.export import ExportPages
from bot.web.health import HealthPages
from bot.web.pages import HERE, Pages, policy
from bot.web.upload import UploadPages
from handlers.texts import N_
from storage.keys import new_code
from storage.records import NetworkName

_log = structlog.get_logger()

_MEGABYTE: Final = 2**20

_HEADERS: Final = {
    "content-security-policy": policy(),
    "referrer-policy": "no-referrer",  # the address of a page holds a one-time link
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
# Browsers keep to HTTPS for a year; nothing is said of other names under the same one.
_ONLY_HTTPS: Final = {"strict-transport-security": "max-age=31536000"}


def web(events: Events, consents: Consents, loaded: Loaded) -> Starlette:
    """Return the application; nobody needs an account or JavaScript for it."""
    section = loaded.config.web
    pages = Pages(events, section.public_url or None)
    front = _Front(pages, consents)
    headers = _HEADERS | (_ONLY_HTTPS if section.public_url.startswith("https://") else {})
    app = Starlette(
        routes=[
            Route("/", front.show),
            *UploadPages(pages, most_bytes=section.upload_megabytes * _MEGABYTE).routes(),
            *ConnectPages(pages, consents).routes(),
            *ExportPages(pages).routes(),
            *HealthPages(events).routes(),
            Route(METADATA_PATH, front.client_metadata),
            Route("/jwks.json", front.jwks),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[Middleware(_Careful, headers=headers, crashed=front.crashed)],
        exception_handlers={HTTPException: front.refused},
    )
    app.router.redirect_slashes = False
    return app


class _Front:
    """The pages without anything personal in them."""

    def __init__(self, pages: Pages, consents: Consents) -> None:
        self._pages = pages
        self._consents = consents

    async def show(self, request: Request) -> Response:
        """Say what Reflock is and how to reach it."""
        bots = self._pages.events.world.settings.bots
        links = [_profile(network, handle) for network, handle in bots.items() if handle]
        return self._pages.page(request, "front.html", self._pages.texts(request), {"bots": links}, has_form=False)

    async def client_metadata(self, _request: Request) -> Response:
        """Describe us to Bluesky's authorization servers."""
        metadata = self._consents.client_metadata()
        return JSONResponse({"error": "not found"}, 404) if metadata is None else JSONResponse(metadata)

    async def jwks(self, _request: Request) -> Response:
        """Give the public keys by which Bluesky's authorization servers recognise us."""
        return JSONResponse(self._consents.jwks())

    async def refused(self, request: Request, error: Exception) -> Response:
        """Say that there is no such page, or that it cannot be used like that."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        texts = self._pages.texts(request)
        words = texts.text(
            N_("There is nothing at this address. If a link of mine brought you here, ask me for a new one.")
        )
        return self._pages.message(request, texts, texts.text(N_("Not found")), words, status=status)

    async def crashed(self, request: Request, error: Exception) -> Response:
        """Give a reference that stands in the log too, and nothing of what went wrong."""
        reference = new_code("RF")
        # The address may hold a one-time link: only its first part is logged.
        page = request.scope["path"].strip("/").partition("/")[0]
        _log.error("page crashed", reference=reference, page=page, error=type(error).__name__, exc_info=error)
        texts = self._pages.texts(request)
        words = texts.text(
            N_("Something went wrong on my side. Try again; if it happens again, tell the operator this: {reference}"),
            reference=reference,
        )
        return self._pages.message(request, texts, texts.text(N_("Something went wrong")), words, status=500)


def _profile(network: NetworkName, handle: str) -> tuple[str, str]:
    """Return how the bot is called on a network, and where it is found."""
    name = handle.lstrip("@")
    if network is NetworkName.BLUESKY:
        return f"@{name}", f"https://bsky.app/profile/{name}"
    user, _, host = name.partition("@")
    return f"@{name}", f"https://{host}/@{user}"


class _Careful:
    """Put our headers on every answer, and answer when a page crashes."""

    def __init__(
        self,
        app: ASGIApp,
        headers: Mapping[str, str],
        crashed: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        self._app = app
        self._headers = headers
        self._crashed = crashed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def careful(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, careful)
        except Exception as error:  # noqa: BLE001  # whatever a page trips over, its reader gets an answer
            response = await self._crashed(Request(scope, receive), error)
            if not started:
                await response(scope, receive, careful)
