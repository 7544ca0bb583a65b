"""A server that answers once on a connection, keeps it open, and drops it at the next request without a word."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]"


@contextlib.asynccontextmanager
async def dropping_server() -> AsyncIterator[str]:
    """Give the host and port of one that answers with an empty list."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")  # the next request is not answered
        writer.close()

    host = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    async with host:
        yield f"127.0.0.1:{host.sockets[0].getsockname()[1]}"
