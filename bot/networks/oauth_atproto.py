"""Ask Bluesky users for consent, and act with it: AT Protocol's OAuth profile (https://atproto.com/specs/oauth).

PAR, PKCE S256 and DPoP throughout. With a public https address we are a confidential client (`private_key_jwt`, ES256)
that is described by a document under that address; on loopback we are the development client of the specification.
Pure data in and out: the caller keeps `AtprotoConsent` and `AtprotoTokens` encrypted, and holds a lock around
`refresh`, because a refresh token works once.

Access tokens live at most 60 minutes; sessions of a confidential client 2 years, of the development client 2 weeks.
"""

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from bot.networks import dpop
from bot.networks.clocks import ASSERTION_DATED_BACK_SECONDS, ASSERTION_SECONDS
from bot.networks.consent import (
    CONSENT_SECONDS,
    ConsentExpired,
    ConsentRefused,
    GrantLost,
    Kept,
    new_secret,
    s256,
    said,
    same,
    with_query,
)
from bot.networks.errors import Refused, Unavailable
from bot.networks.guard import GuardedClient, GuardedResponse, Unreachable
from bot.networks.identity_atproto import IdentityResolver

FOLLOW_SCOPE: Final = "atproto repo:app.bsky.graph.follow?action=create&action=delete"
CALLBACK_PATH: Final = "/connect/bluesky/callback"
METADATA_PATH: Final = "/oauth-client-metadata.json"

_FOLLOW: Final = "app.bsky.graph.follow"
_ACTIONS: Final = frozenset({"create", "update", "delete"})
# Refresh before a token's last moment: the request it is for takes time too, and clocks differ.
_EARLY_SECONDS: Final = 60.0
# The specification's upper limit; assumed when a server does not say how long its token lives.
_ACCESS_SECONDS: Final = 3600.0
# What a server says when it is our own document, address or key that it does not take.
_ABOUT_US: Final = frozenset(
    {"invalid_client", "invalid_client_id", "invalid_client_metadata", "invalid_redirect_uri", "use_dpop_nonce"}
)
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class BadAddressError(ValueError):
    """It is the web address that makes a configuration impossible."""


@dataclass(frozen=True, slots=True)
class AtprotoConsent(Kept):
    """What must be remembered between asking for consent and coming back; `expires_at` is epoch seconds."""

    state: str
    verifier: str
    dpop_key: str
    did: str
    handle: str | None
    pds_url: str
    issuer: str
    token_endpoint: str
    revocation_endpoint: str | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class AtprotoTokens(Kept):
    """A consent that was given. `scope` is what was really granted; `expires_at` (epoch seconds) is the access token's."""

    did: str
    pds_url: str
    issuer: str
    token_endpoint: str
    revocation_endpoint: str | None
    access: str
    refresh: str
    expires_at: float
    scope: str
    dpop_key: str

    @property
    def follow_actions(self) -> frozenset[str]:
        """Return which of create, update and delete the user really allowed for follow records."""
        return granted_actions(self.scope, _FOLLOW)

    def stale(self, now: float) -> bool:
        """Tell whether the tokens should be refreshed before they are used."""
        return now >= self.expires_at - _EARLY_SECONDS


@dataclass(frozen=True, slots=True)
class PdsResponse:
    """What a user's own server answered; `json` is None when the body is none."""

    status: int
    headers: httpx.Headers
    json: Any

    @property
    def token_refused(self) -> bool:
        """Tell whether the access token was the problem: refresh and try once more."""
        return self.status == 401 and "invalid_token" in self.headers.get("www-authenticate", "") + str(self.json)


def granted_actions(scope: str, collection: str) -> frozenset[str]:
    """Return the actions a scope string allows on a collection of records (https://atproto.com/specs/permission)."""
    allowed: set[str] = set()
    for token in scope.split():
        if token == "transition:generic":  # noqa: S105  # a scope's name
            return _ACTIONS
        head, _, query_text = token.partition("?")
        kind, _, positional = head.partition(":")
        query = parse_qs(query_text)
        if kind == "repo" and not {"*", collection}.isdisjoint({positional, *query.get("collection", ())}):
            allowed.update(_ACTIONS.intersection(query["action"]) if "action" in query else _ACTIONS)
    return frozenset(allowed)


class AtprotoOauth:
    """The OAuth client of one Reflock.

    `public_url` is https, or http on loopback for the development client. `signing_key` is a P-256 key in PEM; a
    confidential client needs it, the development client none. Errors: Unavailable, Refused and its kinds in
    `bot.networks.consent`; ValueError for an impossible configuration.
    """

    def __init__(
        self,
        guard: GuardedClient,
        identities: IdentityResolver,
        *,
        public_url: str,
        clock: Callable[[], float],
        signing_key: str | None = None,
        client_name: str = "Reflock",
        scope: str = FOLLOW_SCOPE,
    ) -> None:
        parts = urlsplit(public_url)
        self._guard = guard
        self._identities = identities
        self._clock = clock
        self._sender = dpop.DpopSender(guard, clock)
        self._name = client_name
        self._scope = scope
        self._key: str | None = None
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        if parts.scheme == "https":
            if signing_key is None:
                raise ValueError("Consent on Bluesky needs the OAuth signing key when the web address is https.")
            self._key = dpop.jwk_of_pem(signing_key)
            self.client_id = f"{self._base}{METADATA_PATH}"
        elif parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost"):
            # The development client must come back to an IP address, never to the name "localhost".
            self._base = self._base.replace("//localhost", "//127.0.0.1", 1)
            query = urlencode({"redirect_uri": f"{self._base}{CALLBACK_PATH}", "scope": scope})
            self.client_id = f"http://localhost?{query}"
        else:
            raise BadAddressError(f"{public_url} can be no OAuth client: it must be https, or http on 127.0.0.1.")
        self.redirect_uri = f"{self._base}{CALLBACK_PATH}"

    def client_metadata(self) -> dict[str, Any]:
        """Return the document that describes the confidential client; it is served at `METADATA_PATH`."""
        if self._key is None:
            raise ValueError("The development client on loopback is described by its client_id alone.")
        return {
            "client_id": self.client_id,
            "client_name": self._name,
            "client_uri": self._base,
            "application_type": "web",
            "redirect_uris": [self.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "scope": self._scope,
            "dpop_bound_access_tokens": True,
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": "ES256",
            "jwks": self.jwks(),
        }

    def jwks(self) -> dict[str, Any]:
        """Return the public keys by which servers recognise the confidential client."""
        if self._key is None:
            return {"keys": []}
        return {
            "keys": [{**dpop.public_jwk(self._key), "kid": dpop.thumbprint(self._key), "use": "sig", "alg": "ES256"}]
        }

    async def start(self, account: str) -> tuple[AtprotoConsent, str]:
        """Prepare the consent of one account (a handle or a DID); return what to remember and where to send its user."""
        who = await self._identities.resolve(account)
        server = await self._identities.server_of(who.pds_url)
        consent = AtprotoConsent(
            state=new_secret(),
            verifier=new_secret(),
            dpop_key=dpop.new_key(),
            did=who.did,
            handle=who.handle,
            pds_url=who.pds_url,
            issuer=server.issuer,
            token_endpoint=server.token_endpoint,
            revocation_endpoint=server.revocation_endpoint,
            expires_at=self._clock() + CONSENT_SECONDS,
        )
        form = {
            "response_type": "code",
            "redirect_uri": self.redirect_uri,
            "scope": self._scope,
            "state": consent.state,
            "code_challenge": s256(consent.verifier),
            "code_challenge_method": "S256",
            "login_hint": who.handle or who.did,
        }
        response = await self._post(server.pushed_endpoint, consent.issuer, consent.dpop_key, form)
        request_uri = _answer(response, ConsentRefused).get("request_uri")
        if not isinstance(request_uri, str):
            raise Unreachable(f"{urlsplit(server.issuer).hostname} did not take the request for consent.")
        query = {"client_id": self.client_id, "request_uri": request_uri}
        return consent, with_query(server.authorization_endpoint, query)

    async def finish(self, consent: AtprotoConsent, answer: Mapping[str, str]) -> AtprotoTokens:
        """Exchange what the user's browser brought back for tokens.

        Checks state and issuer before the code is used, and the account after. Errors: ConsentRefused,
        ConsentExpired, Unavailable.
        """
        if not same(answer.get("state", ""), consent.state):
            raise ConsentRefused("This answer does not belong to the consent that was asked for.")
        if not same(answer.get("iss", ""), consent.issuer):
            raise ConsentRefused("This answer comes from another server than the one that was asked.")
        if self._clock() >= consent.expires_at:
            raise ConsentExpired("The consent was left open for too long.")
        if "error" in answer:
            raise ConsentRefused(said(answer.get("error_description") or answer["error"]))
        form = {
            "grant_type": "authorization_code",
            "redirect_uri": self.redirect_uri,
            "code": answer.get("code", ""),
            "code_verifier": consent.verifier,
        }
        response = await self._post(consent.token_endpoint, consent.issuer, consent.dpop_key, form)
        nothing_yet = AtprotoTokens(
            did=consent.did,
            pds_url=consent.pds_url,
            issuer=consent.issuer,
            token_endpoint=consent.token_endpoint,
            revocation_endpoint=consent.revocation_endpoint,
            access="",
            refresh="",
            expires_at=0.0,
            scope="",
            dpop_key=consent.dpop_key,
        )
        tokens = self._tokens(_answer(response, ConsentExpired), nothing_yet)
        if tokens.did != consent.did:
            with contextlib.suppress(Unavailable):  # it would only lie unused at its server
                await self.revoke(tokens)
            raise ConsentRefused("The consent was given for another account than the one that was asked for.")
        return tokens

    async def refresh(self, tokens: AtprotoTokens) -> AtprotoTokens:
        """Return the successor of the tokens; the old ones are dead, so keep the new ones before using them.

        The caller holds a lock: a refresh token that is used twice ends the session. Errors: GrantLost, Unavailable.
        """
        if not tokens.refresh:
            raise GrantLost("The server gave no means of renewing this consent.")
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
        response = await self._post(tokens.token_endpoint, tokens.issuer, tokens.dpop_key, form)
        renewed = self._tokens(_answer(response, GrantLost), tokens)
        if renewed.did != tokens.did:
            raise GrantLost("The server renewed the consent of another account.")
        return renewed

    async def revoke(self, tokens: AtprotoTokens) -> None:
        """End the consent at its server; one that has ended already is fine (RFC 7009)."""
        if tokens.revocation_endpoint is None:
            return
        form = {"token": tokens.refresh or tokens.access}
        response = await self._post(tokens.revocation_endpoint, tokens.issuer, tokens.dpop_key, form)
        if response.status == 429 or response.status >= 500:
            raise Unreachable(f"The server answered {response.status} to the end of the consent.", response.retry_in())

    async def pds_request(
        self,
        tokens: AtprotoTokens,
        method: str,
        nsid: str,
        *,
        params: list[tuple[str, str]] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> PdsResponse:
        """Call one XRPC method on the user's own server with the user's consent, e.g. com.atproto.repo.applyWrites.

        Whatever the server answers is returned; only silence raises (Unavailable). See `PdsResponse.token_refused`.
        """
        url = f"{tokens.pds_url}/xrpc/{nsid}"
        response = await self._sender.send(
            "resource", tokens.dpop_key, method, url, access=tokens.access, params=params, json=json, headers=headers
        )
        try:
            body = response.json()
        except Unreachable:
            body = None
        return PdsResponse(response.status, response.headers, body)

    async def _post(self, url: str, issuer: str, key: str, form: Mapping[str, str]) -> GuardedResponse:
        def signed_form() -> dict[str, str]:
            return {**form, "client_id": self.client_id, **self._assertion(issuer)}

        return await self._sender.send("issuer", key, "POST", url, data=signed_form)

    def _assertion(self, issuer: str) -> dict[str, str]:
        """Return the proof that we are the confidential client (RFC 7523); good once and for a minute."""
        if self._key is None:
            return {}
        made_at = int(self._clock()) - ASSERTION_DATED_BACK_SECONDS
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": made_at,
            "exp": made_at + ASSERTION_SECONDS,
        }
        signed = dpop.sign(self._key, {"kid": dpop.thumbprint(self._key)}, claims)
        return {"client_assertion_type": _ASSERTION_TYPE, "client_assertion": signed}

    def _tokens(self, body: dict[str, Any], before: AtprotoTokens) -> AtprotoTokens:
        """Read a token response; `did` is the account it is for, which the caller compares."""
        access, kind = body.get("access_token"), str(body.get("token_type", ""))
        if not isinstance(access, str) or kind.lower() != "dpop":
            raise Unreachable(f"{urlsplit(before.issuer).hostname} did not give a token bound to our key.")
        lifetime = body.get("expires_in")
        seconds = float(lifetime) if isinstance(lifetime, int | float) else _ACCESS_SECONDS
        return replace(
            before,
            did=str(body.get("sub")),
            access=access,
            refresh=str(body.get("refresh_token") or ""),
            expires_at=self._clock() + seconds,
            scope=str(body.get("scope") or before.scope),
        )


def _answer(response: GuardedResponse, no: type[ConsentRefused | ConsentExpired | GrantLost]) -> dict[str, Any]:
    """Return a successful answer; `no` is what an error about the grant itself means at this point."""
    if response.ok:
        return response.json_object()
    host = urlsplit(response.url).hostname
    if response.status == 429 or response.status >= 500:
        raise Unreachable(f"{host} answered {response.status}; it may be better later.", response.retry_in())
    body = response.json_object()
    error, description = str(body.get("error", response.status)), said(str(body.get("error_description") or ""))
    if error == "invalid_grant" or (error in ("access_denied", "invalid_scope") and no is ConsentRefused):
        raise no(description or error)
    if error in _ABOUT_US:
        # Our own document or key is not understood, which the operator can mend; the user's consent is untouched.
        raise Unreachable(f"{host} does not recognise this Reflock ({error}): {description}")
    raise Refused(error, description)
