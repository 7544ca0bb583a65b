"""No window of one period ever holds more acts than allowed, and nearly all that are allowed can be made."""

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import budgets
from storage.budgets import Allowance
from storage.database import Database
from tests.conftest import START, OwnClock

HOUR = 3_600_000
_NUMBERS = itertools.count(1)


async def take(database: Database, allowances: tuple[Allowance, ...], wanted: int, now: int, name: str = "x") -> int:
    async with database.transaction() as connection:
        return (await budgets.take(connection, name, allowances, wanted, now))[0]


def most_in_a_window(taken: list[tuple[int, int]], period: int) -> int:
    return max((sum(n for at, n in taken if start <= at < start + period) for start, _ in taken), default=0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the URL of one database for all examples."""
    url = f"sqlite:///{tmp_path_factory.mktemp('budgets') / 'budgets.sqlite3'}"

    async def prepare() -> None:
        database = Database(url)
        await database.upgrade()
        await database.close()

    asyncio.run(prepare())
    return url


@st.composite
def allowances(draw: st.DrawFn) -> Allowance:
    n = draw(st.integers(1, 60))
    return Allowance(n=n, period=draw(st.integers(n, 100_000)), burst=draw(st.integers(1, n)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pair=st.tuples(allowances(), allowances()),
    calls=st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 30)), max_size=40),
)
def test_never_more_than_allowed_in_any_window(
    prepared: str, pair: tuple[Allowance, Allowance], calls: list[tuple[int, int]]
) -> None:
    both = (pair[0],) if pair[0].period == pair[1].period else pair

    async def play(name: str) -> None:
        database = Database(prepared)
        now, taken = START, []
        for step, wanted in calls:
            now += step
            async with database.transaction() as connection:
                granted, again_at = await budgets.take(connection, name, both, wanted, now)
            assert 0 <= granted <= wanted
            taken.append((now, granted))
            if not granted:
                assert again_at > now
                now = again_at
                assert (
                    await take(database, both, 1, now, name) == 1
                )  # neither too early nor, by more than a moment, too late
                taken.append((now, 1))
        await database.close()
        for each in both:
            assert most_in_a_window(taken, each.period) <= each.n

    asyncio.run(play(f"example {next(_NUMBERS)}"))


@pytest.mark.parametrize(
    "allowance",
    [
        Allowance(300, HOUR, 6),
        Allowance(3_000, 24 * HOUR, 6),
        Allowance(1_000, HOUR, 20),
        Allowance(400, 24 * HOUR, 6),
    ],
)
async def test_who_always_asks_gets_nearly_everything_and_never_more(database: Database, allowance: Allowance) -> None:
    """The first period gives all of n; every later one all but the rest of the burst, which is kept for later."""
    now, taken = START, []
    while now < START + 2 * allowance.period:
        async with database.transaction() as connection:
            granted, again_at = await budgets.take(connection, "x", (allowance,), allowance.n, now)
        taken.append((now, granted))
        now = now if granted else again_at
    assert most_in_a_window(taken[:200], allowance.period) <= allowance.n
    first = sum(n for at, n in taken if at < START + allowance.period)
    second = sum(n for at, n in taken if at >= START + allowance.period)
    assert 0.99 * allowance.n <= first <= allowance.n
    assert allowance.n - allowance.burst <= second <= allowance.n


async def test_who_takes_one_at_a_time_gets_everything(database: Database) -> None:
    allowance, now = Allowance(5, HOUR), START
    for number in range(20):
        assert await take(database, (allowance,), 1, now) == 1, number
        assert await take(database, (allowance,), 1, now) == 0, number
        now += HOUR // 5


async def test_the_burst_may_be_used_at_once_and_whole(database: Database) -> None:
    for n in range(2, 200, 7):
        allowance = Allowance(n, HOUR, n // 2)
        assert await take(database, (allowance,), n, START, f"of {n}") == n // 2
        assert await take(database, (allowance,), n, START, f"of {n}") == 0


async def test_the_time_foretold_is_the_time_it_takes(database: Database) -> None:
    allowance, now, done = Allowance(30, HOUR, 5), START, 0
    async with database.reading() as connection:
        foretold = await budgets.wait_for(connection, "x", (allowance,), 20, now)
    while done < 20:
        async with database.transaction() as connection:
            granted, again_at = await budgets.take(connection, "x", (allowance,), 1, now)
        done += granted
        now = now if granted else again_at
    assert now - START == pytest.approx(foretold, abs=20)


async def test_all_who_take_at_once_get_no_more_than_there_is(database: Database, clock: OwnClock) -> None:
    """Also of a budget that nobody has drawn on before, of which there is no row yet to be locked."""
    allowance = (Allowance(49, HOUR, 10), Allowance(200, 24 * HOUR, 12))
    granted = await asyncio.gather(*(take(database, allowance, 3, clock()) for _ in range(12)))
    assert sum(granted) == 10


async def test_a_budget_outlives_the_process(database_url: str, clock: OwnClock) -> None:
    allowance = (Allowance(10, HOUR, 4),)
    for wanted in (4, 0):
        database = Database(database_url)
        await database.upgrade()
        assert await take(database, allowance, 9, clock()) == wanted
        await database.close()


async def test_whoever_looks_whether_there_is_room_takes_nothing(database: Database) -> None:
    allowances = (Allowance(n=12, period=HOUR, burst=3),)
    for left in (3, 2, 1):
        async with database.reading() as connection:
            assert await budgets.room(connection, "x", allowances, START) == (left, START)
        assert await take(database, allowances, 1, START) == 1
    async with database.reading() as connection:
        room, again_at = await budgets.room(connection, "x", allowances, START)
    assert room == 0
    assert await take(database, allowances, 1, again_at - 1) == 0
    assert await take(database, allowances, 1, again_at) == 1


async def test_there_is_room_for_several_at_once_when_a_budget_says_so_and_not_before(database: Database) -> None:
    allowances = (Allowance(n=12, period=HOUR, burst=3), Allowance(n=50, period=24 * HOUR, burst=5))
    assert await take(database, allowances, 3, START) == 3
    moments = []
    for acts in (1, 2, 3, 9):
        async with database.reading() as connection:
            moments.append(await budgets.room_at(connection, "x", allowances, acts, START))
            assert (await budgets.room(connection, "x", allowances, moments[-1]))[0] == min(acts, 3)
            assert (await budgets.room(connection, "x", allowances, moments[-1] - 1))[0] == min(acts, 3) - 1
    assert moments[2] == moments[3]  # more than a burst there never is


async def test_who_leaves_some_of_a_burst_to_others_goes_on_at_the_same_pace(database: Database) -> None:
    whole = Allowance(n=14, period=HOUR, burst=5)
    left = whole.leaving(2)
    assert left.pace == whole.pace
    assert await take(database, (left,), 9, START) == 3
    assert await take(database, (left,), 9, START) == 0
    assert await take(database, (whole,), 9, START) == 2
