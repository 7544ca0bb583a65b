"""The demo: the unmodified bot, two networks on loopback, and a community whose story is played out before your eyes."""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from bot.sandbox.demo.community import RealArchive
    from bot.sandbox.demo.screen import Screen
    from bot.sandbox.demo.stage import Stage
    from bot.sandbox.demo.story import Outcome

# How long somebody waits for an answer before the step counts as failed.
_PATIENCE: Final = 45.0

BlueskyKind = Literal["stand-in", "real"]
# How many people play: a real server takes a tenth of a second for each account.
_PEOPLE: Final[dict[BlueskyKind, int]] = {"stand-in": 200, "real": 60}


def run_demo(
    *,
    once: bool,
    json_output: bool,
    archive: Path | None,
    database_url: str | None,
    people: int | None = None,
    seed: int = 7,
    bluesky: BlueskyKind = "stand-in",
) -> int:
    """Play the demo; return the exit code: 0 when every step of the story came true, 1 when one did not, 2 for bad input.

    `bluesky` is the stand-in, or a real one: PDS, PLC directory and AppView. With `json_output` the last line on stdout is one JSON object, and the transcript goes to stderr.
    """
    from bot.sandbox.bluesky.real.launching import NoRealBluesky
    from bot.sandbox.demo.reading import BadArchive, read_real_archive

    try:
        real = read_real_archive(archive) if archive else None
    except BadArchive as problem:
        print(f"reflock: {problem}", file=sys.stderr)  # noqa: T201  # an answer to who typed the command
        return 2
    try:
        people = people or _PEOPLE[bluesky]
        outcome = asyncio.run(_perform(once, json_output, real, database_url, people, seed, bluesky))
    except KeyboardInterrupt:
        return 130
    except NoRealBluesky as problem:
        print(f"reflock: {problem}", file=sys.stderr)  # noqa: T201  # the same
        return 2
    if json_output:
        print(json.dumps(outcome.figures))  # noqa: T201  # the result itself
    return 1 if outcome.failures else 0


async def _perform(
    once: bool,
    json_output: bool,
    real: "RealArchive | None",
    database_url: str | None,
    people: int,
    seed: int,
    bluesky: BlueskyKind,
) -> "Outcome":
    from bot.sandbox.bluesky.real.launching import open_real_bluesky
    from bot.sandbox.demo.screen import Screen
    from bot.sandbox.demo.stage import open_stage
    from bot.sandbox.demo.story import play_story

    started_at = time.time()
    screen = Screen(sys.stderr if json_output else sys.stdout, started_at=started_at)
    with tempfile.TemporaryDirectory(prefix="reflock-demo-") as folder:
        opening = open_stage(
            Path(folder),
            screen,
            bluesky=open_real_bluesky() if bluesky == "real" else None,
            database_url=database_url,
            patience=_PATIENCE,
            started_at=started_at,
        )
        async with opening as stage:
            with screen:
                outcome = await play_story(stage, screen, people=people, seed=seed, real=real)
            screen.table(outcome.figures)
            for failure in outcome.failures:
                screen.failed(failure)
            if outcome.failures:
                screen.log(stage.bot.tail())
            elif not once:
                await _stay(stage, screen, playing=bluesky == "stand-in")
    return outcome


async def _stay(stage: "Stage", screen: "Screen", *, playing: bool) -> None:
    """Leave everything up, with a page on which to play if that is wanted, until Ctrl-C."""
    from bot.sandbox.demo.process import BotDied
    from bot.sandbox.play.server import PlayServer

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    async with contextlib.AsyncExitStack() as stack:
        play = await stack.enter_async_context(PlayServer(stage)) if playing else None
        for name, where in stage.addresses().items():
            screen.note(f"{name}: {where}")
        screen.note("The networks and the bot stay up until you press Ctrl-C. With --once the demo ends by itself.")
        if play is not None:
            screen.invite(play.url)
        try:
            await stage.while_bot_lives(ended.wait())
        except BotDied as death:
            screen.failed(str(death))
            screen.log(stage.bot.tail())
