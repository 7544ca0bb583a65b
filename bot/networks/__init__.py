"""The port through which Reflock hears and acts; one adapter per network behind it.

To add a network, write one class with these methods and name it in `bot/app.py`.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from bot.networks.errors import NetworkError, Refused, Unavailable
from storage.records import NetworkName

__all__ = [
    "Batch",
    "FollowOrder",
    "FollowOutcome",
    "GrantInUse",
    "Incoming",
    "Network",
    "NetworkError",
    "Refused",
    "Say",
    "Unavailable",
]

# What JSON may smuggle in and no database holds: NUL (PostgreSQL) and halves of characters (UTF-8).
_UNHELD: Final = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Incoming:
    """One mention or DM, as a network delivered it.

    `id` is unique on its network and stable over redelivery. `text` is plain text, still with the mention of the bot.
    `thread` is what the adapter needs to answer there (its own JSON; nobody else reads it); `thread_key` is the same
    for all messages of one thread. `at` is epoch milliseconds. `languages` are what the post declares of itself.
    ValueError when what says who and where holds what no database does: without that it would be somebody else's.
    """

    id: str
    network: NetworkName
    actor: str
    handle: str
    text: str
    public: bool
    thread: str
    thread_key: str
    at: int
    languages: tuple[str, ...] = ()
    by_bot: bool = False

    def __post_init__(self) -> None:
        """Take what no database holds out of what was said, and refuse it everywhere else."""
        for name in ("id", "actor", "handle", "thread", "thread_key"):
            if _UNHELD.search(getattr(self, name)):
                raise ValueError(f"The {name} of a message holds what none may.")
        object.__setattr__(self, "text", _UNHELD.sub("", self.text))
        object.__setattr__(self, "languages", tuple(each for each in self.languages if not _UNHELD.search(each)))


@dataclass(frozen=True, slots=True)
class Batch:
    """What was heard since a cursor, oldest first, and the cursor from which to go on."""

    messages: list[Incoming]
    cursor: str


@dataclass(frozen=True, slots=True)
class Say:
    """One text to bring to one account.

    `key` is the idempotency key. `public` answers `thread` in public; otherwise the text goes by DM to `actor`.
    With `again` an earlier attempt (first made at `first_at`, epoch milliseconds) has an unknown outcome: look before
    sending.
    """

    key: str
    actor: str
    handle: str
    text: str
    public: bool
    thread: str | None
    language: str
    again: bool = False
    first_at: int = 0


@dataclass(frozen=True, slots=True)
class FollowOrder:
    """One account to follow, or to cease to follow, on behalf of the grant's owner.

    `key` is the idempotency key (on Bluesky the TID that becomes the record's rkey). `uri` is, for an unfollow, what
    the follow returned. With `again` an earlier attempt was begun (see `Unavailable`) and has an unknown outcome. With
    `in_doubt` it is not known either how that attempt found things, if it came so far, or the matter rested since: their
    owner may have done the same by hand.
    """

    key: str
    actor: str
    handle: str
    uri: str | None = None
    again: bool = False
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class FollowOutcome:
    """What came of one order.

    `already`: it was so before we came, so an undo leaves it. `requested`: a locked account has yet to agree. `unclear`: it
    is one of these, or done, and nobody can tell which; an undo leaves it too.
    """

    state: Literal["done", "already", "requested", "unclear", "refused"]
    uri: str | None = None
    reason: str | None = None


@dataclass(slots=True)
class GrantInUse:
    """A consent being used, under the lease of its lane: `secret` is the decrypted JSON of the adapter's tokens.

    An adapter that refreshes tokens calls `save` with the new JSON before it uses them.
    """

    account_id: str
    secret: str
    save: Callable[[str], Awaitable[None]]


class Network(Protocol):
    """One network, seen from Reflock. Every method raises Unavailable or Refused, and nothing else of the network's."""

    name: NetworkName

    @property
    def handle(self) -> str:
        """Return our own handle there, known once `start` has succeeded."""

    async def start(self) -> None:
        """Log in (from the kept session where there is one) and learn who we are and what the server allows."""

    async def close(self) -> None:
        """Give connections and threads back."""

    async def hear(self, cursor: str | None) -> Batch:
        """Return what arrived since the cursor; never waits for news. None: begin with what is still unanswered."""

    async def wait(self, seconds: float) -> None:
        """Return as soon as there may be news, at the latest after `seconds`."""

    async def say(self, say: Say) -> str:
        """Bring a text to its reader; return the id under which the network keeps it."""

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Follow on behalf of the grant's owner; outcomes in the order of the orders."""

    async def unfollow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Cease to follow, but only what `follow` did; outcomes in the order of the orders."""

    async def revoke(self, secret: str) -> None:
        """End a grant at its issuer; a grant that has ended already is fine."""

    def fits(self, text: str, *, public: bool) -> bool:
        """Tell whether a text may be said in one piece."""
