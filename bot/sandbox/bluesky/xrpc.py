"""XRPC over HTTP: who calls, with which parameters, and how the answer looks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from bot.sandbox.bluesky.errors import OAuthError, XrpcError
from bot.sandbox.bluesky.ids import Json
from bot.sandbox.bluesky.limits import REQUEST_RULES, Rule, tighter
from bot.sandbox.bluesky.oauth_web import own_url
from bot.sandbox.bluesky.scopes import Scopes
from bot.sandbox.bluesky.world import Account

if TYPE_CHECKING:
    from bot.sandbox.bluesky.sandbox import BlueskySandbox

# `public` answers anybody, `user` whoever is signed in, `refresh` reads the refresh token itself.
Auth = Literal["public", "user", "refresh"]


@dataclass(slots=True)
class Call:
    """One request: the account that makes it (if any), what it may do, its parameters and body."""

    nsid: str
    params: QueryParams
    body: Json
    token: str = ""
    account: Account | None = None
    chat: bool = False
    scopes: Scopes | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def me(self) -> Account:
        """Return the account that calls; XrpcError 401 AuthMissing if it is nobody."""
        if self.account is None:
            raise XrpcError("AuthMissing", "Authentication Required", status=401)
        return self.account

    def text(self, name: str) -> str:
        """Return a required parameter or property; XrpcError InvalidRequest if it is absent."""
        value = self.params.get(name) or self.body.get(name)
        if not isinstance(value, str) or not value:
            raise XrpcError("InvalidRequest", f'Error: Params must have the property "{name}"')
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a numeric parameter within its bounds."""
        text = self.params.get(name)
        if text is None:
            return default
        if not text.isdigit() or not low <= int(text) <= high:
            raise XrpcError("InvalidRequest", f"Error: {name} must be a number from {low} to {high}")
        return int(text)

    def many(self, name: str, most: int) -> list[str]:
        """Return a repeated parameter, at most so many times."""
        values = [*self.params.getlist(name), *self.params.getlist(f"{name}[]")]
        if len(values) > most:
            raise XrpcError("InvalidRequest", f"Error: {name} must not have more than {most} elements")
        return values


@dataclass(slots=True)
class PdsCall(Call):
    """One request to a PDS."""

    sandbox: "BlueskySandbox" = field(kw_only=True)

    def spend(self, name: str, key: str, rules: tuple[Rule, ...], points: int = 1) -> None:
        """Count points against an allowance; of all that a request draws on the answer announces the tightest."""
        announced = self.sandbox.limits.consume(name, key, rules, points)
        self.headers |= tighter(self.headers, announced)


C = TypeVar("C", bound=Call)
# What answers any call answers a PDS's calls too.
Answered = TypeVar("Answered", bound=Call, contravariant=True)


@dataclass(frozen=True, slots=True)
class Method(Generic[Answered]):
    """One XRPC method: its HTTP verb, who may call it, and what answers."""

    verb: Literal["GET", "POST"]
    auth: Auth
    answer: Callable[[Answered], Json | None]


class Xrpc(ABC, Generic[C]):
    """Serve a table of methods at /xrpc/{nsid}."""

    def __init__(self, methods: Mapping[str, Method[C]]) -> None:
        self._methods = methods

    @abstractmethod
    def _new_call(self, nsid: str, request: Request) -> C:
        """Begin to read a request; XrpcError if it is not for this server."""

    @abstractmethod
    async def _authenticate(self, call: C, method: Method[C], request: Request) -> None:
        """Find out who calls; XrpcError if they may not."""

    async def serve(self, request: Request) -> Response:
        """Answer one request."""
        headers: dict[str, str] = {}
        try:
            nsid = request.path_params["nsid"]
            method = self._method(nsid, request)
            call = self._new_call(nsid, request)
            headers = call.headers
            call.body = await _body(request)
            await self._authenticate(call, method, request)
            answer = method.answer(call)
        except XrpcError as error:
            body = {"error": error.name, "message": error.message}
            return _json(body, error.status, headers | error.headers)
        return Response(headers=headers) if answer is None else _json(answer, 200, headers)

    def _method(self, nsid: str, request: Request) -> Method[C]:
        method = self._methods.get(nsid)
        if method is None:
            raise XrpcError("MethodNotImplemented", "Method Not Implemented", status=501)
        if method.verb != request.method:
            fault = f"Incorrect HTTP method ({request.method}) expected {method.verb}"
            raise XrpcError("InvalidRequest", fault, status=405)
        return method


class PdsXrpc(Xrpc[PdsCall]):
    """What a PDS answers, itself or in the name of the AppView and the chat service."""

    def __init__(self, sandbox: "BlueskySandbox", methods: Mapping[str, Method[PdsCall]]) -> None:
        super().__init__(methods)
        self._sandbox = sandbox

    def _new_call(self, nsid: str, request: Request) -> PdsCall:
        self._check_proxy(nsid, request)
        call = PdsCall(nsid, request.query_params, {}, sandbox=self._sandbox)
        call.spend("requests", request.client.host if request.client else "", REQUEST_RULES)
        if request.headers.get("authorization", "").startswith("DPoP "):
            call.headers["dpop-nonce"] = self._sandbox.oauth.proofs.nonce()
        return call

    def _check_proxy(self, nsid: str, request: Request) -> None:
        """Let chat requests through only if they name the chat service, as a PDS does."""
        proxy = request.headers.get("atproto-proxy")
        if not nsid.startswith("chat.bsky."):
            return
        if proxy is None:
            raise XrpcError("MethodNotImplemented", "Method Not Implemented", status=501)
        if proxy != f"{self._sandbox.chat_did}#bsky_chat":
            raise XrpcError("InvalidRequest", f"could not resolve proxy did {proxy}")

    async def _authenticate(self, call: PdsCall, method: Method[PdsCall], request: Request) -> None:
        kind, _, call.token = request.headers.get("authorization", "").partition(" ")
        if method.auth == "refresh" or (method.auth == "public" and call.nsid.startswith("com.atproto.")):
            return  # what the PDS itself tells anybody it tells also whoever brings a token that is no good
        if kind == "Bearer":
            call.account, call.chat = self._sandbox.sessions.verify(call.token)
        elif kind == "DPoP":
            self._authenticate_oauth(call, request)
        elif method.auth == "user":
            raise XrpcError("AuthMissing", "Authentication Required", status=401)
        if call.nsid.startswith("chat.bsky.") and not call.chat:
            raise XrpcError("InvalidToken", "Bad token method")

    def _authenticate_oauth(self, call: PdsCall, request: Request) -> None:
        server = self._sandbox.oauth
        try:
            key = server.proofs.check(request.headers.get("dpop"), request.method, own_url(request), call.token)
            session = server.check_access(call.token, key)
        except OAuthError as error:
            challenge = f'DPoP error="{error.error}", error_description="{error.description}"'
            headers = {"www-authenticate": challenge.replace('""', '"')}
            raise XrpcError(error.error, error.description, status=401, headers=headers) from None
        call.account = self._sandbox.world.accounts[session.did]
        call.scopes = session.scopes
        call.chat = session.scopes.allows_call(call.nsid)
        passed_on = call.nsid.startswith(("app.bsky.", "chat.bsky."))
        if passed_on and self._sandbox.require_rpc_scope and not call.chat:
            raise missing_scope(f"rpc:{call.nsid}?aud={self._sandbox.identity.server_did}")


def missing_scope(scope: str) -> XrpcError:
    """Return the refusal of what a grant does not cover."""
    return XrpcError("ScopeMissingError", f'Missing required scope "{scope}"', status=403)


async def _body(request: Request) -> Json:
    raw = await request.body()
    if not raw:
        return {}
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        raise XrpcError("InvalidRequest", "Input is not JSON") from None
    if not isinstance(body, dict):
        raise XrpcError("InvalidRequest", "Input must be an object")
    return body


def _json(body: Json, status: int, headers: Mapping[str, str]) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json; charset=utf-8")
