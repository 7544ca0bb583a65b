"""A bot on a small Mastodon of its own, whom Alice writes to: the stage of stories about the adapter."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

import pytest

from bot.networks.guard import GuardedClient
from bot.networks.mastodon import MastodonNetwork
from bot.networks.oauth_mastodon import MastodonOauth
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.accounts import Visibility
from bot.sandbox.mastodon.quirks import Quirks
from tests.conftest import OwnClock

Start = Callable[..., Awaitable[MastodonNetwork]]


@pytest.fixture
async def town(clock: OwnClock) -> AsyncIterator[MastodonSandbox]:
    async with MastodonSandbox(now=clock.seconds) as sandbox:
        yield sandbox


@pytest.fixture
def flock(town: MastodonSandbox) -> MastodonPerson:
    return town.create_account("flock")


@pytest.fixture
def alice(town: MastodonSandbox) -> MastodonPerson:
    person = town.create_account("alice")
    person.allow_private_mentions(allowed=True)
    return person


@pytest.fixture
async def guard(town: MastodonSandbox) -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allow_private=frozenset({urlsplit(town.url).netloc})) as client:
        yield client


@pytest.fixture
async def start(
    town: MastodonSandbox, flock: MastodonPerson, guard: GuardedClient, clock: OwnClock
) -> AsyncIterator[Start]:
    """Start a bot; as often as a test likes."""
    oauth = MastodonOauth(guard, public_url=None, clock=clock.seconds)
    async with AsyncExitStack() as running:

        async def start(token: str = flock.token, *, streaming: bool = False, poll: float = 0.01) -> MastodonNetwork:
            network = MastodonNetwork(
                base_url=town.url,
                access_token=token,
                guard=guard,
                oauth=oauth,
                clock=clock,
                poll_seconds=poll,
                streaming=streaming,
            )
            running.push_async_callback(network.close)
            await network.start()
            return network

        yield start


@pytest.fixture
async def bot(start: Start) -> MastodonNetwork:
    return await start()


@pytest.fixture
async def cursor(bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson) -> str:
    """Let the bot hear a first message, so that it has a place to go on from."""
    alice.post("@flock first")
    return (await bot.hear(None)).cursor


@asynccontextmanager
async def bot_among(quirks: Quirks, clock: OwnClock) -> AsyncIterator[tuple[MastodonNetwork, MastodonSandbox]]:
    """Start a bot on a server of another character, where its account is "flock"."""
    async with (
        MastodonSandbox(now=clock.seconds, quirks=quirks) as there,
        GuardedClient(allow_private=frozenset({there.domain})) as guard,
    ):
        bot = MastodonNetwork(
            base_url=there.url,
            access_token=there.create_account("flock").token,
            guard=guard,
            oauth=MastodonOauth(guard, public_url=None, clock=clock.seconds),
            clock=clock,
            poll_seconds=1,
            streaming=False,
        )
        await bot.start()
        yield bot, there
        await bot.close()


def flock_of(there: MastodonSandbox) -> MastodonPerson:
    return next(person for person in there.people.values() if person.acct == "flock")


def published_as(town: MastodonSandbox, flock: MastodonPerson, shown_to: Visibility) -> None:
    """Have the next status published in another way than it was asked for."""
    answer = {"id": flock.post("for others", visibility=shown_to), "visibility": shown_to}
    town.faults.plan(Fault("/api/v1/statuses", status=200, body=json.dumps(answer).encode(), method="POST"))


def forget_keys(town: MastodonSandbox) -> None:
    """Make the server one of those that honour no idempotency key."""
    town.idempotency.honoured = False
