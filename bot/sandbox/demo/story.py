"""Play the story once: seed the community, play the scenes before the crowd, wait for quiet, and open the books."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from bot.sandbox.demo.books import Books
from bot.sandbox.demo.community import RealArchive, seed_community
from bot.sandbox.demo.crowd import Crowd
from bot.sandbox.demo.diary import Diary
from bot.sandbox.demo.lines import StepFailed
from bot.sandbox.demo.moves import Moves
from bot.sandbox.demo.play import LEADS, STAR, Play, all_of, befriend_leads
from bot.sandbox.demo.process import BotDied
from bot.sandbox.demo.scenes import SCENES
from bot.sandbox.demo.screen import Screen
from bot.sandbox.demo.stage import Stage
from storage.records import NetworkName

# It is quiet when nothing has come for so long.
_QUIET_SECONDS: Final = 1.0
_MOST_SHOWN: Final = 10


@dataclass(frozen=True)
class Outcome:
    """What came of it: the figures, and every step that did not come true."""

    figures: dict[str, Any]
    failures: list[str]


async def play_story(
    stage: Stage,
    screen: Screen,
    *,
    people: int,
    seed: int,
    real: RealArchive | None = None,
    beside: Callable[[], Coroutine[None, None, None]] | None = None,
) -> Outcome:
    """Play everything. `beside` is what somebody else does to the bot meanwhile; the story ends after it has."""
    community = seed_community(people, seed, LEADS, real, STAR)
    befriend_leads(community)
    for resident in community.everybody:
        await stage.enter(resident, lead=resident in community.leads.values())
    play = Play(stage, community, Moves(stage, Diary()), screen)
    _arrange(play)
    crowd = Crowd(play, seed)
    failures: list[str] = []
    try:
        await stage.while_bot_lives(_play_all(play, crowd, beside))
    except (StepFailed, BotDied) as failure:
        failures.append(str(failure))
    failures += crowd.failures
    books = open_books(play)
    failures += books.losses().all[:_MOST_SHOWN] + books.duplicates()[:_MOST_SHOWN]
    return Outcome(books.figures(time.time() - stage.started_at), failures)


async def _play_all(play: Play, crowd: Crowd, beside: Callable[[], Coroutine[None, None, None]] | None) -> None:
    parts = [_scenes(play), _early_birds(play, crowd)]
    await all_of(*parts, *([beside()] if beside is not None else []))
    await _quiet(play)


def _arrange(play: Play) -> None:
    """Arrange what is so from the beginning: a locked account, a block."""
    amir, boris, ludo = (play.stage.mastodon_person(play.lead(name)) for name in ("Amir", "Boris", "Ludo"))
    boris.block(amir)
    ludo.account.locked = True
    play.moves.diary.locked.add(play.lead("Ludo"))


async def _scenes(play: Play) -> None:
    for place, (title, scene) in enumerate(SCENES, 1):
        play.screen.scene(place, title)
        await scene(play)


async def _early_birds(play: Play, crowd: Crowd) -> None:
    """Have some friends of the leading people be here before them; then the crowd comes."""
    birds = [play.line(name) for name in ("Paul", "Ludo", "Boris")]
    for bird in birds:
        bird.lead = False  # nobody looks at them yet
    proofs = await asyncio.gather(*(play.moves.prove(bird) for bird in birds))
    await play.moves.hand_over(birds[0], proofs[0].text)
    for bird in birds:
        bird.lead = True
    await crowd.arrive()


async def _quiet(play: Play) -> None:
    """Wait until nothing comes any more and nothing is missing, or patience ends."""
    end = time.time() + play.stage.patience
    while time.time() < end:
        try:
            async with asyncio.timeout(_QUIET_SECONDS):
                while True:
                    await play.stage.wire.moment()
        except TimeoutError:
            if not open_books(play).losses().all:
                return


def open_books(play: Play) -> Books:
    """Open the books on what has come true so far."""
    journals = {network: play.stage.journal(network).effects for network in NetworkName}
    return Books(journals, play.stage.lines.values(), play.moves.diary)
