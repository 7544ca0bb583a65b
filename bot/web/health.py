"""Tell machines how Reflock is: /healthz for whoever restarts it, /metrics for whoever watches it."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot.events import Events
from storage import load

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})
# A reverse proxy on this machine speaks from loopback too, but says for whom.
_PROXIED: Final = frozenset({"forwarded", "x-forwarded-for", "x-real-ip"})


class HealthPages:
    """Answer from the database: when it cannot be read, nothing works."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/healthz", self.health), Route("/metrics", self.metrics)]

    async def health(self, _request: Request) -> Response:
        """Say whether the database answers; 503 when it does not."""
        try:
            async with self._events.database.reading() as connection:
                await connection.execute(sa.select(sa.literal(1)))  # anybody may ask, so it costs next to nothing
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self._events.outage.met("pages", error)
            return JSONResponse({"status": "the database does not answer"}, 503)
        self._events.outage.passed("pages")
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """Give the measurements in Prometheus' format, to this machine only."""
        host = request.client.host if request.client else ""
        if host not in _LOOPBACK or not _PROXIED.isdisjoint(request.headers.keys()):
            return PlainTextResponse("Only for this machine.\n", 403)
        async with self._events.database.reading() as connection:
            measured = await load.measure(connection, self._events.clock())
        from bot.web.gauges import exposition

        return exposition(measured)
