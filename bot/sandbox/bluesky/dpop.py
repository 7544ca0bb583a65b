"""Proofs of possession (RFC 9449) and the ES256 signatures under them."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from bot.sandbox.bluesky.errors import OAuthError
from bot.sandbox.bluesky.ids import Json, b64url, from_b64url
from bot.sandbox.bluesky.settings import Settings

# How long a proof serves where clocks agree; they may differ by as much as a nonce lasts.
_PROOF_SECONDS = 10
_ES256 = ec.ECDSA(hashes.SHA256())


class JwsError(ValueError):
    """A signed token that is malformed or not signed by that key."""


def read_jws(token: str) -> tuple[Json, Json]:
    """Return header and claims of a compact JWS, unverified."""
    try:
        head, claims, _ = token.split(".")
        decoded = (msgspec.json.decode(from_b64url(head)), msgspec.json.decode(from_b64url(claims)))
    except (ValueError, msgspec.DecodeError):
        raise JwsError("not a signed token") from None
    if not all(isinstance(part, dict) for part in decoded):
        raise JwsError("not a signed token")
    return decoded


def verify_jws(token: str, jwk: Json) -> None:
    """Raise JwsError unless the token is signed with ES256 by this public key."""
    if read_jws(token)[0].get("alg") != "ES256":
        raise JwsError("the algorithm is not ES256")
    signed, _, signature_text = token.rpartition(".")
    try:
        signature = from_b64url(signature_text)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        _public_key(jwk.get("kty"), jwk.get("crv"), str(jwk.get("x")), str(jwk.get("y"))).verify(
            encode_dss_signature(r, s), signed.encode(), _ES256
        )
    except (InvalidSignature, ValueError):
        raise JwsError("the signature does not fit the key") from None


def thumbprint(jwk: Json) -> str:
    """Return the key's RFC 7638 thumbprint."""
    members = {name: jwk.get(name) for name in ("crv", "kty", "x", "y")}
    return b64url(hashlib.sha256(msgspec.json.encode(members)).digest())


@lru_cache(maxsize=4096)
def _public_key(kty: object, crv: object, x: str, y: str) -> ec.EllipticCurvePublicKey:
    if (kty, crv) != ("EC", "P-256"):
        raise ValueError("not a P-256 key")
    on_x, on_y = int.from_bytes(from_b64url(x), "big"), int.from_bytes(from_b64url(y), "big")
    return ec.EllipticCurvePublicNumbers(on_x, on_y, ec.SECP256R1()).public_key()


class Proofs:
    """Check DPoP proofs against a nonce that changes with time; every proof is good once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret = secrets.token_bytes(32)
        self._seen: OrderedDict[str, float] = OrderedDict()

    def nonce(self, age: int = 0) -> str:
        """Return the nonce of the current period, or of an earlier one."""
        period = int(self._settings.now() // self._settings.dpop_nonce_seconds) - age
        return b64url(hmac.digest(self._secret, str(period).encode(), hashlib.sha256))

    def check(self, proof: str | None, method: str, url: str, access_token: str | None = None) -> str:
        """Return the thumbprint of the key that signed the proof for this request.

        Raises OAuthError `invalid_dpop_proof`, or `use_dpop_nonce` if the nonce is absent or too old.
        """
        if not proof:
            raise OAuthError("invalid_dpop_proof", "DPoP proof required")
        try:
            head, claims = read_jws(proof)
            jwk = head.get("jwk")
            if head.get("typ") != "dpop+jwt" or not isinstance(jwk, dict) or "d" in jwk:
                raise JwsError("it needs typ dpop+jwt and the public key")
            verify_jws(proof, jwk)
        except JwsError as error:
            raise OAuthError("invalid_dpop_proof", f"Invalid DPoP proof: {error}") from None
        fault = self._fault(claims, method, url, access_token)
        if fault is not None:
            raise OAuthError("invalid_dpop_proof", fault)
        if claims.get("nonce") not in (self.nonce(), self.nonce(1)):
            raise OAuthError("use_dpop_nonce", "Authorization server requires nonce in DPoP proof")
        self._remember(str(claims["jti"]))
        return thumbprint(jwk)

    def _fault(self, claims: Json, method: str, url: str, access_token: str | None) -> str | None:
        issued_at = claims.get("iat")
        if not isinstance(claims.get("jti"), str) or not isinstance(issued_at, int | float):
            return "DPoP proof needs jti and iat"
        if claims.get("htm") != method:
            return "DPoP htm mismatch"
        if str(claims.get("htu")).split("?")[0].split("#")[0] != url:
            return "DPoP htu mismatch"
        age = self._settings.now() - issued_at
        if not -self._settings.dpop_nonce_seconds <= age <= self._settings.dpop_nonce_seconds + _PROOF_SECONDS:
            return "DPoP iat is too far from now"
        if access_token is not None and claims.get("ath") != b64url(hashlib.sha256(access_token.encode()).digest()):
            return "DPoP ath mismatch"
        return None

    def _remember(self, jti: str) -> None:
        now = self._settings.now()
        while self._seen and next(iter(self._seen.values())) < now:
            self._seen.popitem(last=False)
        if jti in self._seen:
            raise OAuthError("invalid_dpop_proof", "DPoP proof replayed")
        self._seen[jti] = now + 2 * self._settings.dpop_nonce_seconds + _PROOF_SECONDS
