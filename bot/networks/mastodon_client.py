"""The bot's own line to its Mastodon server: the SDK in a thread of its own, and one way to say no.

Import this module only where it is needed: the SDK is slow to load.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import requests
from mastodon import Mastodon
from mastodon.errors import (
    MastodonAPIError,
    MastodonError,
    MastodonNotFoundError,
    MastodonRatelimitError,
    MastodonServerError,
    MastodonUnauthorizedError,
)

from bot.networks.errors import LOGIN_REFUSED, NetworkError, Refused, Unavailable
from bot.networks.ratelimits import AnnouncedLimits, RateLimited

USER_AGENT: Final = "Reflock"
NOT_FOUND: Final = "not_found"
FORBIDDEN: Final = "forbidden"
INVALID: Final = "invalid"

_TIMEOUT_SECONDS: Final = 15
# What a 403 says when it is about us and not about whom we address (app/controllers/concerns/*, Doorkeeper).
_OUR_FAULT: Final = ("login is currently disabled", "outside the authorized scopes", "confirm your e-mail")


def new_sdk(base_url: str, access_token: str, session: requests.Session) -> Mastodon:
    """Make a client of the SDK. A fixed version, or it asks a sick server about its own for ever."""
    return Mastodon(
        api_base_url=base_url,
        access_token=access_token,
        mastodon_version="4.3.0",
        request_timeout=_TIMEOUT_SECONDS,
        ratelimit_method="throw",
        user_agent=USER_AGENT,
        session=session,
    )


class MastodonClient:
    """One client of the SDK, used by one thread: calls queue up, the event loop never waits for a socket.

    `clock` gives epoch milliseconds. Errors: Unavailable; Refused, whose reason is LOGIN_REFUSED, NOT_FOUND,
    FORBIDDEN, INVALID or the HTTP status.
    """

    def __init__(self, base_url: str, access_token: str, clock: Callable[[], int], *, name: str) -> None:
        self._limits = AnnouncedLimits(clock)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"mastodon-{name}")
        self._session = requests.Session()
        self._session.hooks["response"].append(self._listen)
        self._sdk = new_sdk(base_url, access_token, self._session)
        # Both belong to the one thread: what it asks just now, and how the server answered last.
        self._asking = ""
        self._answer: requests.Response | None = None

    async def call(self, allowance: str, ask: Callable[[Any], Any]) -> Any:
        """Let the thread ask; `allowance` names what the server counts it against (for instance "statuses")."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, allowance, ask)

    def _ask(self, allowance: str, ask: Callable[[Any], Any]) -> Any:
        self._limits.check(allowance)
        self._asking, self._answer = allowance, None
        try:
            return ask(self._sdk)
        # Besides its own errors the SDK lets through what it trips over in a malformed answer.
        except (MastodonError, requests.RequestException, ValueError, TypeError, LookupError, AttributeError) as error:
            raise self._our_error(error) from error

    def _our_error(self, error: Exception) -> NetworkError:
        headers = self._answer.headers if self._answer is not None else {}
        status = self._answer.status_code if self._answer is not None else 0
        said = str(error.args[3]) if len(error.args) > 3 else ""
        match error:
            case MastodonRatelimitError() if status == 429:
                return RateLimited("The server's rate limit is reached.", self._limits.retry_in(headers))
            case MastodonUnauthorizedError():
                return Refused(LOGIN_REFUSED, said)
            case MastodonNotFoundError():
                return Refused(NOT_FOUND, said)
            case MastodonServerError():
                after = {"retry-after": headers.get("retry-after", "")}
                return Unavailable(f"The server answered {status}.", self._limits.retry_in(after))
            case MastodonAPIError() if status == 403:
                ours = any(words in said.lower() for words in _OUR_FAULT)
                return Refused(LOGIN_REFUSED if ours else FORBIDDEN, said)
            case MastodonAPIError() if 400 <= status < 500:
                return Refused(INVALID if status == 422 else str(status), said)
        if self._answer is None:
            return Unavailable("no connection to it, or no answer in time")
        return Unavailable(f"its answer ({status}) is none that a Mastodon-API server gives")

    def _listen(self, response: requests.Response, *_args: object, **_kwargs: object) -> None:
        self._answer = response
        self._limits.remember(self._asking, response.headers)

    def close(self) -> None:
        """Give thread and connections back; what the thread is asking just now runs into its time-out by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()
