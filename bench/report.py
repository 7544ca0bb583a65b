"""Write docs/benchmarks.md and its plot from what the benches printed.

    python -m bench.report FOLDER

FOLDER holds their output, as `python -m bench.all` leaves it there: `links.json`, or of several runs `links-1.json`,
`links-2.json` and so on, of which the medians are told. What is not there is told as not measured. What is to be said about
the figures stands in `remarks.md` there, and becomes a part of the page.
"""

import json
import platform
import re
import sqlite3
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from math import log10
from pathlib import Path
from typing import Any, Final

import click

from bench.report_rows import COMMANDS, ROWS, Row

_DOCS: Final = Path(__file__).parent.parent / "docs"
_WIDTH: Final = 860
_LINE: Final = 22
_LABELS: Final = 380
_DECADES: Final = 2  # the plot reaches from a hundredth of the target to a hundred times it


@dataclass(frozen=True, slots=True)
class Measured:
    """A row with what was measured; `value` is None where nothing was."""

    row: Row
    value: float | None

    @property
    def share(self) -> float | None:
        """Return how many times as good as the target it is."""
        if self.value is None or not self.value:
            return None if self.value is None else 10.0**_DECADES
        return self.value / self.row.target if self.row.at_least else self.row.target / self.value

    @property
    def verdict(self) -> str:
        """Say whether the target is reached."""
        if self.value is None:
            return "not measured"
        reached = self.value >= self.row.target if self.row.at_least else self.value <= self.row.target
        return "yes" if reached else f"no: {self.share:.2g} of it" if self.share else "no"


def read(folder: Path) -> list[Measured]:
    """Look every row up in its bench's output."""
    outputs = {name: [json.loads(path.read_text("utf-8")) for path in runs(folder, name)] for name in COMMANDS}
    measured = []
    for row in ROWS:
        values = [value for output in outputs[row.bench] if (value := number_at(output, row.path)) is not None]
        measured.append(Measured(row, statistics.median(values) if values else None))
    return measured


def runs(folder: Path, name: str) -> list[Path]:
    """Return what a bench printed, each time it was run."""
    return [*folder.glob(f"{name}.json"), *folder.glob(f"{name}-*.json")]


def number_at(found: Any, path: Sequence[str]) -> float | None:
    """Return the number that stands somewhere in an output, or the sum of those that stand there; None if none does."""
    for step in path:
        if isinstance(found, Mapping) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.lstrip("-").isdigit() and len(found) > int(step):
            found = found[int(step)]
        else:
            return None
    if isinstance(found, Mapping) and found:
        numbers = [number_at(each, ()) for each in found.values()]
        return None if None in numbers else sum(number for number in numbers if number is not None)
    return float(found) if isinstance(found, int | float) else None


def machine() -> str:
    """Describe where it was measured."""
    cpu = Path("/proc/cpuinfo").read_text("utf-8")
    model = next((line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")), "CPU")
    memory = int(Path("/proc/meminfo").read_text("utf-8").split()[1]) // 1024**2
    cores = cpu.count("processor\t")
    return (
        f"{cores} cores ({model}), {memory} GB, a virtual disk, Linux {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def table(measured: Sequence[Measured]) -> str:
    """Return the rows as a table."""
    lines = ["| What | Measured | Target | Reached |", "|---|---|---|---|"]
    for each in measured:
        row = each.row
        value = "–" if each.value is None else f"{_written(each.value)} {row.unit}".strip()
        bound = f"{'≥' if row.at_least else '≤'} {_written(row.target)} {row.unit}".strip()
        lines.append(f"| {row.what} (`{row.bench}`) | {value} | {bound} | {each.verdict} |")
    return "\n".join(lines)


def _written(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def plot(measured: Sequence[Measured]) -> str:
    """Return a drawing: how many times as good as its target each figure is, on a logarithmic scale."""
    drawn = [(each.row.what, each.share) for each in measured if each.share is not None]
    height = _LINE * (len(drawn) + 2)
    middle = _LABELS + (_WIDTH - _LABELS) / 2
    scale = (_WIDTH - _LABELS) / (2 * _DECADES)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" role="img"><title>Measured against the targets</title>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for power in range(-_DECADES + 1, _DECADES):
        x = middle + power * scale
        label = "target" if power == 0 else f"{10.0**power:g}×"
        colour = "#222" if power == 0 else "#ccc"
        parts.append(f'<line x1="{x:.0f}" y1="{_LINE}" x2="{x:.0f}" y2="{height}" stroke="{colour}"/>')
        parts.append(f'<text x="{x:.0f}" y="15" text-anchor="middle" fill="#222">{label}</text>')
    for number, (what, share) in enumerate(drawn, 1):
        y = number * _LINE + 8
        off = max(-_DECADES, min(_DECADES, log10(share)))
        left, width = min(middle, middle + off * scale), abs(off) * scale
        colour = "#2a7f62" if share >= 1 else "#b3541e"
        parts.append(f'<text x="{_LABELS - 8}" y="{y + 9}" text-anchor="end" fill="#222">{escape(what)}</text>')
        parts.append(f'<rect x="{left:.1f}" y="{y}" width="{max(width, 2):.1f}" height="12" fill="{colour}"/>')
    return "\n".join([*parts, "</svg>", ""])


def _by_hand(command: str) -> str:
    """Return a command as one types it in a clone."""
    return re.sub(r"\bpython\b", ".venv/bin/python", command).replace("{url}", "'{url}'")


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Read what was printed, and write it down."""
    measured = read(folder)
    commands = "\n".join(f"- `{name}`: `{_by_hand(command)}`" for name, command in COMMANDS.items())
    remarks = (folder / "remarks.md").read_text("utf-8").strip() if (folder / "remarks.md").exists() else ""
    times = max(len(runs(folder, name)) for name in COMMANDS)
    text = f"""# Benchmarks

Measured on {datetime.now(UTC):%d %B %Y} on {machine()}.
{f"Medians where a bench was run several times, up to {times}" if times > 1 else "Figures of one run"}; where a ratio is named, both sides were measured in that run. The bars show how many times as good as its target a figure is; to the right of the line it is reached.

![Every figure beside its target](benchmarks.svg)

{table(measured)}

{remarks}

Each of these prints one JSON object, and takes about a minute with `--quick`. `.venv/bin/python -m bench.all FOLDER` runs them
all (`chaos` only when it is named, with `--only chaos`), and `.venv/bin/python -m bench.report FOLDER` made this page from what
they printed:

{commands}
"""
    (_DOCS / "benchmarks.md").write_text(text, "utf-8")
    (_DOCS / "benchmarks.svg").write_text(plot(measured), "utf-8")


if __name__ == "__main__":
    main()
