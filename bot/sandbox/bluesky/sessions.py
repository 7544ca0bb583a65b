"""Password sessions of a PDS: access and refresh tokens."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace

import msgspec

from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.ids import Json, b64url, from_b64url
from bot.sandbox.bluesky.settings import Settings
from bot.sandbox.bluesky.world import Account, World

# A PDS lets a used refresh token give the same successor for two more hours (auth store, grace period).
_REFRESH_GRACE = 2 * 3600
_ACCESS_SCOPES = {True: "com.atproto.appPassPrivileged", False: "com.atproto.appPass"}


@dataclass(slots=True)
class _Refresh:
    did: str
    password: str
    chat: bool
    expires_at: int
    successor: str | None = None


class Sessions:
    """Sign people in by password; every token is an HS256 JWT as on the real PDS."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._secret = secrets.token_bytes(32)
        self._refresh: dict[str, _Refresh] = {}

    def create(self, identifier: str, password: str) -> tuple[Account, Json]:
        """Sign in: the account and its tokens; XrpcError 401 if the password is wrong or the account is taken down."""
        account = self._world.find(identifier)
        if account is None or not password_fits(account, password):
            raise XrpcError("AuthenticationRequired", "Invalid identifier or password", status=401)
        if account.status in ("takendown", "suspended"):
            raise XrpcError("AccountTakedown", "Account has been taken down", status=401)
        row = _Refresh(account.did, password, account.passwords[password], self._refresh_ends_at())
        return account, self._issue(account, row, secrets.token_urlsafe(24))

    def refresh(self, token: str) -> tuple[Account, Json]:
        """Exchange a refresh token; XrpcError 400 ExpiredToken if it was revoked or is too old, 401 if they are gone."""
        claims = self._read(token, "refresh+jwt")
        account = self._active(claims["sub"])
        now = self._settings.now()
        row = self._refresh.get(claims["jti"])
        if row is None or row.expires_at <= now:
            self._refresh.pop(claims["jti"], None)
            raise XrpcError("ExpiredToken", "Token has been revoked")
        if row.successor is None:
            row.successor = secrets.token_urlsafe(24)
            row.expires_at = min(row.expires_at, int(now) + _REFRESH_GRACE)
        next_row = replace(row, successor=None, expires_at=self._refresh_ends_at())
        return account, self._issue(account, next_row, row.successor)

    def count(self, did: str) -> int:
        """Return how many sessions somebody has."""
        return sum(row.did == did for row in self._refresh.values())

    def end(self, token: str) -> None:
        """Sign out."""
        self._refresh.pop(self._read(token, "refresh+jwt")["jti"], None)

    def end_all(self, did: str, password: str | None = None) -> None:
        """Sign out whoever came (with one password); an access token lasts its time, as on the real PDS."""
        over = [jti for jti, row in self._refresh.items() if row.did == did and password in (None, row.password)]
        for jti in over:
            del self._refresh[jti]

    def verify(self, token: str) -> tuple[Account, bool]:
        """Return whose access token this is and whether it may use the chat; it lasts its time, come what may."""
        claims = self._read(token, "at+jwt")
        return self._world.accounts[claims["sub"]], claims["scope"] == _ACCESS_SCOPES[True]

    def _active(self, did: str) -> Account:
        account = self._world.accounts[did]
        if account.status in ("takendown", "suspended"):
            raise XrpcError("AccountTakedown", "Account has been taken down", status=401)
        return account

    def _refresh_ends_at(self) -> int:
        return int(self._settings.now()) + self._settings.refresh_seconds

    def _issue(self, account: Account, row: _Refresh, jti: str) -> Json:
        now = int(self._settings.now())
        self._refresh.setdefault(jti, row)
        access: Json = {"scope": _ACCESS_SCOPES[row.chat], "exp": now + self._settings.access_seconds}
        refresh: Json = {"scope": "com.atproto.refresh", "jti": jti, "exp": row.expires_at}
        common = {"sub": account.did, "iat": now, "aud": "did:web:localhost"}
        return {
            "accessJwt": self._sign("at+jwt", access | common),
            "refreshJwt": self._sign("refresh+jwt", refresh | common),
        }

    def _sign(self, kind: str, claims: Json) -> str:
        head = b64url(msgspec.json.encode({"typ": kind, "alg": "HS256"}))
        signed = f"{head}.{b64url(msgspec.json.encode(claims))}"
        return f"{signed}.{b64url(hmac.digest(self._secret, signed.encode(), hashlib.sha256))}"

    def _read(self, token: str, kind: str) -> Json:
        """Return a token's claims; XrpcError InvalidToken if it is not ours, ExpiredToken if it is too old."""
        try:
            signed, _, signature = token.rpartition(".")
            head, claims = (msgspec.json.decode(from_b64url(part)) for part in signed.split("."))
            genuine = hmac.compare_digest(
                hmac.digest(self._secret, signed.encode(), hashlib.sha256), from_b64url(signature)
            )
        except (ValueError, msgspec.DecodeError):
            raise XrpcError("InvalidToken", "Token could not be verified") from None
        if not genuine:
            raise XrpcError("InvalidToken", "Token could not be verified")
        if head["typ"] != kind:
            raise XrpcError("InvalidToken", "Invalid token type")
        if claims["exp"] <= self._settings.now():
            raise XrpcError("ExpiredToken", "Token has expired")
        return dict(claims)


def password_fits(account: Account, password: str) -> bool:
    """Tell, in constant time, whether this is one of the account's passwords."""
    return any(hmac.compare_digest(known.encode(), password.encode()) for known in account.passwords)
