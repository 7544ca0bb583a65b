"""What lanes share: what a server counts is counted, and only its answer opens a line again."""

import socket

import pytest

from bot.networks.bluesky_client import BlueskyClient
from bot.networks.errors import NotAsked, Unavailable
from bot.networks.mastodon_client import MastodonClient
from bot.networks.sessions import DatabaseSessions
from storage.budgets import Allowance
from storage.database import Database
from storage.keys import Keys
from tests.conftest import OwnClock
from tests.reunion import until
from tests.test_bot_outbox import HOUR, House, held, house

__all__ = ["house"]  # a fixture


async def test_what_a_sick_server_was_asked_is_used_of_the_allowance(house: House) -> None:
    """It may have counted that, and would say no to more as soon as it is well."""
    house.share(Allowance(n=20, period=HOUR, burst=5))
    one = house.worker()
    for number in range(40):
        await house.promise(f"{number}", lane_name=f"say:{number}")
    house.post.down = True
    for _ in range(900 // 5):
        await house.pass_seconds(5, one)
    asked = len(house.post.begun)
    assert 5 < asked <= 5 + 900 * 16 // 3_600 + 1
    house.post.down = False
    for _ in range((3_600 - 900) // 5):
        await house.pass_seconds(5, one)
    assert asked < len(house.post.begun) <= 20


async def test_what_we_refuse_ourselves_is_no_answer_of_a_server(house: House) -> None:
    house.share(Allowance(n=1_000, period=HOUR, burst=500))
    one = house.worker()
    house.post.down = True
    for name in ("a", "b"):
        await house.promise(name, lane_name=f"say:{name}")
    await house.settle(one)
    house.post.down = False
    for name in ("nonsense", "c", "d"):
        await house.promise(name, lane_name=f"say:{name}")
        house.clock.pass_seconds(0.01)
    house.post.troubles["nonsense"] = [NotAsked("gone")]
    house.clock.pass_seconds(5)
    assert await one.turn() == 1
    await one.drain()
    assert house.post.given_up == [("nonsense", "gone")]
    async with held(house, "c"):
        assert await one.turn() == 1
        await until(lambda: "c" in house.post.begun)
        assert await one.turn() == 0
    await one.drain()
    await house.settle(one)
    assert "d" in house.post.said


@pytest.fixture
def nobody() -> str:
    """Give an address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def test_who_reaches_nobody_has_begun_nothing(
    nobody: str, database: Database, keys: Keys, clock: OwnClock
) -> None:
    mastodon = MastodonClient(nobody, "token", clock, name="test")
    with pytest.raises(Unavailable) as unreached:
        await mastodon.send("statuses", "POST", "/api/v1/statuses", json={})
    assert not unreached.value.begun
    mastodon.close()
    bluesky = BlueskyClient(
        service_url=nobody,
        handle="reflock.test",
        app_password="secret",
        chat_did="did:web:chat.test",
        sessions=DatabaseSessions(database, keys),
        clock=clock,
    )
    with pytest.raises(Unavailable) as unreached:
        await bluesky.start()
    assert not unreached.value.begun
    await bluesky.close()
