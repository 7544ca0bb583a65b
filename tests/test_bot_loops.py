"""What a crash, a sick server or a curious log reader may find between two turns: nothing lost, doubled or told."""

import asyncio
import logging
import re
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from bench.launchday_clock import SimulatedLoop, run_simulated
from bot.loops import listen
from bot.networks.errors import Unavailable
from bot.networks.ratelimits import AnnouncedLimits
from bot.outage import Outage
from bot.sandbox.faults import Fault
from storage import messages
from storage.records import NetworkName
from tests.conftest import OwnClock
from tests.flock import Flock, flock, open_flock
from tests.reunion import bot_dms, code_in, conversing, friends_of, reborn, said_once, traveller

__all__ = ["flock"]  # fixtures

NETWORKS = ["bluesky", "mastodon"]
SPEAK = {"bluesky": "chat.bsky.convo.sendMessage", "mastodon": "/api/v1/statuses"}
HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize("network", NETWORKS)
async def test_heard_but_the_cursor_not_moved_is_answered_once(flock: Flock, network: str) -> None:
    alice = await conversing(flock, network)
    before = len(bot_dms(flock, alice.person))
    name = NetworkName(network)
    async with flock.app.events.database.reading() as connection:
        cursor = await messages.read_cursor(connection, name)
    assert cursor is not None
    alice.person.dm(alice.bot, "help claim")  # type: ignore[arg-type]  # each network's people write to their own bot
    await flock.app.inboxes[name].turn()
    async with flock.app.events.database.transaction() as connection:
        await messages.move_cursor(connection, name, cursor)  # as it stands when the crash comes before the move
    async with reborn(flock):
        await flock.settle()
    assert len(said_once(flock, alice.person)) == before + 1


@pytest.mark.parametrize("network", NETWORKS)
async def test_decided_but_not_said_is_said_by_the_next_process(flock: Flock, network: str) -> None:
    alice = await conversing(flock, network)
    before = len(bot_dms(flock, alice.person))
    alice.person.dm(alice.bot, "help claim")  # type: ignore[arg-type]  # each network's people write to their own bot
    await flock.app.inboxes[NetworkName(network)].turn()
    assert len(bot_dms(flock, alice.person)) == before
    async with reborn(flock, "another"):
        await flock.settle()
    assert len(said_once(flock, alice.person)) == before + 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", ["status", "malformed", "cut"])
async def test_an_answer_outlives_a_sick_server(flock: Flock, network: str, kind: str) -> None:
    alice = await conversing(flock, network)
    before = len(bot_dms(flock, alice.person))
    sandbox = flock.bluesky if network == "bluesky" else flock.mastodon
    sandbox.faults.plan(Fault(SPEAK[network], kind, times=3, method="POST"))  # type: ignore[arg-type]  # one of its words
    await alice.write("help claim")
    await alice.write("help link")
    for _ in range(6):
        await flock.pass_seconds(30)
    texts = said_once(flock, alice.person)[before:]
    assert len(texts) == 2
    assert "claim" in texts[0]
    assert "link" in texts[1]


@pytest.mark.parametrize("network", NETWORKS)
async def test_nothing_is_said_to_anybody_before_the_time_the_server_names(flock: Flock, network: str) -> None:
    alice, bob = await conversing(flock, network), await conversing(flock, network, "bob")
    sandbox = flock.bluesky if network == "bluesky" else flock.mastodon
    headers = {"retry-after": "300"}
    if network == "mastodon":
        reset = "2100-01-01T00:00:00Z"
        headers |= {"x-ratelimit-limit": "300", "x-ratelimit-remaining": "300", "x-ratelimit-reset": reset}
    sandbox.faults.plan(Fault(SPEAK[network], status=429, headers=headers, method="POST"))
    alice.read(), bob.read()
    assert await alice.write("help claim") == ""
    await flock.pass_seconds(298)
    assert alice.read() == ""
    await flock.pass_seconds(3)
    await flock.pass_seconds(30)
    assert "claim" in alice.read()


async def test_while_x_is_silent_the_bot_is_not(flock: Flock) -> None:
    alice = traveller(flock, "bluesky", "alice")
    code = code_in(await alice.write("claim @alice_on_x"))
    for path in ("tweet-result", "oembed"):
        flock.x.faults.plan(Fault(path, status=503, times=1_000))
    assert "Thank" not in await alice.write(alice.x.post(f"#eXit {code}"))
    assert "claim" in await alice.write("help claim")
    await flock.pass_seconds(30)
    assert "keep trying" in alice.read()
    for _ in range(80):
        await flock.pass_seconds(HOUR)
    assert alice.read() != ""  # after three days it is told that nothing came of it


def test_a_limit_that_is_nearly_used_is_logged_without_whose_it_is(clock: OwnClock) -> None:
    limits = AnnouncedLimits(clock)
    reset = str(clock() // 1000 + 60)
    headers = {"ratelimit-limit": "100", "ratelimit-remaining": "1", "ratelimit-reset": reset}
    limits.remember("did:plc:alice", headers)
    with pytest.raises(Unavailable) as raised:
        limits.check("did:plc:alice")
    assert "alice" not in str(raised.value)


def test_a_network_that_was_down_for_an_hour_is_heard_again_within_seconds() -> None:
    """In simulated time: whoever waits longer and longer would be deaf for minutes after it is well again."""
    heard_at: list[float] = []

    async def play(loop: SimulatedLoop) -> None:
        ends_at = loop.time() + HOUR

        class Deaf:
            async def turn(self) -> int:
                if loop.time() < ends_at:
                    raise Unavailable("the server is down")
                heard_at.append(loop.time() - ends_at)
                return 0

        class Silent:
            name = NetworkName.BLUESKY

            async def wait(self, _seconds: float) -> None:
                listening.cancel()
                await asyncio.sleep(1)

        inbox: Any = Deaf()
        network: Any = Silent()
        listening = asyncio.create_task(listen(inbox, network, 3, Outage("", sa.make_url("sqlite://"), int)))
        await asyncio.wait({listening})

    run_simulated(play)
    assert [seconds <= 10 for seconds in heard_at] == [True]


async def test_who_said_stop_is_not_answered_hours_later(flock: Flock) -> None:
    alice = traveller(flock, "bluesky", "alice")
    code = code_in(await alice.write("claim @alice_on_x"))
    for path in ("tweet-result", "oembed"):
        flock.x.faults.plan(Fault(path, status=503, times=1))
    await alice.write(alice.x.post(f"#eXit {code}"))
    await alice.write("stop")
    for _ in range(10):
        await flock.pass_seconds(30)
    assert alice.read() == ""
    assert "@alice_on_x" in await alice.write("status")


async def test_a_server_that_nobody_reaches_is_told_soon_and_silences_nobody(
    database_url: str, clock: OwnClock
) -> None:
    async with open_flock(database_url, clock, web={"public_url": ""}) as flock:
        alice = traveller(flock, "mastodon", "alice")
        flock.mastodon.faults.plan(Fault("/api/v1/apps", status=503, times=1_000))
        await alice.write("connect")
        assert "claim" in await alice.write("help claim")
        for _ in range(6):
            await flock.pass_seconds(30)
        assert "does not answer" in alice.read()


@pytest.mark.parametrize("network", NETWORKS)
async def test_nothing_secret_and_nothing_said_stands_in_the_log(
    flock: Flock, network: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole journey with every kind of trouble that is logged; even what the log conceals must not come to it."""
    with caplog.at_level(logging.WARNING), capture_logs() as events:
        sandbox = flock.bluesky if network == "bluesky" else flock.mastodon
        zoe = traveller(flock, network, "zoe")
        for kind in ("status", "malformed", "cut"):
            sandbox.faults.plan(Fault(SPEAK[network], kind, method="POST"))
            await zoe.write("hello my word is xyzzy")
            await flock.pass_seconds(60)
        alice, friends = await friends_of(flock, network, ["bob"])
        await alice.write("follow all")
        path = "applyWrites" if network == "bluesky" else "/follow"
        for kind in ("status", "malformed", "cut"):
            sandbox.faults.plan(Fault(path, kind, method="POST"))  # type: ignore[arg-type]  # one of its words
        await alice.write("yes")
        for _ in range(4):
            await flock.pass_seconds(600)
        assert alice.person.follows == {friends[0].person.actor}
        linked = code_in(await alice.write("link"), "LK")
    logged = "\n".join([*map(str, events), *(record.getMessage() for record in caplog.records)])
    assert "unavailable" in logged
    said = " ".join(effect.text for effect in bot_dms(flock, alice.person))
    links = re.findall(r"/(?:import|connect)/([\w-]{16,})", said)
    assert links
    words = [flock.mastodon_bot.token, "bot-app-password", "xyzzy", "Here we go", linked, code_in(said), *links]
    assert [word for word in words if word in logged] == []
