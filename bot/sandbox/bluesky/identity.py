"""Where a handle leads: DID documents, a PLC directory and the well-known addresses, all at one server."""

from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot.sandbox.bluesky.ids import Json
from bot.sandbox.bluesky.world import Account, World

# A well-formed secp256k1 key (the curve's own generator), so that documents parse: nobody here signs commits.
_REPO_KEY = "zQ3shVc2UkAfJCdc1TR8E66J85h48P43r93q8jGPkPpjF9Ef9"


def did_document(account: Account, url: str) -> Json:
    """Return an account's DID document, with this server as its PDS."""
    return {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": account.did,
        "alsoKnownAs": [f"at://{account.handle}"],
        "verificationMethod": [
            {
                "id": f"{account.did}#atproto",
                "type": "Multikey",
                "controller": account.did,
                "publicKeyMultibase": _REPO_KEY,
            }
        ],
        "service": [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": url}],
    }


class Identity:
    """The directory of who is who, and what this server says of itself."""

    def __init__(self, world: World, url: str) -> None:
        self._world = world
        self._url = url
        self.server_did = f"did:web:{quote(urlsplit(url).netloc, safe='')}"

    def routes(self) -> Sequence[Route]:
        """Return the routes; the directory's own comes last, because it takes any path."""
        return [
            Route("/.well-known/did.json", self._server_document),
            Route("/.well-known/atproto-did", self._handle),
            Route("/.well-known/oauth-protected-resource", self._protected_resource),
            Route("/.well-known/oauth-authorization-server", self._authorization_server),
            Route("/{did:path}", self._directory),
        ]

    async def _directory(self, request: Request) -> Response:
        did = request.path_params["did"]
        account = self._world.accounts.get(did)
        if account is None:
            return JSONResponse({"message": f"DID not registered: {did}"}, 404)
        return JSONResponse(did_document(account, self._url), media_type="application/did+ld+json")

    async def _handle(self, request: Request) -> Response:
        account = self._world.find(request.headers.get("host", "").partition(":")[0])
        return PlainTextResponse(account.did) if account else PlainTextResponse("User not found", 404)

    async def _server_document(self, _request: Request) -> Response:
        services = {
            "#atproto_pds": "AtprotoPersonalDataServer",
            "#bsky_appview": "BskyAppView",
            "#bsky_chat": "BskyChatService",
        }
        document = {
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": self.server_did,
            "service": [{"id": name, "type": kind, "serviceEndpoint": self._url} for name, kind in services.items()],
        }
        return JSONResponse(document)

    async def _protected_resource(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "resource": self._url,
                "authorization_servers": [self._url],
                "scopes_supported": [],
                "bearer_methods_supported": ["header"],
                "resource_documentation": "https://atproto.com",
            }
        )

    async def _authorization_server(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self._url,
                "pushed_authorization_request_endpoint": f"{self._url}/oauth/par",
                "authorization_endpoint": f"{self._url}/oauth/authorize",
                "token_endpoint": f"{self._url}/oauth/token",
                "revocation_endpoint": f"{self._url}/oauth/revoke",
                "jwks_uri": f"{self._url}/oauth/jwks",
                "require_pushed_authorization_requests": True,
                "scopes_supported": ["atproto", "transition:generic", "transition:chat.bsky"],
                "subject_types_supported": ["public"],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
                "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
                "dpop_signing_alg_values_supported": ["ES256"],
                "authorization_response_iss_parameter_supported": True,
                "client_id_metadata_document_supported": True,
                "protected_resources": [self._url],
            }
        )
