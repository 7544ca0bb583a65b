"""The stand-in of Mastodon with a few people on it, and the real SDK: the stage of stories about it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from mastodon import Mastodon

from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from tests.conftest import OwnClock


@pytest.fixture
async def server(clock: OwnClock) -> AsyncIterator[MastodonSandbox]:
    async with MastodonSandbox(now=clock.seconds) as sandbox:
        yield sandbox


@pytest.fixture
def flock(server: MastodonSandbox) -> MastodonPerson:
    person = server.create_account("flock", bot=True)
    person.allow_private_mentions(allowed=True)
    return person


@pytest.fixture
def alice(server: MastodonSandbox) -> MastodonPerson:
    return server.create_account("alice")


@pytest.fixture
def bob(server: MastodonSandbox) -> MastodonPerson:
    return server.create_account("bob")


@pytest.fixture
async def http(server: MastodonSandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        yield client


def sdk(server: MastodonSandbox, token: str) -> Mastodon:
    """Return the SDK's client as the bot makes it."""
    return Mastodon(
        access_token=token,
        api_base_url=server.url,
        mastodon_version="4.3.0",
        ratelimit_method="throw",
        request_timeout=15,
        user_agent="reflock-tests",
    )


async def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call the SDK, which blocks, in a thread."""
    return await asyncio.to_thread(function, *arguments, **options)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
