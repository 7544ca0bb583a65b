"""What a bot costs to which nobody writes: the installed command beside both sandboxes, which are in another process.

    python -m bench.idle [--quick] [--seconds 60]

All roles in one process on SQLite that was prepared before, as configured by default. What the start computes is not
counted. Prints one JSON object.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.mastodon import MastodonSandbox
from storage.keys import Keys

_SECONDS: Final = 60
_QUICK_SECONDS: Final = 30
_START_SECONDS: Final = 10
_BOT: Final = "reflock.test"
_PASSWORD: Final = "sandbox"  # the sandbox's own


def configure(folder: Path, sky: BlueskySandbox, elephant: MastodonSandbox) -> Path:
    """Write a configuration and its secrets for the sandboxes; return where."""
    sky.create_account(_BOT, password=_PASSWORD, bot=True)
    pseudonym, grant = Keys.generate()
    (folder / "config.toml").write_text(
        f'[database]\nurl = "sqlite:///{folder / "reflock.sqlite3"}"\n'
        f'[bluesky]\nhandle = "{_BOT}"\nservice_url = "{sky.url}"\nplc_url = "{sky.url}"\n'
        f'[mastodon]\nbase_url = "{elephant.url}"\n'
        "[web]\nport = 0\n"
        f'[guard]\nallow_private = ["{elephant.url.removeprefix("http://")}"]\n'
    )
    (folder / ".env").write_text(
        f"REFLOCK_PSEUDONYM_KEY={pseudonym}\nREFLOCK_GRANT_KEYS={grant}\nREFLOCK_BLUESKY_APP_PASSWORD={_PASSWORD}\n"
        f"REFLOCK_MASTODON_ACCESS_TOKEN={elephant.create_account('reflock', bot=True).token}\n"
    )
    return folder / "config.toml"


def cpu_seconds(pid: int) -> float:
    """Return how long a process has computed (proc_pid_stat(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int, name: str) -> float:
    """Return the memory of a process: VmRSS now, VmHWM at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024, 1)


async def measure(seconds: float) -> dict[str, float]:
    """Run the bot with nobody about, and return what it takes."""
    with tempfile.TemporaryDirectory(prefix="reflock-idle-") as folder:
        async with BlueskySandbox() as sky, MastodonSandbox() as elephant:
            config = configure(Path(folder), sky, elephant)
            prepared = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "db", "upgrade", "--config", str(config), stdout=asyncio.subprocess.DEVNULL
            )
            await prepared.wait()
            log = (Path(folder) / "log").open("wb")  # opened once, before anything is measured
            bot = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "run", "--config", str(config), stderr=log
            )
            try:
                await asyncio.sleep(_START_SECONDS)
                cpu, wall = cpu_seconds(bot.pid), time.monotonic()
                await asyncio.sleep(seconds)
                cpu, wall = cpu_seconds(bot.pid) - cpu, time.monotonic() - wall
                return {
                    "seconds": round(wall, 1),
                    "cpu_percent": round(100 * cpu / wall, 2),
                    "rss_mb": rss_mb(bot.pid, "VmRSS"),
                    "peak_rss_mb": rss_mb(bot.pid, "VmHWM"),
                }
            finally:
                bot.send_signal(signal.SIGTERM)
                await bot.wait()
                log.close()
                if bot.returncode:
                    click.echo((Path(folder) / "log").read_text(), err=True)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help=f"Only {_QUICK_SECONDS} seconds.")
@click.option("--seconds", default=_SECONDS, show_default=True, type=click.IntRange(5, 3_600))
def main(quick: bool, seconds: int) -> None:
    """Read the options, measure, and print the figures."""
    json.dump(asyncio.run(measure(_QUICK_SECONDS if quick else seconds)), sys.stdout)
    print()


if __name__ == "__main__":
    main()
