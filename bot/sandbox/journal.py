"""What a stand-in network received: the only books the demo and the tests count from."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

EffectKind = Literal["post", "dm", "follow", "unfollow"]


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that came true on a network.

    `by` and `to` are actors (a DID or an actor URI); `uri` is the record's or the status's own id; `at` is epoch
    seconds; `reply_to` is the uri that a post answers.
    """

    kind: EffectKind
    by: str
    to: str | None
    text: str
    uri: str
    at: float
    reply_to: str | None = None


@dataclass(slots=True)
class Journal:
    """An append-only list of effects in the order in which they came true."""

    effects: list[Effect] = field(default_factory=list)

    def add(self, effect: Effect) -> None:
        """Write down one effect."""
        self.effects.append(effect)

    def of(self, kind: EffectKind, *, by: str | None = None, to: str | None = None) -> list[Effect]:
        """Return the effects of one kind, oldest first, narrowed to an actor on either side."""
        return [
            effect
            for effect in self.effects
            if effect.kind == kind and by in (None, effect.by) and to in (None, effect.to)
        ]


class WatchedJournal(Journal):
    """A journal that knows the answers to each post and wakes whoever waits for its next entry."""

    def __init__(self) -> None:
        super().__init__()
        self._next = asyncio.Event()
        self.replies: dict[str, list[Effect]] = defaultdict(list)

    def add(self, effect: Effect) -> None:
        """Write down one effect and wake the waiting."""
        self.effects.append(effect)
        if effect.reply_to is not None:
            self.replies[effect.reply_to].append(effect)
        self._next.set()
        self._next = asyncio.Event()

    async def entry(self) -> None:
        """Return when something more has been written."""
        await self._next.wait()
