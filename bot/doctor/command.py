"""`reflock doctor` at the terminal: a line for each finding, a question before each change."""

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click
import sqlalchemy as sa

from bot.config import Loaded
from bot.doctor import Check, Finding, Patience, State, examine
from bot.doctor.installation import Installation
from bot.hiding import Hiding
from bot.networks.errors import NetworkError
from storage.engines import DatabaseError

_EXIT_WRONG: Final = 1
_EXIT_INTERRUPTED: Final = 130
_MARKS: Final = {State.OK: "ok", State.WRONG: "FIX", State.UNCHECKED: "-"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands on the command line."""

    fix: bool = False
    yes: bool = False
    json_output: bool = False


async def run_doctor(loaded: Loaded, asked: Asked, seconds: float) -> None:
    """Check everything, mend what the operator agrees to; exit code 1 when something stays wrong."""
    async with Installation(loaded) as here:
        await consult(here, asked, Patience(seconds))


async def consult(here: Installation, asked: Asked, patience: Patience) -> None:
    """Check an installation, mend what the operator agrees to, and check it again."""
    checks, paper = here.checks(), _Paper(here.loaded, to_machine=asked.json_output)
    paper.note(f"Checking; each answer is waited for at most {patience.seconds:g} seconds.")
    findings = await _examine(checks, patience, paper)
    mended: list[str] = []
    refused: dict[str, str] = {}
    for finding in findings if asked.fix else ():
        await _mend(finding, asked, paper, mended, refused)
    if mended:
        paper.say("Checked again:")
        findings = await _examine(checks, patience, paper)
    wrong = sum(finding.state is State.WRONG for finding in findings)
    if asked.json_output:
        entries = [paper.entry(finding) for finding in findings]
        paper.object({"checks": entries, "wrong": wrong, "mended": mended, "refused": refused})
    else:
        paper.say(_summary(findings, wrong, fix=asked.fix))
    if wrong:
        raise click.exceptions.Exit(_EXIT_WRONG)


async def _examine(checks: Sequence[Check], patience: Patience, paper: "_Paper") -> list[Finding]:
    return await examine(checks, patience, found=paper.finding, waiting=paper.waiting)


async def _mend(finding: Finding, asked: Asked, paper: "_Paper", mended: list[str], refused: dict[str, str]) -> None:
    """Mend one thing after a yes, and note by its name that it was changed, or why it could not be."""
    if finding.mend is None or not (asked.yes or _agrees(paper.clean(finding.mend.question))):
        return
    try:
        await finding.mend.act()
    except (NetworkError, DatabaseError, sa.exc.SQLAlchemyError, OSError) as error:
        refused[finding.name] = paper.clean(str(error))
    except Exception as error:  # noqa: BLE001  # a mistake of ours in one must not cost the others
        refused[finding.name] = f"{type(error).__name__}; report this as a mistake of Reflock's"
    else:
        mended.append(finding.name)
    why = refused.get(finding.name)
    paper.say(f"{finding.name}: could not be set: {why}" if why is not None else f"{finding.name}: set.")


def _agrees(question: str) -> bool:
    """Ask; Ctrl-C, or the end of what is typed, is a no to this and to everything after it."""
    # The event loop would only note an interrupt, and the question would go on waiting.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return click.confirm(question)
    except click.Abort:
        click.echo("\nNothing more was changed.", err=True)
        raise click.exceptions.Exit(_EXIT_INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGINT, before)


def _summary(findings: Sequence[Finding], wrong: int, *, fix: bool) -> str:
    unchecked = sum(finding.state is State.UNCHECKED for finding in findings)
    settable = sum(finding.mend is not None for finding in findings)
    parts = [f"{len(findings)} checks: {wrong} to fix" if wrong else f"{len(findings)} checks: nothing is wrong"]
    if unchecked:
        parts.append(f"{unchecked} not checked")
    if settable and not fix:
        parts.append(f"{settable} can be set by: reflock doctor --fix")
    return f"{', '.join(parts)}."


class _Paper:
    """What is written on: lines for people or one object for machines, never with a secret in it."""

    def __init__(self, loaded: Loaded, *, to_machine: bool) -> None:
        self._hiding = Hiding(loaded)
        self._to_machine = to_machine
        # Where people look on, a line below the last one says what is still waited for.
        self._shows_waiting = sys.stderr.isatty() and not to_machine

    def clean(self, text: str) -> str:
        """Return a text, not at any length, as it may be shown: servers are quoted in it."""
        return _printable(self._hiding.hide_and_cut(text))

    def say(self, text: str) -> None:
        """Write a line for people."""
        self._wipe()
        if not self._to_machine:
            click.echo(_printable(self._hiding.hide(text)))

    def note(self, text: str) -> None:
        """Write a line that is no result."""
        if not self._to_machine:
            click.echo(text, err=True)

    def finding(self, finding: Finding) -> None:
        """Write the line of one finding."""
        state = finding.state
        found = self.clean(finding.found)
        what = f"not checked: {found}" if state is State.UNCHECKED else found
        remedy = f" {finding.remedy}" if finding.remedy else ""
        end = "" if what.endswith((".", "?", "!", "…")) else "."
        self.say(f"{_MARKS[state]:<4} {finding.name}: {what}{end}{remedy}")

    def waiting(self, names: Sequence[str]) -> None:
        """Show what is still waited for."""
        if self._shows_waiting and names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            click.echo(f"\r\x1b[K     waiting for: {names[0]}{more}", nl=False, err=True)

    def _wipe(self) -> None:
        if self._shows_waiting:
            click.echo("\r\x1b[K", nl=False, err=True)

    def entry(self, finding: Finding) -> dict[str, Any]:
        """Return one finding for machines."""
        return {
            "name": finding.name,
            "state": finding.state.value,
            "found": self.clean(finding.found),
            "remedy": self.clean(finding.remedy),
            "can_be_set": finding.mend is not None,
        }

    def object(self, value: dict[str, Any]) -> None:
        """Write everything for machines."""
        click.echo(json.dumps(value))


def _printable(text: str) -> str:
    """Return a text without what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
