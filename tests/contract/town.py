"""A Mastodon-API server on which people act, and the sandbox as one: the same hands are on a real server."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from bot.networks.markup import html_to_text
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.accounts import Status, Visibility

if TYPE_CHECKING:
    from bot.sandbox.faults import Fault

Follows = Literal["no", "asked", "yes"]


@dataclass(frozen=True, slots=True)
class Received:
    """A status as its reader sees it; `mentions` are the names of the accounts that it addresses."""

    id: str
    text: str
    visibility: str
    reply_to: str | None
    mentions: frozenset[str]


class TownHands(Protocol):
    """One account and the hands on its keyboard; `handle` is its full name with an @ before it."""

    id: str
    name: str
    handle: str
    actor: str
    token: str

    async def post(self, text: str, *, visibility: Visibility = "public", reply_to: str | None = None) -> str:
        """Publish a status and return its id."""

    async def delete(self, status: str) -> None:
        """Delete one of one's own statuses."""

    async def received(self, sender: "TownHands", text: str) -> list[Received]:
        """Return what somebody wrote to this account that holds a text, oldest first."""

    async def follow(self, other: "TownHands") -> None:
        """Follow somebody, or ask to."""

    async def unfollow(self, other: "TownHands") -> None:
        """Cease to follow somebody, or to ask to."""

    async def accept(self, other: "TownHands") -> None:
        """Let somebody follow who asked to."""

    async def follows(self, other: "TownHands") -> Follows:
        """Tell whether this account follows another."""

    async def block(self, other: "TownHands") -> None:
        """Block somebody."""

    async def lock(self, locked: bool) -> None:
        """Have follows be asked for, or not."""

    async def token_for(self, scope: str) -> str:
        """Return one more token of this account's, that covers no more than this."""

    async def approve(self, authorize_url: str, *, allow: bool = True) -> str:
        """Sign in at the consent page and say yes or no; return the address it leads to, or the code it shows."""


class Town(Protocol):
    """One server; its accounts are named by `domain`, `patience` is how many seconds it may take to show what was done."""

    url: str
    domain: str
    patience: float

    @property
    def flock(self) -> TownHands:
        """Return the account that is the bot's."""

    @property
    def alice(self) -> TownHands:
        """Return somebody."""

    @property
    def bob(self) -> TownHands:
        """Return somebody else."""

    async def carol(self) -> TownHands:
        """Return one account more."""

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        """Return as soon as something is true; TimeoutError if it does not come true."""

    def plan(self, fault: "Fault") -> None:
        """Have a request fail."""


class StandInHands:
    """The hands of somebody on the sandbox."""

    def __init__(self, sandbox: MastodonSandbox, person: MastodonPerson) -> None:
        self._sandbox = sandbox
        self.person = person
        self.id, self.name, self.handle, self.actor = person.id, person.acct, person.handle, person.actor
        self.token = person.token

    def _person(self, other: TownHands) -> MastodonPerson:
        return self._sandbox.people[other.actor]

    async def post(self, text: str, *, visibility: Visibility = "public", reply_to: str | None = None) -> str:
        """Publish a status."""
        return self.person.post(text, visibility=visibility, reply_to=reply_to)

    async def delete(self, status: str) -> None:
        """Delete one of one's own statuses."""
        self.person.delete(status)

    async def received(self, sender: TownHands, text: str) -> list[Received]:
        """Return what somebody wrote to this account."""
        entries = self.person.account.notifications
        statuses = [one.status for one in entries if one.status and one.sender.uri == sender.actor and not one.filtered]
        return [found for found in map(self._as_seen, statuses) if text in found.text]

    def _as_seen(self, status: Status) -> Received:
        parent = status.in_reply_to
        return Received(
            self._sandbox.world.write_id(status.id),
            html_to_text(status.content),
            status.visibility,
            self._sandbox.world.write_id(parent.id) if parent else None,
            frozenset(one.name for one in status.mentions),
        )

    async def follow(self, other: TownHands) -> None:
        """Follow somebody, or ask to."""
        self.person.follow(self._person(other))

    async def unfollow(self, other: TownHands) -> None:
        """Cease to follow somebody."""
        self.person.unfollow(self._person(other))

    async def accept(self, other: TownHands) -> None:
        """Let somebody follow who asked to."""
        self.person.accept(self._person(other))

    async def follows(self, other: TownHands) -> Follows:
        """Tell whether this account follows another."""
        if other.actor in self.person.follows:
            return "yes"
        return "asked" if other.actor in self.person.requested else "no"

    async def block(self, other: TownHands) -> None:
        """Block somebody."""
        self.person.block(self._person(other))

    async def lock(self, locked: bool) -> None:
        """Have follows be asked for, or not."""
        self.person.account.locked = locked

    async def token_for(self, scope: str) -> str:
        """Return one more token."""
        return self.person.token_for(scope)

    async def approve(self, authorize_url: str, *, allow: bool = True) -> str:
        """Walk through the consent page."""
        return await self.person.approve(authorize_url, allow=allow)


class StandInTown:
    """The sandbox as one of several servers."""

    def __init__(self, sandbox: MastodonSandbox) -> None:
        self.sandbox = sandbox
        self.patience = 5.0
        self.url, self.domain = sandbox.url, sandbox.domain
        self.flock, self.alice, self.bob, self._carol = map(self.open, ("flock", "alice", "bob", "carol"))

    def open(self, name: str) -> StandInHands:
        """Open an account to which everybody may write."""
        person = self.sandbox.create_account(name)
        if name != "flock":  # the bot opens its own by itself
            person.allow_private_mentions(allowed=True)
        return StandInHands(self.sandbox, person)

    async def carol(self) -> StandInHands:
        """Return one account more."""
        return self._carol

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        """Return if it is true now, or at a second look: some characters show a notification no sooner."""
        if not await true() and not await true():
            raise TimeoutError

    def plan(self, fault: "Fault") -> None:
        """Have a request fail."""
        self.sandbox.faults.plan(fault)
