"""Make TIDs, the record keys of Bluesky's repositories, so that a record is the same one however often it is written.

A TID is 13 letters of a sortable base32: 53 bits of microseconds and 10 bits that tell clocks apart (atproto.com,
"Record Key"; the top bit is zero).
"""

import secrets
from typing import Final

_ALPHABET: Final = "234567abcdefghijklmnopqrstuvwxyz"
_LENGTH: Final = 13


def tid(now: int, i: int = 0, clock: int | None = None) -> str:
    """Return the TID of the moment `now` (epoch milliseconds) plus `i` microseconds; `clock` (0 to 1023) is drawn."""
    number = ((now * 1000 + i) << 10) | (secrets.randbelow(1024) if clock is None else clock)
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(_LENGTH)))
