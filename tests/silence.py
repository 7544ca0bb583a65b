"""A way to a PostgreSQL server on which nothing comes through any more, without a word, as after a failover."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import sqlalchemy as sa


class Way:
    """Leads to a server as long as nobody has it fall silent; then its connections stay open, and that is all."""

    def __init__(self, server: sa.URL) -> None:
        self._server = server
        self._silenced: list[asyncio.Event] = []
        self._for_good = False
        self._ends: list[asyncio.StreamWriter] = []
        self.url = ""

    def fall_silent(self, *, for_good: bool = False) -> None:
        """Let nothing more through on the connections that there are; `for_good` also on those made later."""
        self._for_good = for_good
        for each in self._silenced:
            each.set()

    def hang_up(self) -> None:
        """End every connection."""
        for each in self._ends:
            each.transport.abort()

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes on one connection."""
        silenced = asyncio.Event()
        if self._for_good:
            silenced.set()
        self._silenced.append(silenced)
        further, to = await asyncio.open_unix_connection(f"{self._server.query['host']}/.s.PGSQL.5432")
        self._ends += writer, to
        with suppress(ConnectionError):
            await asyncio.gather(_pass_on(reader, to, silenced), _pass_on(further, writer, silenced))

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Way"]:
        """Let in whoever comes by the `url`."""
        async with await asyncio.start_server(self.lead, "127.0.0.1", 0) as gate:
            host, port = gate.sockets[0].getsockname()
            self.url = self._server.set(host=host, port=port, query={}).render_as_string(hide_password=False)
            yield self
            for end in self._ends:
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silenced: asyncio.Event) -> None:
    while some := await reader.read(65_536):
        if not silenced.is_set():  # or it is lost on the way, as is that they hang up
            writer.write(some)
    if not silenced.is_set():
        writer.close()
