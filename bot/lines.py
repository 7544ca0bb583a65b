"""What many lanes share, and wait for in one queue: a budget, and a server that answers or does not."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from bot.networks.errors import Unavailable
from storage import budgets
from storage.budgets import Allowance
from storage.lanes import Among

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# A server that does not answer is asked by one lane at a time: at once, and then so much later each time, at most so late.
_PROBE_LATER: Final = 1_000
_PROBE_AT_MOST: Final = 5_000
AFTER_OTHERS: Final = _PROBE_AT_MOST
"""Whoever asked in vain lets others be the next, so many milliseconds at least."""
# So many lanes of a line write down at once what came of an act: all draw on one budget, so more would only queue for its
# row, each with a connection that others need (measured on PostgreSQL: three workers do 1.8 times as much as with all 32).
_STEPS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Line:
    """Lanes that are worked off side by side; those of other lines are never waited for.

    With a `budget` they share it and one server, and who goes first is decided before any is begun: by urgency, then by
    how long it has waited. `allowances` says what of the budget the lanes of each urgency may use.
    """

    lanes: Among
    budget: str = ""
    allowances: Mapping[bool, tuple[Allowance, ...]] = field(default_factory=dict)

    def by_urgency(self) -> list[tuple[Among, tuple[Allowance, ...]]]:
        """Return its lanes in the order in which they come, each with what it may use."""
        if not self.budget:
            return [(self.lanes, ())]
        return [(replace(self.lanes, urgent=urgent), self.allowances[urgent]) for urgent in (True, False)]


class _Pause:
    """For how long a server is not asked."""

    def __init__(self) -> None:
        self._ends_at = self._ms = 0

    def last(self, now: int, ms: int) -> None:
        """Let it last so long at least."""
        if now + ms > self.ends_at(now):
            self._ends_at, self._ms = now + ms, ms

    def ends_at(self, now: int) -> int:
        """Return when it is over; one that is to last twice as long as it was meant to began before the clock was set."""
        return self._ends_at if self._ends_at - now <= 2 * self._ms else 0

    def end(self) -> None:
        """Let it be over."""
        self._ends_at = 0


class WorkedLine:
    """A line as one worker sees it: what it has begun there, and whether the server answers."""

    def __init__(self, line: Line, places: int) -> None:
        self.line: Final = line
        self.tasks: set[asyncio.Task[bool]] = set()
        # What shares no budget waits for nothing but its own account.
        self.steps: Final = asyncio.Semaphore(_STEPS_AT_ONCE if line.budget else places)
        self._places: Final = places
        # Leased, and not yet drawn on the budget; and whether something else waits until they have.
        self._undrawn = 0
        self._held_up = False
        self._failures = 0
        # Until the server may be asked again: as it said, and as we find sensible.
        self._named = _Pause()
        self._sensible = _Pause()
        self._probe: asyncio.Task[bool] | None = None

    @property
    def places(self) -> int:
        """Return how many more lanes can be worked on, were there something to do in them."""
        if self._failures:
            return 0 if self._probe is not None else 1
        return self._places - len(self.tasks)

    def waiting(self) -> list[Among]:
        """Return its lanes by urgency, unless none of them can be begun before another is through."""
        return [among for among, _ in self.line.by_urgency()] if self.places > 0 else []

    async def room(self, connection: "AsyncConnection", among: Among, now: int) -> tuple[int, int]:
        """Return how many lanes of an urgency can be begun, and when one can be: the server and the budget decide."""
        opens_at = max(self._named.ends_at(now), self._sensible.ends_at(now))
        allowances = () if among.urgent is None else self.line.allowances[among.urgent]
        if not allowances or opens_at > now:
            return (0 if opens_at > now else self.places), opens_at
        free, again_at = await budgets.room(connection, self.line.budget, allowances, now)
        return min(self.places, free - self._undrawn), again_at

    def begin(self, task: asyncio.Task[bool]) -> None:
        """Note that a lane is being worked off."""
        self.tasks.add(task)
        self._undrawn += 1
        if self._failures:
            self._probe = task

    def drawn(self) -> bool:
        """Note that a lane has drawn on the budget, or does not want to; tell whether something waited for that."""
        self._undrawn -= 1
        held_up, self._held_up = self._held_up, False
        return held_up

    def hold_up(self) -> None:
        """Note that something is due that waits until it is known what of the budget is left."""
        self._held_up = True

    def end(self, task: asyncio.Task[bool]) -> None:
        """Note that a lane is worked off."""
        self.tasks.discard(task)
        if self._probe is task:
            self._probe = None

    def answered(self) -> bool:
        """Note that the server answers: everything that waits goes on, though not before a time that it has named.

        Tell whether it did not before.
        """
        self._sensible.end()
        failures, self._failures = self._failures, 0
        return failures > 0

    def failed(self, now: int, problem: Unavailable) -> bool:
        """Note that the server did not; tell whether that is likely to be about all lanes, and not about one alone.

        It is when the server has answered nobody since it failed last: a time that it names is first of all for what was
        asked, a search or a chat and nothing else.
        """
        if not self.line.budget or problem.noted:
            return False
        problem.noted = True
        again = self._failures > 0
        if again and problem.retry_in is not None:
            self._named.last(now, int(problem.retry_in * 1000))
        else:
            self._sensible.last(now, min(_PROBE_AT_MOST, _PROBE_LATER * self._failures))
        self._failures += 1
        return again
