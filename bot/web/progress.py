"""Tell browsers how far a batch is, as it goes, by server-sent events; the work itself is the outbox's."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bot.web.reconnecting import own_batch
from bot.web.visitors import Visitor, Visitors
from handlers.batches import Progress, progress_in

_PAUSE: Final = 1.0
_QUIET: Final = 15  # reads without news until a sign of life goes out: proxies cut what is silent for long
_LONGEST: Final = 900  # reads; the browser comes again by itself
_A_VISITOR: Final = 3
_IN_ALL: Final = 200
_HEADERS: Final = {"x-accel-buffering": "no"}  # nginx would hold the events back until there are many


class ProgressStreams:
    """The streams under way, so many of each visitor's and in all as one process can do with."""

    def __init__(self, visitors: Visitors, *, pause: float = _PAUSE) -> None:
        self._visitors = visitors
        self._pause = pause
        self._open: Counter[int] = Counter()

    async def watch(self, request: Request, visitor: Visitor) -> Response:
        """Send how far a batch is whenever that changes, until it is through."""
        number = request.query_params.get("batch", "")
        if await self._progress(visitor, number) is None:
            return Response(status_code=404)
        # A browser does not come again by itself after this: the page's script sees to it, later.
        if self._open[visitor.person.id] >= _A_VISITOR or self._open.total() >= _IN_ALL:
            return Response(status_code=503, headers={"retry-after": "30"})
        return _Counted(self._events(visitor, number), self._counted(visitor.person.id))

    async def _events(self, visitor: Visitor, number: str) -> AsyncIterator[str]:
        before, quiet = None, 0
        for _ in range(_LONGEST):
            progress = await self._progress(visitor, number)
            if progress is None:
                return
            if progress != before:
                yield f"data: {_written(progress)}\n\n"
                before, quiet = progress, 0
                if progress.over:
                    return
            elif (quiet := quiet + 1) % _QUIET == 0:
                yield ": still here\n\n"
            await asyncio.sleep(self._pause)

    async def _progress(self, visitor: Visitor, number: str) -> Progress | None:
        """Read how far a batch is; None when it is not the visitor's, or they were forgotten."""
        try:
            async with self._visitors.looking(visitor) as ctx:
                batch = await own_batch(ctx, number)
                return await progress_in(ctx, batch) if batch is not None else None
        except LookupError:
            return None

    @contextmanager
    def _counted(self, person_id: int) -> Iterator[None]:
        self._open[person_id] += 1
        try:
            yield
        finally:
            self._open[person_id] -= 1
            self._open += Counter()  # forgets who is at zero


class _Counted(StreamingResponse):
    """A stream that counts from the moment it is sent until it ends, however it does."""

    def __init__(self, events: AsyncIterator[str], counted: AbstractContextManager[None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=_HEADERS)
        self._counting = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._counting:
            await super().__call__(scope, receive, send)


def _written(progress: Progress) -> str:
    return json.dumps(
        {"done": progress.done, "total": progress.total, "lines": progress.lines, "over": progress.over},
        ensure_ascii=False,
    )
