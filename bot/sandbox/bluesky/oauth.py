"""The authorization server's memory: pushed requests, codes, sessions and their tokens."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlencode

from bot.sandbox.bluesky.clients import Client, Clients
from bot.sandbox.bluesky.dpop import Proofs
from bot.sandbox.bluesky.errors import OAuthError
from bot.sandbox.bluesky.ids import Json, b64url
from bot.sandbox.bluesky.scopes import Scopes
from bot.sandbox.bluesky.settings import Settings
from bot.sandbox.bluesky.world import Account, World

# The real server forgets a pushed request after five minutes and a code with it.
_REQUEST_SECONDS = 300
_URN = "urn:ietf:params:oauth:request_uri:"


@dataclass(slots=True)
class PushedRequest:
    """A consent that a client asks for; it becomes a code once somebody agrees."""

    client: Client
    redirect_uri: str
    scopes: Scopes
    challenge: str
    key: str
    state: str | None
    login_hint: str
    expires_at: float


@dataclass(slots=True)
class _Code:
    request: PushedRequest
    did: str
    scopes: Scopes
    expires_at: float
    session: "OAuthSession | None" = None


@dataclass(slots=True, eq=False)
class OAuthSession:
    """One consent that was given; `refresh` is the only refresh token that still works."""

    did: str
    client_id: str
    key: str
    scopes: Scopes
    ends_at: float
    refresh: str = ""
    access: str = ""
    access_expires_at: float = 0
    ended: bool = False


class OAuthServer:
    """PAR, consent, tokens and revocation, without HTTP."""

    def __init__(self, world: World, settings: Settings, clients: Clients, issuer: str) -> None:
        self._world = world
        self._settings = settings
        self._clients = clients
        self._issuer = issuer
        self.proofs = Proofs(settings)
        self._requests: dict[str, PushedRequest] = {}
        self._codes: dict[str, _Code] = {}
        # Every refresh token ever given, so that a replay is noticed; and the living access tokens.
        self._refresh: dict[str, OAuthSession] = {}
        self._access: dict[str, OAuthSession] = {}

    async def push(self, form: Mapping[str, str], key: str) -> Json:
        """Take a pushed authorization request (RFC 9126)."""
        client = await self._client(form)
        scopes = Scopes.parse(form.get("scope", ""))
        demands = {
            "response_type must be code": form.get("response_type") == "code",
            "redirect_uri is not one of the client's": client.takes(form.get("redirect_uri", "")),
            "code_challenge_method must be S256": form.get("code_challenge_method") == "S256",
            "code_challenge must be 43 characters": len(form.get("code_challenge", "")) == 43,
        }
        for demand, met in demands.items():
            if not met:
                raise OAuthError("invalid_request", demand)
        if "atproto" not in scopes.tokens or not scopes.within(client.scopes):
            raise OAuthError("invalid_scope", 'scope must include "atproto" and be within the client\'s own')
        request_uri = f"{_URN}req-{secrets.token_hex(16)}"
        self._requests[request_uri] = PushedRequest(
            client,
            form["redirect_uri"],
            scopes,
            form["code_challenge"],
            key,
            form.get("state"),
            form.get("login_hint", ""),
            self._settings.now() + _REQUEST_SECONDS,
        )
        return {"request_uri": request_uri, "expires_in": _REQUEST_SECONDS - 1}

    def pending(self, request_uri: str, client_id: str) -> PushedRequest:
        """Return a request that waits for consent; OAuthError if there is none."""
        request = self._requests.get(request_uri)
        if request is None or request.expires_at <= self._settings.now():
            raise OAuthError("invalid_request", "This request is unknown or has expired. Please start again.")
        if request.client.id != client_id:
            raise OAuthError("invalid_request", "The request was made by another client")
        return request

    def approve(self, request_uri: str, request: PushedRequest, account: Account, granted: Scopes) -> str:
        """Give consent; return where the browser goes next."""
        del self._requests[request_uri]
        scopes = Scopes(tuple(token for token in request.scopes.tokens if token in granted.tokens))
        code = f"cod-{secrets.token_hex(32)}"
        self._codes[code] = _Code(request, account.did, scopes, self._settings.now() + _REQUEST_SECONDS)
        return self._answer(request, code=code)

    def refuse(self, request_uri: str, request: PushedRequest) -> str:
        """Refuse consent; return where the browser goes next."""
        del self._requests[request_uri]
        return self._answer(request, error="access_denied", error_description="The user rejected the request")

    def _answer(self, request: PushedRequest, **answer: str) -> str:
        query = {"iss": self._issuer, **({"state": request.state} if request.state is not None else {}), **answer}
        return f"{request.redirect_uri}{'&' if '?' in request.redirect_uri else '?'}{urlencode(query)}"

    async def token(self, form: Mapping[str, str], key: str) -> Json:
        """Exchange a code or a refresh token; both work once."""
        client = await self._client(form)
        if form.get("grant_type") == "authorization_code":
            return self._redeem(client, form, key)
        if form.get("grant_type") == "refresh_token":
            return self._rotate(client, form, key)
        raise OAuthError("unsupported_grant_type", "grant_type must be authorization_code or refresh_token")

    def _redeem(self, client: Client, form: Mapping[str, str], key: str) -> Json:
        code = self._codes.get(form.get("code", ""))
        if code is None:
            raise OAuthError("invalid_grant", "Invalid code")
        if code.session is not None:
            self._end(code.session)
            raise OAuthError("invalid_grant", "Code replayed")
        request = code.request
        if code.expires_at <= self._settings.now():
            raise OAuthError("invalid_grant", "Code has expired")
        if request.client.id != client.id or form.get("redirect_uri") != request.redirect_uri:
            raise OAuthError("invalid_grant", "Code was issued to another client or redirect_uri")
        if key != request.key:
            raise OAuthError("invalid_grant", "DPoP key is not the one of the request")
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if not hmac.compare_digest(b64url(verifier), request.challenge):
            raise OAuthError("invalid_grant", "Invalid code_verifier")
        settings = self._settings
        seconds = settings.oauth_confidential_session_seconds if client.keys else settings.oauth_public_session_seconds
        code.session = OAuthSession(code.did, client.id, key, code.scopes, settings.now() + seconds)
        return self._issue(code.session)

    def _rotate(self, client: Client, form: Mapping[str, str], key: str) -> Json:
        token = form.get("refresh_token", "")
        session = self._refresh.get(token)
        if session is None or session.client_id != client.id:
            raise OAuthError("invalid_grant", "Invalid refresh token")
        if session.ended or session.ends_at <= self._settings.now():
            raise OAuthError("invalid_grant", "Session expired")
        if token != session.refresh:
            self._end(session)
            raise OAuthError("invalid_grant", "Refresh token replayed")
        if key != session.key:
            raise OAuthError("invalid_grant", "DPoP key is not the one of the session")
        return self._issue(session)

    def _issue(self, session: OAuthSession) -> Json:
        self._access.pop(session.access, None)
        session.refresh = f"ref-{secrets.token_hex(32)}"
        session.access = f"at-{secrets.token_hex(32)}"
        session.access_expires_at = self._settings.now() + self._settings.oauth_access_seconds
        self._refresh[session.refresh] = session
        self._access[session.access] = session
        return {
            "access_token": session.access,
            "token_type": "DPoP",
            "refresh_token": session.refresh,
            "expires_in": self._settings.oauth_access_seconds,
            "scope": str(session.scopes),
            "sub": session.did,
        }

    async def revoke(self, form: Mapping[str, str]) -> None:
        """End the session of an access or refresh token; an unknown token is no error (RFC 7009)."""
        client = await self._client(form)
        token = form.get("token", "")
        session = self._refresh.get(token) or self._access.get(token)
        if session is not None and session.client_id == client.id:
            self._end(session)

    def check_access(self, token: str, key: str) -> OAuthSession:
        """Return the session of an access token; OAuthError 401 invalid_token if it is over."""
        session = self._access.get(token)
        if session is None:
            _invalid("Invalid token")
        if session.access_expires_at <= self._settings.now():
            _invalid('"exp" claim timestamp check failed')
        if session.key != key:
            raise OAuthError("invalid_dpop_proof", "DPoP key is not the one of the token", status=401)
        return session

    def sessions_of(self, did: str) -> list[OAuthSession]:
        """Return the consents of an account that are in force."""
        return [session for session in self._access.values() if session.did == did]

    def end_sessions(self, did: str) -> None:
        """End every consent of an account, as its owner can in the settings of their server."""
        for session in self.sessions_of(did):
            self._end(session)

    def _end(self, session: OAuthSession) -> None:
        session.ended = True
        self._access.pop(session.access, None)

    async def _client(self, form: Mapping[str, str]) -> Client:
        if not form.get("client_id"):
            raise OAuthError("invalid_request", "client_id is required")
        client = await self._clients.find(form["client_id"])
        self._clients.authenticate(client, form)
        return client


def _invalid(description: str) -> NoReturn:
    raise OAuthError("invalid_token", description, status=401)
