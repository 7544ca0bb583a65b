"""A bot on a small Bluesky of its own, whom Alice writes to: the stage of stories about the adapter."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from starlette.types import Receive, Scope, Send

from bot.networks.bluesky import BlueskyNetwork
from bot.networks.guard import GuardedClient
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.oauth_atproto import AtprotoOauth
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.faults import FaultMiddleware
from tests.conftest import OwnClock

LOGIN = "com.atproto.server.createSession"
REFRESH = "com.atproto.server.refreshSession"
NOTIFICATIONS = "app.bsky.notification.listNotifications"
SEND = "chat.bsky.convo.sendMessage"
LOG = "chat.bsky.convo.getLog"
Start = Callable[..., Awaitable[BlueskyNetwork]]


class Drawer:
    """A place for sessions that lasts as long as a test."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def load(self, name: str) -> str | None:
        return self.kept.get(name)

    async def save(self, name: str, secret: str) -> None:
        self.kept[name] = secret


class Requests:
    """Counts what the server is asked, by method."""

    def __init__(self, sky: BlueskySandbox) -> None:
        self.asked: list[str] = []
        middleware = sky.app
        assert isinstance(middleware, FaultMiddleware)
        self._app = middleware.app
        middleware.app = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"].rpartition("/")[2])
        await self._app(scope, receive, send)


@pytest.fixture
async def sky(clock: OwnClock) -> AsyncIterator[BlueskySandbox]:
    async with BlueskySandbox(now=clock.seconds) as sandbox:
        yield sandbox


@pytest.fixture
def flock(sky: BlueskySandbox) -> BlueskyPerson:
    return sky.create_account("flock.test")


@pytest.fixture
def alice(sky: BlueskySandbox) -> BlueskyPerson:
    person = sky.create_account("alice.test")
    person.allow_incoming = "all"
    return person


@pytest.fixture
def drawer() -> Drawer:
    return Drawer()


@pytest.fixture
async def guard(sky: BlueskySandbox) -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allow_private=frozenset({urlsplit(sky.url).netloc})) as client:
        yield client


@pytest.fixture
async def start(
    sky: BlueskySandbox, flock: BlueskyPerson, drawer: Drawer, guard: GuardedClient, clock: OwnClock
) -> AsyncIterator[Start]:
    """Start a bot; as often as a test likes."""
    oauth = AtprotoOauth(
        guard,
        IdentityResolver(guard, plc_url=sky.url, resolver_url=sky.url),
        public_url="http://127.0.0.1:8899",
        clock=clock.seconds,
    )
    async with AsyncExitStack() as running:

        async def start(password: str = flock.password) -> BlueskyNetwork:
            network = BlueskyNetwork(
                service_url=sky.url,
                handle=flock.handle,
                app_password=password,
                oauth=oauth,
                sessions=drawer,
                clock=clock,
                poll_seconds=0.01,
            )
            running.push_async_callback(network.close)
            await network.start()
            return network

        yield start


@pytest.fixture
async def bot(start: Start) -> BlueskyNetwork:
    return await start()
