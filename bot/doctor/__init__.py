"""Check an installation against the real services it names: each check looks at one thing and finds one line to say.

A check only looks and changes nothing; what it found out of order may carry a way to mend it, for whoever asks first.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from bot.networks.errors import Refused, Unavailable
from bot.networks.ratelimits import AllowanceUsed, RateLimited


class State(StrEnum):
    """What came of a check."""

    OK = "ok"
    WRONG = "fix"
    UNCHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Mend:
    """A way to put something right: the question to ask before, and what to do after a yes."""

    question: str
    act: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was found and, where it is wrong, what to do."""

    state: State
    found: str
    remedy: str = ""
    mend: Mend | None = None
    name: str = ""


def ok(found: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(State.OK, found)


def wrong(found: str, remedy: str, mend: Mend | None = None) -> Finding:
    """Say that something is not as it should be, and what to do."""
    return Finding(State.WRONG, found, remedy, mend)


def unchecked(why: str) -> Finding:
    """Say why something could not be found out."""
    return Finding(State.UNCHECKED, why)


def sentences(text: str) -> tuple[str, str]:
    """Part what is wrong from what to do."""
    what, _, remedy = text.partition(". ")
    return what, remedy


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. `needs` names checks that come before it and must have found nothing wrong.

    `unanswered` is the remedy where whoever is asked does not answer, or refuses what the look did not expect; it is
    empty where another check asks the same server, and says so.
    """

    name: str
    look: Callable[[], Awaitable[Finding]]
    needs: tuple[str, ...] = ()
    unanswered: str = "Try again."


class Patience:
    """How long each look may take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def limit(self, name: str) -> asyncio.Timeout:  # noqa: ARG002  # who owns the time gives each check its own
        """Return what ends the look of one check."""
        return asyncio.timeout(self.seconds)


async def examine(
    checks: Sequence[Check],
    patience: Patience,
    *,
    found: Callable[[Finding], None],
    waiting: Callable[[Sequence[str]], None],
) -> list[Finding]:
    """Look at everything at once; `found` hears the findings in the checks' order, `waiting` what is still open."""
    tasks: list[asyncio.Task[Finding]] = []
    under_way: dict[str, asyncio.Task[Finding]] = {}

    def tell(_done: object) -> None:
        waiting([task.get_name() for task in tasks if not task.done()])

    async with asyncio.TaskGroup() as group:
        for check in checks:
            needed = {name: under_way[name] for name in check.needs}
            task = group.create_task(_examine_one(check, needed, patience), name=check.name)
            task.add_done_callback(tell)
            under_way[check.name] = task
            tasks.append(task)
        findings = []
        for task in tasks:
            findings.append(await task)
            found(findings[-1])
    return findings


async def _examine_one(check: Check, needed: Mapping[str, asyncio.Task[Finding]], patience: Patience) -> Finding:
    for name, task in needed.items():
        if (await task).state is not State.OK:
            return replace(unchecked(f"“{name}” has to be right first"), name=check.name)
    return replace(await _look(check, patience), name=check.name)


async def _look(check: Check, patience: Patience) -> Finding:
    try:
        async with patience.limit(check.name):
            return await check.look()
    except TimeoutError:
        return _unanswered(check, f"no answer within {patience.seconds:g} seconds")
    except (RateLimited, AllowanceUsed) as error:
        when = "later" if error.retry_in is None else f"in {math.ceil(error.retry_in)} seconds"
        return wrong(f"we are asked to wait: {error}", f"Try again {when}.")
    except Unavailable as error:
        return _unanswered(check, f"no useful answer: {error}")
    except Refused as error:
        return _unanswered(check, f"refused: {error.detail or error.reason}")
    except Exception as error:  # noqa: BLE001  # a check that trips over something must not take the others with it
        return wrong(f"the check itself failed: {type(error).__name__}", "Report this as a mistake of Reflock's.")


def _unanswered(check: Check, what: str) -> Finding:
    return wrong(what, check.unanswered) if check.unanswered else unchecked(what)
