"""The REST API over HTTP: who calls, with which scopes and parameters, and how the answer looks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.sandbox.mastodon import limits
from bot.sandbox.mastodon.accounts import Account
from bot.sandbox.mastodon.errors import ApiError, invalid, not_found
from bot.sandbox.mastodon.oauth import Token

if TYPE_CHECKING:
    from bot.sandbox.mastodon.sandbox import MastodonSandbox

_TRUE = frozenset({"1", "true", "on", "t", "yes"})
_CURSORS = ("max_id", "since_id", "min_id")

# `public` answers anybody, `optional` checks the scopes only if a token came along, `user` needs one.
Auth = Literal["public", "optional", "user"]


@dataclass(slots=True)
class Call:
    """One request: whose it is, its parameters and the headers its answer will carry."""

    sandbox: "MastodonSandbox"
    request: Request
    params: list[tuple[str, str]]
    token: Token | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def viewer(self) -> Account | None:
        """Return the account that calls, if any."""
        return self.token.account if self.token else None

    @property
    def me(self) -> Account:
        """Return the account that calls; ApiError 422 if the token stands for an app alone."""
        if self.viewer is None:
            raise ApiError(422, "This method requires an authenticated user")
        return self.viewer

    def text(self, name: str) -> str | None:
        """Return a parameter, or nothing."""
        return next((value for key, value in self.params if key == name), None)

    def many(self, name: str) -> list[str]:
        """Return every value of a parameter."""
        return [value for key, value in self.params if key == name]

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a parameter that is yes or no."""
        value = self.text(name)
        if self.sandbox.quirks.booleans_in_words and value not in (None, "true", "false"):
            raise invalid(f"{name} is to be true or false")
        return default if value is None else value.lower() in _TRUE

    def number(self, name: str) -> int | None:
        """Return a numeric parameter, or nothing if it is absent or no number."""
        value = self.text(name)
        return int(value) if value is not None and value.isdecimal() else None

    def limit(self, default: int, most: int) -> int:
        """Return how many entries are asked for."""
        return min(self.number("limit") or default, most)

    def id(self, name: str) -> int | None:
        """Return the number that a parameter names; nothing if it is absent, or names none."""
        value = self.text(name)
        # A notification's id may have more before it.
        return None if value is None else self.sandbox.world.read_id(value.rpartition("/")[2])

    def path_id(self) -> int:
        """Return the number that the path names; ApiError 404 if it names none."""
        number = self.sandbox.world.read_id(str(self.request.path_params["id"]))
        if number is None:
            raise not_found()
        return number

    def link_pages(self, ids: Sequence[str]) -> None:
        """Point to the pages before and after these entries, newest first."""
        if not ids:
            return
        kept = [(key, value) for key, value in self.params if key not in _CURSORS]
        base = f"{self.sandbox.url}{self.request.url.path}"
        older = urlencode([*kept, ("max_id", ids[-1])])
        newer = urlencode([*kept, ("min_id", ids[0])])
        self.headers["link"] = f'<{base}?{older}>; rel="next", <{base}?{newer}>; rel="prev"'

    def count(self, rule: str, account: Account) -> None:
        """Count an act of an account against its own limit."""
        own = self.sandbox.limits.count(rule, str(account.id))
        self.headers |= limits.tightest(self.headers if "x-ratelimit-remaining" in self.headers else {}, own)


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the API: verb and path, who may call it, and what answers; any of the scopes will do."""

    verb: str
    path: str
    auth: Auth
    scopes: tuple[str, ...]
    answer: Callable[[Call], Any]


class Api:
    """Serve a table of methods."""

    def __init__(self, sandbox: "MastodonSandbox", methods: Sequence[Method]) -> None:
        self._sandbox = sandbox
        self._methods = methods

    def routes(self) -> list[Route]:
        """Return the routes of all methods, with and without a slash at the end, and of what is not there."""
        routes = []
        for method in self._methods:
            endpoint = self._endpoint(method)
            routes += [Route(method.path + end, endpoint, methods=[method.verb]) for end in ("", "/")]
        return [*routes, Route("/api/{rest:path}", _nothing_there, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])]

    def _endpoint(self, method: Method) -> Callable[[Request], Any]:
        async def serve(request: Request) -> Response:
            call = Call(self._sandbox, request, [])
            try:
                call.params = await _params(request)
                call.token = authenticate(self._sandbox, request)
                self._throttle(call)
                _authorize(call, method)
                answer = method.answer(call)
            except ApiError as error:
                if error.status == 401 and self._sandbox.quirks.dead_token_status != 401:
                    return Response(
                        "Invalid Bearer token", self._sandbox.quirks.dead_token_status, media_type="text/html"
                    )
                status = self._sandbox.quirks.invalid_status if error.status == 422 else error.status
                return _json({"error": error.message}, status, call.headers | error.headers)
            return _json(answer, 200, call.headers)

        return serve

    def _throttle(self, call: Call) -> None:
        """Count a request against every rule that it falls under."""
        token, request = call.token, call.request
        who = str(token.account.id) if token and token.account else "127.0.0.1"
        rules = [(limits.TOKEN, token.value) if token else (limits.ADDRESS, who)]
        if any(call.text(name) for name in _CURSORS):
            rules.append((limits.PAGING, who))
        if request.method == "DELETE":
            rules.append((limits.DELETES, who))
        if request.method == "POST" and request.url.path == "/api/v1/apps":
            rules.append((limits.APPS, who))
        call.headers |= limits.tightest(*(self._sandbox.limits.count(name, key) for name, key in rules))


def authenticate(sandbox: "MastodonSandbox", request: Request) -> Token | None:
    """Return the token of a request, or nothing if it carries none; ApiError 401 or 403 if it is no good."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind != "Bearer":
        value = request.query_params.get("access_token", "")
    if not value:
        return None
    token = sandbox.oauth.tokens.get(value)
    if token is None or token.revoked:
        raise unauthorized("The access token was revoked" if token else "The access token is invalid")
    if token.account is not None and token.account.suspended:
        raise ApiError(403, "Your login is currently disabled")
    return token


def unauthorized(message: str) -> ApiError:
    """Return the refusal of a token."""
    challenge = f'Bearer realm="Doorkeeper", error="invalid_token", error_description="{message}"'
    return ApiError(401, message, {"www-authenticate": challenge})


def _authorize(call: Call, method: Method) -> None:
    if call.token is None:
        if method.auth == "user":
            raise unauthorized("The access token is invalid")
        return
    wanted = [scope for end, scope in call.sandbox.quirks.scopes if method.path.endswith(end)] or method.scopes
    if method.auth != "public" and wanted and not call.token.allows(wanted):
        raise ApiError(403, call.sandbox.quirks.scope_words)


async def _params(request: Request) -> list[tuple[str, str]]:
    """Read query and body; `types[]` and `types` are the same."""
    found = [(name, str(value)) for name, value in request.query_params.multi_items()]
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = msgspec.json.decode(await request.body() or b"{}")
        except msgspec.DecodeError:
            raise ApiError(400, "There was a problem parsing the body as JSON") from None
        if not isinstance(body, dict):
            raise invalid("the body must be an object")
        for name, value in body.items():
            values = value if isinstance(value, list) else [value]
            found += [(name, _written(one)) for one in values if one is not None]
    elif request.method != "GET":
        found += [(name, str(value)) for name, value in (await request.form()).multi_items()]
    return [(name.removesuffix("[]"), value) for name, value in found]


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _nothing_there(_request: Request) -> Response:
    return _json({"error": "Not Found"}, 404, {})


def _json(body: object, status: int, headers: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(body), status, headers, "application/json; charset=utf-8")
