"""Start the real Bluesky that comes with Reflock's source, and give it as a stage."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from bot.sandbox.bluesky.real.sky import RealSky

_SOURCE: Final = Path(__file__).parents[4]
_LONGEST_LINE: Final = 2**16


class NoRealBluesky(Exception):
    """There is no real Bluesky to be had here; the text says what to do."""


@contextlib.asynccontextmanager
async def open_real_bluesky() -> AsyncIterator[RealSky]:
    """Start the network as a process of its own, which ends with the block; NoRealBluesky where that is impossible."""
    if not (_SOURCE / "tests" / "real" / "network.mjs").exists():
        raise NoRealBluesky("A real Bluesky comes with Reflock's source only. Get that, and run: make real")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.real"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
        cwd=_SOURCE,
        start_new_session=True,  # Ctrl-C is meant for the demo, which then ends the network
    )
    assert process.stdin is not None  # noqa: S101  # asked for above
    assert process.stdout is not None  # noqa: S101  # the same
    try:
        line = await process.stdout.readline()
        if not line:
            raise NoRealBluesky("The real Bluesky did not start; the reason stands above.")
        async with RealSky(json.loads(line)) as sky:
            yield sky
    finally:
        process.stdin.close()
        await process.wait()
