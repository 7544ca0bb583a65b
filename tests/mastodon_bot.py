"""A bot on a small Mastodon of its own, whom Alice writes to: the stage of stories about the adapter."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest

from bot.networks import Incoming, Say
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
    async with MastodonSandbox(now=lambda: clock() / 1000) as sandbox:
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
async def start(town: MastodonSandbox, flock: MastodonPerson, clock: OwnClock) -> AsyncIterator[Start]:
    """Start a bot; as often as a test likes."""
    running: list[MastodonNetwork] = []
    async with GuardedClient(allow_private=frozenset({urlsplit(town.url).netloc})) as guard:
        oauth = MastodonOauth(guard, public_url=None, clock=lambda: clock() / 1000)

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
            running.append(network)
            await network.start()
            return network

        yield start
        for network in running:
            await network.close()


@pytest.fixture
async def bot(start: Start) -> MastodonNetwork:
    return await start()


@pytest.fixture
async def cursor(bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson) -> str:
    """Let the bot hear a first message, so that it has a place to go on from."""
    alice.post("@flock first")
    return (await bot.hear(None)).cursor


@contextlib.asynccontextmanager
async def bot_among(quirks: Quirks, clock: OwnClock) -> AsyncIterator[tuple[MastodonNetwork, MastodonSandbox]]:
    """Start a bot on a server of another character, where its account is "flock"."""
    async with (
        MastodonSandbox(now=lambda: clock() / 1000, quirks=quirks) as there,
        GuardedClient(allow_private=frozenset({there.domain})) as guard,
    ):
        bot = MastodonNetwork(
            base_url=there.url,
            access_token=there.create_account("flock").token,
            guard=guard,
            oauth=MastodonOauth(guard, public_url=None, clock=lambda: clock() / 1000),
            clock=clock,
            poll_seconds=1,
            streaming=False,
        )
        await bot.start()
        yield bot, there
        await bot.close()


def flock_of(there: MastodonSandbox) -> MastodonPerson:
    return next(person for person in there.people.values() if person.acct == "flock")


def reply_to(heard: Incoming, text: str, *, key: str = "k1", public: bool = True, first_at: int = 0) -> Say:
    return Say(
        key,
        heard.actor,
        heard.handle,
        text,
        public=public,
        thread=heard.thread,
        language="en",
        again=first_at > 0,
        first_at=first_at,
    )


def dm_to(person: MastodonPerson, text: str, *, key: str = "k1", first_at: int = 0) -> Say:
    return Say(
        key,
        person.actor,
        person.handle,
        text,
        public=False,
        thread=None,
        language="fr",
        again=first_at > 0,
        first_at=first_at,
    )


def published_as(town: MastodonSandbox, flock: MastodonPerson, shown_to: Visibility) -> None:
    """Have the next status published in another way than it was asked for."""
    answer = {"id": flock.post("for others", visibility=shown_to), "visibility": shown_to}
    town.faults.plan(Fault("/api/v1/statuses", status=200, body=json.dumps(answer).encode(), method="POST"))


def forget_keys(town: MastodonSandbox) -> None:
    """Make the server one of those that honour no idempotency key."""
    town.idempotency.honoured = False
