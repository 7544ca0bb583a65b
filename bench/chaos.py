"""Kill the bot with SIGKILL at random moments of the demo's story, start it again each time, and count what came of it.

    python -m bench.chaos [--quick] [--kills 50] [--people 120] [--seed 1] [--database-url URL]

Prints the demo's figures and the number of kills as one JSON object; exit code 1 unless nothing was doubled or lost and
every step of the story came true.
"""

import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from bot.sandbox.demo.screen import Screen
from bot.sandbox.demo.stage import Stage, open_stage
from bot.sandbox.demo.story import Outcome, play_story
from storage.records import NetworkName

# The story needs so many.
_FEWEST: Final = 12
# Everybody waits longer than in the demo: the bot is away half of the time.
_PATIENCE: Final = 150.0
# Some kills hit the start itself, within this many seconds; the others come after so many further effects.
_DURING_START: Final = 0.25
_START_SECONDS: Final = 3.0
_MOST_EFFECTS: Final = 30
# When nothing happens any more, a kill does not wait longer than this.
_IDLE_SECONDS: Final = 2.0


class Killer:
    """Ends the bot again and again, at moments drawn by a seed."""

    def __init__(self, stage: Stage, screen: Screen, kills: int, seed: int) -> None:
        self._stage = stage
        self._screen = screen
        self._kills = kills
        self._chance = random.Random(seed)

    async def go(self) -> None:
        """Kill, and start again at once, as often as was asked for."""
        while self._stage.bot.kills < self._kills:
            await self._moment()
            await self._stage.bot.kill()
            await self._stage.bot.start()
            self._screen.note(f"kill -9, for the {self._stage.bot.kills}. time")

    async def _moment(self) -> None:
        """Wait for the next moment to kill at: some time after the start, or some effects after it."""
        if self._chance.random() < _DURING_START:
            await asyncio.sleep(self._chance.uniform(0, _START_SECONDS))
            return
        wanted = self._effects() + self._chance.randint(1, _MOST_EFFECTS)
        end = time.monotonic() + _START_SECONDS + _IDLE_SECONDS
        while self._effects() < wanted and (left := end - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._stage.wire.moment()
            except TimeoutError:
                return
        # Not right at an effect, but somewhere between two.
        await asyncio.sleep(self._chance.uniform(0, 0.05))

    def _effects(self) -> int:
        return sum(len(self._stage.journal(network).effects) for network in NetworkName)


async def perform(kills: int, people: int, seed: int, database_url: str | None) -> Outcome:
    """Play the story under fire."""
    started_at = time.time()
    screen = Screen(sys.stderr, started_at=started_at)
    with tempfile.TemporaryDirectory(prefix="reflock-chaos-") as folder:
        opening = open_stage(Path(folder), screen, database_url=database_url, patience=_PATIENCE, started_at=started_at)
        async with opening as stage:
            killer = Killer(stage, screen, kills, seed)
            with screen:
                outcome = await play_story(stage, screen, people=people, seed=seed, beside=killer.go)
            screen.table(outcome.figures)
            for failure in outcome.failures:
                screen.failed(failure)
            if outcome.failures:
                screen.log(stage.bot.tail())
            outcome.figures["kills"] = stage.bot.kills
    return outcome


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="A tenth of the kills, and of the people.")
@click.option("--kills", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--people", default=120, show_default=True, type=click.IntRange(_FEWEST, 2000))
@click.option("--seed", default=1, show_default=True, type=int)
@click.option("--database-url", default=None, help="An empty database, instead of SQLite in a temporary folder.")
def main(*, quick: bool, kills: int, people: int, seed: int, database_url: str | None) -> None:
    """Read the options, perform, and print the figures."""
    if quick:
        kills, people = max(1, kills // 10), max(_FEWEST, people // 10)
    outcome = asyncio.run(perform(kills, people, seed, database_url))
    print(json.dumps(outcome.figures))
    sound = outcome.figures["duplicates"] == 0 and outcome.figures["lost"] == 0
    sys.exit(0 if sound and not outcome.failures else 1)


if __name__ == "__main__":
    main()
