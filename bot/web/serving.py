"""Serve an ASGI application within a running event loop, leaving signals to the process's host."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.types import ASGIApp

# The access log would hold one-time links; errors are logged by the application itself.
_LOG_CONFIG: Final[dict[str, object]] = {"version": 1, "disable_existing_loggers": False}


class Server:
    """An ASGI application on one address; port 0 asks the system for a free one.

    The socket is bound when the object is made (OSError where that is impossible), so `url` is known before the
    application needs it.
    """

    def __init__(self, app: ASGIApp | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Only on a socket that names its protocol does asyncio set TCP_NODELAY; without it every answer waits 40 ms.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        except (TypeError, UnicodeError) as error:  # what Python says of a name that cannot be one
            self._socket.close()
            raise OSError(errno.EINVAL, "That is no name of a host") from error
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.app = app
        self._server: _QuietServer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        """Begin to answer requests."""
        if self.app is None:
            raise ValueError("Set `app` before starting the server.")
        config = uvicorn.Config(
            self.app,
            log_config=_LOG_CONFIG,
            log_level="critical",
            lifespan="off",
            access_log=False,
            server_header=False,
            ws="none",  # what would serve WebSockets need not be loaded
        )
        self._server = _QuietServer(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not self._task.done():  # noqa: ASYNC110  # uvicorn has only this flag
            await asyncio.sleep(0.005)
        return self

    async def stop(self) -> None:
        """Cut what is still open and give the port back."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._server.ending.set()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._socket.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class _QuietServer(uvicorn.Server):
    """A server that leaves the process's signal handlers to its host, and ends as soon as it is told to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection at once, and see the requests under way end; the base class waits a while first."""
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        under_way = list(self.server_state.tasks)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def main_loop(self) -> None:
        """Keep the date of the answers' headers current, ten times a second as the base class does, until the end."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self.ending.wait()
