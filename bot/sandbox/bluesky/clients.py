"""Who asks for consent: loopback clients, and those with a metadata document on the web."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from bot.sandbox.bluesky.dpop import JwsError, read_jws, verify_jws
from bot.sandbox.bluesky.errors import OAuthError
from bot.sandbox.bluesky.ids import Json
from bot.sandbox.bluesky.scopes import Scopes
from bot.sandbox.bluesky.settings import Settings

# How long the real server takes an assertion; it allows for no difference of clocks.
_ASSERTION_SECONDS = 60
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LOOPBACK_REDIRECTS = ("http://127.0.0.1/", "http://[::1]/")
_RESERVED_DOMAINS = frozenset({"test", "local", "localhost", "invalid", "example"})
# The real server keeps a fetched document for ten minutes.
_CACHE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Client:
    """What the server knows of a client; `keys` is empty for a public one."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    scopes: Scopes
    loopback: bool = False
    keys: tuple[Json, ...] = ()

    def takes(self, redirect_uri: str) -> bool:
        """Tell whether the client may be answered there; a loopback client may use any port (RFC 8252)."""
        if not self.loopback:
            return redirect_uri in self.redirect_uris
        return _without_port(redirect_uri) in {_without_port(known) for known in self.redirect_uris}


class Clients:
    """Find clients by their id and have confidential ones prove themselves."""

    def __init__(self, settings: Settings, issuer: str, fetch: Callable[[str], Awaitable[Json]]) -> None:
        self._settings = settings
        self._issuer = issuer
        self._fetch = fetch
        self._known: dict[str, tuple[float, Client]] = {}
        self._assertions: dict[str, float] = {}

    async def find(self, client_id: str) -> Client:
        """Return the client; OAuthError invalid_client_metadata if its document cannot be had or is wrong."""
        parts = urlsplit(client_id)
        if (parts.scheme, parts.hostname) == ("http", "localhost") and parts.port is None:
            return _loopback_client(client_id)
        now = self._settings.now()
        expires_at, client = self._known.get(client_id, (now, None))
        if client is None or expires_at <= now:
            client = await self._load(client_id)
            self._known[client_id] = (now + _CACHE_SECONDS, client)
        return client

    async def _load(self, client_id: str) -> Client:
        if urlsplit(client_id).scheme != "https":
            raise OAuthError("invalid_client_metadata", "client_id must be the https URL of a metadata document")
        if not _public(client_id):
            raise OAuthError("invalid_client_id", "client_id must not name a local host")
        try:
            document = await (self._settings.fetch_client_metadata or self._fetch)(client_id)
            keys = document.get("jwks") or {}
            if document.get("jwks_uri"):
                keys = await (self._settings.fetch_client_metadata or self._fetch)(str(document["jwks_uri"]))
        except Exception as error:
            raise OAuthError("invalid_client_metadata", f"Failed to fetch client metadata: {error!r}") from error
        return _document_client(client_id, document, keys)

    def authenticate(self, client: Client, form: Mapping[str, str]) -> None:
        """Check a confidential client's private_key_jwt; OAuthError invalid_client if it does not hold."""
        if not client.keys:
            return
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise OAuthError("invalid_client", "client_assertion_type must be jwt-bearer")
        assertion = form.get("client_assertion", "")
        try:
            head, claims = read_jws(assertion)
            jwk = next((key for key in client.keys if key.get("kid") == head.get("kid")), None)
            if jwk is None:
                raise JwsError("the client has no key with this kid")
            verify_jws(assertion, jwk)
            self._check_claims(client, claims)
        except JwsError as error:
            raise OAuthError("invalid_client", f"Invalid client assertion: {error}") from None

    def _check_claims(self, client: Client, claims: Json) -> None:
        now = self._settings.now()
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != client.id or claims.get("sub") != client.id:
            raise JwsError("iss and sub must be the client_id")
        if self._issuer not in audiences:
            raise JwsError("aud must be the issuer")
        if not isinstance(claims.get("jti"), str) or not isinstance(claims.get("iat"), int | float):
            raise JwsError("jti and iat are required")
        if not 0 <= int(now) - claims["iat"] <= _ASSERTION_SECONDS:
            raise JwsError("iat must be in the last minute, and not to come")
        if claims.get("exp", now + 1) <= int(now):
            raise JwsError("it has expired")
        if self._assertions.get(claims["jti"], 0) > now:
            raise JwsError("it was used before")
        self._assertions = {jti: until for jti, until in self._assertions.items() if until > now}
        self._assertions[claims["jti"]] = now + _ASSERTION_SECONDS


def _loopback_client(client_id: str) -> Client:
    parts = urlsplit(client_id)
    if parts.path not in ("", "/"):
        raise OAuthError("invalid_client", "a loopback client_id has no path")
    query = parse_qs(parts.query)
    redirects = tuple(query.get("redirect_uri", _LOOPBACK_REDIRECTS))
    if not all(urlsplit(uri).hostname in ("127.0.0.1", "::1") for uri in redirects):
        raise OAuthError("invalid_client", "a loopback client's redirect_uri must be on 127.0.0.1 or [::1]")
    return Client(
        client_id, "Loopback client", redirects, Scopes.parse(query.get("scope", ["atproto"])[0]), loopback=True
    )


def _document_client(client_id: str, document: Json, jwks: Json) -> Client:
    method = document.get("token_endpoint_auth_method", "none")
    keys = tuple(jwks.get("keys", ()))
    demands = {
        "client_id must be the document's own URL": document.get("client_id") == client_id,
        "redirect_uris are required": bool(document.get("redirect_uris")),
        "dpop_bound_access_tokens must be true": document.get("dpop_bound_access_tokens") is True,
        'scope must include "atproto"': "atproto" in str(document.get("scope", "")).split(),
        "private_key_jwt needs jwks or jwks_uri": method != "private_key_jwt" or bool(keys),
        "token_endpoint_auth_method must be none or private_key_jwt": method in ("none", "private_key_jwt"),
    }
    for demand, met in demands.items():
        if not met:
            raise OAuthError("invalid_client_metadata", demand)
    if not all(_public(uri) for uri in document["redirect_uris"]):
        raise OAuthError("invalid_redirect_uri", "a redirect_uri must not name a local host")
    return Client(
        client_id,
        str(document.get("client_name", client_id)),
        tuple(document["redirect_uris"]),
        Scopes.parse(document["scope"]),
        keys=keys if method == "private_key_jwt" else (),
    )


def _public(url: str) -> bool:
    """Tell whether a URL names a host that can be somebody's: no bare name, no top level domain kept for other uses."""
    _, dot, last = (urlsplit(url).hostname or "").rpartition(".")
    return bool(dot) and last not in _RESERVED_DOMAINS


def _without_port(uri: str) -> tuple[str, str | None, str, str]:
    parts = urlsplit(uri)
    return (parts.scheme, parts.hostname, parts.path, parts.query)
