"""What lanes share: what a server counts is counted, and only its answer opens a line again."""

import socket

import pytest

from bot.networks.bluesky_client import BlueskyClient
from bot.networks.errors import NotAsked, Unavailable
from bot.networks.mastodon_client import MastodonClient
from bot.networks.sessions import DatabaseSessions
from storage import deliveries
from storage.budgets import Allowance
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.records import DeliveryKind
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


async def test_what_is_promised_when_all_is_called_off_is_heard_of(house: House) -> None:
    rung: list[str] = []
    house.events.on_promise = lambda: rung.append("rung")
    house.post.final = True
    house.post.called_off = {"a": "nobody wants it", "b": "nobody wants it"}
    await house.promise("a", "b")
    one = house.worker()
    await house.settle(one)
    assert set((await house.states()).values()) == {"cancelled"}
    assert rung  # calling off may have promised something


async def test_a_crowd_that_is_called_off_holds_up_nobody_for_long(house: House) -> None:
    keys = [f"{number}" for number in range(120)]
    house.post.called_off = dict.fromkeys(keys, "nobody wants it")
    await house.promise(*keys)
    one = house.worker()
    assert await one.turn() == 1
    await one.drain()
    assert 0 < list((await house.states()).values()).count("cancelled") < len(keys)  # the rest is for the next turn
    await house.settle(one)
    assert set((await house.states()).values()) == {"cancelled"}


async def test_a_notice_for_which_there_is_no_room_is_not_begun_over_and_over_for_an_answer_that_comes_later(
    house: House,
) -> None:
    house.share(Allowance(n=64, period=HOUR, burst=4))
    one = house.worker()
    for number in range(3):
        await house.promise(f"notice {number}", lane_name=f"say:{number}", kind=DeliveryKind.NOTICE)
        await house.settle(one)
    async with house.database.transaction() as connection:
        later = Promise(kind=DeliveryKind.REPLY, key="later", lane="say:alice", due_at=house.clock() + 600_000, rank=0)
        now = Promise(kind=DeliveryKind.NOTICE, key="notice", lane="say:alice", due_at=house.clock())
        await deliveries.promise(connection, [later, now], house.clock())
    turns = 0
    while await one.turn():
        await one.drain()
        turns += 1
        assert turns < 5
    for _ in range(4):
        await house.pass_seconds(600, one)
    assert {"later", "notice"} <= set(house.post.said)
