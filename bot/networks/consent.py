"""What both OAuth clients share: how a consent ends badly, PKCE, and how its data is kept.

Refused
├── ConsentRefused   the user, or the server, said no; a new consent must be asked for
├── ConsentExpired   the user came back too late, or a second time
└── GrantLost        a consent that was given holds no longer
"""

import base64
import hashlib
import hmac
import secrets
from typing import Final, Self
from urllib.parse import urlencode, urlsplit

import msgspec

from bot.networks.errors import CONSENT_EXPIRED, CONSENT_REFUSED, GRANT_LOST, Refused

# A consent that was begun waits this long for its user: PAR requests live a few minutes, but a code pasted by hand
# out of another app takes longer.
CONSENT_SECONDS: Final = 1800.0


class ConsentRefused(Refused):
    """Nobody consented, or the answer does not belong to what was asked; `detail` says which."""

    def __init__(self, detail: str) -> None:
        super().__init__(CONSENT_REFUSED, detail)


class ConsentExpired(Refused):
    """The way back from the consent page was taken too late or twice."""

    def __init__(self, detail: str) -> None:
        super().__init__(CONSENT_EXPIRED, detail)


class GrantLost(Refused):
    """The server no longer honours a grant: it was revoked, replaced, or has run out."""

    def __init__(self, detail: str) -> None:
        super().__init__(GRANT_LOST, detail)


class Kept:
    """A frozen dataclass that is kept as JSON (the caller encrypts it)."""

    def to_json(self) -> str:
        """Return everything as one JSON object. It holds secrets: encrypt it, never log it."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild what `to_json` gave; ValueError for anything else, without repeating its content."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ValueError(f"This is not a kept {cls.__name__}.") from error


def new_secret() -> str:
    """Return 256 random bits in base64url: a state, or a PKCE verifier (RFC 7636 asks for 43 to 128 characters)."""
    return secrets.token_urlsafe(32)


def s256(verifier: str) -> str:
    """Return the PKCE challenge of a verifier (RFC 7636, S256)."""
    return b64url(hashlib.sha256(verifier.encode()).digest())


def b64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def same(left: str, right: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())


def with_query(url: str, parameters: dict[str, str]) -> str:
    """Append parameters to a URL that may have some already."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(parameters)}"


def said(text: str) -> str:
    """Return what a server said, short and on one line."""
    return " ".join(text.split())[:200]
