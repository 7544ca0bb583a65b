"""Ask hosts that a user named, and nothing inside our own walls.

    Forbidden     we do not go there (a private address, plain http, another port)
    TooLarge      the answer is longer than we read
    Unreachable   nobody answered, or not in time, or not in JSON

One client for every such host: https on port 443, public addresses only, each name resolved once per connection and
the connection made to exactly the address that was checked (so a second, different DNS answer changes nothing), an
upper limit on size, time and redirects, no proxy and no certificate paths from the environment, no cookies.
"""

import asyncio
import ipaddress
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpcore
import httpx

from bot.networks.errors import Refused, Unavailable
from bot.networks.server_name import BadServerName, normalise_server

__all__ = [
    "BadServerName",
    "Forbidden",
    "GuardedClient",
    "GuardedResponse",
    "Resolver",
    "TooLarge",
    "Unreachable",
    "is_public",
    "normalise_server",
    "system_resolver",
]

Resolver = Callable[[str, int], Awaitable[list[str]]]

_MAX_BYTES: Final = 1024 * 1024
_TOTAL_SECONDS: Final = 15.0
_MAX_REDIRECTS: Final = 3
# A name with more addresses than this is not tried to the end: the time limit is for one answer, not for a sweep.
_MAX_ADDRESSES: Final = 4
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# What speaks for a person must not follow a redirect to another origin.
_PERSONAL_HEADERS: Final = frozenset({"authorization", "dpop"})

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the IPv4 address is the last 32 bits
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")  # RFC 4291, deprecated, still routed by some stacks
_RELAYS_6TO4 = ipaddress.IPv4Network("192.88.99.0/24")  # RFC 7526, deprecated anycast


class Forbidden(Refused):
    """We do not go there; `detail` is a sentence that says why."""

    def __init__(self, detail: str) -> None:
        super().__init__("forbidden", detail)


class TooLarge(Refused):
    """The answer is longer than we are willing to read."""

    def __init__(self, detail: str) -> None:
        super().__init__("too_large", detail)


class Unreachable(Unavailable):
    """The host did not answer, or not with what was asked for; it may do so later."""


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet, looking through IPv4 carried inside IPv6.

    >>> is_public("8.8.8.8"), is_public("::ffff:10.0.0.1"), is_public("64:ff9b::7f00:1")
    (True, False, False)
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and ip not in _RELAYS_6TO4
    inside = _ipv4_inside(ip)
    if inside is not None:
        return all(is_public(str(part)) for part in inside)
    return ip in _GLOBAL_UNICAST and ip.is_global and not ip.is_multicast


def _ipv4_inside(ip: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...] | None:
    """Return the IPv4 addresses that an IPv6 address leads to, None when it is an IPv6 address of its own."""
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    if ip.teredo is not None:
        return ip.teredo
    if ip in _NAT64 or ip in _IPV4_COMPATIBLE:
        return (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF),)
    return None


async def system_resolver(host: str, port: int) -> list[str]:
    """Resolve a name with the system's resolver, each address once, in its order of preference."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)  # 1 = SOCK_STREAM
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class GuardedResponse:
    """A complete answer; `url` is where it came from after redirects."""

    status: int
    headers: httpx.Headers
    content: bytes
    url: str

    @property
    def ok(self) -> bool:
        """Tell whether the status is 2xx."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Return the body as JSON; Unreachable when it is none."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            host = urlsplit(self.url).hostname
            raise Unreachable(f"{host} answered {self.status} with something that is not JSON.") from error

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object; Unreachable when it is anything else."""
        value = self.json()
        if not isinstance(value, dict):
            raise Unreachable(f"{urlsplit(self.url).hostname} answered {self.status} with JSON that is not an object.")
        return value

    def retry_in(self) -> float | None:
        """Return the seconds after which the server wants to be asked again (Retry-After in seconds), if it says so."""
        value = self.headers.get("retry-after", "").strip()
        return float(value) if re.fullmatch(r"\d{1,6}", value, re.ASCII) else None


class GuardedClient:
    """An HTTP client that may be given any URL a user can think of.

    `allow_private` holds "host:port" pairs that may be reached by plain http and at private addresses: a local server
    in development, the sandbox. `seconds` limits a whole request with its redirects; `max_bytes` one answer.
    """

    def __init__(
        self,
        *,
        allow_private: frozenset[str] = frozenset(),
        resolver: Resolver = system_resolver,
        max_bytes: int = _MAX_BYTES,
        seconds: float = _TOTAL_SECONDS,
        user_agent: str = "Reflock",
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.allow_private = frozenset(pair.lower() for pair in allow_private)
        self._max_bytes = max_bytes
        self._seconds = seconds
        context = ssl_context or httpx.create_ssl_context(trust_env=False)
        transport = _GuardedTransport(self, _GuardedBackend(resolver, self.allow_private), context)
        self._http = httpx.AsyncClient(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            timeout=seconds,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            # An answer is never unpacked here, so nobody can send a small body that becomes a large one.
            headers={"user-agent": user_agent, "accept-encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that are still open."""
        await self._http.aclose()

    def is_allowed_private(self, host: str, port: int) -> bool:
        """Tell whether this host and port stand on the operator's list."""
        return f"{host.lower()}:{port}" in self.allow_private

    def base_url(self, server: str) -> str:
        """Return the URL of a server as `normalise_server` names it: http only for those on the operator's list."""
        return f"{'http' if server.lower() in self.allow_private else 'https'}://{server}"

    def check_url(self, url: str) -> str:
        """Return a URL that may be asked or shown to a user as it is; Forbidden when it may not."""
        try:
            parts = httpx.URL(url)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise Forbidden("This is not a web address that can be read.") from error
        if not parts.host or parts.scheme not in ("http", "https"):
            raise Forbidden("Only web addresses that begin with https:// are asked.")
        if self.is_allowed_private(parts.host, parts.port or (443 if parts.scheme == "https" else 80)):
            return url
        if parts.scheme != "https":
            raise Forbidden(f"{parts.host} is only asked over https.")
        if parts.port not in (None, 443):
            raise Forbidden(f"{parts.host} is only asked on port 443, not on {parts.port}.")
        if parts.userinfo:
            raise Forbidden(f"The address of {parts.host} carries a user name or a password; it is not used.")
        return url

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | list[tuple[str, str]] | None = None,
        data: Mapping[str, str] | None = None,
        json: Any = None,
        redirects: bool = True,
    ) -> GuardedResponse:
        """Send one request and read the whole answer, whatever its status.

        GET and HEAD follow at most three redirects, each checked like the first address; any other method, and
        `redirects=False`, return the redirect itself. Errors: Forbidden, TooLarge, Unreachable.
        """
        request = self._build(method, url, headers=headers, params=params, data=data, json=json)
        host = request.url.host
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(request, redirects=redirects and method.upper() in ("GET", "HEAD"))
        except TimeoutError as error:
            raise Unreachable(f"{host} did not answer within {self._seconds:g} seconds.") from error
        except httpx.TimeoutException as error:
            raise Unreachable(f"{host} did not answer in time.") from error
        except httpx.ConnectError as error:
            raise Unreachable(f"No connection to {host} could be made; does the server exist, and is it up?") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise Unreachable(f"{host} broke off or answered with something that is not HTTP.") from error

    def _build(self, method: str, url: str, **content: Any) -> httpx.Request:
        self.check_url(url)
        return self._http.build_request(
            method, url, **{name: value for name, value in content.items() if value is not None}
        )

    async def _follow(self, request: httpx.Request, *, redirects: bool) -> GuardedResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._send(request)
            try:
                location = response.headers.get("location")
                if not (redirects and response.status_code in _REDIRECTS and location):
                    return GuardedResponse(
                        response.status_code, response.headers, await self._read(response), str(request.url)
                    )
            finally:
                await response.aclose()
            request = self._redirected(request, location)
        raise Unreachable(f"{request.url.host} sends us on more than {_MAX_REDIRECTS} times.")

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and once more if that is harmless: some servers drop a kept connection without a word.

        A proof of possession is good once: the server may have seen it.
        """
        try:
            return await self._http.send(request, stream=True)
        except (httpx.ReadError, httpx.RemoteProtocolError):
            if request.method not in ("GET", "HEAD") or "dpop" in request.headers:
                raise
            return await self._http.send(request, stream=True)

    def _redirected(self, request: httpx.Request, location: str) -> httpx.Request:
        target = request.url.join(location)
        self.check_url(str(target))
        same = (target.scheme, target.host, target.port) == (request.url.scheme, request.url.host, request.url.port)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name != "host" and (same or name not in _PERSONAL_HEADERS)
        }
        return self._http.build_request(request.method, target, headers=headers)

    async def _read(self, response: httpx.Response) -> bytes:
        host = response.request.url.host
        if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise Unreachable(f"{host} answered in a packed form that was not asked for.")
        too_large = TooLarge(f"The answer of {host} is longer than {self._max_bytes // 1024} KiB and was not read.")
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes and response.request.method != "HEAD":
            raise too_large
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._max_bytes:
                raise too_large
        return bytes(body)


class _GuardedTransport(httpx.AsyncBaseTransport):
    """Hand httpx's requests to a connection pool whose every connection is checked."""

    def __init__(self, guard: GuardedClient, backend: httpcore.AsyncNetworkBackend, context: ssl.SSLContext) -> None:
        self._guard = guard
        # The pool is keyed by the host's *name*: a TLS connection is never used for another name at the same address.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=64,
            max_keepalive_connections=16,
            keepalive_expiry=30.0,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Check the URL once more, at the last door, and send."""
        self._guard.check_url(str(request.url))
        inner = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _httpx_errors():
            answer = await self._pool.handle_async_request(inner)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions)

    async def aclose(self) -> None:
        """Close the pool."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, in httpx's words."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for chunk in self._answer.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()


class _httpx_errors:  # noqa: N801  # a context manager reads as a verb
    """Turn the pool's errors into httpx's."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, httpcore.TimeoutException):
            raise httpx.ReadTimeout(str(error)) from error
        if isinstance(error, httpcore.ConnectError):
            raise httpx.ConnectError(str(error)) from error
        if isinstance(error, (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol)):
            raise httpx.ReadError(str(error)) from error


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Open sockets to checked addresses; TLS still speaks to, and checks, the host's name."""

    def __init__(self, resolver: Resolver, allow_private: frozenset[str]) -> None:
        self._resolver = resolver
        self._allow_private = allow_private
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve once, check every address, connect to the first that answers."""
        try:
            addresses = await self._resolver(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} has no address") from error
        if f"{host.lower()}:{port}" not in self._allow_private and not all(map(is_public, addresses)):
            raise Forbidden(f"{host} leads to an address inside a private network; only public servers are asked.")
        problem: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem
