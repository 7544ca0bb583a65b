"""The bot as a process of its own, exactly as an operator runs it: started, killed, started again."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

_TAIL_LINES: Final = 40
_STOP_SECONDS: Final = 10.0


class BotDied(Exception):
    """The bot ended by itself; the text says with which exit code."""


class BotProcess:
    """`python -m bot run` with a folder's config.toml; what it logs goes to bot.log in that folder."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self.log: Final = folder / "bot.log"
        self._process: asyncio.subprocess.Process | None = None
        self.kills = 0

    async def start(self) -> None:
        """Start the bot; that it can be reached is shown by its answering."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REFLOCK_")}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bot",
                "run",
                "--config",
                str(self._folder / "config.toml"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=Path(__file__).parents[3],
                start_new_session=True,  # Ctrl-C is meant for the demo, which then ends the bot
            )

    async def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is None or self._process.returncode is not None:
            raise BotDied(self._last_words())
        process, self._process = self._process, None
        process.kill()
        await process.wait()
        self.kills += 1

    async def died(self) -> None:
        """Return never, unless the bot ends without having been told to: then raise BotDied."""
        while True:
            process = self._process
            if process is None:  # being killed and started again
                await asyncio.sleep(0.05)
                continue
            await process.wait()
            if process is self._process:
                raise BotDied(self._last_words())

    async def stop(self) -> None:
        """Ask it to end, as a supervisor does, and make sure that it has."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def tail(self) -> str:
        """Return the last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])

    def _last_words(self) -> str:
        code = self._process.returncode if self._process else None
        return f"The bot ended by itself (exit code {code})."
