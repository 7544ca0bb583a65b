"""The Bluesky stand-in with a few people on it, and the real SDK signed in as the bot: the stage of stories about it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from atproto import AsyncClient, AsyncRequest
from atproto_client.exceptions import RequestErrorBase

from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from tests.conftest import OwnClock


@pytest.fixture
async def sky(clock: OwnClock) -> AsyncIterator[BlueskySandbox]:
    async with BlueskySandbox(now=clock.seconds) as sandbox:
        yield sandbox


@pytest.fixture
def flock(sky: BlueskySandbox) -> BlueskyPerson:
    person = sky.create_account("flock.test", bot=True)
    person.allow_incoming = "all"
    return person


@pytest.fixture
def alice(sky: BlueskySandbox) -> BlueskyPerson:
    return sky.create_account("alice.test")


@pytest.fixture
def bob(sky: BlueskySandbox) -> BlueskyPerson:
    return sky.create_account("bob.test")


@asynccontextmanager
async def sdk_client(sky: BlueskySandbox) -> AsyncIterator[AsyncClient]:
    """Open the SDK's client without the cost of a TLS context of its own, and close its connections."""
    request = AsyncRequest(verify=False, trust_env=False)
    yield AsyncClient(f"{sky.url}/xrpc", request=request)
    await request.close()


@pytest.fixture
async def sdk(sky: BlueskySandbox, flock: BlueskyPerson) -> AsyncIterator[AsyncClient]:
    """The bot's own client, signed in."""
    async with sdk_client(sky) as client:
        await client.login(flock.handle, flock.password, fetch_bsky_profile=False)
        yield client


@pytest.fixture
async def chat(sdk: AsyncClient) -> AsyncIterator[Any]:
    """The bot's client for direct messages."""
    proxied = sdk.with_bsky_chat_proxy()
    yield proxied.chat.bsky.convo
    await proxied.request.close()


async def refusal(awaitable: Any) -> tuple[int, str]:
    """Return status and error name of a call that is refused."""
    with pytest.raises(RequestErrorBase) as caught:
        await awaitable
    assert caught.value.response is not None
    content = caught.value.response.content
    return caught.value.response.status_code, content.error if hasattr(content, "error") else str(content)
