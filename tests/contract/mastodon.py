"""The Mastodon adapter among people, on the sandbox in every character and on a real server: what its contract stands on."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from urllib.parse import parse_qsl, urlsplit

import pytest

from bot.networks import FollowOrder, GrantInUse, Incoming, Say
from bot.networks.errors import Refused
from bot.networks.guard import GuardedClient
from bot.networks.mastodon import MastodonNetwork
from bot.networks.oauth_mastodon import MastodonApp, MastodonOauth, MastodonTokens
from bot.sandbox.mastodon import MastodonSandbox
from bot.sandbox.mastodon.quirks import CHARACTERS
from tests.conftest import OwnClock
from tests.contract.real_town import RealTown, not_tried
from tests.contract.town import StandInTown, Town, TownHands

CHARACTER_OF = {f"sandbox as {character.name}": character for character in CHARACTERS}
# Without a server's address there is none, and the contract is the sandbox's alone.
REAL = [os.environ["MASTODON_URL"]] if os.environ.get("MASTODON_URL") else []
HOME = "https://reflock.example"

_NUMBERS = count()
_RUN = f"{int(time.time()) % 36**4:x}"  # a real server remembers what earlier runs said


def unique(word: str = "word") -> str:
    """Return a word that nobody has said yet."""
    return f"{word}{_RUN}x{next(_NUMBERS)}"


class RealTime:
    """The present: epoch milliseconds."""

    def __call__(self) -> int:
        """Return the present."""
        return int(time.time() * 1000)


class Scene:
    """One server with people on it, and the bots that a test starts."""

    def __init__(self, town: Town, clock: Callable[[], int], guard: GuardedClient, stack: AsyncExitStack) -> None:
        self.town = town
        self.clock = clock
        self.guard = guard
        self._stack = stack
        self._began = clock() // 1000 * 1000
        self.flock, self.alice, self.bob = town.flock, town.alice, town.bob

    @classmethod
    @asynccontextmanager
    async def on(cls, town: Town, clock: Callable[[], int]) -> AsyncIterator["Scene"]:
        """Set the scene on a server."""
        named = {urlsplit(town.url).netloc, town.domain}
        homes = frozenset(named | {f"{name}:80" for name in named if ":" not in name})
        local = urlsplit(town.url).scheme == "http"
        async with AsyncExitStack() as stack:
            guard = await stack.enter_async_context(GuardedClient(allow_private=homes if local else frozenset()))
            yield cls(town, clock, guard, stack)

    @property
    def pasting(self) -> MastodonOauth:
        """Return the OAuth client of a bot without a web address of its own."""
        return self.client(None)

    def client(self, public_url: str | None = HOME) -> MastodonOauth:
        """Return an OAuth client."""
        return MastodonOauth(self.guard, public_url=public_url, clock=lambda: self.clock() / 1000)

    async def start(self, token: str | None = None, *, streaming: bool = False) -> MastodonNetwork:
        """Start a bot; as often as a test likes."""
        bot = MastodonNetwork(
            base_url=self.town.url,
            access_token=self.flock.token if token is None else token,
            guard=self.guard,
            oauth=self.pasting,
            clock=self.clock,
            poll_seconds=0.2,
            streaming=streaming,
        )
        self._stack.push_async_callback(bot.close)
        await bot.start()
        return bot

    async def attentive(self) -> tuple[MastodonNetwork, str]:
        """Start the bot, and have it hear only what is still to come."""
        bot = await self.start()
        first = unique("first")
        await self.alice.post(f"@flock {first}".replace("@flock", self.flock.handle))
        cursor: str | None = None
        async with asyncio.timeout(self.town.patience):
            while True:
                batch = await bot.hear(cursor)
                cursor = batch.cursor
                if any(first in message.text for message in batch.messages):
                    return bot, cursor
                await bot.wait(1)

    async def heard(self, bot: MastodonNetwork, cursor: str, number: int = 1) -> list[Incoming]:
        """Return so many messages heard since a cursor, whenever the server shows them; not one more."""
        return (await self.heard_on(bot, cursor, number))[0]

    async def heard_on(self, bot: MastodonNetwork, cursor: str, number: int = 1) -> tuple[list[Incoming], str]:
        """Return so many messages heard since a cursor, and the cursor after them."""
        found: list[Incoming] = []
        async with asyncio.timeout(self.town.patience):
            while len(found) < number:
                batch = await bot.hear(cursor)
                # What an earlier test said may be shown only now.
                found += [message for message in batch.messages if message.at >= self._began]
                cursor = batch.cursor
                if len(found) < number:
                    await bot.wait(1)
        assert len(found) == number
        return found, cursor

    async def consent(self, who: TownHands) -> GrantInUse:
        """Walk with somebody through the consent page; on a real server the token that was named will do."""
        if isinstance(self.town, RealTown):
            return granted(self._tokens(who))
        oauth = self.pasting
        app = await self.registered(oauth)
        asked, url = oauth.start(app, who.actor)
        return granted(await oauth.finish_with_code(app, asked, await who.approve(url)))

    def narrow(self, who: TownHands, token: str) -> GrantInUse:
        """Return a consent with another token."""
        return granted(self._tokens(who, token))

    def _tokens(self, who: TownHands, token: str | None = None) -> MastodonTokens:
        return MastodonTokens(
            server=self.town.domain,
            base_url=self.town.url,
            actor=who.actor,
            acct=who.handle.removeprefix("@"),
            account_id=who.id,
            access=token or who.token,
            scope="read write follow",
            client_id="",
            client_secret="",
            revocation_endpoint=f"{self.town.url}/oauth/revoke",
        )

    async def registered(self, oauth: MastodonOauth) -> MastodonApp:
        """Register the bot on the server that somebody's name leads to; a real one is given by its address."""
        real = isinstance(self.town, RealTown)
        try:
            return await oauth.register(oauth.server_of(self.town.url if real else self.alice.handle))
        except Refused as refusal:
            if real and refusal.reason == "consents_mixed_up":
                not_tried("nobody is asked to consent on such a server")
            raise


def granted(tokens: MastodonTokens) -> GrantInUse:
    """Put a consent to use."""
    return GrantInUse(tokens.actor, tokens.to_json(), _never)


async def _never(secret: str) -> None:
    raise AssertionError("tokens of Mastodon do not change")


@pytest.fixture(params=[*CHARACTER_OF, *REAL])
async def mastodon(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Set a scene; every test that takes it runs on the sandbox in every character, and on the real server if there is one."""
    async with AsyncExitStack() as stack:
        if request.param in REAL:
            town: Town = await stack.enter_async_context(RealTown())
            yield await stack.enter_async_context(Scene.on(town, RealTime()))
            return
        clock = OwnClock()
        quirks = CHARACTER_OF[request.param]
        sandbox = await stack.enter_async_context(MastodonSandbox(now=lambda: clock() / 1000, quirks=quirks))
        yield await stack.enter_async_context(Scene.on(StandInTown(sandbox), clock))


def answer(heard: Incoming, text: str, *, public: bool | None = None, again: bool = False, first_at: int = 0) -> Say:
    """Answer a message where it was said, or else in private."""
    return Say(
        f"{heard.id} {text}",
        heard.actor,
        heard.handle,
        text,
        public=heard.public if public is None else public,
        thread=heard.thread,
        language="en",
        again=again,
        first_at=first_at,
    )


def dm(to: TownHands, text: str, *, again: bool = False, first_at: int = 0) -> Say:
    """Write to somebody out of the blue."""
    return Say(
        f"{to.actor} {text}", to.actor, to.handle, text, public=False, thread=None, language="en", again=again,
        first_at=first_at,
    )  # fmt: skip


def order(who: TownHands, *, uri: str | None = None, again: bool = False) -> FollowOrder:
    """Ask for one account to be followed, or no longer."""
    return FollowOrder(unique("order"), who.actor, who.handle, uri, again=again)


def brought_back(url: str) -> dict[str, str]:
    """Read what a browser brings back from a consent page."""
    return dict(parse_qsl(urlsplit(url).query))
