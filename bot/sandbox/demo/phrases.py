"""Recognise what the bot says, in every language it speaks, by its own messages.

Each phrase is a message of the handlers, word for word (a test compares them with the handlers' sources): what stands
between its words is the {field}s, which are read out of what was said.
"""

import re
from collections.abc import Iterator
from functools import cache, cached_property
from string import Formatter
from typing import Final

from handlers.texts import Catalogue, Texts

# A number of each kind that languages tell apart in their plurals (Arabic has six), large ones as they stand in no
# message by themselves: where it appears, the plural's {n} was.
_SAMPLES: Final = (0, 1, 2, 40_403, 40_411, 40_400)
# Fields that always hold a whole number, grouped as its language does.
_NUMBERS: Final = frozenset({"n", "total"})
_DIGITS: Final = r"\d(?:[\d.,\s]*\d)?"
_MARK: Final = re.compile("\ufdd0(\\w+)\ufdd1")


@cache
def _catalogue() -> Catalogue:
    return Catalogue()


class Phrase:
    """One message of the bot's, with its plural if it has one."""

    def __init__(self, *messages: str) -> None:
        self.messages: Final = messages

    def __repr__(self) -> str:
        return f"“{self.messages[0]}”"

    def find(self, text: str) -> dict[str, str] | None:
        """Return the fields of the first occurrence in a text, or nothing."""
        for pattern in self._patterns:
            if match := pattern.search(text):
                return match.groupdict()
        return None

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        templates: dict[str, None] = {}
        for language in _catalogue().languages:
            for template in self._templates(_catalogue().texts(language)):
                templates[template] = None
        return [re.compile(_expression(template), re.DOTALL) for template in templates]

    def _templates(self, texts: Texts) -> Iterator[str]:
        """Say it with a mark in the place of every field."""
        names = {name for message in self.messages for _, name, _, _ in Formatter().parse(message) if name}
        marks = {name: f"\ufdd0{name}\ufdd1" for name in names if name != "n" or len(self.messages) == 1}
        if len(self.messages) == 1:
            yield texts.text(*self.messages, **marks)
            return
        one, many = self.messages
        for n in _SAMPLES:
            yield texts.plural(one, many, n, **marks).replace(texts.number(n), "\ufdd0n\ufdd1", 1)


def number(written: str) -> int:
    """Read a whole number, however its digits are grouped."""
    return int("".join(digit for digit in written if digit.isdigit()))


def _expression(template: str) -> str:
    """Turn a marked message into an expression; blanks may have become line ends where a message was split."""
    parts = _MARK.split(template)
    seen: set[str] = set()
    expression = ""
    for place, part in enumerate(parts):
        if place % 2 == 0:
            expression += r"\s+".join(re.escape(word) for word in re.split(r"\s+", part))
        elif part in seen:
            expression += f"(?P={part})"
        else:
            seen.add(part)
            # At the very end there is no next word to stop at: a field is then one word.
            last = place == len(parts) - 2 and not parts[-1]
            kind = _DIGITS if part in _NUMBERS else r"\S+" if last else r".+?"
            expression += f"(?P<{part}>{kind})"
    return expression
