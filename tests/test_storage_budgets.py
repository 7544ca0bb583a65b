"""No window of one period ever holds more acts than allowed, and nearly all that are allowed can be made."""

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, example, given, settings
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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    allowance=st.integers(1, 6).flatmap(lambda n: st.builds(Allowance, st.just(n), st.just(600), st.integers(1, n))),
    calls=st.lists(st.tuples(st.integers(0, 500), st.integers(1, 6), st.none() | st.integers(0, 3)), max_size=40),
)
def test_what_is_given_back_late_never_makes_a_window_hold_more(
    prepared: str, allowance: Allowance, calls: list[tuple[int, int, int | None]]
) -> None:
    """Each call waits, and takes; what is never done of it is given back so many calls later."""

    async def play(name: str) -> None:
        database = Database(prepared)
        now, taken = START, []
        untried: dict[int, list[tuple[int, int]]] = {}
        for number, (step, wanted, given_back_after) in enumerate(calls):
            now += step
            granted = await take(database, (allowance,), wanted, now, name)
            if given_back_after is None:
                taken.append((now, granted))
            else:
                untried.setdefault(number + given_back_after, []).append((granted, now))
            for unused, taken_at in untried.pop(number, []):
                async with database.transaction() as connection:
                    await budgets.give_back(connection, name, (allowance,), unused, taken_at, now)
        await database.close()
        assert most_in_a_window(taken, allowance.period) <= allowance.n

    asyncio.run(play(f"given back {next(_NUMBERS)}"))


async def test_time_gives_back_only_once(database: Database) -> None:
    """What was taken for a server that was found out of reach ten seconds later has been given back by then."""
    allowance, now, done = Allowance(4, 10_000, 2), START, 0
    assert await take(database, (allowance,), 2, now) == 2
    now += 10_000
    done += await take(database, (allowance,), 2, now)
    async with database.transaction() as connection:
        await budgets.give_back(connection, "x", (allowance,), 2, START, now)
    for later in range(0, allowance.period, 50):
        done += await take(database, (allowance,), 1, now + later)
    assert done == allowance.n


async def test_what_is_given_back_at_once_may_be_taken_again(database: Database) -> None:
    allowance = (Allowance(3, 10_000, 2),)
    for _ in range(9):
        assert await take(database, allowance, 2, START) == 2
        async with database.transaction() as connection:
            await budgets.give_back(connection, "x", allowance, 2, START, START)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(allowance=allowances(), wrong_by=st.integers(1, 10**11), wanted=st.integers(1, 60))
@example(allowance=Allowance(100, 10_000, burst=50, reserve=40), wrong_by=19_000, wanted=1)
def test_a_clock_that_was_ahead_closes_a_budget_for_no_more_than_its_window(
    prepared: str, allowance: Allowance, wrong_by: int, wanted: int
) -> None:
    async def play(name: str) -> None:
        database = Database(prepared)
        await take(database, (allowance,), wanted, START + wrong_by, name)
        now = START
        taken: list[tuple[int, int]] = []
        while now < START + 3 * allowance.period and len(taken) < 2 * allowance.n:
            async with database.transaction() as connection:
                foretold = await budgets.room(connection, name, (allowance,), now)
                granted, again_at = await budgets.take(connection, name, (allowance,), 1, now)
            assert min(foretold[0], 1) == granted
            assert foretold[1] == again_at
            taken += [(now, 1)] * granted
            now = now if granted else again_at
        await database.close()
        assert taken[0][0] - START <= max(allowance.period, allowance.lasts(allowance.burst))
        assert most_in_a_window(taken, allowance.period) <= allowance.n

    asyncio.run(play(f"ahead {next(_NUMBERS)}"))


async def test_clocks_that_differ_a_little_share_one_budget(database: Database) -> None:
    """A process whose clock is behind finds the budget used beyond what it knows, and does not take that for a mistake."""
    allowance, done = (Allowance(60, HOUR, 5),), 0
    for now in range(START, START + HOUR, 5_000):
        done += await take(database, allowance, 1, now)
        done += await take(database, allowance, 1, now - 2_000)
    assert done <= 60


async def test_what_others_may_have_used_is_no_clocks_mistake(database: Database) -> None:
    whole = Allowance(n=4, period=10_000, burst=4)
    assert await take(database, (whole,), 4, START) == 4
    for now in range(START, START + 30_000, 1_000):
        assert await take(database, (whole.leaving(2),), 1, now) == 0
    assert await take(database, (whole.leaving(2),), 1, START + 30_000) == 1
