"""Serve a stand-in on a real socket of the loopback interface."""

from starlette.types import ASGIApp

from bot.web.serving import Server


class LoopbackServer(Server):
    """An ASGI application on 127.0.0.1, and nowhere else."""

    def __init__(self, app: ASGIApp | None = None, port: int = 0) -> None:
        super().__init__(app, host="127.0.0.1", port=port)
