"""Measure, cut and clean text; pure functions, the same for every network.

Lengths as the networks count them: Bluesky in graphemes (and UTF-8 bytes), Mastodon in graphemes with every link as
23 and every remote mention without its server (https://docs.joinmastodon.org/user/posting/#text).
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final

import regex

from bot.networks.markup import html_to_text

__all__ = ["clean", "defuse", "graphemes", "html_to_text", "link_facets", "mastodon_length", "split"]

MASTODON_LINK_LENGTH: Final = 23

_URL: Final = re.compile(r"https?://[^\s<>\"“”«»]+", re.IGNORECASE)
_URL_TAIL: Final = ".,;:!?،؛؟'’…*_~"
_BRACKETS: Final = {")": "(", "]": "[", "}": "{"}

_NAME = r"[A-Za-z0-9_](?:[\w.-]*\w)?"
_REMOTE_MENTION: Final = re.compile(rf"(?<![=/\w])@({_NAME})@[\w.-]*\w", re.ASCII)

# From the best place to cut a text to the worst; each expression finds pieces that end where a cut may be.
_LEVELS: Final = (
    re.compile(r".+?(?:\n\s*\n\s*|\Z)", re.DOTALL),
    re.compile(r".+?(?:\n\s*|\Z)", re.DOTALL),
    re.compile(r".+?(?:[.!?…。！？]+[\"'’”»)\]]*\s+|\Z)", re.DOTALL),
    re.compile(r"\s*\S+\s*"),
)

_QUOTES: Final = str.maketrans(
    dict.fromkeys("‘’‚‛‹›ʼ＇", "'") | dict.fromkeys("“”„‟«»＂", '"') | dict.fromkeys("\u2028\u2029\x85\v\f", "\n")
)
# Letters that show nothing: fillers of Hangul and the combining grapheme joiner, besides all of category Cf.
_BLANK_LETTERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")


def graphemes(text: str) -> int:
    """Count what a reader takes for characters (Unicode extended grapheme clusters)."""
    return len(regex.findall(r"\X", text))


def mastodon_length(text: str) -> int:
    """Count as Mastodon does: a link is 23, of @alice@server only @alice counts."""
    shown = []
    at = 0
    for start, end in _urls(text):
        shown += [_REMOTE_MENTION.sub(r"@\1", text[at:start]), "x" * MASTODON_LINK_LENGTH]
        at = end
    shown.append(_REMOTE_MENTION.sub(r"@\1", text[at:]))
    return graphemes("".join(shown))


def link_facets(text: str) -> list[tuple[int, int, str]]:
    """Return (first byte, byte after the last, address) of every link, in UTF-8 bytes as Bluesky's facets want."""
    facets = []
    for start, end in _urls(text):
        first = len(text[:start].encode())
        facets.append((first, first + len(text[start:end].encode()), text[start:end]))
    return facets


def split(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Cut a text into as few pieces as fit, at paragraphs, else lines, sentences, words, graphemes.

    Nothing but white space at the cuts is lost. A link is never cut: one that does not fit at all stays whole in a
    piece of its own. A text of nothing but white space gives no pieces.
    """
    pieces: list[str] = []
    current = ""
    for atom in _atoms(text, 0, fits):
        if current.strip() and not fits((current + atom).strip()):
            pieces.append(current.strip())
            current = ""
        current += atom
    pieces.append(current.strip())
    return [piece for piece in pieces if piece]


def _atoms(text: str, level: int, fits: Callable[[str], bool]) -> Iterator[str]:
    """Give the largest parts that fit by themselves, in order; together they are the text."""
    if fits(text.strip()):
        yield text
    elif level < len(_LEVELS):
        for found in _LEVELS[level].finditer(text):
            yield from _atoms(found.group(), level + 1, fits)
    else:
        yield from _smallest(text)


def _smallest(word: str) -> Iterator[str]:
    at = 0
    for start, end in _urls(word):
        yield from regex.findall(r"\X", word[at:start])
        yield word[start:end]
        at = end
    yield from regex.findall(r"\X", word[at:])


def clean(text: str) -> str:
    """Return a text as a command reader wants it: NFC, plain quotes and spaces, nothing invisible.

    Tabs and the many Unicode spaces become a space, every kind of line end a newline; control, format and
    direction characters, variation selectors and lone surrogates go.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").translate(_QUOTES)
    kept = "".join(_visible(char) for char in lines)
    # Composing comes last: what was taken out may have kept a letter and its accent apart.
    return unicodedata.normalize("NFC", kept).translate(_QUOTES)


def _visible(char: str) -> str:
    if char == "\n" or (" " < char <= "~"):
        return char
    category = unicodedata.category(char)
    if char == "\t" or category == "Zs":
        return " "
    if category in ("Cc", "Cf", "Cs") or char in _BLANK_LETTERS or "\ufe00" <= char <= "\ufe0f":
        return ""
    return "" if "\U000e0100" <= char <= "\U000e01ef" else char


_MENTION: Final = re.compile(
    r"(?P<url>https?://[^\s<>\"“”«»]+)|(?P<ats>@+)(?=https?://)"
    r"|(?<![A-Za-z0-9_])(?P<mention>@+(?P<name>\w(?:[\w.-]*\w)?(?:@[\w.-]*\w)?)(?P<port>:\d{1,5})?)",
    re.IGNORECASE,
)
_AT_IN_URL: Final = re.compile(r"(?<![=/\w])@", re.ASCII)


def defuse(text: str, keep: set[str]) -> str:
    """Take the address out of every @name and @name@server that is not in `keep`, by dropping its @.

    On Mastodon a mention is an address: who is named with an @ gets the message. `keep` holds names without the
    leading @, in any case. Links stay links; an @ in one that a server would take for a mention is percent-encoded.

    >>> defuse("@bob, you are @alice on X?", {"bob"})
    '@bob, you are alice on X?'
    """
    kept = {name.lower().removeprefix("@") for name in keep}

    def harmless(found: re.Match[str]) -> str:
        if found["url"]:
            return _AT_IN_URL.sub("%40", found["url"])
        if found["ats"]:
            return ""
        name, port = found["name"], found["port"] or ""
        if not found["mention"].startswith("@@") and {name.lower(), (name + port).lower()} & kept:
            return found["mention"]
        return name + port

    # Dropping one @ may uncover another (“@é@bob”), so go on until nothing changes; each round drops at least one.
    while (done := _MENTION.sub(harmless, text)) != text:
        text = done
    return done


def _urls(text: str) -> Iterator[tuple[int, int]]:
    """Give the start and end of every link, without the punctuation and closing brackets that only follow it."""
    for found in _URL.finditer(text):
        link = found.group()
        while True:
            last = link[-1]
            unopened = last in _BRACKETS and link.count(last) > link.count(_BRACKETS[last])
            if last not in _URL_TAIL and not unopened:
                break
            link = link[:-1]
        if len(link) > link.index("//") + 2:
            yield found.start(), found.start() + len(link)
