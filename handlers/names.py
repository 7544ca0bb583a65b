"""How somebody is called in a message: on Mastodon a mention is an address, so nobody is ever mentioned there."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from storage.records import Account, NetworkName

# What the networks call themselves; names are not translated.
NETWORKS: Final[Mapping[NetworkName, str]] = {NetworkName.BLUESKY: "Bluesky", NetworkName.MASTODON: "Mastodon"}


def name_of(reader: NetworkName, account: Account) -> str:
    """Name an account so that it can be found from the reader's network, and is not written to.

    Bluesky among itself: @handle. All else: the address of the profile.
    """
    if reader is account.network is NetworkName.BLUESKY:
        return f"@{account.handle.lstrip('@')}"
    return address_of(account)


def address_of(account: Account) -> str:
    """Return the address of an account's profile."""
    if account.network is NetworkName.BLUESKY:
        return f"https://bsky.app/profile/{account.handle.lstrip('@')}"
    name, host = _fediverse(account)
    return f"https://{host}/@{name}"


def plain_name(account: Account) -> str:
    """Name an account without a leading @ (which on X would mention somebody else): alice.bsky.social, alice@host."""
    if account.network is NetworkName.BLUESKY:
        return account.handle.lstrip("@")
    return "@".join(_fediverse(account))


def x_name(x_handle: str, reader: NetworkName) -> str:
    """Name an X account: @old on Bluesky (where that is no handle), x.com/old where a leading @ would be an address."""
    return f"@{x_handle}" if reader is NetworkName.BLUESKY else f"x.com/{x_handle}"


def unaddressed(text: str, reader: NetworkName) -> str:
    """Take the @ off an example (@old_handle) where it would make it somebody's address."""
    return text if reader is NetworkName.BLUESKY else text.replace("@", "")


def quoted(words: str, most: int = 60) -> str:
    """Shorten somebody's own words to be quoted back in one line, so that they mention nobody on either network."""
    line = " ".join(words.replace("@", "").split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _fediverse(account: Account) -> tuple[str, str]:
    name, _, host = account.handle.lstrip("@").partition("@")
    return name, host or urlsplit(account.id).netloc
