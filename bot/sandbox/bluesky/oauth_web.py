"""The authorization server's HTTP: four endpoints, one of them a page for people."""

from collections.abc import Awaitable, Callable
from html import escape
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bot.sandbox.bluesky.errors import OAuthError
from bot.sandbox.bluesky.ids import Json
from bot.sandbox.bluesky.oauth import OAuthServer, PushedRequest
from bot.sandbox.bluesky.scopes import Scopes
from bot.sandbox.bluesky.sessions import password_fits
from bot.sandbox.consent_page import consent_page

if TYPE_CHECKING:
    from bot.sandbox.bluesky.sandbox import BlueskySandbox

_FORM = """<p role="alert">{fault}</p><p><b>{client}</b> asks for access to your account.</p>
<form method="post" action="/oauth/authorize">
<input type="hidden" name="request_uri" value="{request_uri}">
<input type="hidden" name="client_id" value="{client_id}">
{who}
<fieldset><legend>It may</legend>{scopes}</fieldset>
<p><button name="decision" value="approve">Approve</button>
<button name="decision" value="refuse" formnovalidate>Refuse</button></p></form>"""
_SIGN_IN = """<p><label>Sign in as <input name="identifier" value="{0}" autocomplete="username" required></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password"></label></p>"""
_SIGNED_IN = "<p>You are signed in as <b>@{0}</b>.</p>"
_SCOPE = '<p><label><input type="checkbox" name="scope" value="{0}" checked> <code>{0}</code></label></p>'


class OAuthPages:
    """Answer at /oauth/par, /oauth/authorize, /oauth/token and /oauth/revoke."""

    def __init__(self, sandbox: "BlueskySandbox", server: OAuthServer) -> None:
        self._sandbox = sandbox
        self._server = server

    def routes(self) -> list[Route]:
        """Return the routes of the four endpoints."""
        return [
            Route("/oauth/par", self._par, methods=["POST"]),
            Route("/oauth/token", self._token, methods=["POST"]),
            Route("/oauth/revoke", self._revoke, methods=["POST"]),
            Route("/oauth/authorize", self._ask, methods=["GET"]),
            Route("/oauth/authorize", self._decide, methods=["POST"]),
            Route("/oauth/jwks", _jwks, methods=["GET"]),
        ]

    async def _par(self, request: Request) -> Response:
        return await self._proved(request, self._server.push, 201)

    async def _token(self, request: Request) -> Response:
        return await self._proved(request, self._server.token, 200)

    async def _proved(
        self, request: Request, answer: Callable[[dict[str, str], str], Awaitable[Json]], status: int
    ) -> Response:
        headers = {"dpop-nonce": self._server.proofs.nonce(), "cache-control": "no-store"}
        try:
            form = await _form(request)
            key = self._server.proofs.check(request.headers.get("dpop"), request.method, own_url(request))
            return JSONResponse(await answer(form, key), status, headers)
        except OAuthError as error:
            return _failure(error, headers)

    async def _revoke(self, request: Request) -> Response:
        try:
            await self._server.revoke(await _form(request))
        except OAuthError as error:
            return _failure(error, {"cache-control": "no-store"})
        return JSONResponse({})

    async def _ask(self, request: Request) -> Response:
        try:
            request_uri = request.query_params.get("request_uri", "")
            pending = self._server.pending(request_uri, request.query_params.get("client_id", ""))
        except OAuthError as error:
            return _error_page(error)
        return self._form_page(request, request_uri, pending, pending.login_hint)

    async def _decide(self, request: Request) -> Response:
        form = await request.form()
        fields = {name: str(value) for name, value in form.items()}
        request_uri = fields.get("request_uri", "")
        try:
            pending = self._server.pending(request_uri, fields.get("client_id", ""))
        except OAuthError as error:
            return _error_page(error)
        if fields.get("decision") != "approve":
            return RedirectResponse(self._server.refuse(request_uri, pending), 303)
        identifier = fields.get("identifier", "")
        account = self._sandbox.signed_in.find(request)
        if account is None:
            account = self._sandbox.world.find(identifier)
            if account is None or not password_fits(account, fields.get("password", "")):
                fault = "Invalid identifier or password"
                return self._form_page(request, request_uri, pending, identifier, fault, 401)
        if account.status != "active":
            fault = f"This account is {account.status}."
            return self._form_page(request, request_uri, pending, identifier, fault, 403)
        granted = self._sandbox.granted_scope or " ".join(str(value) for value in form.getlist("scope"))
        scopes = Scopes.parse(f"atproto {granted}")
        return RedirectResponse(self._server.approve(request_uri, pending, account, scopes), 303)

    def _form_page(
        self,
        request: Request,
        request_uri: str,
        pending: PushedRequest,
        identifier: str,
        fault: str = "",
        status: int = 200,
    ) -> Response:
        account = self._sandbox.signed_in.find(request)
        scopes = "".join(_SCOPE.format(escape(token)) for token in pending.scopes.tokens if token != "atproto")  # noqa: S105  # a scope, not a password
        body = _FORM.format(
            fault=escape(fault),
            client=escape(pending.client.name),
            client_id=escape(pending.client.id),
            request_uri=escape(request_uri),
            who=_SIGNED_IN.format(account.handle) if account else _SIGN_IN.format(escape(identifier)),
            scopes=scopes or "know who you are",
        )
        return consent_page("Authorize access", body, status)


def own_url(request: Request) -> str:
    """Return the request's URL as a proof names it: without query and fragment."""
    return str(request.url.replace(query="", fragment=""))


async def _form(request: Request) -> dict[str, str]:
    """Read a body as the real server takes it: form-encoded or JSON."""
    if request.headers.get("content-type", "").startswith("application/json"):
        body = await request.json()
        return {str(name): str(value) for name, value in body.items()} if isinstance(body, dict) else {}
    return {name: str(value) for name, value in (await request.form()).items()}


async def _jwks(_request: Request) -> Response:
    return JSONResponse({"keys": []})


def _failure(error: OAuthError, headers: dict[str, str]) -> Response:
    body = {"error": error.error, "error_description": error.description}
    return JSONResponse(body, error.status, headers | error.headers)


def _error_page(error: OAuthError) -> Response:
    body = f'<p role="alert">{escape(error.description)}</p>'
    return consent_page("This cannot go on", body, 400)
