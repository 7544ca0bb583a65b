"""A stage with a few people on it, some of them here already, and the page on which to play."""

import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.sandbox.demo.community import Resident, seed_community
from bot.sandbox.demo.diary import Diary
from bot.sandbox.demo.moves import Moves
from bot.sandbox.demo.screen import Screen
from bot.sandbox.demo.stage import Stage, open_stage
from bot.sandbox.play.server import PlayServer

_PEOPLE = 10
_HERE = 4


@dataclass(frozen=True, repr=False)  # residents know each other: written out they have no end
class Playground:
    """What is played on; `here` have proved who they were, and nobody else has."""

    stage: Stage
    page: str
    here: list[Resident]


@asynccontextmanager
async def open_playground(folder: Path) -> AsyncIterator[Playground]:
    """Start the networks and the bot, and have the first people arrive."""
    now = time.time()
    screen = Screen(io.StringIO(), started_at=now)
    async with open_stage(folder, screen, database_url=None, patience=45, started_at=now, notice_delay=0.1) as stage:
        everybody = seed_community(_PEOPLE, 7, ()).everybody
        for resident in everybody:
            await stage.enter(resident)
        moves, here = Moves(stage, Diary()), everybody[:_HERE]
        for resident in here:
            await moves.prove(stage.line(resident))
        async with PlayServer(stage) as server:
            yield Playground(stage, server.url, here)
