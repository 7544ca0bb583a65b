"""What a story or a test may turn on the stand-in."""

from collections.abc import Awaitable, Callable
from typing import Any

CHAT_DID = "did:web:api.bsky.chat"


class Settings:
    """The numbers and choices in which one Bluesky installation differs from another."""

    def __init__(self, *, now: Callable[[], float], rate_limits: bool) -> None:
        self.now = now
        self.rate_limits = rate_limits
        # The PDS gives access tokens two hours and refresh tokens ninety days.
        self.access_seconds = 7200
        self.refresh_seconds = 90 * 86400
        # The service named by the `atproto-proxy` header of every chat request.
        self.chat_did = CHAT_DID
        # atproto's OAuth profile: access tokens at most an hour, a public client's session two weeks, a
        # confidential client's two years.
        self.oauth_access_seconds = 3600
        self.oauth_public_session_seconds = 14 * 86400
        self.oauth_confidential_session_seconds = 730 * 86400
        # A PDS changes its DPoP nonce every three minutes and still takes the one before.
        self.dpop_nonce_seconds = 180
        # The scopes that people grant when their form does not say; nothing means all that was asked for.
        self.granted_scope: str | None = None
        # How a client's metadata document and its keys are fetched; nothing means over HTTP.
        self.fetch_client_metadata: Callable[[str], Awaitable[dict[str, Any]]] | None = None
        # A PDS passes an OAuth user's app.bsky and chat.bsky requests on only with the `rpc:` scope for them.
        self.require_rpc_scope = True
