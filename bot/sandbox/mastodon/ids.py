"""How servers write the numbers of what they hold: as numbers, as ULIDs or as UUIDs, each growing with time.

Within, everything has a number (see `World`); these are its names outside.
"""

import uuid
from typing import Final, Literal

IdStyle = Literal["number", "ulid", "uuid"]

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_LENGTH: Final = 26
# Of a ULID's 128 bits and a UUID's (version 7, RFC 9562) the first 48 are milliseconds; sixteen more count within one.
_ULID_REST: Final = 64
_VERSION_AND_VARIANT: Final = (7 << 76) | (2 << 62)


def write_id(number: int, style: IdStyle) -> str:
    """Return a number as a server of this style writes it; later ones sort behind earlier ones."""
    if style == "ulid":
        value = number << _ULID_REST
        return "".join(_CROCKFORD[(value >> (5 * place)) & 31] for place in reversed(range(_ULID_LENGTH)))
    if style == "uuid":
        time, count = number >> 16, number & 0xFFFF
        return str(uuid.UUID(int=time << 80 | _VERSION_AND_VARIANT | (count >> 4) << 64 | (count & 0xF) << 58))
    return str(number)


def read_id(text: str, style: IdStyle) -> int | None:
    """Return the number that was written so; None for anything else."""
    try:
        if style == "ulid":
            value = 0
            for letter in text:
                value = value << 5 | _CROCKFORD.index(letter)
            number = value >> _ULID_REST
        elif style == "uuid":
            value = uuid.UUID(text).int
            number = (value >> 80) << 16 | (value >> 64 & 0xFFF) << 4 | (value >> 58 & 0xF)
        else:
            return int(text) if text.isascii() and text.isdecimal() else None
    except ValueError:
        return None
    return number if write_id(number, style) == text else None
