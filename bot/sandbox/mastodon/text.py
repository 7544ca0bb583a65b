"""Read and render the text of a status as Mastodon does; pure.

Rules: `app/models/account.rb` (MENTION_RE), `app/lib/text_formatter.rb` and `app/validators/status_length_validator.rb`
of Mastodon 4.3.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Literal

import regex

MAX_CHARACTERS = 500
CHARACTERS_PER_URL = 23

_GRAPHEME = regex.compile(r"\X")
# The port is ours: a real domain has none, a loopback one cannot do without.
_ENTITY = re.compile(
    r"(?<![@\w])(?P<url>https?://[^\s<>\"]+)"
    r"|(?<![=/\w])@(?P<name>[a-zA-Z0-9_]+(?:[.-]+[a-zA-Z0-9_]+)*)(?P<domain>@[\w.-]*\w(?::\d+)?)?"
    r"|(?<![=/\w])#(?P<tag>\w*[^\W\d_]\w*)"
)
_URL_TAIL = re.compile(r"[.,;:!?'…»”’*_]+$")
_URL_PREFIX = re.compile(r"https?://(www\.)?")
_SHOWN_OF_URL = 30
_REL = "nofollow noopener noreferrer"


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


def render(text: str, find: Callable[[str, str], Mentioned | None], base_url: str) -> str:
    """Return the HTML of a text; `find` takes a name and a domain and knows the local people."""
    html, last = [], 0
    for entity in entities(text):
        html.append(escape(text[last : entity.start]))
        html.append(_link(entity, text[entity.start : entity.end], find, base_url))
        last = entity.end
    whole = "".join([*html, escape(text[last:])]).replace("\r\n", "\n").strip()
    paragraphs = re.split(r"\n\n+", whole)
    return "".join(f"<p>{paragraph.replace(chr(10), '<br />')}</p>" for paragraph in paragraphs) if whole else ""


def _link(entity: Entity, written: str, find: Callable[[str, str], Mentioned | None], base_url: str) -> str:
    if entity.kind == "url":
        return _url(entity.value)
    if entity.kind == "tag":
        href = escape(f"{base_url}/tags/{entity.value}")
        return f'<a href="{href}" class="mention hashtag" rel="tag">#<span>{escape(entity.value)}</span></a>'
    mentioned = find(entity.value, entity.domain)
    if mentioned is None:
        return escape(written)
    href = escape(mentioned.url)
    return f'<span class="h-card" translate="no"><a href="{href}" class="u-url mention">@<span>{escape(mentioned.name)}</span></a></span>'


def _url(url: str) -> str:
    match = _URL_PREFIX.match(url)
    start = match.end() if match else 0
    prefix, shown, hidden = url[:start], url[start : start + _SHOWN_OF_URL], url[start + _SHOWN_OF_URL :]
    return (
        f'<a href="{escape(url)}" target="_blank" rel="{_REL}" translate="no">'
        f'<span class="invisible">{escape(prefix)}</span>'
        f'<span class="{"ellipsis" if hidden else ""}">{escape(shown)}</span>'
        f'<span class="invisible">{escape(hidden)}</span></a>'
    )
