"""One connection to the bot's own Mastodon server: the SDK, the server's limits, and one way to say no.

Import this module only where it is needed: the SDK is slow to load.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import requests
from mastodon import Mastodon
from mastodon.errors import MastodonAPIError, MastodonError, MastodonRatelimitError
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from bot.networks.errors import LOGIN_REFUSED, NetworkError, Refused, Unavailable
from bot.networks.mastodon_refusals import TOKEN_ENDED, is_about_scopes
from bot.networks.ratelimits import AnnouncedLimits, RateLimited

USER_AGENT: Final = "Reflock"
NOT_FOUND: Final = "not_found"
FORBIDDEN: Final = "forbidden"
INVALID: Final = "invalid"
# How long a server may be silent before or within an answer.
SILENCE_SECONDS: Final = 15.0

_LONGEST_SAID: Final = 300
# What a 403 says when it is about us and not about whom we address (Mastodon: app/controllers/concerns/*).
_OUR_FAULT: Final = "your login is"


def new_sdk(base_url: str, access_token: str, session: requests.Session) -> Mastodon:
    """Make a client of the SDK. A fixed version, or it asks a sick server about its own for ever."""
    return Mastodon(
        api_base_url=base_url,
        access_token=access_token,
        mastodon_version="4.3.0",
        request_timeout=SILENCE_SECONDS,
        ratelimit_method="throw",
        user_agent=USER_AGENT,
        session=session,
    )


class _AskingAgain(HTTPAdapter):
    """Send once more what changes nothing: snac drops a kept connection without a word."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request; a time-out is no dropped connection."""
        try:
            return super().send(request, *arguments, **options)
        except requests.ConnectionError as error:
            if request.method != "GET" or isinstance(error, requests.Timeout):
                raise
            return super().send(request, *arguments, **options)


class MastodonConnection:
    """A client of the SDK, for one thread at a time.

    Errors: Unavailable; Refused, whose reason is LOGIN_REFUSED, NOT_FOUND, FORBIDDEN, INVALID or the HTTP status.
    """

    def __init__(self, base_url: str, access_token: str, limits: AnnouncedLimits) -> None:
        self._limits = limits
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _AskingAgain())
        self._session.hooks["response"].append(self._listen)
        self._sdk = new_sdk(base_url, access_token, self._session)
        self._base_url = base_url
        self._token = access_token
        self._headers = {"authorization": f"Bearer {access_token}", "user-agent": USER_AGENT}
        # What is asked just now, and how the server answered last.
        self._asking = ""
        self._answer: requests.Response | None = None

    def ask(self, allowance: str, ask: Callable[[Any], Any]) -> Any:
        """Ask by the SDK; `allowance` names what the server counts it against (for instance "statuses")."""
        self._limits.check(allowance)
        self._asking, self._answer = allowance, None
        try:
            return ask(self._sdk)
        # Besides its own errors the SDK lets through what it trips over in a malformed answer.
        except (MastodonError, requests.RequestException, ValueError, TypeError, LookupError, AttributeError) as error:
            ours = self._our_error(error)
            if isinstance(ours, Unavailable):
                ours.begun = self._may_have_begun(error)
            if isinstance(ours, Refused) and ours.reason == INVALID and self._is_locked_out():
                ours = Refused(LOGIN_REFUSED, ours.detail)
            raise ours from error

    def send(
        self, allowance: str, method: str, path: str, headers: Mapping[str, str] | None = None, **content: Any
    ) -> Any:
        """Send a request of our own, and return the JSON that answers it; `content` is as for `requests`."""
        return self.ask(allowance, lambda _sdk: self._send(method, path, headers, **content).json())

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def _send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **content: Any) -> Any:
        content = {"timeout": SILENCE_SECONDS, **content, "headers": {**self._headers, **(headers or {})}}
        # With an `auth` that changes nothing: or what stands in a .netrc would take our token's place.
        response = self._session.request(method, f"{self._base_url}{path}", auth=_as_it_is, **content)
        response.raise_for_status()
        return response

    def _is_locked_out(self) -> bool:
        """Tell whether it is the token that the server finds invalid: not every server says 401 to one that is."""
        try:
            self._send("GET", "/api/v1/accounts/verify_credentials")
        except requests.RequestException as error:
            return error.response is not None and error.response.status_code in TOKEN_ENDED
        return False

    def _may_have_begun(self, error: Exception) -> bool:
        """Tell whether something that changes something may have reached the server."""
        trouble = (
            error if isinstance(error, requests.RequestException) else error.__context__
        )  # the SDK's are about one
        request = self._answer.request if self._answer is not None else getattr(trouble, "request", None)
        if request is not None and request.method == "GET":
            return False
        reason = getattr(next(iter(getattr(trouble, "args", ())), None), "reason", None)
        return self._answer is not None or not isinstance(reason, (NewConnectionError, ConnectTimeoutError))

    def _our_error(self, error: Exception) -> NetworkError:
        if self._answer is None:
            return Unavailable("no connection to it, or no answer in time")
        status, headers = self._answer.status_code, self._answer.headers
        if not isinstance(error, (MastodonAPIError, MastodonRatelimitError, requests.HTTPError)):
            return Unavailable(f"its answer ({status}) is none that a Mastodon-API server gives")
        # Our token first: of one that was cut in two nobody would know it.
        said = _said(self._answer).replace(self._token, "***")[:_LONGEST_SAID]
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


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _said(answer: requests.Response) -> str:
    """Return the sentence of a refusal; Hollo has an object in its place, snac nothing, others a page."""
    try:
        said = answer.json()["error"]
    except (ValueError, TypeError, LookupError):
        said = None
    return said if isinstance(said, str) else answer.text
