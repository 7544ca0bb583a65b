"""The bot's own line to its Mastodon server: the SDK in a thread of its own, and one way to say no.

Import this module only where it is needed: the SDK is slow to load.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import requests
from mastodon import Mastodon
from mastodon.errors import MastodonAPIError, MastodonError, MastodonRatelimitError

from bot.networks.errors import LOGIN_REFUSED, NetworkError, Refused, Unavailable
from bot.networks.mastodon_refusals import TOKEN_ENDED, is_about_scopes
from bot.networks.ratelimits import AnnouncedLimits, RateLimited

USER_AGENT: Final = "Reflock"
NOT_FOUND: Final = "not_found"
FORBIDDEN: Final = "forbidden"
INVALID: Final = "invalid"

_TIMEOUT_SECONDS: Final = 15
# What a 403 says when it is about us and not about whom we address (Mastodon: app/controllers/concerns/*).
_OUR_FAULT: Final = "your login is"


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
        self._base_url = base_url
        self._headers = {"authorization": f"Bearer {access_token}", "user-agent": USER_AGENT}
        # Both belong to the one thread: what it asks just now, and how the server answered last.
        self._asking = ""
        self._answer: requests.Response | None = None

    async def call(self, allowance: str, ask: Callable[[Any], Any]) -> Any:
        """Let the thread ask; `allowance` names what the server counts it against (for instance "statuses")."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._ask, allowance, ask)

    async def read(self, path: str, **query: str) -> Any:
        """Return the JSON at a path: for what the SDK asks in a way that not every server understands, or not at all."""
        return await self.send(path, "GET", path, params=query)

    async def send(self, allowance: str, method: str, path: str, **content: Any) -> Any:
        """Send a request of our own, likewise, and return the JSON that answers it; `content` is as for `requests`."""
        return await self.call(allowance, lambda _sdk: self._send(method, path, **content).json())

    async def instance(self) -> Any:
        """Return what the server says of itself, in the newer form or else in the older one."""
        try:
            return await self.read("/api/v2/instance")
        except NetworkError:
            # Not by the SDK, which writes a slash behind it: Takahē has nothing there.
            return await self.read("/api/v1/instance")

    def _send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **content: Any) -> Any:
        content = {"timeout": _TIMEOUT_SECONDS, **content, "headers": {**self._headers, **(headers or {})}}
        response = self._session.request(method, f"{self._base_url}{path}", **content)
        response.raise_for_status()
        return response

    def _ask(self, allowance: str, ask: Callable[[Any], Any]) -> Any:
        self._limits.check(allowance)
        self._asking, self._answer = allowance, None
        try:
            return ask(self._sdk)
        # Besides its own errors the SDK lets through what it trips over in a malformed answer.
        except (MastodonError, requests.RequestException, ValueError, TypeError, LookupError, AttributeError) as error:
            ours = self._our_error(error)
            if isinstance(ours, Refused) and ours.reason == INVALID and self._is_locked_out():
                ours = Refused(LOGIN_REFUSED, ours.detail)
            raise ours from error

    def _is_locked_out(self) -> bool:
        """Tell whether it is the token that the server finds invalid: not every server says 401 to one that is."""
        try:
            self._send("GET", "/api/v1/accounts/verify_credentials")
        except requests.RequestException as error:
            return error.response is not None and error.response.status_code in TOKEN_ENDED
        return False

    def _our_error(self, error: Exception) -> NetworkError:
        if self._answer is None:
            return Unavailable("no connection to it, or no answer in time")
        status, headers = self._answer.status_code, self._answer.headers
        if not isinstance(error, (MastodonAPIError, MastodonRatelimitError, requests.HTTPError)):
            return Unavailable(f"its answer ({status}) is none that a Mastodon-API server gives")
        said = _said(self._answer)
        if status == 429:
            return RateLimited("The server's rate limit is reached.", self._limits.retry_in(headers))
        if status == 401:
            return Refused(LOGIN_REFUSED, said)
        if status == 403:
            ours = _OUR_FAULT in said.lower() or is_about_scopes(said)
            return Refused(LOGIN_REFUSED if ours else FORBIDDEN, said)
        if 400 <= status < 500:
            return Refused({404: NOT_FOUND, 400: INVALID, 422: INVALID}.get(status, str(status)), said)
        after = {"retry-after": headers.get("retry-after", "")}
        return Unavailable(f"The server answered {status}.", self._limits.retry_in(after))

    def _listen(self, response: requests.Response, *_args: object, **_kwargs: object) -> None:
        self._answer = response
        self._limits.remember(self._asking, response.headers)

    def close(self) -> None:
        """Give thread and connections back; what the thread is asking just now runs into its time-out by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()


def _said(answer: requests.Response) -> str:
    """Return the sentence of a refusal; Hollo has an object in its place, snac nothing, others a page."""
    try:
        said = answer.json()["error"]
    except (ValueError, TypeError, LookupError):
        said = None
    return said if isinstance(said, str) else answer.text[:200]
