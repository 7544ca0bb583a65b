"""The chat service behind a real PDS: the stand-in's own, which believes what the PDS signs in its users' names."""

import time
from typing import Final

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from bot.sandbox.bluesky import methods_chat
from bot.sandbox.bluesky.chat import Chat
from bot.sandbox.bluesky.dpop import JwsError, read_jws
from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.ids import from_b64url
from bot.sandbox.bluesky.real.mirror import Mirror
from bot.sandbox.bluesky.settings import CHAT_DID
from bot.sandbox.bluesky.xrpc import Call, Method, Xrpc

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# The multicodec prefix of a compressed secp256k1 key (https://atproto.com/specs/cryptography).
_SECP256K1: Final = bytes((0xE7, 0x01))


class ChatService(Xrpc[Call]):
    """Answer chat.bsky.convo for those whom a signed token names. `http` asks the PLC directory for their keys."""

    def __init__(self, chat: Chat, mirror: Mirror, plc_url: str, http: httpx.AsyncClient) -> None:
        super().__init__(methods_chat.methods(chat))
        self._mirror = mirror
        self._plc_url = plc_url
        self._http = http
        self._keys: dict[str, ec.EllipticCurvePublicKey] = {}
        self.app: Final = Starlette(routes=[Route("/xrpc/{nsid}", self.serve, methods=["GET", "POST"])])

    def _new_call(self, nsid: str, request: Request) -> Call:
        return Call(nsid, request.query_params, {})

    async def _authenticate(self, call: Call, method: Method[Call], request: Request) -> None:  # noqa: ARG002  # all methods need a token
        did = await self._issuer(request.headers.get("authorization", "").removeprefix("Bearer "), call.nsid)
        await self._mirror.until(lambda: did in self._mirror.accounts)
        call.account, call.chat = self._mirror.accounts[did], True

    async def _issuer(self, token: str, nsid: str) -> str:
        """Return who called the PDS: a service token is for one method of one service, and for a minute."""
        try:
            head, claims = read_jws(token)
            issuer, audience = str(claims.get("iss")), str(claims.get("aud"))
            if head.get("alg") != "ES256K":
                raise JwsError("the algorithm is not ES256K")
            if audience.partition("#")[0] != CHAT_DID:
                raise JwsError("it is for another service")
            if not isinstance(claims.get("exp"), int) or claims["exp"] < time.time():
                raise JwsError("it has expired")
            if claims.get("lxm") != nsid:
                raise XrpcError("BadJwtLexiconMethod", "bad jwt lexicon method", status=401)
            await self._verify(token, issuer)
        except (JwsError, InvalidSignature, ValueError) as error:
            raise XrpcError("BadJwt", f"{type(error).__name__}: {error}", status=401) from None
        return issuer

    async def _verify(self, token: str, did: str) -> None:
        signed, _, signature = token.rpartition(".")
        raw = from_b64url(signature)
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        key = self._keys.get(did) or await self._key(did)
        key.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))

    async def _key(self, did: str) -> ec.EllipticCurvePublicKey:
        data = (await self._http.get(f"{self._plc_url}/{did}/data")).json()
        self._keys[did] = _public_key(str(data.get("verificationMethods", {}).get("atproto")))
        return self._keys[did]


def _public_key(did_key: str) -> ec.EllipticCurvePublicKey:
    """Read a did:key: `z`, then base58 of prefix and compressed point; ValueError if it is none."""
    number = 0
    for letter in did_key.removeprefix("did:key:z"):
        number = number * 58 + _BASE58.index(letter)
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if not raw.startswith(_SECP256K1):
        raise ValueError("not a secp256k1 key")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), raw[2:])
