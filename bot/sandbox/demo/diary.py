"""What the people themselves remember: what they did, when, and what they were promised. The books compare with it."""

import time
from dataclasses import dataclass, field

from bot.sandbox.demo.community import Resident
from storage.records import NetworkName


@dataclass(frozen=True, slots=True)
class Span:
    """From when something was begun until it was confirmed (epoch seconds): it came true somewhere in between."""

    begun: float
    done: float


@dataclass(slots=True)
class Page:
    """One person's page. `known` are the networks on which the bot knows them as this person, and since when.

    `claims` are the X accounts they proved, `proved` when they proved the one by which others know them. `listed` are the residents in the list they handed over, `entries` its length, `here` how many of it the bot said
    are here already. `chose` are the spans between a preview and its yes. Who is `silent` said stop, who `left` was
    forgotten: nothing is expected for them any more, nor because of them.
    """

    known: dict[NetworkName, float] = field(default_factory=dict)
    claims: int = 0
    proved: Span | None = None
    uploaded: Span | None = None
    entries: int = 0
    here: int = 0
    listed: list[Resident] = field(default_factory=list)
    granted: dict[NetworkName, float] = field(default_factory=dict)
    chose: list[Span] = field(default_factory=list)
    auto_since: float | None = None
    silent: bool = False
    left: bool = False

    def is_known_on(self, network: NetworkName) -> None:
        """Note that the bot knows them there from now on."""
        self.known.setdefault(network, time.time())


class Diary:
    """The pages of everybody; `apart` are follows that may rightly not be (who, whom), `locked` who decides by hand."""

    def __init__(self) -> None:
        self._pages: dict[Resident, Page] = {}
        self.apart: set[tuple[Resident, Resident]] = set()
        self.locked: set[Resident] = set()

    def of(self, resident: Resident) -> Page:
        """Return somebody's page."""
        return self._pages.setdefault(resident, Page())

    def pages(self) -> list[tuple[Resident, Page]]:
        """Return all pages that were begun."""
        return list(self._pages.items())
