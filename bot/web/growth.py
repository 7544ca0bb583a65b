"""Draw how the counters grew: one small curve each, and the same in numbers for who reads rather than looks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Final

from babel.dates import format_date

from handlers.texts import N_, Texts
from storage.census import Day

WIDTH: Final = 240
HEIGHT: Final = 60
# Half the width of the line, so that it is not cut off at the top and at the bottom.
_MARGIN: Final = 2
# More points than this nobody can tell apart on so small a picture.
_MOST_POINTS: Final = 120
# So many days are read one by one; of more, the last one of each month.
_DAYS_IN_ROWS: Final = 31

_COUNTERS: Final[Sequence[tuple[str, Callable[[Day], int]]]] = (
    (N_("People registered"), lambda day: day.people),
    (N_("Links held"), lambda day: day.links),
    (N_("Reconnections made"), lambda day: day.reconnections),
)


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter as its reader sees it. `line` and `area` are paths of an SVG; None where one day makes no curve."""

    name: str
    now: str
    line: str | None
    area: str | None
    said: str


@dataclass(frozen=True, slots=True)
class Growth:
    """All counters, and the rows of their table: a day, and what each of them was."""

    counters: list[Counter]
    since: str
    until: str
    rows: list[tuple[str, list[str]]]


def draw(texts: Texts, days: Sequence[Day]) -> Growth:
    """Draw at least one day, in order."""
    since, until = _date(texts, days[0]), _date(texts, days[-1])
    return Growth(
        [_counter(texts, name, days, of, since, until) for name, of in _COUNTERS],
        since,
        until,
        [(_date(texts, each), [texts.number(of(each)) for _, of in _COUNTERS]) for each in _milestones(days)],
    )


def _counter(texts: Texts, name: str, days: Sequence[Day], of: Callable[[Day], int], since: str, until: str) -> Counter:
    before, now = texts.number(of(days[0])), texts.number(of(days[-1]))
    said = texts.text(
        N_("{counter}: {before} on {since}, {now} on {until}"),
        counter=texts.text(name),
        before=before,
        since=since,
        now=now,
        until=until,
    )
    if len(days) < 2:
        return Counter(texts.text(name), now, None, None, said)
    line = _line(days, of)
    return Counter(texts.text(name), now, f"M{line}", f"M0,{HEIGHT}L{line}L{WIDTH},{HEIGHT}Z", said)


def _line(days: Sequence[Day], of: Callable[[Day], int]) -> str:
    """Write the points of a curve from nought to its highest, each day in its place, days without a count left out."""
    step = max(1, -(-len(days) // _MOST_POINTS))
    shown = [*days[-1::-step][::-1]]
    if shown[0] is not days[0]:
        shown.insert(0, days[0])
    first, last = days[0].day, days[-1].day
    highest = max(1, *(of(each) for each in shown))
    points = [
        (
            WIDTH * (each.day - first) / (last - first),
            HEIGHT - _MARGIN - (HEIGHT - 2 * _MARGIN) * of(each) / highest,
        )
        for each in shown
    ]
    return "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _milestones(days: Sequence[Day]) -> Sequence[Day]:
    if len(days) <= _DAYS_IN_ROWS:
        return days
    return [*(each for each, after in pairwise(days) if _month(each) != _month(after)), days[-1]]


def _month(each: Day) -> tuple[int, int]:
    day = _day(each)
    return day.year, day.month


def _day(each: Day) -> date:
    return datetime.fromtimestamp(each.day * 86_400, UTC).date()


def _date(texts: Texts, each: Day) -> str:
    return format_date(_day(each), locale=texts.language)
