"""Ask the users of any Mastodon-API server for consent: register, authorize, exchange, revoke.

Every server is its own issuer, so an app is registered on each (https://docs.joinmastodon.org/client/token/). PKCE
(S256) and `state` always; servers older than Mastodon 4.3 ignore the former. Without a web address of our own the
server shows the code to its user, who pastes it into a DM (`urn:ietf:wg:oauth:2.0:oob`).
Pure data in and out: the caller keeps `MastodonApp`, `MastodonConsent` and `MastodonTokens` encrypted.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from bot.networks import webfinger
from bot.networks.consent import (
    CONSENT_SECONDS,
    ConsentExpired,
    ConsentRefused,
    Kept,
    new_secret,
    s256,
    said,
    same,
    with_query,
)
from bot.networks.errors import NetworkError, Refused
from bot.networks.guard import Forbidden, GuardedClient, GuardedResponse, Unreachable
from bot.networks.nodeinfo import software_of
from bot.networks.server_name import normalise_server

OUT_OF_BAND: Final = "urn:ietf:wg:oauth:2.0:oob"
CALLBACK_PATH: Final = "/connect/mastodon/callback"

# The least that works, best first: `profile` exists since Mastodon 4.3, the granular scopes since 2.4.3, and some
# other servers know only the coarse ones. https://docs.joinmastodon.org/api/oauth-scopes/
# A server that does not tell its scopes may register any, and heed none of the finer ones when it comes to it.
_SCOPES: Final = (
    "profile read:follows write:follows read:search",
    "read:accounts read:follows write:follows read:search",
    "read write:follows",
    "read follow",
    "read write",
)
_HEED_FINE_SCOPES: Final = frozenset({"mastodon", "gotosocial"})
_METADATA_PATH: Final = "/.well-known/oauth-authorization-server"  # RFC 8414
# There a consent belongs to the app, not to the code: any code gives the token of whoever signed in last (snac 2.94).
_MIX_UP_CONSENTS: Final = frozenset({"snac"})
# What a server may answer to a registration whose scopes it does not know.
_SCOPE_REFUSALS: Final = frozenset({400, 401, 403, 422})


@dataclass(frozen=True, slots=True)
class MastodonApp(Kept):
    """Reflock as one server knows it; `base_url` has no trailing slash, `scopes` is what was registered."""

    server: str
    base_url: str
    client_id: str
    client_secret: str
    redirect_uri: str
    scopes: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str


@dataclass(frozen=True, slots=True)
class MastodonConsent(Kept):
    """What must be remembered between asking for consent and coming back.

    `actor` is the account that is to consent, None when any account of the server may; `expires_at` is epoch seconds.
    """

    server: str
    state: str
    verifier: str
    actor: str | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class MastodonTokens(Kept):
    """A consent that was given; it never expires by itself.

    `actor` is the actor URI and identifies the account; `acct` is "alice@server", `account_id` the server's number.
    `server` is the name that the server itself goes by, whatever was typed.
    """

    server: str
    base_url: str
    actor: str
    acct: str
    account_id: str
    access: str
    scope: str
    client_id: str
    client_secret: str
    revocation_endpoint: str

    @property
    def may_follow(self) -> bool:
        """Tell whether the user really allowed follows to be made."""
        return not {"write:follows", "write", "follow"}.isdisjoint(self.scope.split())


class MastodonOauth:
    """The OAuth client of one Reflock; `public_url` is None when it has no web address.

    Errors: Unavailable, Refused and its kinds in `bot.networks.consent`.
    """

    def __init__(
        self,
        guard: GuardedClient,
        *,
        public_url: str | None,
        clock: Callable[[], float],
        client_name: str = "Reflock",
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._name = client_name
        self._website = public_url.rstrip("/") if public_url else None
        self.redirect_uri = f"{self._website}{CALLBACK_PATH}" if self._website else OUT_OF_BAND

    def server_of(self, typed: str) -> str:
        """Return the host that a user means by what they typed; BadServerName when it names none."""
        return normalise_server(typed, self._guard.allow_private)

    async def register(self, server: str) -> MastodonApp:
        """Make Reflock known to a server (a host as `normalise_server` gives it), with the least scopes it knows."""
        metadata, base_url = await self._metadata(server)
        for scopes in _offered(metadata) if metadata else await self._supposed(base_url):
            form = {"client_name": self._name, "redirect_uris": self.redirect_uri, "scopes": scopes}
            if self._website:
                form["website"] = self._website
            response = await self._guard.request("POST", f"{base_url}/api/v1/apps", data=form)
            if response.ok:
                return self._app(server, base_url, metadata, response.json_object(), scopes)
            if response.status not in _SCOPE_REFUSALS:
                break
        _raise_unless_answered(response)
        raise Refused("no_mastodon_api", f"{server} does not let apps be registered (it answered {response.status}).")

    def start(self, app: MastodonApp, actor: str | None = None) -> tuple[MastodonConsent, str]:
        """Prepare one consent; return what to remember and where to send its user."""
        consent = MastodonConsent(app.server, new_secret(), new_secret(), actor, self._clock() + CONSENT_SECONDS)
        query = {
            "response_type": "code",
            "client_id": app.client_id,
            "redirect_uri": app.redirect_uri,
            "scope": app.scopes,
            "state": consent.state,
            "code_challenge": s256(consent.verifier),
            "code_challenge_method": "S256",
        }
        return consent, with_query(app.authorization_endpoint, query)

    async def finish(self, app: MastodonApp, consent: MastodonConsent, answer: Mapping[str, str]) -> MastodonTokens:
        """Exchange what the user's browser brought back for tokens; the state is checked before anything is used."""
        if not same(answer.get("state", ""), consent.state):
            raise ConsentRefused("This answer does not belong to the consent that was asked for.")
        if "error" in answer:
            raise ConsentRefused(said(answer.get("error_description") or answer["error"]))
        return await self.finish_with_code(app, consent, answer.get("code", ""))

    async def finish_with_code(self, app: MastodonApp, consent: MastodonConsent, code: str) -> MastodonTokens:
        """Exchange a code that the user pasted (the way without a web address) for tokens.

        Errors: ConsentRefused (another account, another server), ConsentExpired (a wrong, used or old code),
        Unavailable.
        """
        if app.server != consent.server:
            raise ConsentRefused("This consent was asked for on another server.")
        if self._clock() >= consent.expires_at:
            raise ConsentExpired("The consent was left open for too long.")
        form = {
            "grant_type": "authorization_code",
            "client_id": app.client_id,
            "client_secret": app.client_secret,
            "redirect_uri": app.redirect_uri,
            "code": _code_in(code),
            "code_verifier": consent.verifier,
            "scope": app.scopes,
        }
        response = await self._guard.request("POST", app.token_endpoint, data=form)
        if response.status != 500 or not await self._stumbles_over_the_code(app, form):
            _raise_unless_answered(response)
        if not response.ok:
            raise ConsentExpired(f"{app.server} does not accept this code; it may be mistyped, used or too old.")
        body = response.json_object()
        access = body.get("access_token")
        if not isinstance(access, str) or not access:
            raise Unreachable(f"{app.server} answered the code without a token.")
        tokens = await self._who(app, access, str(body.get("scope") or app.scopes))
        if consent.actor is not None and tokens.actor != consent.actor:
            # Not revoked: Mastodon gives one token per app and account, and that account may have consented by itself.
            raise ConsentRefused(f"The consent was given for {tokens.acct}, not for the account that was asked for.")
        return tokens

    async def _stumbles_over_the_code(self, app: MastodonApp, form: dict[str, str]) -> bool:
        """Tell whether a server that broke down at a code answers when there is none: some do so for every wrong code."""
        without = {name: value for name, value in form.items() if name != "code"}
        response = await self._guard.request("POST", app.token_endpoint, data=without)
        return 400 <= response.status < 500 and response.status != 429

    async def revoke(self, tokens: MastodonTokens) -> None:
        """End a consent at its server; one that has ended already is fine, and so is an empty answer."""
        form = {"client_id": tokens.client_id, "client_secret": tokens.client_secret, "token": tokens.access}
        response = await self._guard.request("POST", tokens.revocation_endpoint, data=form)
        _raise_unless_answered(response)

    async def check(self, app: MastodonApp) -> None:
        """Refuse to ask for a consent to an app that was registered before its server was known to mix consents up."""
        if "profile" not in app.scopes.split():  # or it has metadata, and was asked by them
            await self._supposed(app.base_url)

    async def _supposed(self, base_url: str) -> list[str]:
        """Return the sets of scopes to try where the server does not tell those it knows, by what its software heeds.

        Unavailable when it cannot say now what it is: one that mixes consents up must not pass for one that does not.
        """
        software = await software_of(self._guard, base_url)
        name = software.name.lower() if software else ""
        if name in _MIX_UP_CONSENTS:
            raise Refused("consents_mixed_up", f"{name} does not keep the consents of several people apart.")
        fine = name in _HEED_FINE_SCOPES
        return [scopes for scopes in _SCOPES if "profile" not in scopes and (fine or ":accounts" not in scopes)]

    async def _metadata(self, server: str) -> tuple[dict[str, Any], str]:
        """Return what the server says of its OAuth (nothing, before Mastodon 4.3) and where it really lives.

        Some communities are named by one host and served by another; a redirect tells, and not all redirect more than
        WebFinger (https://docs.joinmastodon.org/admin/config/#web_domain).
        """
        named = self._guard.base_url(server)
        metadata, base_url = await self._metadata_at(named)
        if not metadata:
            base_url = _origin((await webfinger.ask(self._guard, named, f"{server}@{server}")).url)
            if base_url != named:
                metadata, base_url = await self._metadata_at(base_url)
        return metadata, base_url

    async def _metadata_at(self, base_url: str) -> tuple[dict[str, Any], str]:
        response = await self._guard.request("GET", f"{base_url}{_METADATA_PATH}")
        _raise_unless_answered(response)
        try:
            # Only this path speaks for a server: others may hold what somebody has put there.
            speaks = response.ok and urlsplit(response.url).path == _METADATA_PATH
            return (response.json_object(), _origin(response.url)) if speaks else ({}, base_url)
        except Unreachable:  # a page for people, where an older server has nothing for us
            return {}, base_url

    def _app(
        self, server: str, base_url: str, metadata: dict[str, Any], body: dict[str, Any], scopes: str
    ) -> MastodonApp:
        def endpoint(name: str, path: str) -> str:
            value = metadata.get(name)
            if not isinstance(value, str):
                return base_url + path
            try:
                checked = self._guard.check_url(value)
            except Forbidden as error:
                raise Unreachable(f"The OAuth metadata of {server} name an address that is not used.") from error
            # One server's consent page and another one's token endpoint: so codes are stolen (RFC 9700, 4.4).
            if _origin(checked) != base_url:
                raise Unreachable(f"The OAuth metadata of {server} send us to another server.")
            return checked

        issuer = metadata.get("issuer")
        if isinstance(issuer, str) and issuer.rstrip("/") != base_url:
            raise Unreachable(f"The OAuth metadata of {server} are those of another server.")

        client_id, client_secret = body.get("client_id"), body.get("client_secret")
        if not isinstance(client_id, str) or not isinstance(client_secret, str):
            raise Unreachable(f"{server} registered Reflock without telling it its own name there.")
        return MastodonApp(
            server,
            base_url,
            client_id,
            client_secret,
            self.redirect_uri,
            scopes,
            endpoint("authorization_endpoint", "/oauth/authorize"),
            endpoint("token_endpoint", "/oauth/token"),
            endpoint("revocation_endpoint", "/oauth/revoke"),
        )

    async def _who(self, app: MastodonApp, access: str, scope: str) -> MastodonTokens:
        """Ask whose token this is; a server may speak only for its own accounts."""
        url = f"{app.base_url}/api/v1/accounts/verify_credentials"
        response = await self._guard.request("GET", url, headers={"authorization": f"Bearer {access}"})
        _raise_unless_answered(response)
        if not response.ok:
            raise ConsentRefused(f"{app.server} does not say whose consent this is (it answered {response.status}).")
        account = response.json_object()
        name = str(account.get("username", "")).partition("@")[0]
        host = urlsplit(app.base_url).netloc.lower()
        # Before Mastodon 4.2, and elsewhere, an account does not tell its URI; one server may have several namesakes.
        actor = account.get("uri")
        acct = None if actor else await self._full_name(app, access, account)
        described = await self._described(app, acct or f"{name}@{host}")
        subject, described_actor = webfinger.subject_in(described), webfinger.actor_in(described)
        if not actor and _is_about(subject, acct, name):
            actor = described_actor
        if not isinstance(actor, str):
            raise ConsentRefused(f"{app.server} does not say which account {name} is.")
        if urlsplit(actor).netloc.lower() != host:
            raise ConsentRefused(f"{app.server} speaks for an account that lives on another server.")
        claimed = subject.rpartition("@")[2] if subject and described_actor == actor else host
        server = await self._home(name, actor, claimed, host)
        return MastodonTokens(
            server=server,
            base_url=app.base_url,
            actor=actor,
            acct=f"{name}@{server}",
            account_id=str(account.get("id", "")),
            access=access,
            scope=scope,
            client_id=app.client_id,
            client_secret=app.client_secret,
            revocation_endpoint=app.revocation_endpoint,
        )

    async def _full_name(self, app: MastodonApp, access: str, account: dict[str, Any]) -> str | None:
        """Return the name by which the server knows an account, where it tells its other half of local ones too."""
        url = f"{app.base_url}/api/v1/accounts/{quote(str(account.get('id')), safe='')}"
        response = await self._guard.request("GET", url, headers={"authorization": f"Bearer {access}"})
        _raise_unless_answered(response)
        acct = str(response.json_object().get("acct")).lower() if response.ok else ""
        return acct if "@" in acct else None

    async def _described(self, app: MastodonApp, acct: str) -> dict[str, Any]:
        """Return what WebFinger says of the account."""
        response = await webfinger.ask(self._guard, app.base_url, acct)
        _raise_unless_answered(response)
        return webfinger.described(response)

    async def _home(self, name: str, actor: str, claimed: str, host: str) -> str:
        """Return the server by which an account is named: another than the one it lives on only if that says so too."""
        if claimed == host:
            return host
        with contextlib.suppress(NetworkError):
            named = await webfinger.ask(self._guard, self._guard.base_url(claimed), f"{name}@{claimed}")
            if webfinger.actor_in(webfinger.described(named)) == actor:
                return claimed
        return host


def _offered(metadata: dict[str, Any]) -> list[str]:
    """Return the sets of scopes to try: those the server knows, or all when it does not say which."""
    known = metadata.get("scopes_supported")
    if not isinstance(known, list):
        return list(_SCOPES)
    return [scopes for scopes in _SCOPES if set(scopes.split()) <= set(map(str, known))] or list(_SCOPES)


def _is_about(subject: str | None, acct: str | None, name: str) -> bool:
    """Tell whether a description is about the account that was meant: its full name, or the name alone if it has none."""
    if subject is None:
        return False
    return subject == acct if acct is not None else subject.rpartition("@")[0] == name.lower()


def _code_in(pasted: str) -> str:
    """Return the code out of what was pasted: it may stand in a whole address, or have the state behind it."""
    found = re.search(r"(?:^|[?&])code=([^&#\s]+)", pasted)
    return unquote(found[1]) if found else pasted.strip().partition("&")[0]


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _raise_unless_answered(response: GuardedResponse) -> None:
    """Raise Unreachable for what may be better later."""
    if response.status == 429 or response.status >= 500:
        host = urlsplit(response.url).hostname
        raise Unreachable(f"{host} answered {response.status}; it may be better later.", response.retry_in())
