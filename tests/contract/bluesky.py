"""The Bluesky adapter among people, on the stand-in and on a real network: what the contract's tests stand on."""

import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Incoming, Say
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.bluesky_records import FOLLOW, tid_for
from bot.networks.guard import GuardedClient
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.oauth_atproto import AtprotoOauth, AtprotoTokens
from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.bluesky.real import RealSky
from bot.sandbox.bluesky.sky import Hands, Sky, StandInSky

Json = dict[str, Any]

# What `python -m tests.real` prints; without it there is no real network, and the contract is the stand-in's alone.
REAL: Json | None = json.loads(os.environ["REAL_BLUESKY"]) if "REAL_BLUESKY" in os.environ else None
SERVERS = ["sandbox", "real"] if REAL else ["sandbox"]

HOME = "http://127.0.0.1:8899"

_ACCESS_SECONDS = 7200  # how long a PDS takes an access token

_NUMBERS = count()
_RUN = f"{int(time.time() * 10) % 16**6:06x}"  # a real network remembers the names of an earlier run


def unique(name: str) -> str:
    """Return a name that nobody has yet; of 7 letters at most, as a PDS takes 18."""
    return f"{name}{_RUN}{next(_NUMBERS):x}"


class Clock:
    """The bot's clock, which may be made to run ahead of the network's: epoch milliseconds. `now` is in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.ahead_ms = 0

    def __call__(self) -> int:
        """Return the present, as the bot takes it."""
        return int(self._now() * 1000) + self.ahead_ms

    def run_ahead(self, seconds: float) -> None:
        """Have the bot take it to be so much later."""
        self.ahead_ms += round(seconds * 1000)

    def correct(self) -> None:
        """Tell the bot the true time again."""
        self.ahead_ms = 0


class Skipping:
    """The time of a whole small world, in seconds: it goes on by itself, and may skip."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        """Return the present."""
        return time.time() + self.skipped

    def skip(self, seconds: float) -> None:
        """Let so much time have gone by, for everybody."""
        self.skipped += seconds


class Drawer:
    """A place for the bot's session that lasts as long as a test, counts what was put into it and does what follows."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.saved = 0
        self.then: Callable[[], None] = lambda: None

    async def load(self, name: str) -> str | None:
        return self.kept.get(name)

    async def save(self, name: str, secret: str) -> None:
        self.kept[name] = secret
        self.saved += 1
        self.then()

    @property
    def tokens(self) -> tuple[str, str]:
        """Return the access and the refresh token of the one session, by which its server knows it."""
        (secret,) = self.kept.values()
        access, refresh = re.findall(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", secret)
        return access, refresh

    def spoil_access(self) -> None:
        """Have the kept access token be one that the server did not sign."""
        ((name, secret),) = self.kept.items()
        access, _ = self.tokens
        self.kept[name] = secret.replace(access, f"{access[:-20]}{access[-20:].swapcase()}")


class Grant:
    """Somebody's consent in use, and what was kept of it."""

    def __init__(self, tokens: AtprotoTokens) -> None:
        self.saved: list[str] = []
        self.use = GrantInUse(tokens.did, tokens.to_json(), self._save)

    async def _save(self, secret: str) -> None:
        self.saved.append(secret)

    @property
    def tokens(self) -> AtprotoTokens:
        """Return the tokens of the moment."""
        return AtprotoTokens.from_json(self.use.secret)


class Scene:
    """One network with people on it, and the bots that a test starts; `flock` is the account that is the bot's."""

    def __init__(self, sky: Sky, now: Callable[[], float], stack: AsyncExitStack) -> None:
        self.sky = sky
        self.now = now
        self.clock = Clock(now)
        self.drawer = Drawer()
        self._stack = stack

    flock: Hands
    guard: GuardedClient
    http: httpx.AsyncClient
    identities: IdentityResolver
    oauth: AtprotoOauth

    @classmethod
    @asynccontextmanager
    async def on(cls, sky: Sky, now: Callable[[], float] = time.time) -> AsyncIterator["Scene"]:
        """Set the scene on a network, where it is now so many seconds after the epoch."""
        async with AsyncExitStack() as stack:
            scene = cls(sky, now, stack)
            homes = frozenset(urlsplit(url).netloc for url in (sky.url, sky.plc_url))
            scene.guard = await stack.enter_async_context(GuardedClient(allow_private=homes))
            scene.http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30))
            scene.identities = IdentityResolver(scene.guard, plc_url=sky.plc_url, resolver_url=sky.url)
            scene.oauth = scene.client(HOME)
            scene.flock = await scene.person("flock")
            yield scene

    def client(self, public_url: str, signing_key: str | None = None, *, ahead: float = 0.0) -> AtprotoOauth:
        """Return an OAuth client, whose clock may be some seconds ahead of the network's."""

        def clock() -> float:
            return self.now() + ahead

        return AtprotoOauth(self.guard, self.identities, public_url=public_url, clock=clock, signing_key=signing_key)

    # People.

    async def person(self, name: str = "friend") -> Hands:
        """Open an account, which takes direct messages from those it follows."""
        return await self.sky.open_account(unique(name))

    async def talker(self, name: str = "talker") -> Hands:
        """Open an account to which everybody may write."""
        person = await self.person(name)
        await person.allow_incoming("all")
        return person

    async def people(self, size: int) -> list[Hands]:
        """Open some accounts."""
        return [await self.person() for _ in range(size)]

    # The bot.

    def let_session_age(self) -> None:
        """Have the bot take its access token for nearly expired, until it has been given another."""
        self.clock.run_ahead(_ACCESS_SECONDS - 600)
        self.drawer.then = self.clock.correct

    async def start(
        self, who: Hands | None = None, *, password: str | None = None, drawer: Drawer | None = None
    ) -> BlueskyNetwork:
        """Start a bot; as often as a test likes."""
        who = who or self.flock
        network = BlueskyNetwork(
            service_url=self.sky.url,
            handle=who.handle,
            app_password=password or who.password,
            oauth=self.oauth,
            sessions=drawer if drawer is not None else self.drawer,
            clock=self.clock,
            poll_seconds=0.01,
        )
        self._stack.push_async_callback(network.close)
        await network.start()
        return network

    async def hear(self, bot: BlueskyNetwork, cursor: str | None = None) -> Batch:
        """Return what the bot hears once the network shows everything."""
        await self.sky.settle()
        return await bot.hear(cursor)

    async def attentive(self) -> tuple[BlueskyNetwork, str]:
        """Start the bot, and have it hear only what is still to come."""
        bot = await self.start()
        return bot, (await self.hear(bot)).cursor

    async def heard(self, bot: BlueskyNetwork, cursor: str | None) -> list[Incoming]:
        """Return the messages that the bot hears once the network shows everything."""
        return (await self.hear(bot, cursor)).messages

    # Consents.

    async def consent(self, who: Hands, *, client: AtprotoOauth | None = None, scope: str | None = None) -> Grant:
        """Walk with somebody through the consent page."""
        client = client or self.oauth
        await self.sky.settle()
        asked, url = await client.start(who.handle)
        return Grant(await client.finish(asked, brought_back(await who.approve(url, scope=scope))))

    async def follow(self, bot: BlueskyNetwork, grant: Grant, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Have the bot follow once the network shows everything."""
        await self.sky.settle()
        return await bot.follow(grant.use, orders)

    # What an outsider sees.

    async def records(self, did: str, collection: str) -> list[Json]:
        """Return the records in somebody's repository, as their server shows them to anybody."""
        found: list[Json] = []
        query = {"repo": did, "collection": collection, "limit": "100"}
        while True:
            answer = await self.http.get(f"{self.sky.url}/xrpc/com.atproto.repo.listRecords", params=query)
            page = answer.raise_for_status().json()
            found += page["records"]
            if not page.get("cursor") or not page["records"]:
                return found
            query["cursor"] = page["cursor"]

    async def followed_by(self, who: Hands) -> list[str]:
        """Return whom somebody's records say they follow; whoever stands in two of them comes twice."""
        return [record["value"]["subject"] for record in await self.records(who.did, FOLLOW)]


@pytest.fixture(params=SERVERS)
async def bluesky(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Set a scene in the real time; every test that takes it runs on the stand-in and, where there is one, a real one."""
    async with AsyncExitStack() as stack:
        sky: Sky
        if request.param == "real" and REAL is not None:
            sky = await stack.enter_async_context(RealSky(REAL))
        else:
            sky = StandInSky(await stack.enter_async_context(BlueskySandbox()))
        yield await stack.enter_async_context(Scene.on(sky))


@pytest.fixture
def time_of_all() -> Skipping:
    """Give the time of the small world."""
    return Skipping()


@pytest.fixture
async def stand_in(time_of_all: Skipping) -> AsyncIterator[BlueskySandbox]:
    """Give the stand-in under the small world."""
    async with BlueskySandbox(now=time_of_all) as sandbox:
        yield sandbox


@pytest.fixture
async def small_world(stand_in: BlueskySandbox, time_of_all: Skipping) -> AsyncIterator[Scene]:
    """Set a scene on the stand-in alone, for tests in which time skips: on a real network it never does."""
    async with Scene.on(StandInSky(stand_in), time_of_all) as scene:
        yield scene


def answer(heard: Incoming, text: str, *, key: str = "answer", again: bool = False, first_at: int = 0) -> Say:
    """Answer a message where it was said."""
    return Say(
        f"{heard.id} {key}",
        heard.actor,
        heard.handle,
        text,
        public=heard.public,
        thread=heard.thread,
        language="en",
        again=again,
        first_at=first_at,
    )


def dm(to: Hands | str, text: str, *, again: bool = False, first_at: int = 0) -> Say:
    """Write to an account out of the blue."""
    did, handle = _who(to)
    return Say(
        f"{did} {text}", did, handle, text, public=False, thread=None, language="en", again=again, first_at=first_at
    )


def order(who: Hands | str, *, again: bool = False, key: str | None = None) -> FollowOrder:
    """Ask for one account to be followed."""
    did, handle = _who(who)
    return FollowOrder(key or tid_for(unique("order")), did, handle, again=again)


def undoing(
    orders: Sequence[FollowOrder], outcomes: Sequence[FollowOutcome], *, again: bool = False
) -> list[FollowOrder]:
    """Ask for what came of orders to be undone."""
    return [
        FollowOrder(each.key, each.actor, each.handle, outcome.uri, again=again)
        for each, outcome in zip(orders, outcomes, strict=True)
    ]


def brought_back(url: str) -> dict[str, str]:
    """Read what a browser brings back from a consent page."""
    return dict(parse_qsl(urlsplit(url).query))


def _who(who: Hands | str) -> tuple[str, str]:
    return (who, "somebody.test") if isinstance(who, str) else (who.did, who.handle)
