"""Show the story as it goes: who says what to whom, where, and when; how far the crowd is; what came of it all."""

import re
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any, Final, Self

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from bot.sandbox.demo.lines import Line
from bot.sandbox.journal import Effect
from storage.records import NetworkName

_NETWORK_STYLES: Final = {NetworkName.BLUESKY: "bright_blue", NetworkName.MASTODON: "magenta"}
_SHOWN_LINES: Final = 14
_ADDRESSED: Final = re.compile(r"^(?:@[\w.-]+(?:@[\w.:-]+)?\s+)+")
# One-time links and codes are long and of no interest to who watches.
_LINK: Final = re.compile(r"(http://127\.0\.0\.1:\d+/(?:import|connect|contacts|export)/)[\w-]{8,}")


class Screen:
    """The transcript. Where the output is no terminal it is the same text, without colours and progress bar."""

    def __init__(self, out: IO[str], *, started_at: float) -> None:
        self._console: Final = Console(file=out, highlight=False, soft_wrap=False)
        self._started_at: Final = started_at
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._crowd = self._progress.add_task("the crowd registers", total=None)
        self.first_answer_after: float | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def said(self, line: Line, effect: Effect, *, by_bot: bool) -> None:
        """Show a message of the leading people's conversations."""
        if by_bot and self.first_answer_after is None:
            self.first_answer_after = effect.at - self._started_at
        if not line.lead:
            return
        name = line.resident.name.split()[0]
        head = Text()
        head.append(f"{effect.at - self._started_at:6.1f}s ", "dim")
        head.append(f"{line.network.value:<8} ", _NETWORK_STYLES[line.network])
        head.append("public " if effect.kind == "post" else "DM     ", "dim")
        who = f"Reflock → {name}" if by_bot else f"{name} → Reflock"
        head.append(who, "bold green" if by_bot else "bold yellow")
        self._console.print(head)
        self._console.print(Padding(Text(_shown(effect.text)), (0, 0, 0, 17), expand=False))

    def scene(self, number: int, title: str) -> None:
        """Open a scene."""
        self._console.print()
        self._console.print(Rule(f"{number}. {title}", style="cyan", align="left"))

    def note(self, words: str) -> None:
        """Say what happens beside the conversations."""
        at = f"{time.time() - self._started_at:6.1f}s "
        self._console.print(Text(at, "dim").append(f"· {words}", "italic dim"))

    def true(self, words: str) -> None:
        """Say that a step came true."""
        at = f"{time.time() - self._started_at:6.1f}s "
        self._console.print(Text(at, "dim").append(f"✓ {words}", "green"))

    def failed(self, words: str) -> None:
        """Say which step did not come true."""
        self._console.print(Text(f"✗ {words}", "bold red"))

    def invite(self, url: str) -> None:
        """Say, so that it is not overlooked, where one plays on by oneself."""
        words = Text("Now play it yourself, without any account. Open in your browser:\n").append(url, "bold underline")
        self._console.print()
        self._console.print(Panel(words, title="Play with it", border_style="green", expand=False))

    def log(self, lines: str) -> None:
        """Show what the bot logged last."""
        self._console.print(Text("The bot's log ends with:", "red"))
        self._console.print(Text(lines, "dim"))

    def crowd(self, done: int, total: int) -> None:
        """Say how much of the crowd has done what it came for."""
        self._progress.update(self._crowd, completed=done, total=total)

    def table(self, figures: Mapping[str, Any]) -> None:
        """Show what happened, as the networks received it."""
        table = Table(
            title="What happened, counted from what the networks received", title_justify="left", show_header=False
        )
        table.add_column("")
        table.add_column("", justify="right")
        for name, value in figures.items():
            if isinstance(value, Mapping):
                for part, number in value.items():
                    table.add_row(f"{name}: {part}", f"{number:,}")
            else:
                table.add_row(name, f"{value:,}")
        if self.first_answer_after is not None:
            table.add_row("seconds to the first answer", f"{self.first_answer_after:.1f}", style="dim")
        self._console.print()
        self._console.print(table)


def _shown(text: str) -> str:
    text = _LINK.sub(r"\1…", _ADDRESSED.sub("", text)).strip()
    lines = text.splitlines()
    if len(lines) > _SHOWN_LINES:
        lines = [*lines[: _SHOWN_LINES - 1], f"… ({len(lines) - _SHOWN_LINES + 1} more lines)"]
    return "\n".join(lines)
