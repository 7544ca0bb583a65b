"""What the import page takes: time and memory to open a huge archive, time to send long lists, and what that costs others.

    python -m bench.web [--quick] [--check]

It drives a real Chromium against a Reflock on this machine, and prints one JSON object: the figures, and their limits.
`blocked_seconds` is the longest time for which the event loop let nothing else happen while lists were taken in, and
`busy_seconds` the longest for which it was computing meanwhile (the rest is waiting for a processor, where others want
one too): both the worst of several times, of which `sent_seconds` is the median. `--quick` measures smaller lists and a
smaller archive; with `--check` the exit code is 1 when a limit is passed.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from playwright.async_api import Page, async_playwright

from bench.report_rows import ROWS
from storage.codes import Purpose
from tests.browser import archives
from tests.browser.chromium import installed
from tests.browser.memory import tab_memory
from tests.conftest import OwnClock
from tests.flock import Flock, open_flock
from tests.visits import asks, link_to

_GIGABYTE: Final = 2**30
_MEGABYTE: Final = 2**20
_LIMITS: Final = {row.path[0]: row.target for row in ROWS if row.bench == "web"}
_BEAT_SECONDS: Final = 0.002
_FIRST_ID: Final = 10**18
_TIMES: Final = 5


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    archive_bytes: int
    entries: int
    ids: int


_WHOLE: Final = Size(4 * _GIGABYTE, 50_000, 100_000)
_QUICK: Final = Size(_GIGABYTE // 4, 2_000, 10_000)


@dataclass
class Pulse:
    """The longest time between two beats of the event loop, beyond the beat itself; and the longest spent computing."""

    longest: float = 0.0
    busiest: float = 0.0


@asynccontextmanager
async def felt_pulse() -> AsyncIterator[Pulse]:
    """Feel the event loop's pulse."""
    pulse = Pulse()

    async def feel() -> None:
        while True:
            begun, computed = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_BEAT_SECONDS)
            pulse.longest = max(pulse.longest, time.perf_counter() - begun - _BEAT_SECONDS)
            pulse.busiest = max(pulse.busiest, time.thread_time() - computed)

    feeling = asyncio.create_task(feel())
    yield pulse
    feeling.cancel()
    await asyncio.gather(feeling, return_exceptions=True)


async def open_archive(page: Page, path: Path, people: str) -> float:
    """Choose an archive; return the seconds until the page says what is in it."""
    begun = time.perf_counter()
    await page.set_input_files("#files", path)
    await page.get_by_text(people).wait_for()
    return time.perf_counter() - begun


async def send_lists(page: Page) -> float:
    """Send what was found; return the seconds until the next page says what came of it."""
    begun = time.perf_counter()
    await page.get_by_role("button", name="Send").click()
    await page.wait_for_url("**/contacts")
    await page.locator(".said").wait_for()
    return time.perf_counter() - begun


async def measure(folder: Path, size: Size) -> dict[str, float]:
    """Open a huge archive and send long lists, in a browser."""
    ids = range(_FIRST_ID, _FIRST_ID + size.ids)
    huge = archives.write_huge(
        folder / "huge.zip", archives.archive(ids[:1000], ids[:500]), size=size.archive_bytes, entries=size.entries
    )
    long = archives.write(folder / "long.zip", archives.archive(ids, ids))
    async with (
        open_flock(f"sqlite:///{folder / 'reflock.sqlite3'}", OwnClock()) as flock,
        async_playwright() as playwright,
    ):
        chromium = await playwright.chromium.launch(executable_path=installed(), args=["--no-sandbox", "--disable-gpu"])
        page = await chromium.new_page(locale="en")
        await _enter(flock, page)
        async with tab_memory(page) as memory:
            opened = await open_archive(page, huge, "1,000 people")
        sent, blocked, busy = [], [], []
        for _ in range(_TIMES):
            await page.goto(f"{flock.pages}/import")
            opened_long = await open_archive(page, long, f"{size.ids:,} people")
            async with felt_pulse() as pulse:
                sent.append(await send_lists(page))
            blocked.append(pulse.longest)
            busy.append(pulse.busiest)
        await chromium.close()
    return {
        "opened_seconds": opened,
        "tab_megabytes": memory.highest / _MEGABYTE,
        "opened_long_lists_seconds": opened_long,
        "sent_seconds": statistics.median(sent),
        "blocked_seconds": max(blocked),
        "busy_seconds": max(busy),
    }


async def _enter(flock: Flock, page: Page) -> None:
    alice = flock.bluesky.create_account("alice.test")
    await asks(flock, alice, "hello")
    await page.goto(await link_to(flock, alice, Purpose.IMPORT))
    await page.wait_for_url("**/import")


def main() -> None:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller lists and a smaller archive")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a limit is passed")
    arguments = parser.parse_args()
    size = _QUICK if arguments.quick else _WHOLE
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="reflock-bench-") as folder:
        figures = asyncio.run(measure(Path(folder), size))
    print(
        json.dumps(
            {
                "archive_bytes": size.archive_bytes,
                "ids": 2 * size.ids,
                **{name: round(figure, 3) for name, figure in figures.items()},
                "limits": _LIMITS,
            }
        )
    )
    sys.exit(arguments.check and any(figures[name] > limit for name, limit in _LIMITS.items()))


if __name__ == "__main__":
    main()
