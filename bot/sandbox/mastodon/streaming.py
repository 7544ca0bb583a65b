"""The streaming API: server-sent events of what happens to an account.

https://docs.joinmastodon.org/methods/streaming/. The real server runs it beside the REST API, without its rate limits.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from bot.sandbox.mastodon.accounts import Account, Json, Notification, Status
from bot.sandbox.mastodon.api import authenticate, unauthorized
from bot.sandbox.mastodon.errors import ApiError

if TYPE_CHECKING:
    from bot.sandbox.mastodon.sandbox import MastodonSandbox

# `streaming/index.js` greets with ":)" and says ":thump" every fifteen seconds.
HEARTBEAT_SECONDS = 15.0
_SCOPES = {
    "user": ("read", "read:statuses"),
    "user/notification": ("read", "read:notifications"),
}
_HEADERS = {"cache-control": "private, no-store", "x-accel-buffering": "no"}

Queue = asyncio.Queue[bytes | None]


class Streaming:
    """Every open stream, and what is sent down it."""

    def __init__(self, sandbox: "MastodonSandbox") -> None:
        self._sandbox = sandbox
        self._open: dict[Account, dict[Queue, str]] = defaultdict(dict)

    def routes(self) -> list[Route]:
        """Return the routes."""
        how = self._sandbox.quirks.streaming
        if how == "sse":
            return [
                Route("/api/v1/streaming/health", self._health, methods=["GET"]),
                Route("/api/v1/streaming/{channel:path}", self._stream, methods=["GET"]),
            ]
        return [Route("/api/v1/streaming", self._no_socket, methods=["GET"])] if how == "websocket" else []

    @property
    def open_streams(self) -> int:
        """Tell how many streams are open."""
        return sum(map(len, self._open.values()))

    def close(self) -> None:
        """End every stream, as a restart of the server does."""
        for queues in self._open.values():
            for queue in queues:
                queue.put_nowait(None)

    # What the world tells.

    def notified(self, notification: Notification) -> None:
        """Send a notification to the streams of its recipient."""
        self._send(notification.recipient, "notification", lambda: self._sandbox.views.notification(notification))

    def published(self, status: Status) -> None:
        """Send a status to the home timelines that are being watched."""
        for account in [*self._open]:
            home = account is status.author or status.author in account.following
            if home and self._sandbox.world.visible(status, account):
                self._send(account, "update", lambda: self._sandbox.views.status(status))

    def deleted(self, status: Status) -> None:
        """Tell the home timelines that are being watched that a status is gone."""
        for account in [*self._open]:
            if account is status.author or status.author in account.following:
                self._send(account, "delete", lambda: status.id)

    def _send(self, account: Account, event: str, payload: Callable[[], Json | int]) -> None:
        queues = self._open.get(account)
        if not queues:
            return
        line = f"event: {event}\ndata: ".encode() + msgspec.json.encode(payload()) + b"\n\n"
        for queue, channel in queues.items():
            if event == "notification" or channel == "user":
                queue.put_nowait(line)

    # HTTP.

    async def _no_socket(self, _request: Request) -> Response:
        """Refuse whoever does not ask for a WebSocket; that nobody here speaks it is all the same to the bot."""
        return JSONResponse({"error": "Bad Request: websocket: the client is not using the websocket protocol"}, 400)

    async def _health(self, _request: Request) -> Response:
        return PlainTextResponse("OK")

    async def _stream(self, request: Request) -> Response:
        channel = request.path_params["channel"]
        if channel not in _SCOPES:
            return JSONResponse({"error": "Not found"}, 404)
        try:
            token = authenticate(self._sandbox, request)
            if token is None or token.account is None:
                raise unauthorized("Missing access token")
            if not token.allows(_SCOPES[channel]):
                raise unauthorized("Access token does not have the required scopes")
        except ApiError as error:
            return JSONResponse({"error": error.message}, error.status, error.headers)
        queue: Queue = asyncio.Queue()
        self._open[token.account][queue] = channel
        return StreamingResponse(self._events(token.account, queue), headers=_HEADERS, media_type="text/event-stream")

    async def _events(self, account: Account, queue: Queue) -> AsyncIterator[bytes]:
        try:
            yield b":)\n"
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        line = await queue.get()
                except TimeoutError:
                    line = b":thump\n"
                if line is None:
                    return
                yield line
        finally:
            queues = self._open[account]
            queues.pop(queue, None)
            if not queues:
                del self._open[account]
