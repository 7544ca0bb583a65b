"""What lanes share, an allowance and a server: who goes first, what counts, and only an answer opens a line again."""

import asyncio
import socket

import pytest

from bot.networks.bluesky_client import BlueskyClient
from bot.networks.errors import NotAsked, Unavailable
from bot.networks.mastodon_client import MastodonClient
from bot.networks.sessions import DatabaseSessions
from bot.outbox import Outbox
from storage import budgets
from storage.budgets import Allowance
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.lanes import say_lane
from storage.records import DeliveryKind, NetworkName
from tests.conftest import OwnClock, fresh_postgres
from tests.promises import HOUR, House, begun, held, house_of
from tests.reunion import until


@pytest.fixture
def house(database: Database, keys: Keys, clock: OwnClock) -> House:
    return house_of(database, keys, clock)


async def too_many_for_90_seconds(house: House, worker: Outbox) -> None:
    """Have the server name a time to two, "a" and "b": one alone may have asked for what the others do not need."""
    for name in ("a", "b"):
        house.post.troubles[name] = [Unavailable("too many", retry_in=90)]
        await house.promise(name, to=name)
    await house.settle(worker)


async def test_a_crowd_that_waits_for_an_allowance_is_served_in_turn(house: House) -> None:
    """Were all of them looked at whenever there is room for one, a crowd would keep the bot busy with nothing."""
    house.share(Allowance(n=60, period=HOUR, burst=1))
    one, readers = house.worker(), [f"{number}" for number in range(40)]
    for reader in readers:
        await house.promise(reader, to=reader)
        house.clock.pass_seconds(0.01)
    await house.settle(one)
    assert await house.pause(one) > 0
    for _ in readers[1:]:
        await house.pass_seconds(61, one)
    assert house.post.said == readers
    assert house.post.looked_at == readers


async def test_an_answer_is_not_kept_waiting_by_all_the_notices_of_an_opening(house: House) -> None:
    house.share(Allowance(n=65, period=HOUR, burst=6))
    one = house.worker()
    for number in range(20):
        await house.promise(f"notice {number}", to=f"{number}", kind=DeliveryKind.NOTICE)
        house.clock.pass_seconds(0.01)
    await house.settle(one)
    assert sorted(house.post.said) == ["notice 0", "notice 1", "notice 2"]  # at once, side by side
    for number in range(3):
        await house.promise(f"answer {number}", to=f"writer{number}")
        await house.settle(one)
    assert house.post.said[3:] == ["answer 0", "answer 1", "answer 2"]
    await house.promise("answer 3", to="writer3")
    for _ in range(21):
        await house.pass_seconds(60, one)
    assert house.post.said[6] == "answer 3"
    assert house.post.said[7:] == [f"notice {number}" for number in range(3, 20)]


async def test_one_finds_out_whether_a_server_answers_again_and_then_all_go_on(house: House) -> None:
    """Each on its own would ask a server that is down, use up what is allowed, and come back an hour too late."""
    house.share(Allowance(n=100, period=HOUR, burst=45))
    one, readers = house.worker(), [f"{number}" for number in range(40)]
    for reader in readers:
        await house.promise(reader, to=reader)
    house.post.down, house.post.reached = True, False
    await house.settle(one)
    asked = len(house.post.begun)
    for _ in range(600):
        await house.pass_seconds(1, one)
    assert len(house.post.begun) - asked <= 600 / 5 + 5
    house.post.down = False
    for _ in range(10):
        await house.pass_seconds(1, one)
    assert sorted(house.post.said) == sorted(readers)
    assert house.post.given_up == []


async def test_a_server_that_is_down_silences_no_other(house: House) -> None:
    house.share(Allowance(n=100, period=HOUR, burst=40), *NetworkName)
    one = house.worker(lanes=1)
    async with held(house.post, "tar pit"):
        await house.promise("tar pit", on=NetworkName.BLUESKY)
        await begun(one)
        await until(lambda: house.post.begun)
        await house.promise("answer", on=NetworkName.MASTODON)
        await begun(one)
        await until(lambda: house.post.said)
        assert house.post.said == ["answer"]
    await one.drain()


async def test_a_clock_that_is_set_back_keeps_nobody_waiting(house: House) -> None:
    house.share(Allowance(n=1_000, period=HOUR, burst=500))
    one = house.worker()
    house.post.down = True
    for name in ("a", "b", "c"):
        await house.promise(name, to=name)
    for _ in range(6):
        await house.pass_seconds(3, one)
    house.post.down = False
    house.clock.pass_seconds(-60)
    await house.promise("d", to="d")
    await house.settle(one)
    assert house.post.said == ["d"]


async def test_a_time_that_was_named_before_the_clock_was_set_back_is_over(house: House) -> None:
    house.share(Allowance(n=1_000, period=HOUR, burst=500))
    one = house.worker()
    await too_many_for_90_seconds(house, one)
    house.clock.pass_seconds(-300)
    await house.promise("c", to="carol")
    await house.settle(one)
    assert house.post.said == ["c"]


async def test_one_request_that_fails_for_many_is_one_failure(house: House) -> None:
    """As when several messages go in one request, and its answer is lost: the next is asked at once."""
    house.share(Allowance(n=1000, period=HOUR, burst=500))
    one, lost = house.worker(), Unavailable("no answer")
    for name in ("a", "b", "c", "d"):
        house.post.troubles[name] = [lost]
        await house.promise(name, to=name)
    await house.settle(one)
    await house.promise("e", to="eve")
    await house.settle(one)
    assert house.post.said == ["e"]
    for _ in range(5):
        await house.pass_seconds(1, one)
    assert sorted(house.post.said) == ["a", "b", "c", "d", "e"]


async def test_a_word_that_a_server_cannot_take_silences_nobody(house: House) -> None:
    house.share(Allowance(n=1000, period=HOUR, burst=500))
    one = house.worker()
    house.post.troubles["bad"] = [Unavailable("500") for _ in range(1000)]
    await house.promise("bad", to="alice")
    for number in range(20):
        await house.pass_seconds(15, one)
        await house.promise(f"{number}", to="bob")
    await house.pass_seconds(5, one)
    assert len(house.post.said) == 20
    assert house.post.begun.count("bad") < 25


async def test_an_answer_that_a_server_cannot_take_keeps_no_notice_waiting(house: House) -> None:
    house.share(Allowance(n=1000, period=HOUR, burst=500))
    one = house.worker()
    house.post.troubles["bad"] = [Unavailable("500") for _ in range(1000)]
    await house.promise("bad", to="alice")
    await house.pass_seconds(30, one)
    await house.promise("news", to="bob", kind=DeliveryKind.NOTICE)
    for _ in range(30):
        await house.pass_seconds(1, one)
    assert house.post.said == ["news"]


async def test_a_time_that_a_server_names_holds_for_everybody(house: House) -> None:
    house.share(Allowance(n=1000, period=HOUR, burst=500))
    one = house.worker()
    await too_many_for_90_seconds(house, one)
    await house.promise("c", to="carol")
    await house.pass_seconds(89, one)
    assert sorted(house.post.begun) == ["a", "b"]
    await house.pass_seconds(2, one)
    assert sorted(house.post.said) == ["a", "b", "c"]


async def test_a_time_named_for_one_thing_keeps_nobody_else_waiting(house: House) -> None:
    house.share(Allowance(n=1000, period=HOUR, burst=500))
    one = house.worker()
    house.post.troubles["a"] = [Unavailable("the search is used up", retry_in=900)]
    await house.promise("a", to="alice")
    await house.settle(one)
    await house.promise("b", to="bob")
    await house.settle(one)
    assert house.post.said == ["b"]


async def test_what_a_sick_server_was_asked_is_used_of_the_allowance(house: House) -> None:
    """It may have counted that, and would say no to more as soon as it is well."""
    house.share(Allowance(n=20, period=HOUR, burst=5))
    one = house.worker()
    for number in range(40):
        await house.promise(f"{number}", to=f"{number}")
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
        await house.promise(name, to=name)
    await house.settle(one)
    house.post.down = False
    for name in ("nonsense", "c", "d"):
        await house.promise(name, to=name)
        house.clock.pass_seconds(0.01)
    house.post.troubles["nonsense"] = [NotAsked("gone")]
    house.clock.pass_seconds(5)
    assert await begun(one) == 1
    await one.drain()
    assert house.post.given_up == [("nonsense", "gone")]
    async with held(house.post, "c"):
        assert await begun(one) == 1
        await until(lambda: "c" in house.post.begun)
        assert await begun(one) == 0
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
    house.post.promises_nothing = True
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
    assert await begun(one) == 1
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
        await house.promise(f"notice {number}", to=f"{number}", kind=DeliveryKind.NOTICE)
        await house.settle(one)
    lane = say_lane(NetworkName.BLUESKY, "alice")
    later = Promise(kind=DeliveryKind.REPLY, key="later", lane=lane, due_at=house.clock() + 600_000, rank=0)
    now = Promise(kind=DeliveryKind.NOTICE, key="notice", lane=lane, due_at=house.clock())
    await house.promise_all([later, now])
    turns = 0
    while await begun(one):
        await one.drain()
        turns += 1
        assert turns < 5
    for _ in range(4):
        await house.pass_seconds(600, one)
    assert {"later", "notice"} <= set(house.post.said)


async def test_who_waits_for_an_allowance_leaves_the_database_to_others(
    postgres: str, keys: Keys, clock: OwnClock
) -> None:
    """Another machine draws on it, and takes its time; each lane that waits for that holds a connection."""
    database = Database(await fresh_postgres(postgres))
    try:
        await database.upgrade()
        house, readers = house_of(database, keys, clock), [f"{number}" for number in range(32)]
        house.share(allowance := Allowance(n=1_000, period=HOUR, burst=500))
        for reader in readers:
            await house.promise(reader, to=reader)
        one = house.worker()
        async with database.transaction() as elsewhere:
            await budgets.take(elsewhere, house.post.lines[0].budget, [allowance], 1, clock())
            assert await begun(one) == len(readers)
            async with asyncio.timeout(20):
                for number in range(100):
                    await house.promise(f"meanwhile {number}", to="somebody else")
        await one.drain()
        assert sorted(house.post.said) == sorted(readers)
        async with database.transaction() as elsewhere:  # and whoever is told to stop does not wait for them
            await budgets.take(elsewhere, house.post.lines[0].budget, [allowance], 1, clock())
            assert await begun(one) == 1
            async with asyncio.timeout(30):
                await one.stop()
        assert house.post.said.count("meanwhile 0") == 0
    finally:
        await database.close()
