"""Run the benches one after the other, each in a process of its own, and check what they print.

    python -m bench.all [--quick] [--times 3] [--only links,pipeline] [FOLDER]

FOLDER keeps what each printed: `links.json`, or `links-1.json` and so on of several times, and beside it what it said on
its way; `python -m bench.report FOLDER` makes docs/benchmarks.md of it. A bench fails that ends with an error, takes too
long, leaves out a figure of that page, or counts what must not be: something lost, said twice, or refused. How quick it
was is not judged. `chaos` is run only when it is named. Exit code 1 when one failed.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from bench.report import number_at
from bench.report_rows import COMMANDS, ONLY_BY_NAME, ROWS, ZEROS

_LIMIT_SECONDS: Final = 3_600
_QUICK_LIMIT_SECONDS: Final = 300  # on a quiet machine a minute is enough
_END_SECONDS: Final = 30
_LAST_LINES: Final = 30


class Failed(Exception):
    """What is wrong with a bench."""


def run(name: str, *, quick: bool, into: Path) -> None:
    """Run a bench, keep what it prints, and check that."""
    command = [sys.executable if word == "python" else word for word in shlex.split(COMMANDS[name])]
    log = into.with_suffix(".log")
    with into.open("wb") as printed, log.open("wb") as said:
        process = subprocess.Popen(
            [*command, *(["--quick"] if quick else [])], stdout=printed, stderr=said, start_new_session=True
        )
        limit = _QUICK_LIMIT_SECONDS if quick else _LIMIT_SECONDS
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"it took longer than {limit} seconds") from None
        finally:
            _end(process)
    if code:
        raise Failed(f"exit code {code}")
    check(name, into)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that still runs and those it started, so that it can stop its PostgreSQL."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_SECONDS)
        return
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def check(name: str, printed: Path) -> None:
    """Check that an output has the figures that are told of, and that nothing it counts is wrong."""
    try:
        output: Any = json.loads(printed.read_text("utf-8"))
    except ValueError:
        raise Failed("it printed no JSON object") from None
    for row in ROWS:
        if row.bench == name and number_at(output, row.path) is None:
            raise Failed(f"{'.'.join(row.path)} is missing ({row.what})")
    for bench, path in ZEROS:
        if bench == name and (counted := number_at(output, path)) != 0:
            raise Failed(f"{'.'.join(path)} is {'missing' if counted is None else f'{counted:g}'} and not 0")


def _chosen(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str]:
    names = value.split(",") if value else [name for name in COMMANDS if name not in ONLY_BY_NAME]
    if unknown := set(names) - COMMANDS.keys():
        raise click.BadParameter(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(COMMANDS)}.")
    return names


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Each with --quick.")
@click.option("--times", default=1, show_default=True, type=click.IntRange(1, 99), help="How often each is run.")
@click.option("--only", "names", callback=_chosen, help="Only these, with commas between them.")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
def main(*, quick: bool, times: int, names: list[str], folder: Path | None) -> None:
    """Run what was asked for, and say of each how it went."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="reflock-benches-") as scratch:
        into = folder or Path(scratch)
        into.mkdir(parents=True, exist_ok=True)
        for time_ in range(1, times + 1):
            for name in names:
                printed = into / (f"{name}-{time_}.json" if times > 1 else f"{name}.json")
                begun, result = time.monotonic(), "ok"
                try:
                    run(name, quick=quick, into=printed)
                except Failed as failure:
                    result, failed = f"FAILED: {failure}", failed + 1
                    last = printed.with_suffix(".log").read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
                    click.echo("\n".join(last), err=True)
                click.echo(f"{name:20} {time.monotonic() - begun:5.0f} s  {result}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
