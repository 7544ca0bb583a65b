"""Read and measure the text of a status as Mastodon does; pure.

Rules: `app/models/account.rb` (MENTION_RE) and `app/validators/status_length_validator.rb` of Mastodon 4.3.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import regex

CHARACTERS_PER_URL = 23

_GRAPHEME = regex.compile(r"\X")
# The port is ours: a real domain has none, a loopback one cannot do without.
_ENTITY = re.compile(
    r"(?<![@\w])(?P<url>https?://[^\s<>\"]+)"
    r"|(?<![=/\w])@(?P<name>[a-zA-Z0-9_]+(?:[.-]+[a-zA-Z0-9_]+)*)(?P<domain>@[\w.-]*\w(?::\d+)?)?"
    r"|(?<![=/\w])#(?P<tag>\w*[^\W\d_]\w*)"
)
_URL_TAIL = re.compile(r"[.,;:!?'…»”’*_]+$")


@dataclass(frozen=True, slots=True)
class Entity:
    """A link, a mention or a hashtag; `domain` is empty for a bare @name."""

    kind: Literal["url", "mention", "tag"]
    start: int
    end: int
    value: str
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Mentioned:
    """Whom a mention leads to."""

    name: str
    url: str
    domain: str


def entities(text: str) -> Iterator[Entity]:
    """Yield the links, mentions and hashtags of a text, in order."""
    at = 0
    while match := _ENTITY.search(text, at):
        at = match.end()
        if match["url"]:
            url = _trimmed(match["url"])
            at = match.start() + len(url)
            yield Entity("url", match.start(), at, url)
        elif match["name"]:
            yield Entity("mention", match.start(), at, match["name"], (match["domain"] or "").removeprefix("@"))
        else:
            yield Entity("tag", match.start(), at, match["tag"])


def _trimmed(url: str) -> str:
    """Leave the sentence's punctuation outside a link, and a bracket that was opened outside it."""
    while True:
        shorter = _URL_TAIL.sub("", url)
        if shorter.endswith(")") and shorter.count(")") > shorter.count("("):
            shorter = shorter[:-1]
        if shorter == url:
            return url
        url = shorter


def countable_length(text: str) -> int:
    """Return the length that counts: graphemes, every link as 23, of a remote mention only the local part."""
    counted, last = [], 0
    for entity in entities(text):
        counted.append(text[last : entity.start])
        if entity.kind == "url":
            counted.append("x" * CHARACTERS_PER_URL)
        elif entity.kind == "mention":
            counted.append(f"@{entity.value}")
        else:
            counted.append(text[entity.start : entity.end])
        last = entity.end
    return len(_GRAPHEME.findall("".join([*counted, text[last:]])))
