"""The bot's own line to its Bluesky server: the SDK with a session that survives, and one way to say no.

Requests and answers are JSON objects: one malformed field of one record must not hide a whole page, as it would in the
SDK's models. Import this module only where it is needed; the SDK takes most of a second to load, and the parts of it that
we do not need (name servers, the firehose) are not loaded.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import structlog
from atproto_client import AsyncClient, Session, SessionEvent
from atproto_client.client.base import InvokeType
from atproto_client.exceptions import (
    AtProtocolError,
    BadRequestError,
    RateLimitExceededError,
    RequestErrorBase,
    UnauthorizedError,
)
from atproto_client.exceptions import (
    NetworkError as SdkNetworkError,
)
from atproto_client.models.common import XrpcError
from atproto_client.models.dot_dict import DotDict
from atproto_client.request import AsyncRequest, Response

from bot.networks.errors import LOGIN_REFUSED, NetworkError, Refused, Unavailable
from bot.networks.ratelimits import AnnouncedLimits, RateLimited
from bot.networks.sessions import SessionStore

Json = dict[str, Any]

_log = structlog.get_logger()

LOGIN: Final = "com.atproto.server.createSession"
# Nothing of a request has left us where there is no connection yet.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LOGOUT: Final = "com.atproto.server.deleteSession"
_WHO_AM_I: Final = "com.atproto.server.getSession"

_TIMEOUT_SECONDS: Final = 15.0
_WRITES: Final = frozenset(
    {f"com.atproto.repo.{verb}" for verb in ("createRecord", "putRecord", "deleteRecord", "applyWrites")}
)
# How a server says that it no longer takes a token (com.atproto.server.*).
_TOKEN_ERRORS: Final = frozenset({"ExpiredToken", "InvalidToken", "AuthMissing", "AuthenticationRequired"})


class BlueskyClient:
    """Make XRPC calls as the bot. `clock` gives epoch milliseconds.

    Errors: Unavailable; Refused, whose reason is LOGIN_REFUSED or the server's own error name.
    """

    def __init__(
        self,
        *,
        service_url: str,
        handle: str,
        app_password: str,
        chat_did: str,
        sessions: SessionStore,
        clock: Callable[[], int],
    ) -> None:
        self._handle = handle
        self._sessions = sessions
        self._chat_proxy = {"atproto-proxy": f"{chat_did}#bsky_chat"}
        self._limits = AnnouncedLimits(clock)
        # The session names the server too: one that moved must not be asked with another one's tokens.
        digest = hashlib.sha256(f"{service_url} {handle}".lower().encode()).hexdigest()
        self._session_name = f"bluesky:{digest[:32]}"
        self._request = self._new_request()
        self._sdk = _Sdk(service_url, self._request, clock, self._log_in)
        self._login = (service_url, {"identifier": handle, "password": app_password})
        self._sdk.on_session_change(self._keep)

    @property
    def did(self) -> str:
        """Return who we are; only after `start`."""
        session = self._sdk.held
        if session is None:
            raise RuntimeError("Start the network before it is used.")
        return str(session.did)

    @property
    def handle(self) -> str:
        """Return the handle the server knows us by."""
        session = self._sdk.held
        return str(session.handle) if session is not None else self._handle

    async def start(self) -> None:
        """Take up the kept session, or log in when there is none or it is no longer taken."""
        kept = await self._sessions.load(self._session_name)
        if kept is not None:
            try:
                await self._sdk.login(session_string=kept, fetch_bsky_profile=False)
            except (TypeError, ValueError):
                _log.warning("kept session is unreadable", network="bluesky")
        if self._sdk.held is None:
            await self._guarded(LOGIN, self._sdk.sign_in)
        await self.query(_WHO_AM_I)

    def _new_request(self) -> AsyncRequest:
        request = AsyncRequest(timeout=_TIMEOUT_SECONDS, event_hooks={"response": [self._listen]})
        request.add_additional_header("User-Agent", "Reflock")
        return request

    async def _log_in(self) -> Any:
        """Return a new session; logins are limited to 30 in 5 minutes and 300 a day (docs.bsky.app).

        It is asked for on a line of its own, at the entrance: the held one would send the token that is no good.
        """
        self._limits.check(LOGIN)
        service_url, credentials = self._login
        request = self._new_request()
        try:
            return await AsyncClient(service_url, request=request).com.atproto.server.create_session(credentials)
        finally:
            await request.close()

    async def log_out(self) -> None:
        """End the session, where there is one."""
        if self._sdk.held is not None:
            await self._guarded(_LOGOUT, self._sdk.sign_out)

    async def close(self) -> None:
        """Close the connections."""
        await self._request.close()

    async def query(self, nsid: str, params: Mapping[str, Any] | None = None) -> Json:
        """Call a method that only reads; lists are repeated parameters."""
        return await self._call(InvokeType.QUERY, nsid, params=DotDict(params or {}))

    async def procedure(self, nsid: str, body: Mapping[str, Any]) -> Json:
        """Call a method that writes."""
        return await self._call(InvokeType.PROCEDURE, nsid, data=DotDict(body), input_encoding="application/json")

    async def _call(self, kind: InvokeType, nsid: str, **arguments: Any) -> Json:
        if nsid.startswith("chat.bsky."):
            arguments["headers"] = dict(self._chat_proxy)
        call = self._sdk.invoke_query if kind is InvokeType.QUERY else self._sdk.invoke_procedure

        async def invoke() -> Response:
            return await call(nsid, **arguments)

        try:
            content = (await self._guarded(nsid, invoke)).content
        except Unavailable as problem:
            problem.begun = problem.begun and kind is InvokeType.PROCEDURE
            raise
        if isinstance(content, dict):
            return content
        if content:
            raise Unavailable(f"{nsid} was answered with something that is not a JSON object.")
        return {}

    async def _guarded(self, nsid: str, act: Callable[[], Any]) -> Any:
        """Act within the announced limits; say no in our own words."""
        self._limits.check(_allowance(nsid))
        try:
            return await act()
        except (AtProtocolError, httpx.HTTPError, ValueError) as error:
            raise self._our_error(nsid, error) from error

    def _our_error(self, nsid: str, error: Exception) -> NetworkError:
        response = error.response if isinstance(error, RequestErrorBase) else None
        if response is None:
            lost = isinstance(error, SdkNetworkError | httpx.TransportError)
            ours = Unavailable(f"no answer to {nsid}" if lost else f"the answer to {nsid} is none that a PDS gives")
            ours.begun = not isinstance(error.__cause__ or error, _NOT_SENT)
            return ours
        name, message = _said(response)
        if isinstance(error, RateLimitExceededError):
            return RateLimited(f"{nsid}: the rate limit is reached.", self._limits.retry_in(response.headers))
        if response.status_code >= 500 and name != "MethodNotImplemented":
            retry_in = self._limits.retry_in({"retry-after": response.headers.get("retry-after", "")})
            return Unavailable(f"{nsid} was answered with {response.status_code} {name}", retry_in)
        # A PDS does not know who asks it with the token of an account that it has taken down: InvalidRequest.
        if name in _TOKEN_ERRORS or response.status_code == 401 or nsid in (LOGIN, _WHO_AM_I):
            return Refused(LOGIN_REFUSED, message or name)
        return Refused(name or str(response.status_code), message)

    async def _listen(self, response: httpx.Response) -> None:
        if response.is_redirect:
            # The SDK would go wherever it leads, with the password or the tokens.
            raise httpx.TooManyRedirects("The server sends us elsewhere.", request=response.request)
        self._limits.remember(_allowance(response.request.url.path.rpartition("/")[2]), response.headers)

    async def _keep(self, event: SessionEvent, session: Session) -> None:
        if event is not SessionEvent.IMPORT:
            await self._sessions.save(self._session_name, session.export())


class _Sdk(AsyncClient):  # type: ignore[misc]  # the SDK ships no types
    """The SDK's client with our clock, which renews its session also when the server says that it is over.

    Main and chat calls are made by this one client, so its one lock serialises their renewals.
    """

    def __init__(
        self,
        service_url: str,
        request: AsyncRequest,
        clock: Callable[[], int],
        log_in: Callable[[], Awaitable[Any]],
    ) -> None:
        super().__init__(service_url, request=request)
        self._clock = clock
        self._log_in = log_in

    @property
    def held(self) -> Session | None:
        """Return the session, None before the login."""
        return self._session

    def get_current_time(self) -> datetime:
        """Return the time by which the SDK judges whether a token is about to expire."""
        return datetime.fromtimestamp(self._clock() / 1000, UTC)

    async def sign_in(self) -> None:
        """Begin a new session with the app password."""
        await self._set_session(SessionEvent.CREATE, await self._log_in())

    async def sign_out(self) -> None:
        """End the session, for which it is the refresh token that counts."""
        headers = self._get_refresh_auth_headers()
        await self.com.atproto.server.delete_session(headers=headers, ignore_session_check=True)

    async def _invoke(self, invoke_type: InvokeType, **kwargs: Any) -> Response:
        if kwargs.get("ignore_session_check"):
            return await super()._invoke(invoke_type, **kwargs)
        # Known by its refresh token: an access token that is renewed within its second is the same again.
        used = self._session.refresh_jwt if self._session else None
        try:
            return await super()._invoke(invoke_type, **kwargs)
        except (BadRequestError, UnauthorizedError) as error:
            if error.response is None or not _is_over(error.response):
                raise
        async with self._refresh_lock:
            if self._session is None or self._session.refresh_jwt == used:
                await self._renew()
        return await super()._invoke(invoke_type, **kwargs)

    async def _renew(self) -> None:
        try:
            await self._refresh_and_set_session()
        except (BadRequestError, UnauthorizedError):
            _log.info("session ended, logging in anew", network="bluesky")
            await self.sign_in()


def _is_over(response: Response) -> bool:
    """Tell whether a token is the problem, and a new one may help ("Bad token method" is about its rights)."""
    name, message = _said(response)
    return name in _TOKEN_ERRORS and "token method" not in message


def _said(response: Response) -> tuple[str, str]:
    """Return the error's name and sentence, empty where the server gave none."""
    content = response.content
    return (content.error or "", content.message or "") if isinstance(content, XrpcError) else ("", "")


def _allowance(nsid: str) -> str:
    """Name the allowance a method draws on: all writes share their points, every other method has its own."""
    return "com.atproto.repo writes" if nsid in _WRITES else nsid
