"""The clock of a simulated day: it jumps whenever everybody waits, and goes on by the CPU time that this process takes.

So our own code is as slow in the simulated day as it is here, on one core, and nothing else takes any time. What threads do
(SQLite's, and a few others') is waited for and charged like the rest.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import sqlalchemy as sa

from storage import one_hop


class _Jumping(selectors.DefaultSelector):
    """Does not wait for a time to come: it says that it came."""

    slept = 0.0
    at_work = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what happened; when nothing can but by time, let the time pass at once."""
        events = super().select(0)
        if events or timeout == 0:
            return events
        if self.at_work:
            return super().select(None)
        if timeout is None:
            raise RuntimeError("Everybody waits, and for nothing that could come.")
        self.slept += timeout
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is simulated; `epoch_ms` is what the clocks on the walls of the simulated day say."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        self._uncharged = 0.0
        self._epoch_ms = 0.0
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return what was jumped and what was computed."""
        return self._jumping.slept + time.process_time() - self._uncharged

    def epoch_ms(self) -> int:
        """Return the present of the simulated day."""
        return int(self._epoch_ms + 1000 * self.time())

    def set_epoch_ms(self, now: int) -> None:
        """Let it be that moment now."""
        self._epoch_ms = now - 1000 * self.time()

    @contextmanager
    def uncharged(self) -> Iterator[None]:
        """Do something that is the bench's own work, and takes no simulated time."""
        begun = time.process_time()
        try:
            yield
        finally:
            self._uncharged += time.process_time() - begun

    def thread_begins(self, future: asyncio.Future[Any]) -> None:
        """Be told that a thread is at work until a future is done: that is waited for."""
        self._jumping.at_work += 1
        future.add_done_callback(self._thread_ended)

    def _thread_ended(self, _future: object) -> None:
        self._jumping.at_work -= 1

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]  # typeshed's is generic
        """Have a thread do something, and know that it does."""
        future = super().run_in_executor(executor, func, *args)
        self.thread_begins(future)
        return future


class _Told:
    """What a SQLite connection's thread is told to do, each with the future that is done when it did it."""

    def __init__(self, loop: SimulatedLoop, orders: Any) -> None:
        self._loop = loop
        self._orders = orders

    def put_nowait(self, order: tuple[asyncio.Future[Any] | None, Any]) -> None:
        """Tell the thread, and the loop that the thread is at work."""
        if order[0] is not None:
            self._loop.thread_begins(order[0])
        self._orders.put_nowait(order)


def run_simulated(main: Callable[[SimulatedLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Run something on a simulated loop, which knows when SQLite's threads are at work."""
    loop = SimulatedLoop()
    asyncio.set_event_loop(loop)

    def connect(
        made: Callable[..., one_hop.OneHopConnection], database: str, **options: Any
    ) -> one_hop.OneHopConnection:
        connection = made(database, **options)
        connection._tx = _Told(loop, connection._tx)  # type: ignore[assignment]  # noqa: SLF001  # SQLAlchemy puts orders there too
        return connection

    def told(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        options["async_creator_fn"] = partial(connect, options["async_creator_fn"])

    sa.event.listen(sa.Engine, "do_connect", told)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        sa.event.remove(sa.Engine, "do_connect", told)
        loop.thread_begins(loop.create_future())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
