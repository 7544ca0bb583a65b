"""What is sent together: who shares a request, when the next one leaves, and what a bot does that is locked out."""

import asyncio

from bench.launchday_clock import SimulatedLoop, run_simulated
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.errors import NetworkError, Unavailable
from bot.networks.mailbag import Mailbag
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from tests.bluesky_bot import LOGIN, Requests, alice, bot, drawer, flock, guard, sky, start
from tests.conftest import OwnClock
from tests.saying import dm_to

__all__ = ["alice", "bot", "drawer", "flock", "guard", "sky", "start"]  # fixtures


def test_where_several_went_together_the_next_request_leaves_later() -> None:
    """Were each followed by the next at once, they alone would use up what requests there may be."""
    bags: list[tuple[float, int]] = []

    async def play(loop: SimulatedLoop) -> None:
        begun_at = loop.time()

        async def carry(items: list[int]) -> list[int | NetworkError]:
            bags.append((round(loop.time() - begun_at, 3), len(items)))
            await asyncio.sleep(1)
            return list(items)

        bag = Mailbag[int, int](carry, at_most=3, apart=0.25)
        assert await asyncio.gather(*(bag.put(number) for number in range(5))) == [0, 1, 2, 3, 4]
        assert await bag.put(5) == 5

    run_simulated(play)
    # Alone it is followed at once, in company it is not.
    assert bags == [(0, 1), (1, 3), (2.25, 1), (3.25, 1)]


async def test_a_bot_that_is_locked_out_does_not_try_to_log_in_for_each_message(
    bot: BlueskyNetwork, flock: BlueskyPerson, sky: BlueskySandbox, clock: OwnClock
) -> None:
    """Bluesky allows 300 log-ins a day, and these may be as many messages."""
    people = [sky.create_account(f"reader{number}.test") for number in range(12)]
    for each in people:
        each.allow_incoming = "all"
        await bot.say(dm_to(each, "Hello!"))
    flock.revoke_app_password(flock.password)
    clock.pass_seconds(3 * 3600)  # by when its session must be renewed
    requests = Requests(sky)
    outcomes = await asyncio.gather(*(bot.say(dm_to(each, "Bye!")) for each in people), return_exceptions=True)
    assert [isinstance(each, Unavailable) and "cannot log in" in str(each) for each in outcomes] == [True] * 12
    assert requests.asked.count(LOGIN) <= 2  # for the one that went alone, and for all others
