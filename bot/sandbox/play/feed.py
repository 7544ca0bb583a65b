"""What one account sees on its network: its conversation with the bot, and its timeline."""

import re
from dataclasses import dataclass, field
from typing import Final

from bot.sandbox.demo.lines import Line
from bot.sandbox.journal import Effect

# Handles of either network; one of X's has no dot and no host, and is what the message is about.
_ADDRESSED: Final = re.compile(r"^(?:@(?:[\w-]+\.[\w.-]+|[\w.-]+@[\w.:-]+)\s+)+")


@dataclass(eq=False, repr=False)
class Feed:
    """Read from what the network received since the account was opened."""

    line: Line
    messages: list[Effect] = field(default_factory=list)
    timeline: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._read = len(self.line.journal.effects)

    def catch_up(self) -> None:
        """Take in what has come true since it was last looked at."""
        effects = self.line.journal.effects
        for effect in effects[self._read :]:
            if self._is_seen(effect):
                (self.messages if effect.kind == "dm" else self.timeline).append(effect)
        self._read = len(effects)

    def _is_seen(self, effect: Effect) -> bool:
        me, bot = self.line.actor, self.line.bot.actor
        if effect.kind == "post":
            return effect.by == me or (effect.by == bot and effect.to == me)
        return effect.kind == "dm" and {effect.by, effect.to} == {me, bot}


def words_of(effect: Effect) -> str:
    """Return what was said, without whom it is addressed to."""
    return _ADDRESSED.sub("", effect.text)
