"""When somebody is next told of newcomers: their cadence, their quiet hours, the opening day. Pure; times in UTC."""

from typing import Final

from storage.records import Cadence, Person

_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR
_WEEK: Final = 7 * _DAY
_MORNING: Final = 9 * _HOUR
# 1970 began on a Thursday: the first Monday is the fifth of January.
_MONDAY: Final = 4 * _DAY

SLOWER: Final = {
    Cadence.NOW: Cadence.DAILY,
    Cadence.DAILY: Cadence.WEEKLY,
    Cadence.WEEKLY: Cadence.OFF,
    Cadence.OFF: Cadence.OFF,
}


def next_look(person: Person, now: int, delay: int, opens_at: int | None) -> int | None:
    """Return when a person is to be looked at for newcomers; None: never, because they neither hear nor follow.

    Daily is in the morning, weekly on Monday morning, spread over an hour so that not all come at once.
    """
    if person.stopped or (person.cadence is Cadence.OFF and not person.auto):
        return None
    now = max(now, opens_at or 0)
    spread = person.id * 7_919_000 % _HOUR
    if person.cadence is Cadence.DAILY:
        return after_quiet(person, _next(now, _DAY, _MORNING + spread))
    if person.cadence is Cadence.WEEKLY:
        return after_quiet(person, _next(now, _WEEK, _MONDAY + _MORNING + spread))
    return after_quiet(person, now + delay)


def after_quiet(person: Person, moment: int) -> int:
    """Return a moment, or the end of the quiet hours in which it falls."""
    if person.quiet_from is None or person.quiet_to is None:
        return moment
    since = (moment - person.quiet_from * _HOUR) % _DAY
    length = (person.quiet_to - person.quiet_from) % 24 * _HOUR
    return moment + length - since if since < length else moment


def _next(now: int, period: int, offset: int) -> int:
    return now + period - (now - offset) % period
