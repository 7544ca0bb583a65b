"""Listen to a Mastodon server's stream of notifications, only to know when it is worth to look.

What arrives is thrown away: the truth is polled. So nothing is lost when the stream breaks, is not offered (some
servers stream by WebSocket only, some not at all), or sends something malformed.
"""

import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any, Final

import requests
import structlog
from mastodon import StreamListener

from bot.networks.mastodon_connection import new_sdk

_log = structlog.get_logger()

# Servers say something every 15 seconds (Mastodon, streaming/index.js); after four silences the line is dead.
_SILENCE_SECONDS: Final = 60
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 300.0


class NewsStream:
    """A thread that calls `on_news` (from within it) for every notification, and comes back after every failure."""

    def __init__(self, base_url: str, access_token: str, on_news: Callable[[], None]) -> None:
        self._base_url = base_url
        self._access_token = access_token
        self._on_news = on_news
        self._over = threading.Event()
        self._session: _Session | None = None
        self._thread: threading.Thread | None = None
        self.listening = threading.Event()

    def keep_running(self) -> None:
        """Begin to listen, also anew should the thread have ended against all intention."""
        if not self._over.is_set() and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="mastodon-stream", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop listening; the thread ends by itself."""
        self._over.set()
        if self._session is not None:
            self._session.hang_up()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._over.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001  # whatever the SDK's thread trips over, polling goes on
                if not self._over.is_set():
                    _log.info("stream ended", network="mastodon", error=type(error).__name__)
            if self.listening.is_set():
                self.listening.clear()
                pause = _FIRST_PAUSE
            self._over.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads load, guards nothing
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _listen(self) -> None:
        with _Session() as session:
            self._session = session
            sdk = new_sdk(self._base_url, self._access_token, session)
            sdk.stream_user_notifications(_Ear(self._on_news, self.listening.set, self._over), timeout=_SILENCE_SECONDS)


class _Ear(StreamListener):
    """Hears that something happened, and that the server is there."""

    def __init__(self, on_event: Callable[[], None], on_life: Callable[[], None], over: threading.Event) -> None:
        super().__init__()
        self._on_event = on_event
        self._on_life = on_life
        self._over = over

    def on_any_event(self, *_event: Any, **_more: Any) -> None:
        """Pass on that there may be news."""
        self._on_life()
        self._on_event()

    def handle_heartbeat(self) -> None:
        """Note that the stream lives; leave it when nobody listens any more."""
        self._on_life()
        if self._over.is_set():
            raise ConnectionAbortedError


class _Session(requests.Session):
    """A session whose open stream can be ended from another thread."""

    _stream: requests.Response | None = None

    def get(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Ask, and remember the answer."""
        self._stream = super().get(*args, **kwargs)
        return self._stream

    def hang_up(self) -> None:
        """End the stream that is being read, if any."""
        if self._stream is not None:
            # It may be over already, or not have begun.
            with contextlib.suppress(RuntimeError, ValueError, OSError, AttributeError):
                self._stream.raw.shutdown()
