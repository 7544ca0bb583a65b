"""The bot's own line to its Mastodon server: one question at a time, and none for ever.

Import this module only where it is needed: the SDK is slow to load.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from bot.networks.errors import NetworkError, Unavailable
from bot.networks.mastodon_connection import SILENCE_SECONDS, MastodonConnection
from bot.networks.ratelimits import AnnouncedLimits

# A server that is never silent for long, and never done, is left alone after so many silences; and altogether while so
# many of its answers still go on.
_SILENCES: Final = 3
_MOST_ENDLESS: Final = 8


class MastodonClient:
    """A line on which questions queue up; the event loop never waits for a socket.

    `clock` gives epoch milliseconds. Errors as MastodonConnection has them.
    """

    def __init__(self, base_url: str, access_token: str, clock: Callable[[], int], *, name: str) -> None:
        self._name = f"mastodon-{name}"
        self._connect = partial(MastodonConnection, base_url, access_token, AnnouncedLimits(clock))
        self._connection = self._connect()
        self._turn = asyncio.Lock()
        self._endless: list[threading.Thread] = []

    async def call(self, allowance: str, ask: Callable[[Any], Any]) -> Any:
        """Ask by the SDK; `allowance` names what the server counts it against (for instance "statuses")."""
        return await self._in_thread(partial(MastodonConnection.ask, allowance=allowance, ask=ask), SILENCE_SECONDS)

    async def read(self, path: str, **query: str) -> Any:
        """Return the JSON at a path: for what the SDK asks in a way that not every server understands, or not at all."""
        return await self.send(path, "GET", path, params=query)

    async def send(
        self, allowance: str, method: str, path: str, *, silence: float = SILENCE_SECONDS, **content: Any
    ) -> Any:
        """Send a request of our own, and return the JSON that answers it; `content` is as for `requests`.

        `silence` is how many seconds the server may be silent.
        """
        request = {"allowance": allowance, "method": method, "path": path, "timeout": silence, **content}
        return await self._in_thread(partial(MastodonConnection.send, **request), silence)

    async def instance(self) -> Any:
        """Return what the server says of itself, in the newer form or else in the older one."""
        try:
            return await self.read("/api/v2/instance")
        except NetworkError:
            # Not by the SDK, which writes a slash behind it: Takahē has nothing there.
            return await self.read("/api/v1/instance")

    def close(self) -> None:
        """Give the connections back; what is asked just now runs into its time-out by itself."""
        self._connection.close()

    async def _in_thread(self, ask: Callable[[MastodonConnection], Any], silence: float) -> Any:
        """Ask in a thread that nobody waits for at the end, as an executor's would be."""
        async with self._turn:
            self._endless = [each for each in self._endless if each.is_alive()]
            if len(self._endless) >= _MOST_ENDLESS:
                raise Unavailable("its earlier answers have no end")
            loop, connection = asyncio.get_running_loop(), self._connection
            answer: asyncio.Future[Any] = loop.create_future()

            def run() -> None:
                try:
                    settle = partial(_settle, answer.set_result, answer, ask(connection))
                except Exception as error:  # noqa: BLE001  # whoever asked gets it
                    settle = partial(_settle, answer.set_exception, answer, error)
                with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                    loop.call_soon_threadsafe(settle)
                if answer.cancelled():
                    connection.close()

            thread = threading.Thread(target=run, name=self._name, daemon=True)
            thread.start()
            try:
                async with asyncio.timeout(silence * _SILENCES):
                    return await answer
            except TimeoutError:
                raise Unavailable("its answer has no end") from None
            finally:
                if not answer.done() or answer.cancelled():  # the thread is not done with this connection
                    self._connection = self._connect()
                    self._endless.append(thread)


def _settle(tell: Callable[[Any], None], answer: "asyncio.Future[Any]", outcome: Any) -> None:
    if not answer.done():
        tell(outcome)
