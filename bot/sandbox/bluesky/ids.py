"""The identifiers of atproto: TIDs, CIDs, DIDs, record URIs, and its way to write a time."""

import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

Json = dict[str, Any]

_TID_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
# https://atproto.com/specs/tid: 13 characters, the first one below `k` because the top bit is zero.
_TID = re.compile(r"[234567abcdefghij][234567abcdefghijklmnopqrstuvwxyz]{12}")
# https://atproto.com/specs/record-key
_RECORD_KEY = re.compile(r"[A-Za-z0-9._:~-]{1,512}")
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")
_AT_URI = re.compile(r"at://(did:[a-z]+:[A-Za-z0-9._:%-]+)/([A-Za-z0-9.-]+)/([A-Za-z0-9._:~-]+)")


class TidClock:
    """Hand out TIDs that only grow, even while the clock stands still."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = 0
        self._clock_id = secrets.randbelow(1024)

    def next(self) -> str:
        """Return the next TID."""
        self._last = max(self._last + 1, int(self._now() * 1_000_000))
        number = ((self._last & ((1 << 53) - 1)) << 10) | self._clock_id
        return "".join(_TID_ALPHABET[(number >> shift) & 31] for shift in range(60, -1, -5))


def is_tid(text: str) -> bool:
    """Tell whether the text is a well-formed TID."""
    return _TID.fullmatch(text) is not None


def is_did(text: str) -> bool:
    """Tell whether the text is a well-formed DID."""
    return _DID.fullmatch(text) is not None


def is_record_key(text: str) -> bool:
    """Tell whether the text may name a record."""
    return _RECORD_KEY.fullmatch(text) is not None and text not in (".", "..")


def cid_of(value: object) -> str:
    """Return a well-formed CIDv1 (dag-cbor, sha-256) for a record.

    It is taken over the record's JSON; a real server hashes its DAG-CBOR, which no client of ours computes.
    """
    digest = hashlib.sha256(msgspec.json.encode(value, order="sorted")).digest()
    return "b" + base64.b32encode(b"\x01\x71\x12\x20" + digest).decode().rstrip("=").lower()


def did_for(seed: str) -> str:
    """Return the did:plc that belongs to a seed, always the same one."""
    return "did:plc:" + base64.b32encode(hashlib.sha256(seed.encode()).digest()).decode()[:24].lower()


def record_uri(did: str, collection: str, rkey: str) -> str:
    """Return a record's address."""
    return f"at://{did}/{collection}/{rkey}"


def split_uri(uri: object) -> tuple[str, str, str] | None:
    """Take a record's address apart into (did, collection, rkey); nothing if it is none."""
    match = _AT_URI.fullmatch(uri) if isinstance(uri, str) else None
    return (match[1], match[2], match[3]) if match else None


def iso(at: float) -> str:
    """Write epoch seconds as atproto writes a time, in milliseconds and UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: object) -> float | None:
    """Read an atproto time into epoch seconds; nothing if it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def b64url(raw: bytes) -> str:
    """Write bytes as JOSE does: base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_b64url(text: str) -> bytes:
    """Read base64url without padding; ValueError if it is none."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
