"""The bot's own line to its Mastodon server survives what servers do to connections."""

import asyncio

import pytest

from bot.networks.errors import Unavailable
from bot.networks.mastodon_client import MastodonClient
from tests.conftest import OwnClock
from tests.dropping import dropping_server


async def test_a_kept_connection_that_our_server_drops_without_a_word_is_no_failure(clock: OwnClock) -> None:
    async with dropping_server() as host:
        line = MastodonClient(f"http://{host}", "a token", clock, name="test")
        for _ in range(3):
            assert await line.read("/api/v1/notifications") == []
        with pytest.raises(Unavailable):  # it may have come through
            await line.send("statuses", "POST", "/api/v1/statuses")
        line.close()


async def test_an_answer_without_an_end_holds_up_nothing_that_is_asked_later(clock: OwnClock) -> None:
    enough, ended = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endless = b"/endless" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n[")
        while endless and not enough.is_set():
            writer.write(b" ")
            await asyncio.sleep(0.02)  # never silent for long
        writer.write(b"]")
        writer.close()
        await writer.wait_closed()
        if endless:
            ended.set()

    host = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{host.sockets[0].getsockname()[1]}"
    async with host:
        line = MastodonClient(address, "a token", clock, name="test")
        endless = asyncio.create_task(line.send("notifications", "GET", "/endless", silence=1))
        later = asyncio.create_task(line.read("/api/v1/notifications"))
        with pytest.raises(Unavailable, match="no end"):
            await endless
        assert await later == []
        enough.set()
        await ended.wait()
        line.close()
