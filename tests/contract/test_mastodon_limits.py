"""A real Mastodon's rate limits, shortened: the bot stays below them by itself, and obeys a refusal to the second."""

from collections.abc import Awaitable, Callable

import pytest

from bot.networks.errors import PartlyDone, Unavailable
from bot.networks.ratelimits import RateLimited
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import Rule
from bot.sandbox.mastodon.limits import FOLLOWS, STATUSES, TOKEN
from tests.conftest import OwnClock
from tests.contract.mastodon import Scene, dm, order
from tests.contract.town import StandInTown

# The windows of a server that nobody owns cannot be shortened, and its clock cannot be set.
pytestmark = pytest.mark.parametrize("mastodon", ["sandbox as mastodon"], indirect=True)

_LIMIT = 40
_WINDOW = 3600


def limited(scene: Scene, rule: str) -> OwnClock:
    """Shorten a limit, begin in the middle of one of its windows, and return the clock."""
    assert isinstance(scene.town, StandInTown)
    assert isinstance(scene.clock, OwnClock)
    scene.town.sandbox.limits.rules[rule] = Rule(_LIMIT, _WINDOW)
    scene.clock.pass_seconds(_WINDOW * 1.5 - scene.clock() / 1000 % _WINDOW)
    return scene.clock


def use_up(scene: Scene, rule: str) -> None:
    """Have the bot's operator use an allowance that is the bot's too."""
    assert isinstance(scene.town, StandInTown)
    sandbox = scene.town.sandbox
    for _ in range(_LIMIT):
        sandbox.limits.count(rule, str(sandbox.people[scene.flock.actor].account.id))


async def until_enough(act: Callable[[int], Awaitable[object]]) -> tuple[int, Unavailable]:
    """Act until the bot stops by itself, shortly before it would be refused; return how often it acted."""
    for number in range(_LIMIT):
        try:
            await act(number)
        except RateLimited:
            break
        except Unavailable as enough:
            return number, enough
    raise AssertionError("the bot did not stop by itself")


async def test_the_bot_stops_speaking_before_it_is_told_to(mastodon: Scene) -> None:
    bot = await mastodon.start()
    clock = limited(mastodon, STATUSES)
    said, enough = await until_enough(lambda number: bot.say(dm(mastodon.alice, f"message {number}")))
    assert enough.retry_in == _WINDOW / 2
    clock.pass_seconds(_WINDOW / 2)
    await bot.say(dm(mastodon.alice, "one more"))
    assert len(await mastodon.alice.received(mastodon.flock, "m")) == said + 1


async def test_a_refusal_is_obeyed_to_the_second(mastodon: Scene) -> None:
    bot = await mastodon.start()
    clock = limited(mastodon, STATUSES)
    use_up(mastodon, STATUSES)
    with pytest.raises(Unavailable) as refused:
        await bot.say(dm(mastodon.alice, "hello"))
    assert refused.value.retry_in == _WINDOW / 2
    unasked = Fault("/api/v1/statuses", method="POST")
    mastodon.town.plan(unasked)
    for seconds in (0, _WINDOW / 2 - 1):
        clock.pass_seconds(seconds)
        with pytest.raises(Unavailable) as still:
            await bot.say(dm(mastodon.alice, "hello"))
        assert unasked.times == 1
    assert still.value.retry_in == 1
    clock.pass_seconds(1)
    with pytest.raises(Unavailable):
        await bot.say(dm(mastodon.alice, "hello"))
    assert unasked.times == 0
    await bot.say(dm(mastodon.alice, "hello"))


async def test_follows_stop_below_the_limit_and_go_on_with_its_next_window(mastodon: Scene) -> None:
    bot, town = await mastodon.start(), mastodon.town
    assert isinstance(town, StandInTown)
    clock = limited(mastodon, FOLLOWS)
    orders = [order(town.open(f"friend{number}")) for number in range(45)]
    grant = await mastodon.consent(mastodon.alice)
    with pytest.raises(PartlyDone) as partly:
        await bot.follow(grant, orders)
    done = len(partly.value.outcomes)
    assert _LIMIT * 0.9 < done < _LIMIT
    assert isinstance(partly.value.cause, Unavailable)
    assert not partly.value.cause.begun
    assert partly.value.cause.retry_in == _WINDOW / 2
    clock.pass_seconds(_WINDOW / 2)
    assert {outcome.state for outcome in await bot.follow(grant, orders[done:])} == {"done"}
    assert len(town.sandbox.journal.of("follow", by=mastodon.alice.actor)) == 45


async def test_listening_too_stays_below_the_limit_and_loses_nothing(mastodon: Scene) -> None:
    bot, cursor = await mastodon.attentive()
    clock = limited(mastodon, TOKEN)
    _, enough = await until_enough(lambda _: bot.hear(cursor))
    assert enough.retry_in == _WINDOW / 2
    await mastodon.alice.post(f"{mastodon.flock.handle} hello")
    clock.pass_seconds(_WINDOW / 2)
    assert len(await mastodon.heard(bot, cursor)) == 1
