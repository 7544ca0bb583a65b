"""The authorization server: apps, codes and tokens.

Behaves as Doorkeeper does with Mastodon 4.3's settings (`config/initializers/doorkeeper.rb`): codes live ten minutes,
tokens for ever, PKCE knows S256 only, and a second consent to the same app and scopes returns the same token.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bot.sandbox.mastodon.accounts import Account, Json
from bot.sandbox.mastodon.errors import OAuthError, invalid
from bot.sandbox.mastodon.quirks import Quirks

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
CODE_SECONDS = 600
FULL_SCOPE = "read write follow push profile"
_OBJECTS = {
    "read": "accounts blocks bookmarks collections favourites filters follows lists mutes notifications search statuses",
    "write": "accounts blocks bookmarks collections conversations favourites filters follows lists media mutes "
    "notifications reports statuses",
}
SCOPES = frozenset(
    {"read", "write", "follow", "push", "profile"}
    | {f"{verb}:{name}" for verb, names in _OBJECTS.items() for name in names.split()}
)
_BAD_GRANT = (
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the "
    "authorization request, or was issued to another client."
)
_BAD_CLIENT = "Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method."


@dataclass(frozen=True, slots=True)
class App:
    """A registered client."""

    number: int
    name: str
    website: str | None
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    client_id: str
    client_secret: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client asks a user to consent to; an empty `challenge` means no PKCE."""

    app: App
    redirect_uri: str
    scopes: tuple[str, ...]
    state: str
    challenge: str


@dataclass(frozen=True, slots=True)
class _Code:
    ask: Ask
    account: Account
    expires_at: float


@dataclass(slots=True)
class Token:
    """An access token; `account` is None for one that stands for the app alone."""

    value: str
    app: App | None
    account: Account | None
    scopes: tuple[str, ...]
    created_at: float
    revoked: bool = False

    def allows(self, wanted: Iterable[str]) -> bool:
        """Tell whether the token has one of these scopes; a narrow one is covered by `read`, `write` or `follow`."""
        return any(scope in self.scopes or self._covers(scope) for scope in wanted)

    def _covers(self, scope: str) -> bool:
        verb, _, name = scope.partition(":")
        return verb in self.scopes or ("follow" in self.scopes and name in ("follows", "blocks", "mutes"))


class OAuthServer:
    """Register apps, give codes for consents and tokens for codes."""

    def __init__(self, now: Callable[[], float], quirks: Quirks) -> None:
        self._now = now
        self._quirks = quirks
        self._apps: dict[str, App] = {}
        self._codes: dict[str, _Code] = {}
        self.tokens: dict[str, Token] = {}
        self._reusable: dict[tuple[str, int, tuple[str, ...]], Token] = {}

    def register(self, name: str, redirect_uris: list[str], scope: str, website: str | None) -> App:
        """Make a client known; ApiError 422 for what does not validate."""
        uris = tuple(uri for written in redirect_uris for uri in written.split())
        scopes = tuple((scope or "read").split())
        if not name:
            raise invalid("Application name can't be blank")
        if not uris:
            raise invalid("Redirect URI can't be blank")
        if any(uri != OUT_OF_BAND and "://" not in uri for uri in uris):
            raise invalid("Redirect URI must be an absolute URI.")
        if not self._quirks.any_scope and not SCOPES.issuperset(scopes):
            raise invalid("Scopes doesn't match configured on the server.")
        number = len(self._apps) + 1
        app = App(number, name, website, uris, scopes, secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        self._apps[app.client_id] = app
        return app

    def ask(self, params: Mapping[str, str]) -> Ask:
        """Check what a user is about to be asked; OAuthError if the page cannot even be shown."""
        app = self._apps.get(params.get("client_id", ""))
        if app is None:
            raise OAuthError("invalid_client", _BAD_CLIENT, 401)
        if params.get("redirect_uri", "") not in app.redirect_uris:
            raise OAuthError(
                "invalid_redirect_uri", "The requested redirect uri is malformed or doesn't match client redirect URI."
            )
        if params.get("response_type") != "code":
            raise OAuthError(
                "unsupported_response_type", "The authorization server does not support this response type."
            )
        scopes = tuple(params.get("scope", "").split()) or app.scopes[:1]
        if not set(app.scopes).issuperset(scopes):
            raise OAuthError("invalid_scope", "The requested scope is invalid, unknown, or malformed.")
        challenge = params.get("code_challenge", "")
        if challenge and params.get("code_challenge_method") != "S256":
            raise OAuthError("invalid_code_challenge_method", "The code challenge method must be S256.")
        return Ask(app, params["redirect_uri"], scopes, params.get("state", ""), challenge)

    def approve(self, ask: Ask, account: Account) -> str:
        """Return the code of a consent."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = _Code(ask, account, self._now() + CODE_SECONDS)
        return code

    def exchange(self, form: Mapping[str, str]) -> Token:
        """Answer the token endpoint; OAuthError."""
        app = self._client(form)
        match form.get("grant_type"):
            case "authorization_code":
                return self._redeem(app, form)
            case "client_credentials":
                scopes = tuple(form.get("scope", "").split()) or app.scopes[:1]
                if not set(app.scopes).issuperset(scopes):
                    raise OAuthError("invalid_scope", "The requested scope is invalid, unknown, or malformed.")
                return self.issue(None, scopes, app)
            case None | "":
                raise OAuthError("invalid_request", "Missing required parameter: grant_type.")
        raise OAuthError(
            "unsupported_grant_type", "The authorization grant type is not supported by the authorization server."
        )

    def _redeem(self, app: App, form: Mapping[str, str]) -> Token:
        if not form.get("code"):
            raise OAuthError("invalid_request", "Missing required parameter: code.")
        code = self._codes.pop(form["code"], None)
        if code is None:
            raise OAuthError("invalid_grant", _BAD_GRANT, self._quirks.wrong_code_status)
        if code.ask.app is not app or self._now() >= code.expires_at:
            raise OAuthError("invalid_grant", _BAD_GRANT)
        proved = _s256(form["code_verifier"]) if form.get("code_verifier") else ""
        challenge = code.ask.challenge if self._quirks.pkce else proved
        if form.get("redirect_uri") != code.ask.redirect_uri or not hmac.compare_digest(proved, challenge):
            raise OAuthError("invalid_grant", _BAD_GRANT)
        key = (app.client_id, code.account.id, code.ask.scopes)
        token = self._reusable.get(key)
        if token is None or token.revoked:
            token = self._reusable[key] = self.issue(code.account, code.ask.scopes, app)
        return token

    def issue(self, account: Account | None, scopes: tuple[str, ...], app: App | None = None) -> Token:
        """Make a token without asking anybody."""
        token = Token(secrets.token_urlsafe(32), app, account, scopes, self._now())
        self.tokens[token.value] = token
        return token

    def revoke(self, form: Mapping[str, str]) -> None:
        """End a token; one that is unknown is fine, another client's is not."""
        app = self._client(form)
        token = self.tokens.get(form.get("token", ""))
        if token is None:
            return
        if token.app is not app:
            raise OAuthError("unauthorized_client", "You are not authorized to revoke this token", 403)
        token.revoked = True

    def _client(self, form: Mapping[str, str]) -> App:
        app = self._apps.get(form.get("client_id", ""))
        if app is None or not hmac.compare_digest(app.client_secret, form.get("client_secret", "")):
            raise OAuthError("invalid_client", _BAD_CLIENT, 401)
        return app


def metadata(url: str) -> Json:
    """Return the server's own description (RFC 8414), since Mastodon 4.3."""
    return {
        "issuer": f"{url}/",
        "service_documentation": "https://docs.joinmastodon.org/",
        "authorization_endpoint": f"{url}/oauth/authorize",
        "token_endpoint": f"{url}/oauth/token",
        "app_registration_endpoint": f"{url}/api/v1/apps",
        "revocation_endpoint": f"{url}/oauth/revoke",
        "scopes_supported": sorted(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "grant_types_supported": ["authorization_code", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
    }


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
