"""The page for who has never seen Reflock, and how it shows that it grows."""

import re
from collections.abc import Callable, Iterable

import httpx
import pytest

from bot.sandbox.archive import following_js
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.schedule import make_schedule
from bot.web import growth
from handlers.texts import Catalogue
from storage import census
from storage.census import Day
from storage.codes import Purpose
from tests.conftest import START
from tests.flock import Flock, flock
from tests.reunion import friends_of
from tests.visits import alice, asks, enter, link_to, upload

__all__ = ["alice", "flock"]  # fixtures

TODAY = START // 86_400_000
DAY = 86_400


async def front(flock: Flock, language: str = "en") -> httpx.Response:
    page = await flock.browser.get(flock.pages, headers={"accept-language": language})
    assert page.status_code == 200, page.text
    return page


async def counted(flock: Flock, days: Iterable[Day]) -> None:
    async with flock.app.events.database.transaction() as connection:
        for each in days:
            await census.keep(connection, each)


async def kept(flock: Flock) -> list[Day]:
    async with flock.app.events.database.reading() as connection:
        return await census.days(connection)


def now_on(page: httpx.Response) -> list[str]:
    """Return what the three counters show."""
    return re.findall(r"</dt>\n<dd>([\d,]+)\n", page.text)


def rows_on(page: httpx.Response) -> list[list[str]]:
    """Return the table's rows, the newest first."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page.text)
    return [[day, *re.findall(r"<td>(.*?)</td>", cells)] for day, cells in rows]


def grown(days: int) -> list[Day]:
    """Return how it might have grown on each of so many days before today."""
    return [Day(TODAY - days + each, each + 1, 1_000 * each, each // 2) for each in range(days)]


async def test_it_says_what_this_is_and_how_to_begin_on_each_network(flock: Flock) -> None:
    page = await front(flock)
    for said in (
        "finds the people you followed on X",
        "Three steps",
        "never ask for a password",
        "send the word: start",
    ):
        assert said in page.text
    assert 'href="https://bsky.app/profile/reflock.test"' in page.text
    assert f'href="https://{flock.mastodon.domain}/@reflock"' in page.text
    assert "/contacts" not in page.text
    assert "set-cookie" not in page.headers


@pytest.mark.parametrize(
    ("language", "word"), [("en", "start"), ("tlh", "start"), ("fr-CA", "bonjour"), ("ar", "مرحبا")]
)
async def test_the_word_to_begin_with_is_answered_in_the_language_of_the_page(
    flock: Flock, alice: BlueskyPerson, language: str, word: str
) -> None:
    page = await front(flock, language)
    assert len(re.findall(rf"<dd>[^<]*: {word}\n", page.text)) == 2
    (spoken,) = re.findall(r'<html lang="(\w+)"', page.text)
    await asks(flock, alice, word)
    assert f'<html lang="{spoken}"' in (await enter(flock.browser, await link_to(flock, alice, Purpose.CONTACTS))).text


async def test_who_is_on_a_visit_gets_the_way_back_to_it(flock: Flock, alice: BlueskyPerson) -> None:
    await enter(flock.browser, await link_to(flock, alice, Purpose.CONTACTS))
    page = await front(flock)
    assert 'href="/contacts">Go on' in page.text
    assert "here as alice.test" in page.text
    await asks(flock, alice, "lang fr")
    assert '<html lang="fr"' in (await front(flock, "en")).text  # as chosen, whatever the browser asks for


async def test_the_counters_are_those_of_the_conversation_and_counted_once_a_minute(flock: Flock) -> None:
    assert now_on(await front(flock)) == ["0", "0", "0"]
    alice, _ = await friends_of(flock, "bluesky", ["bob", "carol"])
    assert now_on(await front(flock)) == ["0", "0", "0"]
    await alice.write("follow all")
    await alice.write("yes")
    flock.clock.pass_seconds(60)
    assert now_on(await front(flock)) == ["3", "2", "2"]
    assert "registered: 3 · links held: 2 · reconnections made: 2" in await alice.write("stats")


async def test_without_a_past_there_are_numbers_and_no_picture(flock: Flock) -> None:
    page = await front(flock)
    assert "<svg" not in page.text
    assert "<table" not in page.text


@pytest.mark.parametrize(("days", "rows"), [(1, 2), (2, 3), (30, 31), (400, 14)])
async def test_how_it_grew_is_drawn_and_told_in_numbers(flock: Flock, days: int, rows: int) -> None:
    await counted(flock, grown(days))
    page = await front(flock)
    assert page.text.count("<svg") == 3
    assert page.text.count('role="img" aria-label="') == 3
    assert " style=" not in page.text
    assert "<script" not in page.text
    table = rows_on(page)
    assert len(table) == rows
    assert table[0] == ["Mar 17, 2030", "0", "0", "0"]
    assert len(page.content) < 30_000


async def test_numbers_and_days_are_written_as_the_reader_does(flock: Flock) -> None:
    await counted(flock, [Day(TODAY - 1, 33_000, 47_000_000, 5)])
    english, french = await front(flock, "en"), await front(flock, "fr-CA, en;q=0.5")
    assert rows_on(english)[1] == ["Mar 16, 2030", "33,000", "47,000,000", "5"]
    assert rows_on(french)[1] == ["16 mars 2030", "33\u202f000", "47\u202f000\u202f000", "5"]
    assert "33,000 on Mar 16, 2030, 0 on Mar 17, 2030" in english.text


async def test_each_hour_writes_how_the_day_stands_and_tomorrow_it_is_the_past(
    flock: Flock, alice: BlueskyPerson
) -> None:
    tick = make_schedule(flock.app.events, flock.app.announcing, flock.config).get_job("census").func
    await tick()
    assert await kept(flock) == [Day(TODAY, 1, 0, 0)]
    page = await enter(flock.browser, await link_to(flock, alice, Purpose.IMPORT))
    await upload(flock.browser, page, ("files", ("following.js", following_js([1, 2, 3]), "text/javascript")))
    await tick()
    assert await kept(flock) == [Day(TODAY, 1, 3, 0)]
    assert "<svg" not in (await front(flock)).text
    flock.clock.pass_seconds(DAY)
    assert rows_on(await front(flock)) == [["Mar 18, 2030", "1", "3", "0"], ["Mar 17, 2030", "1", "3", "0"]]
    await tick()
    assert await kept(flock) == [Day(TODAY, 1, 3, 0), Day(TODAY + 1, 1, 3, 0)]


def points(path: str | None) -> list[tuple[float, float]]:
    assert path
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", path)]


@pytest.mark.parametrize(
    "of",
    [lambda _: 0, lambda _: 10**9, lambda day: day, lambda day: 4_000 - day],
    ids=["nothing", "a plateau", "growing", "shrinking"],
)
@pytest.mark.parametrize("days", [2, 3, 120, 121, 400, 4_000])
def test_a_curve_goes_from_the_first_day_to_the_last_and_stays_in_its_frame(
    days: int, of: Callable[[int], int]
) -> None:
    past = [Day(each, of(each), 0, 0) for each in range(days)]
    curve = points(growth.draw(Catalogue().texts("en"), past).counters[0].line)
    assert (curve[0][0], curve[-1][0]) == (0, growth.WIDTH)
    assert all(0 <= y <= growth.HEIGHT for _, y in curve)
    assert [x for x, _ in curve] == sorted(x for x, _ in curve)
    assert len(curve) <= 121


def test_a_day_nobody_counted_is_a_longer_way_and_not_a_fall() -> None:
    past = [Day(0, 5, 0, 0), Day(1, 10, 0, 0), Day(10, 10, 0, 0)]
    (_, _), (second, high), (_, still) = points(growth.draw(Catalogue().texts("en"), past).counters[0].line)
    assert second == growth.WIDTH / 10
    assert high == still
