"""A Bluesky on which people act: the same hands on the stand-in and on a real server, so that one story fits both."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bot.sandbox.bluesky.people import BlueskyPerson

if TYPE_CHECKING:
    from bot.sandbox.bluesky.chat import Chat, ChatMessage
    from bot.sandbox.bluesky.sandbox import BlueskySandbox
    from bot.sandbox.bluesky.world import World
    from bot.sandbox.faults import Fault, Faults


class Hands(Protocol):
    """One account and the hands on its keyboard; `did` and `actor` are the same, `handle` is that of the moment."""

    did: str
    actor: str
    password: str

    @property
    def handle(self) -> str:
        """Return the handle of the moment."""

    @property
    def follows(self) -> set[str]:
        """Return the DIDs this person follows, as far as the network has told."""

    async def add_app_password(self, *, chat: bool) -> str:
        """Make one more password, with or without access to the chat."""

    async def revoke_app_password(self, password: str) -> None:
        """Take a password back that `add_app_password` made, and end what was begun with it."""

    async def post(
        self,
        text: str,
        *,
        reply_to: str | None = None,
        langs: Sequence[str] | None = None,
        written_at: float | None = None,
    ) -> str:
        """Publish a post, in which every `@handle` of somebody becomes a mention; return its address.

        `written_at` is what the app takes for the time, in seconds, where that is not the present.
        """

    async def delete(self, uri: str) -> None:
        """Delete one of this person's own records."""

    async def dm(self, other: str, text: str) -> str:
        """Send a direct message to a DID and return its id; DmRefused if the other does not take it."""

    def received_dms(self, sender: str | None = None) -> list["ChatMessage"]:
        """Return the direct messages that came in (from one DID), oldest first."""

    async def allow_incoming(self, whom: str) -> None:
        """Say from whom direct messages are taken: all, none or following."""

    async def follow(self, other: str) -> str:
        """Follow a DID and return the record's address."""

    async def unfollow(self, other: str) -> None:
        """Take back every follow of a DID."""

    async def block(self, other: str) -> None:
        """Block a DID."""

    async def unblock(self, other: str) -> None:
        """Take back every block of a DID."""

    async def rename(self, name: str) -> None:
        """Take another name under the network's domain; the DID stays."""

    async def deactivate(self) -> None:
        """Close the account for the time being."""

    async def reactivate(self) -> None:
        """Open the account again."""

    async def take_down(self) -> None:
        """Have the moderators suspend the account."""

    async def approve(self, authorize_url: str, *, allow: bool = True, scope: str | None = None) -> str:
        """Sign in at the consent page and say yes or no; return the address it leads to.

        `scope` grants only these of the scopes asked for.
        """

    async def withdraw_consents(self) -> None:
        """Take every consent back in the settings of the server, without a word to the app that had it."""


class Sky(Protocol):
    """One network. `url` is its PDS (also its OAuth server), `domain` what handles end in.

    `poll_seconds` is how often a bot may look for news there.
    """

    url: str
    plc_url: str
    domain: str
    poll_seconds: float
    chat: "Chat"

    @property
    def world(self) -> "World":
        """Return the accounts, the records and the journal, as far as the network has told of them."""

    async def open_account(self, name: str, *, password: str | None = None) -> Hands:
        """Open the account `name.domain`, which takes direct messages from those it follows."""

    async def open_crowd(self, size: int) -> list[str]:
        """Return the DIDs of so many accounts that the network knows, and at which nobody sits."""

    async def know_client(self, document: dict[str, Any]) -> None:
        """Have the document that describes an OAuth client be found under its client_id, an https address."""

    async def settle(self) -> None:
        """Return when every part of the network shows what was done so far."""

    async def plan(self, fault: "Fault") -> None:
        """Have a request fail."""


class StandInHands:
    """The hands of somebody on the stand-in."""

    def __init__(self, sky: "StandInSky", person: BlueskyPerson) -> None:
        self._sky = sky
        self.person = person
        self.did = self.actor = person.did
        self.password = person.password

    @property
    def handle(self) -> str:
        """Return the handle of the moment."""
        return self.person.handle

    @property
    def follows(self) -> set[str]:
        """Return the DIDs this person follows now."""
        return self.person.follows

    async def add_app_password(self, *, chat: bool) -> str:
        """Make one more password, with or without access to the chat."""
        return self.person.add_app_password(chat=chat)

    async def revoke_app_password(self, password: str) -> None:
        """Take a password back, and end what was begun with it."""
        self.person.revoke_app_password(password)

    async def post(
        self,
        text: str,
        *,
        reply_to: str | None = None,
        langs: Sequence[str] | None = None,
        written_at: float | None = None,
    ) -> str:
        """Publish a post and return its address."""
        return self.person.post(text, reply_to=reply_to, langs=langs, written_at=written_at)

    async def delete(self, uri: str) -> None:
        """Delete one of this person's own records."""
        self.person.delete(uri)

    async def dm(self, other: str, text: str) -> str:
        """Send a direct message."""
        return self.person.dm(self._sky.person(other), text)

    def received_dms(self, sender: str | None = None) -> list["ChatMessage"]:
        """Return the direct messages that came in."""
        return self.person.received_dms(self._sky.person(sender) if sender else None)

    async def allow_incoming(self, whom: str) -> None:
        """Say from whom direct messages are taken."""
        self.person.allow_incoming = whom

    async def follow(self, other: str) -> str:
        """Follow a DID."""
        return self.person.follow(self._sky.person(other))

    async def unfollow(self, other: str) -> None:
        """Take back every follow of a DID."""
        self.person.unfollow(self._sky.person(other))

    async def block(self, other: str) -> None:
        """Block a DID."""
        self.person.block(self._sky.person(other))

    async def unblock(self, other: str) -> None:
        """Take back every block of a DID."""
        self.person.unblock(self._sky.person(other))

    async def rename(self, name: str) -> None:
        """Take another name under the network's domain."""
        self.person.rename(f"{name}.{self._sky.domain}")

    async def deactivate(self) -> None:
        """Close the account for the time being."""
        self.person.deactivate()

    async def reactivate(self) -> None:
        """Open the account again."""
        self.person.reactivate()

    async def take_down(self) -> None:
        """Have the moderators suspend the account."""
        self.person.take_down()

    async def approve(self, authorize_url: str, *, allow: bool = True, scope: str | None = None) -> str:
        """Sign in at the consent page and say yes or no."""
        return await self.person.approve(authorize_url, allow=allow, scope=scope)

    async def withdraw_consents(self) -> None:
        """Take every consent back in the settings of the server."""
        self.person.withdraw_consents()


class StandInSky:
    """The stand-in as one of several networks."""

    def __init__(self, sandbox: "BlueskySandbox", domain: str = "test") -> None:
        self.sandbox = sandbox
        self.url = self.plc_url = sandbox.url
        self.domain = domain
        self.poll_seconds = 0.1
        self.world = sandbox.world
        self.chat = sandbox.chat
        self.faults: Faults = sandbox.faults
        self._clients: dict[str, dict[str, Any]] = {}

    def person(self, did: str) -> BlueskyPerson:
        """Return somebody by their DID; KeyError for nobody."""
        return self.sandbox.people[did]

    async def open_account(self, name: str, *, password: str | None = None) -> StandInHands:
        """Open the account `name.domain`."""
        return StandInHands(self, self.sandbox.create_account(f"{name}.{self.domain}", password=password))

    async def open_crowd(self, size: int) -> list[str]:
        """Return the DIDs of so many accounts at which nobody sits."""
        numbers = range(len(self.sandbox.people), len(self.sandbox.people) + size)
        return [self.sandbox.create_account(f"crowd{number}.{self.domain}").did for number in numbers]

    async def know_client(self, document: dict[str, Any]) -> None:
        """Have the document that describes an OAuth client be found under its client_id."""
        self._clients[str(document["client_id"])] = document
        self.sandbox.fetch_client_metadata = self._client

    async def _client(self, client_id: str) -> dict[str, Any]:
        return self._clients[client_id]

    async def settle(self) -> None:
        """Return at once: nothing lags behind here."""

    async def plan(self, fault: "Fault") -> None:
        """Have a request fail."""
        self.faults.plan(fault)
