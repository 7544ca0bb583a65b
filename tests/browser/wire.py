"""The line between a browser and a server: everything that goes over it is heard, and it can be cut."""

import asyncio
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Sent:
    """A request as it went over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Wire:
    """Passes bytes on to a server, and keeps a copy of all that the browser sends."""

    def __init__(self, server: str) -> None:
        self._server = urlsplit(server)
        self._left: int | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.sent = bytearray()
        self.cuts = 0
        self.down = False

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._listening.close()
        self._cut()

    def cut_after(self, count: int) -> None:
        """Cut the line once, when the browser has sent so many more bytes."""
        self._left = count

    def requests(self) -> list[Sent]:
        """Return what the browser sent, while the line was whole and one request followed the other."""
        found, rest = [], bytes(self.sent)
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            length = int(headers.get("content-length", 0))
            method, path, _ = first.split(" ")
            found.append(Sent(method, path, headers, rest[:length]))
            rest = rest[length:]
        return found

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            self.cuts += 1
            writer.transport.abort()
            return
        theirs, ours = await asyncio.open_connection(self._server.hostname, self._server.port)
        both = {writer, ours}
        self._open |= both
        up, down = asyncio.create_task(self._up(reader, ours)), asyncio.create_task(_pass(theirs, writer))
        # When either side hangs up, so does the other.
        _, others = await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        for each in both:
            each.close()
        self._open -= both
        for task in others:
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            passed = data if self._left is None else data[: self._left]
            self.sent += passed
            writer.write(passed)
            await writer.drain()
            if self._left is None:
                continue
            self._left -= len(passed)
            if self._left == 0:
                self._left = None
                self._cut()
                return

    def _cut(self) -> None:
        self.cuts += 1
        for each in self._open:
            each.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
