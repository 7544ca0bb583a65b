"""Read the name of a server out of what somebody typed."""

import ipaddress
import re
from typing import Final

import idna

from bot.networks.errors import Refused

_EXAMPLE: Final = "Write just its name, like mastodon.social."
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# Names that lead nowhere on the internet (RFC 2606, 6761, 6762, 7686, 8375, 9476).
_LOCAL_ENDINGS: Final = (
    "alt", "arpa", "example", "home.arpa", "internal", "intranet", "invalid", "lan", "local", "localdomain",
    "localhost", "onion", "test",
)  # fmt: skip


class BadServerName(Refused):
    """What was typed does not name a server; `detail` says what is wrong with it and what to write instead."""

    def __init__(self, detail: str) -> None:
        super().__init__("server_name", detail)


def normalise_server(text: str, allow_private: frozenset[str] = frozenset()) -> str:
    """Return the host that a user means: lower case, punycode, without scheme, path, user, port 443 or trailing dot.

    Understands `Mastodon.Social`, `https://mastodon.social/@alice`, `@alice@mastodon.social`, `bücher.example.`.
    A "host:port" of the operator's `allow_private` is returned as it stands there. Error: BadServerName.
    """
    typed = _shortened(text)
    name = re.sub(r"^[a-z][a-z0-9+.-]*://", "", text.strip().strip("<>\"'").casefold())
    name = re.split(r"[/?#\\]", name, maxsplit=1)[0].rpartition("@")[2].strip()
    if not name:
        raise BadServerName(f"There is no server's name in {typed}. {_EXAMPLE}" if typed else _EXAMPLE)
    if name in allow_private:
        return name
    if _is_address(name):
        raise BadServerName(f"{typed} is an address made of numbers, not a server's name. {_EXAMPLE}")
    name, colon, port = name.partition(":")
    if colon and port not in ("", "443"):
        raise BadServerName(
            f"{typed} names port {_shortened(port)}; only servers on the usual port are asked. {_EXAMPLE}"
        )
    name = _ascii(name, typed)
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadServerName(f"{typed} holds something that no server's name can hold. {_EXAMPLE}")
    if len(labels) < 2:
        raise BadServerName(f"{typed} has no ending such as .social or .org. {_EXAMPLE}")
    if labels[-1].isdecimal() or any(name == local or name.endswith("." + local) for local in _LOCAL_ENDINGS):
        raise BadServerName(f"{typed} is no name on the public internet. {_EXAMPLE}")
    return name


def _ascii(name: str, typed: str) -> str:
    """Return the punycode form (IDNA 2008 with UTS 46 mapping), without the root's dot."""
    try:
        return idna.encode(name, uts46=True).decode("ascii").rstrip(".").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise BadServerName(f"{typed} holds something that no server's name can hold. {_EXAMPLE}") from error


def _is_address(name: str) -> bool:
    """Tell whether this is an IP address, also with a port or in brackets."""
    for candidate in (name, name.strip("[]"), name.rpartition(":")[0].strip("[]")):
        try:
            ipaddress.ip_address(candidate)
        except ValueError:
            continue
        return True
    return False


def _shortened(text: str) -> str:
    """Return what was typed in a form that fits into a sentence."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return words if len(words) <= 60 else words[:60] + "…"
