"""The kinds of words a command takes: each reads one word, or says what it expected.

A handler names them as its parameters' types; so its signature is its grammar.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NewType

from handlers.texts import N_

XHandle = NewType("XHandle", str)
Rest = NewType("Rest", str)
CommandName = NewType("CommandName", str)
Tag = NewType("Tag", str)
Code = NewType("Code", str)

# X allows 1 to 15 letters, digits and underscores (help.x.com, "About usernames"); some early handles are longer: 20.
_X_HANDLE: Final = re.compile(r"@?([A-Za-z0-9_]{1,15})")
_X_PROFILE: Final = re.compile(
    r"(?:https?://)?(?:www\.|mobile\.)?(?:x|twitter)\.com/@?([A-Za-z0-9_]{1,15})/?(?:\?\S*)?",
    re.IGNORECASE | re.ASCII,  # or the long s and the Kelvin sign would pass for letters of a handle
)


class WordError(Exception):
    """A word is not of the kind expected; the (translatable) message says what is, with {word} for what came."""

    def __init__(self, message: str, word: str) -> None:
        super().__init__(message)
        self.message = message
        self.word = word


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of a numbered list: everything, or numbers counted from 1 and X handles (lower case)."""

    everything: bool
    numbers: tuple[int, ...] = ()
    handles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hours:
    """Two hours of the day, in UTC, between which it is quiet; None for both: never."""

    start: int | None
    end: int | None


def x_handle(word: str) -> XHandle:
    """Read an X handle: with or without @, any case, or the address of a profile."""
    match = _X_PROFILE.fullmatch(word) or _X_HANDLE.fullmatch(word)
    if match is None:
        raise WordError(
            N_('"{word}" is not an X handle: those have 1 to 15 letters, digits or underscores, as in old_handle.'),
            word,
        )
    return XHandle(match[1].lower())


# More numbers than this in one command is a mistake, or an attack.
_SELECTED: Final = 10_000


def selection(words: str) -> Selection:
    """Read `all`, or numbers, ranges and X handles: 1 3 5-9, @old."""
    items = [item for item in re.split(r"[\s,;،؛]+", words) if item]
    if [item.lower() for item in items] in (
        ["all"],
        ["tout"],
        ["tous"],
        ["toutes"],
        ["everyone"],
        ["الكل"],
        ["الجميع"],
    ):
        return Selection(everything=True)
    numbers: dict[int, None] = {}
    handles: list[str] = []
    for item in items:
        span = re.fullmatch(r"(\d{1,6})(?:[-–—](\d{1,6}))?", item)
        if span is None:
            handles.append(x_handle(item))
            continue
        first, last = int(span[1]), int(span[2] or span[1])
        if not 1 <= first <= last or last - first >= _SELECTED or len(numbers) >= _SELECTED:
            raise WordError(N_('"{word}" is not a range of the list: write the smaller number first, as in 5-9.'), item)
        numbers.update(dict.fromkeys(range(first, last + 1)))
    return Selection(everything=False, numbers=tuple(numbers), handles=tuple(handles))


def hours(word: str) -> Hours:
    """Read quiet hours: 22-8, or off."""
    if word.lower() in ("off", "none", "non", "jamais", "never", "إيقاف", "ايقاف", "لا"):
        return Hours(None, None)
    match = re.fullmatch(r"(\d{1,2})h?(?::00)?[-–—](\d{1,2})h?(?::00)?", word.lower())
    if match is None or int(match[1]) > 24 or int(match[2]) > 24 or int(match[1]) % 24 == int(match[2]) % 24:
        raise WordError(
            N_('"{word}" does not name two hours: write two different hours of the day in UTC, as in 22-8, or off.'),
            word,
        )
    return Hours(int(match[1]) % 24, int(match[2]) % 24)


_YES: Final = frozenset({"yes", "y", "ok", "oui", "o", "نعم", "أجل", "اجل"})
_NO: Final = frozenset({"no", "n", "non", "لا"})


def agreed(words: str) -> bool | None:
    """Read the answer to a question: yes, no, or None for what is neither."""
    word = words.strip().casefold()
    return True if word in _YES else False if word in _NO else None


def toggle(word: str) -> bool:
    """Read on or off."""
    lowered = word.lower()
    if (answer := agreed(word)) is not None:
        return answer
    if lowered in ("on", "marche", "activer", "تشغيل", "تفعيل"):
        return True
    if lowered in ("off", "arret", "arrêt", "désactiver", "desactiver", "إيقاف", "ايقاف", "تعطيل"):
        return False
    raise WordError(N_('"{word}" is neither on nor off.'), word)


def code(word: str) -> Code:
    """Read a one-time code: any case, with or without dashes where they belong."""
    match = re.fullmatch(r"([A-Z]{2})-?([0-9A-Z]{4})-?([0-9A-Z]{4})", word.upper())
    if match is None:
        raise WordError(N_('"{word}" is not one of my codes: they look like LK-7F3K-9QXA.'), word)
    return Code("-".join(match.groups()))


def _plain(word: str) -> Any:
    return word


# How each kind is read, and how the help writes it. Kinds in `WHOLE` take all the words that are left.
READERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    XHandle: x_handle,
    Selection: selection,
    Hours: hours,
    bool: toggle,
    Code: code,
    Rest: _plain,
    CommandName: _plain,
    Tag: _plain,
    str: _plain,
}
WHOLE: Final = frozenset({Selection, Rest})
SHAPES: Final[Mapping[Any, str]] = {
    XHandle: "old_handle",
    Selection: "all | 1 3 5-9",
    Hours: "22-8 | off",
    bool: "on | off",
    Code: "LK-7F3K-9QXA",
}
