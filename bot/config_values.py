"""The kinds of text in config.toml that are checked when they are read; what is refused is never repeated."""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

# Labels of letters, digits and hyphens, two at least (https://atproto.com/specs/handle).
_HANDLE: Final = re.compile(r"([a-z0-9-]{1,63}\.)+[a-z0-9-]{1,63}", re.ASCII | re.IGNORECASE)


def _address(text: str) -> str:
    if text and not text.startswith(("https://", "http://")):
        raise ValueError("must begin with https:// (http:// only for a server on this machine)")
    if "@" in text:
        raise ValueError(
            "must not hold a name or a password, which would be shown wherever the address is; write it without what "
            "stands before the @, as in https://reflock.example.org"
        )
    try:
        parts = urlsplit(text)
        named = (parts.hostname or "").encode("idna") and parts.port != 0 and text.isprintable() and " " not in text
    except ValueError:  # what is no host, or no port
        named = False
    if text and not named:
        raise ValueError("is not the address of a server; write it as in https://reflock.example.org")
    return text.rstrip("/")


def _site(text: str) -> str:
    parts = urlsplit(text)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "must have nothing behind the host: the pages are not found below a path; write it as in "
            "https://reflock.example.org"
        )
    return text


def _handle(text: str) -> str:
    if text and not _HANDLE.fullmatch(text):
        raise ValueError("is no handle of Bluesky; write it as in reflock.example.org, without @ and blanks")
    return text


Address = Annotated[str, AfterValidator(_address)]
Site = Annotated[Address, AfterValidator(_site)]
Handle = Annotated[str, AfterValidator(_handle)]
