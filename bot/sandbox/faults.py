"""Make a stand-in server fail on purpose, the way real ones do."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FaultKind = Literal["status", "timeout", "cut", "malformed", "late"]


@dataclass(slots=True)
class Fault:
    """One planned failure of requests whose path contains `path`.

    With `after` the request is carried out first and only its answer is lost: the case in which a client cannot know.
    `times` counts down; a fault at zero is spent. A `timeout` holds the request until the client gives up, and a `late`
    one `until` it may be carried out.
    """

    path: str
    kind: FaultKind = "status"
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error":"InternalServerError","message":"the sandbox was told to fail"}'
    times: int = 1
    after: bool = False
    method: str | None = None
    until: asyncio.Event = field(default_factory=asyncio.Event)


class Faults:
    """The failures still to come, first match first."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []

    def plan(self, fault: Fault) -> Fault:
        """Add a failure; return it, so that the caller can see how often it is still to come."""
        self._planned.append(fault)
        return fault

    def clear(self) -> None:
        """Drop every failure still planned."""
        self._planned.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Spend and return the first failure planned for this request, or nothing."""
        for fault in self._planned:
            if fault.times > 0 and fault.path in path and fault.method in (None, method):
                fault.times -= 1
                return fault
        return None


class CutError(Exception):
    """Raised into the server so that it closes the connection without an answer."""


class FaultMiddleware:
    """Wrap an ASGI application so that the planned failures happen to it."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self.app = app
        self.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or fail it as planned."""
        fault = self.faults.take(scope.get("method", ""), scope["path"]) if scope["type"] == "http" else None
        if fault is not None and fault.kind == "late":
            await fault.until.wait()
        if fault is None or fault.kind == "late":
            await self.app(scope, receive, send)
            return
        if fault.after:
            await self.app(scope, receive, _swallow)
        await self._fail(fault, receive, send)

    async def _fail(self, fault: Fault, receive: Receive, send: Send) -> None:
        if fault.kind == "cut":
            # Once an answer has begun the server can only close the connection; before, it would answer 500.
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            raise CutError
        if fault.kind == "timeout":
            await _until_disconnect(receive)
            return
        status = 200 if fault.kind == "malformed" else fault.status
        body = b'{"half a JSON' if fault.kind == "malformed" else fault.body
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in fault.headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _swallow(_message: Message) -> None:
    """Drop what the application answered."""


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":  # noqa: ASYNC110  # the body may come before it
        await asyncio.sleep(0)
