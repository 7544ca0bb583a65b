"""Prove possession of a key with every request (DPoP, RFC 9449), in ES256 as AT Protocol asks.

Keys travel as JWK JSON text. Nonces are remembered per origin and per role, because an authorization server and a
resource server hand out their own even when they share an origin.
"""

import base64
import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from bot.networks.consent import b64url
from bot.networks.guard import GuardedClient, GuardedResponse

Role = Literal["issuer", "resource"]

_REMEMBERED_NONCES: Final = 4096


def new_key() -> str:
    """Return a fresh P-256 private key as JWK JSON."""
    return _to_jwk(ec.generate_private_key(ec.SECP256R1()))


def jwk_of_pem(pem: str) -> str:
    """Return a P-256 private key in PEM as JWK JSON; ValueError, without its content, when it is another."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError("The OAuth signing key is not a private key in PEM form.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("The OAuth signing key must be an elliptic curve key on P-256.")
    return _to_jwk(key)


def public_jwk(key: str) -> dict[str, str]:
    """Return the public half of a key, with only the members that RFC 7638 hashes."""
    jwk = json.loads(key)
    return {name: jwk[name] for name in ("crv", "kty", "x", "y")}


def thumbprint(key: str) -> str:
    """Return the RFC 7638 thumbprint of a key; it serves as its `kid`."""
    canonical = json.dumps(public_jwk(key), separators=(",", ":"), sort_keys=True)
    return b64url(hashlib.sha256(canonical.encode()).digest())


def sign(key: str, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Return a compact JWS in ES256 (RFC 7515, RFC 7518 section 3.4: r and s, 32 bytes each)."""
    signed = f"{_part({'alg': 'ES256', **header})}.{_part(claims)}"
    r, s = decode_dss_signature(_from_jwk(key).sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def proof(key: str, method: str, url: str, *, now: float, nonce: str | None = None, access: str | None = None) -> str:
    """Return the DPoP proof of one request; `access` is the token it goes with (RFC 9449 section 4.2)."""
    claims: dict[str, Any] = {
        "jti": secrets.token_urlsafe(16),
        "htm": method,
        "htu": url.partition("#")[0].partition("?")[0],
        "iat": int(now),
    }
    if nonce is not None:
        claims["nonce"] = nonce
    if access is not None:
        claims["ath"] = b64url(hashlib.sha256(access.encode()).digest())
    return sign(key, {"typ": "dpop+jwt", "jwk": public_jwk(key)}, claims)


class DpopSender:
    """Send requests with their proof, and once more when the server asks for its nonce."""

    def __init__(self, guard: GuardedClient, clock: Callable[[], float]) -> None:
        self._guard = guard
        self._clock = clock
        self._nonces: OrderedDict[tuple[Role, str], str] = OrderedDict()

    async def send(
        self,
        role: Role,
        key: str,
        method: str,
        url: str,
        *,
        access: str | None = None,
        data: Callable[[], Mapping[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
        json: Any = None,
    ) -> GuardedResponse:
        """Send one request, at most twice; `data` makes the form anew, because a client assertion serves once."""
        server = (role, "{0.scheme}://{0.netloc}".format(urlsplit(url)))

        async def once() -> GuardedResponse:
            sent = {**(headers or {}), "dpop": self._proof(server, key, method, url, access)}
            if access is not None:
                sent["authorization"] = f"DPoP {access}"
            form = data() if data is not None else None
            response = await self._guard.request(
                method, url, headers=sent, data=form, params=params, json=json, redirects=False
            )
            self._remember(server, response.headers.get("dpop-nonce"))
            return response

        response = await once()
        return await once() if _asks_for_nonce(response) else response

    def _proof(self, server: tuple[Role, str], key: str, method: str, url: str, access: str | None) -> str:
        return proof(key, method, url, now=self._clock(), nonce=self._nonces.get(server), access=access)

    def _remember(self, server: tuple[Role, str], nonce: str | None) -> None:
        if nonce:
            self._nonces[server] = nonce
            self._nonces.move_to_end(server)
            while len(self._nonces) > _REMEMBERED_NONCES:
                self._nonces.popitem(last=False)


def _asks_for_nonce(response: GuardedResponse) -> bool:
    """Tell whether a server wants the same request again with the nonce it has just given (RFC 9449, 8 and 9)."""
    if response.status not in (400, 401) or not response.headers.get("dpop-nonce"):
        return False
    return b"use_dpop_nonce" in response.content or "use_dpop_nonce" in response.headers.get("www-authenticate", "")


def _part(value: Mapping[str, Any]) -> str:
    return b64url(json.dumps(value, separators=(",", ":")).encode())


def _to_jwk(key: ec.EllipticCurvePrivateKey) -> str:
    private = key.private_numbers()
    numbers = {"x": private.public_numbers.x, "y": private.public_numbers.y, "d": private.private_value}
    return json.dumps({"kty": "EC", "crv": "P-256", **{k: b64url(n.to_bytes(32, "big")) for k, n in numbers.items()}})


def _from_jwk(key: str) -> ec.EllipticCurvePrivateKey:
    jwk = json.loads(key)
    x, y, d = (int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=="), "big") for name in ("x", "y", "d"))
    return ec.EllipticCurvePrivateNumbers(d, ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1())).private_key()
