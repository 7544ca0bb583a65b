"""Find out who a Bluesky handle is, where that account lives and who may grant access to it.

handle ⇄ DID → DID document → PDS → protected-resource metadata → authorization-server metadata, as
https://atproto.com/specs/handle, /specs/did and /specs/oauth describe it.
"""

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from bot.networks.errors import GONE, Refused
from bot.networks.guard import Forbidden, GuardedClient, Unreachable

PLC_URL: Final = "https://plc.directory"
RESOLVER_URL: Final = "https://public.api.bsky.app"

_HANDLE = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_DID_PLC = re.compile(r"did:plc:[a-z2-7]{24}", re.ASCII)
_DID_WEB = re.compile(r"did:web:([a-zA-Z0-9.-]+(?:%3[Aa]\d{1,5})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Identity:
    """One account; `handle` is None when the name does not lead back to the DID. `pds_url` has no trailing slash."""

    did: str
    handle: str | None
    pds_url: str


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """Where consent to an account is asked for and given."""

    issuer: str
    authorization_endpoint: str
    pushed_endpoint: str
    token_endpoint: str
    revocation_endpoint: str | None


class IdentityResolver:
    """Resolve accounts through the guard; `plc_url` and `resolver_url` are the operator's, without trailing slash."""

    def __init__(
        self, guard: GuardedClient, *, plc_url: str = PLC_URL, resolver_url: str | None = RESOLVER_URL
    ) -> None:
        self._guard = guard
        self._plc_url = plc_url.rstrip("/")
        self._resolver_url = resolver_url.rstrip("/") if resolver_url else None

    async def resolve(self, account: str) -> Identity:
        """Return the identity of a handle or a DID; a handle counts only if both sides name each other.

        Errors: Refused("gone") when there is no such account, Unavailable.
        """
        name = account.strip().removeprefix("at://").removeprefix("@")
        if name.startswith("did:"):
            document = await self._document(name)
            handle = _handle_of(document)
            confirmed = handle is not None and await self._leads_to(handle, name)
            return Identity(name, handle if confirmed else None, _pds_of(document, name, self._guard))
        handle = name.lower().rstrip(".")
        did = await self.did_of(handle)
        document = await self._document(did)
        if _handle_of(document) != handle:
            raise Refused(GONE, f"The name {handle} points to an account that does not use this name.")
        return Identity(did, handle, _pds_of(document, did, self._guard))

    async def did_of(self, handle: str) -> str:
        """Return the DID that a handle points to; nothing is said yet about the way back."""
        if not _HANDLE.fullmatch(handle) or len(handle) > 253:
            raise Refused(GONE, f"{handle[:60]!r} is not a Bluesky name such as alice.bsky.social.")
        did = await self._by_service(handle) if self._resolver_url else None
        did = did or await self._by_well_known(handle)
        if did is None:
            raise Refused(GONE, f"There is no account with the name {handle}.")
        return did

    async def server_of(self, pds_url: str) -> AuthorizationServer:
        """Return the authorization server that the PDS of an account names; the issuer must be the server itself."""
        resource = await self._metadata(f"{pds_url}/.well-known/oauth-protected-resource")
        servers = resource.get("authorization_servers")
        if not isinstance(servers, list) or len(servers) != 1 or not isinstance(servers[0], str):
            raise Unreachable(f"{urlsplit(pds_url).hostname} does not name the one server that grants access to it.")
        issuer = _origin(servers[0], self._guard)
        metadata = await self._metadata(f"{issuer}/.well-known/oauth-authorization-server")
        if metadata.get("issuer") != issuer:
            raise Unreachable(f"{urlsplit(issuer).hostname} calls itself by another name in its OAuth metadata.")
        revocation = metadata.get("revocation_endpoint")
        return AuthorizationServer(
            issuer,
            self._endpoint(metadata, "authorization_endpoint"),
            self._endpoint(metadata, "pushed_authorization_request_endpoint"),
            self._endpoint(metadata, "token_endpoint"),
            self._guard.check_url(revocation) if isinstance(revocation, str) else None,
        )

    def _endpoint(self, metadata: dict[str, Any], name: str) -> str:
        value = metadata.get(name)
        if not isinstance(value, str):
            raise Unreachable(f"The OAuth metadata of {metadata.get('issuer')} lack {name}.")
        return self._guard.check_url(value)

    async def _metadata(self, url: str) -> dict[str, Any]:
        response = await self._guard.request("GET", url, redirects=False)
        if response.status != 200:
            raise Unreachable(f"{urlsplit(url).hostname} answered {response.status} for its OAuth metadata.")
        return response.json_object()

    async def _by_service(self, handle: str) -> str | None:
        url = f"{self._resolver_url}/xrpc/com.atproto.identity.resolveHandle"
        response = await self._guard.request("GET", url, params={"handle": handle})
        if response.status == 400:  # "Unable to resolve handle" and "InvalidRequest" both mean: not known here
            return None
        if not response.ok:
            raise Unreachable(f"The resolver of names answered {response.status}.", response.retry_in())
        return _did(response.json_object().get("did"))

    async def _by_well_known(self, handle: str) -> str | None:
        try:
            response = await self._guard.request("GET", f"https://{handle}/.well-known/atproto-did")
        except (Unreachable, Forbidden):
            return None
        return _did(response.content[:2048].decode("utf-8", "replace").strip()) if response.ok else None

    async def _leads_to(self, handle: str, did: str) -> bool:
        try:
            return await self.did_of(handle) == did
        except Refused:
            return False

    async def _document(self, did: str) -> dict[str, Any]:
        web = _DID_WEB.fullmatch(did)
        if web:
            url = f"{self._guard.base_url(unquote(web.group(1)))}/.well-known/did.json"
        elif _DID_PLC.fullmatch(did):
            url = f"{self._plc_url}/{did}"
        else:
            raise Refused(GONE, f"{did[:80]!r} is not a DID of a kind that Bluesky uses.")
        response = await self._guard.request("GET", url)
        if response.status in (404, 410):
            raise Refused(GONE, f"There is no account {did}, or no longer.")
        if not response.ok:
            raise Unreachable(f"{urlsplit(url).hostname} answered {response.status}.", response.retry_in())
        document = response.json_object()
        if document.get("id") != did:
            raise Unreachable(f"{urlsplit(url).hostname} answered with the document of another account.")
        return document


def _did(value: object) -> str | None:
    if isinstance(value, str) and (_DID_PLC.fullmatch(value) or _DID_WEB.fullmatch(value)):
        return value
    return None


def _handle_of(document: dict[str, Any]) -> str | None:
    """Return the first name a DID document claims; only the first one counts (atproto.com/specs/did)."""
    names = document.get("alsoKnownAs")
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and name.startswith("at://"):
            handle = name.removeprefix("at://").lower()
            return handle if _HANDLE.fullmatch(handle) else None
    return None


def _pds_of(document: dict[str, Any], did: str, guard: GuardedClient) -> str:
    services = document.get("service")
    for service in services if isinstance(services, list) else ():
        if not isinstance(service, dict):
            continue
        known = service.get("id") in ("#atproto_pds", f"{did}#atproto_pds")
        endpoint = service.get("serviceEndpoint")
        if known and service.get("type") == "AtprotoPersonalDataServer" and isinstance(endpoint, str):
            return _origin(endpoint, guard)
    raise Refused(GONE, f"The account {did} has no home server.")


def _origin(url: str, guard: GuardedClient) -> str:
    """Return a URL that is an origin and nothing more, without trailing slash."""
    parts = urlsplit(guard.check_url(url))
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Unreachable(f"{parts.hostname} names an address with a path where only a server's may stand.")
    return f"{parts.scheme}://{parts.netloc}"
