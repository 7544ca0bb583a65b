"""The authorization server's HTTP: the consent page, the page with the code, and the token endpoints."""

import base64
import binascii
import hmac
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bot.sandbox.consent_page import consent_page
from bot.sandbox.mastodon.errors import OAuthError
from bot.sandbox.mastodon.oauth import OUT_OF_BAND, Ask, metadata

if TYPE_CHECKING:
    from bot.sandbox.mastodon.sandbox import MastodonSandbox

_FORM = """<p role="alert">{fault}</p><p><b>{client}</b> would like permission to access your account.</p>
<ul>{scopes}</ul><form method="post" action="/oauth/authorize">{hidden}
{who}
<p><button name="decision" value="approve">Authorize</button>
<button name="decision" value="refuse" formnovalidate>Deny</button></p></form>"""
_SIGN_IN = """<p><label>Name <input name="username" value="{0}" autocomplete="username" required></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password"></label></p>"""
_SIGNED_IN = "<p>You are signed in as <b>@{0}</b>.</p>"
_CODE = """<p>Copy this authorization code and paste it to the application.</p>
<p><input class="oauth-code" name="code" aria-label="Code" readonly value="{code}"></p>"""
_CARRIED = ("client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge", "code_challenge_method")
_REFUSED = "The resource owner or authorization server denied the request."


class OAuthPages:
    """Answer at /oauth/… and at the server's description."""

    def __init__(self, sandbox: "MastodonSandbox") -> None:
        self._sandbox = sandbox
        self._server = sandbox.oauth

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/oauth/authorize", self._show, methods=["GET"]),
            Route("/oauth/authorize", self._decide, methods=["POST"]),
            Route("/oauth/authorize/native", self._native, methods=["GET"]),
            Route("/oauth/token", self._token, methods=["POST"]),
            Route("/oauth/revoke", self._revoke, methods=["POST"]),
            Route("/.well-known/oauth-authorization-server", self._metadata, methods=["GET"]),
        ]

    async def _show(self, request: Request) -> Response:
        params = dict(request.query_params)
        try:
            ask = self._server.ask(params)
        except OAuthError as error:
            return _error_page(error)
        return self._form_page(request, ask, params)

    async def _decide(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        try:
            ask = self._server.ask(form)
        except OAuthError as error:
            return _error_page(error)
        if form.get("decision") != "approve":
            refusal = OAuthError("access_denied", _REFUSED, 401)
            if ask.redirect_uri == OUT_OF_BAND:
                return _error_page(refusal)
            return _redirect(ask, {"error": refusal.error, "error_description": refusal.description})
        account = self._sandbox.signed_in.find(request)
        if account is None:
            account = self._sandbox.world.find_acct(form.get("username", ""))
            if account is None or not hmac.compare_digest(account.password, form.get("password", "")):
                return self._form_page(request, ask, form, "Invalid e-mail address or password.", 401)
        if account.suspended:
            return self._form_page(request, ask, form, "Your account is suspended.", 403)
        code = self._server.approve(ask, account)
        if ask.redirect_uri == OUT_OF_BAND:
            return RedirectResponse(f"/oauth/authorize/native?{urlencode({'code': code})}", 302)
        return _redirect(ask, {"code": code})

    def _form_page(
        self, request: Request, ask: Ask, params: dict[str, str], fault: str = "", status: int = 200
    ) -> Response:
        account = self._sandbox.signed_in.find(request)
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{escape(params[name])}">' for name in _CARRIED if name in params
        )
        username = escape(params.get("username", ""))
        body = _FORM.format(
            fault=escape(fault),
            client=escape(ask.app.name),
            scopes="".join(f"<li><code>{escape(scope)}</code></li>" for scope in ask.scopes),
            hidden=hidden,
            who=_SIGNED_IN.format(account.name) if account else _SIGN_IN.format(username),
        )
        return consent_page("Authorization required", body, status)

    async def _native(self, request: Request) -> Response:
        body = _CODE.format(code=escape(request.query_params.get("code", "")))
        return consent_page("Authorization code", body)

    async def _token(self, request: Request) -> Response:
        try:
            token = self._server.exchange(await _form(request))
        except OAuthError as error:
            return _failure(error)
        answer = {
            "access_token": token.value,
            "token_type": "Bearer",
            "scope": " ".join(token.scopes),
            "created_at": int(token.created_at),
        }
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    async def _revoke(self, request: Request) -> Response:
        try:
            self._server.revoke(await _form(request))
        except OAuthError as error:
            return _failure(error)
        return Response() if self._sandbox.quirks.empty_revocation else JSONResponse({})

    async def _metadata(self, _request: Request) -> Response:
        if not self._sandbox.quirks.oauth_metadata:
            return Response(status_code=404)
        return JSONResponse(metadata(self._sandbox.url))


async def _form(request: Request) -> dict[str, str]:
    """Read a body, form-encoded or JSON, and the client's credentials from wherever they are."""
    if request.headers.get("content-type", "").startswith("application/json"):
        body = await request.json()
        form = {str(name): str(value) for name, value in body.items()} if isinstance(body, dict) else {}
    else:
        form = {name: str(value) for name, value in (await request.form()).items()}
    kind, _, credentials = request.headers.get("authorization", "").partition(" ")
    if kind == "Basic":
        try:
            name, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return form
        form |= {"client_id": unquote(name), "client_secret": unquote(secret)}
    return form


def _redirect(ask: Ask, answer: dict[str, str]) -> Response:
    query = urlencode(answer | ({"state": ask.state} if ask.state else {}))
    return RedirectResponse(f"{ask.redirect_uri}{'&' if '?' in ask.redirect_uri else '?'}{query}", 302)


def _failure(error: OAuthError) -> Response:
    body = {"error": error.error, "error_description": error.description}
    return JSONResponse(body, error.status, {"cache-control": "no-store"})


def _error_page(error: OAuthError) -> Response:
    body = f'<p role="alert">{escape(error.description)}</p>'
    return consent_page("An error has occurred", body, error.status)
