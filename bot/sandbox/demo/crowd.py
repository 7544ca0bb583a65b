"""The crowd: a few hundred people who come by themselves, while the story goes on in front of them."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.lines import StepFailed
from bot.sandbox.demo.play import Play

# So many are on their way at once; each waits for the bot's answers as the leading people do.
_AT_ONCE: Final = 8
# What they do, by chance: not everybody comes, hands a list over, or lets somebody else follow.
_COMES: Final = 0.85
_HANDS_OVER: Final = 0.8
_SOON: Final = 0.2
_CONSENTS: Final = 0.35
_AUTO: Final = 0.3


@dataclass(frozen=True, slots=True)
class _Habit:
    """How far somebody goes; whose list is there `soon` waits for the others, the rest come when many are here."""

    resident: Resident
    hands_over: bool
    soon: bool
    consents: bool
    auto: bool


class Crowd:
    """Everybody who is not in the front of the story; what fails for one of them is kept, the others go on."""

    def __init__(self, play: Play, seed: int) -> None:
        self._play = play
        chance = random.Random(seed)  # noqa: S311  # a story, not a secret
        self._habits: list[_Habit] = []
        for resident in play.community.crowd:
            comes, hands_over, soon, consents, auto = (chance.random() for _ in range(5))
            if comes < _COMES:
                habit = _Habit(resident, hands_over < _HANDS_OVER, soon < _SOON, consents < _CONSENTS, auto < _AUTO)
                self._habits.append(habit)
        self._offered: dict[Resident, str] = {}
        self._done = 0
        self.failures: list[str] = []

    async def arrive(self) -> None:
        """Have everybody come, some at a time; return when all have done what they came for."""
        self._show()
        everybody = len(self._play.community.everybody)
        self._play.screen.note(
            f"meanwhile {len(self._habits)} others come by themselves; some of the {everybody} never do"
        )
        await self._each(self._habits, self._come)
        await self._each([each for each in self._habits if each.hands_over and not each.soon], self._reconnect)

    async def _each(self, habits: Iterable[_Habit], go: Callable[[_Habit], Awaitable[None]]) -> None:
        waiting = iter(habits)

        async def one_after_another() -> None:
            for habit in waiting:
                try:
                    await go(habit)
                except StepFailed as failure:
                    self.failures.append(str(failure))

        await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))

    async def _come(self, habit: _Habit) -> None:
        """Say who one was and prove it; some have their list at hand."""
        moves, stage, resident = self._play.moves, self._play.stage, habit.resident
        line = stage.line(resident)
        if len(resident.homes) > 1:
            await moves.join(line, stage.line(resident, resident.homes[1]))
        self._offered[resident] = (await moves.prove(line)).text
        if not habit.hands_over:
            self._is_done()
        elif habit.soon:
            await self._reconnect(habit)

    async def _reconnect(self, habit: _Habit) -> None:
        """Hand the list over, and go as far as one cares to."""
        moves, line = self._play.moves, self._play.stage.line(habit.resident)
        offered = self._offered.get(habit.resident)
        if offered is None:  # the first half of the way failed already
            return
        await moves.hand_over(line, offered)
        if habit.consents:
            await moves.consent(line, offered)
            if habit.auto:
                await moves.auto_on(line)
            await moves.follow_all(line)
        self._is_done()

    def _is_done(self) -> None:
        self._done += 1
        self._show()

    def _show(self) -> None:
        self._play.screen.crowd(self._done, len(self._habits))
