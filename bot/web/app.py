"""Put the pages together: routes, headers that every answer carries, and a reference for what goes wrong."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.config import Loaded
from bot.consents import Consents
from bot.events import Events
from bot.outage import Outage
from bot.web.connect import ConnectPages
from bot.web.contacts import ContactsPages
from bot.web.front import FrontPages
from bot.web.health import HealthPages
from bot.web.me import MePages
from bot.web.pages import HERE, Pages, policy
from bot.web.upload import UploadPages
from bot.web.visitors import Visitors
from handlers.texts import N_
from storage.keys import new_code

_log = structlog.get_logger()

_MEGABYTE: Final = 2**20
_HOUR: Final = 3_600_000

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
    """Return the application; nobody needs an account for it, and nearly nothing of it needs JavaScript."""
    section = loaded.config.web
    pages = Pages(events, section.public_url or None)
    visitors = Visitors(pages, lifetime=section.visit_hours * _HOUR)
    trouble = _Trouble(pages, events.outage)
    headers = _HEADERS | (_ONLY_HTTPS if section.public_url.startswith("https://") else {})
    app = Starlette(
        routes=[
            *FrontPages(pages, visitors).routes(),
            *UploadPages(pages, visitors, most_bytes=section.upload_megabytes * _MEGABYTE).routes(),
            *ContactsPages(pages, visitors).routes(),
            *ConnectPages(pages, visitors, consents).routes(),
            *MePages(pages, visitors).routes(),
            *visitors.routes(),  # after the pages: a link's address fits theirs
            *HealthPages(events).routes(),
            Mount("/static", _Static(directory=HERE / "static")),
        ],
        middleware=[Middleware(_Careful, headers=headers, crashed=trouble.crashed)],
        exception_handlers={HTTPException: trouble.refused},
    )
    app.router.redirect_slashes = False
    return app


class _Trouble:
    """The pages that nobody meant to come to."""

    def __init__(self, pages: Pages, outage: Outage) -> None:
        self._pages = pages
        self._outage = outage

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
        ours = None if self._outage.met("pages", error) else error
        _log.error("page crashed", reference=reference, page=page, error=type(error).__name__, exc_info=ours)
        texts = self._pages.texts(request)
        words = texts.text(
            N_("Something went wrong on my side. Try again; if it happens again, tell the operator this: {reference}"),
            reference=reference,
        )
        return self._pages.message(request, texts, texts.text(N_("Something went wrong")), words, status=500)


class _Static(StaticFiles):
    """Let browsers keep our scripts and style sheets, and ask each time whether they have changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Answer with a file, or that it has not changed."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


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
