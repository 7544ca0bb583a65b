"""The ready-made post for X: a goodbye that says where somebody is now and, with a code in it, the proof."""

import re
from collections.abc import Sequence
from typing import Final

from handlers.names import NETWORKS, plain_name
from handlers.texts import N_, Texts
from storage.records import Account

# X counts to 280; characters outside of these ranges weigh 2, all others 1, and an address 23 (docs.x.com, "Counting
# characters"; twitter-text's configuration v3).
MOST: Final = 280
_HEAVY: Final = re.compile("[^\u0000-\u10ff\u2000-\u200d\u2010-\u201f\u2032-\u2037]")
_ADDRESS: Final = re.compile(r"(?:https?://)?[\w-]+(?:\.[\w-]+)+(?:/\S*)?")
_ADDRESS_WEIGHT: Final = 23


def weight(text: str) -> int:
    """Return the most that X may count for a text: what looks like an address counts as one, or longer if it is."""
    found = _ADDRESS.findall(text)
    rest = _ADDRESS.sub("", text)
    return sum(max(_ADDRESS_WEIGHT, len(each)) for each in found) + len(rest) + len(_HEAVY.findall(rest))


def farewell(texts: Texts, accounts: Sequence[Account], code: str | None = None) -> str:
    """Write the post: as many of the accounts as fit in, the first one first, and the code (if any) as plain text."""
    for count in range(len(accounts), 0, -1):
        places = texts.listing([f"{plain_name(each)} ({NETWORKS[each.network]})" for each in accounts[:count]])
        post = texts.text(N_("From now on you will find me at {places}. Come along! #eXit"), places=places)
        if weight(whole := _with(post, code)) <= MOST:
            return whole
    return _with(texts.text(N_("I am making my #eXit: look for me on Bluesky and Mastodon. Come along!")), code)


def _with(post: str, code: str | None) -> str:
    return f"{post} {code}" if code else post
