"""Turn the HTML that fediverse servers send into the text its writer meant."""

import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlsplit

# Elements that stand in paragraphs of their own, and those that only begin a new line.
_PARAGRAPHS: Final = frozenset(
    {"p", "blockquote", "pre", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr"}
)
_LINES: Final = frozenset({"div", "li", "tr", "dt", "dd"})
_UNSEEN: Final = frozenset({"script", "style", "head", "title", "template", "noscript", "textarea", "svg", "math"})
_VOID: Final = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
# Comments and declarations: no server means anything by them, and the parser trips over broken ones.
_DECLARATION: Final = re.compile(r"<!--.*?(?:-->|$)|<[!?][^>]*(?:>|$)", re.DOTALL)
_BLANKS: Final = re.compile(r"[ \t\n\r\f]+")
_TAG: Final = re.compile(r"</?[a-z]", re.IGNORECASE)
_BROKEN_TAG: Final = re.compile(r"""<(?=/?[a-z])(?!(?:[^<>"']|"[^"<]*"|'[^'<]*')*>)""", re.IGNORECASE)
# The longest posts of servers that allow long ones hold some 10,000 characters; commands stand at the beginning.
_MOST: Final = 20_000


def html_to_text(html: str, mentions: Mapping[str, str] | None = None) -> str:
    r"""Return the plain text of a status: paragraphs apart by a blank line, links whole, mentions as @names.

    A link whose visible text was shortened becomes its address; one with words of its own keeps both. `mentions` maps
    a link's address to the full acct ("alice@server") that is to stand there instead of the short name.

    >>> html_to_text("<p>Hello &amp; welcome</p><p>one<br>two</p>")
    'Hello & welcome\n\none\ntwo'
    """
    reader = _Reader(mentions or {})
    reader.feed(_whole_tags(_DECLARATION.sub("", html[:_MOST])))
    reader.close()
    return reader.result()


def _whole_tags(html: str) -> str:
    """Take tags that do not end for words, and leave out the last one: the parser would look for each one's end anew."""
    broken = _TAG.search(html, html.rfind(">") + 1)
    return _BROKEN_TAG.sub("&lt;", html if broken is None else html[: broken.start()])


class _Link:
    """A link being read: what is seen of it, and whether something was hidden."""

    def __init__(self, href: str, names: set[str]) -> None:
        self.href = href
        self.names = names
        self.seen = ""
        self.whole = ""
        self.shortened = False


class _Reader(HTMLParser):
    """Collect text; `_breaks` counts the line ends due before the next word, without any `_white` stands there."""

    def __init__(self, mentions: Mapping[str, str]) -> None:
        super().__init__(convert_charrefs=True)
        self._mentions = mentions
        self._out: list[str] = []
        self._breaks = 0
        self._white = ""
        self._unseen: list[str] = []
        self._unseen_tags: Counter[str] = Counter()
        self._invisible: list[bool] = []
        self._hiding = 0
        self._preformatted = 0
        self._link: _Link | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        names = set(attributes.get("class", "").split())
        # Since 4.5 a quoting status repeats the quoted address in such an element, for servers without quotes.
        if self._unseen or tag in _UNSEEN or "quote-inline" in names:
            if tag not in _VOID:
                self._unseen.append(tag)
                self._unseen_tags[tag] += 1
            return
        if tag == "br":
            self._end_line()
        elif tag in _PARAGRAPHS:
            self._breaks = max(self._breaks, 2)
        elif tag in _LINES:
            self._breaks = max(self._breaks, 1)
        if tag == "pre":
            self._preformatted += 1
        elif tag == "span":
            self._invisible.append("invisible" in names)
            self._hiding += "invisible" in names
            if self._link is not None and names & {"invisible", "ellipsis"}:
                self._link.shortened = True
        elif tag == "a":
            self._close_link()
            self._link = _Link(attributes.get("href", ""), names)
        elif tag == "img" and "alt" in attributes:
            self.handle_data(attributes["alt"])

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            closed = "" if self._unseen_tags[tag] else tag
            while closed != tag:
                closed = self._unseen.pop()
                self._unseen_tags[closed] -= 1
            return
        if tag == "a":
            self._close_link()
        elif tag == "span" and self._invisible:
            self._hiding -= self._invisible.pop()
        elif tag in _PARAGRAPHS:
            self._breaks = max(self._breaks, 2)
        elif tag in _LINES:
            self._breaks = max(self._breaks, 1)
        if tag == "pre" and self._preformatted:
            self._preformatted -= 1

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if self._link is not None:
            self._link.whole += data
            if not self._hiding:
                self._link.seen += data
        elif not self._hiding:
            self._write(data)

    def result(self) -> str:
        """Return what was read, without blank ends."""
        self._close_link()
        return "".join(self._out).strip()

    def _close_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            before, after = link.whole[:1].isspace(), link.whole[-1:].isspace()
            self._write(f"{' ' if before else ''}{self._words_of(link)}{' ' if after else ''}")

    def _words_of(self, link: _Link) -> str:
        seen, whole = (_BLANKS.sub(" ", text).strip() for text in (link.seen, link.whole))
        if link.href in self._mentions:
            return "@" + self._mentions[link.href].removeprefix("@")
        if "mention" in link.names or "hashtag" in link.names or whole[:1] in ("@", "#"):
            return whole
        if _scheme(link.href) not in ("http", "https"):
            return whole
        if not seen or link.shortened or seen.endswith("…") or _same_address(whole, link.href):
            return link.href
        return f"{whole} ({link.href})"

    def _write(self, data: str) -> None:
        if self._preformatted:
            lines = data.replace("\r\n", "\n").split("\n")
            for position, line in enumerate(lines):
                if position:
                    self._end_line()
                self._append(line)
            return
        collapsed = _BLANKS.sub(_white, data)
        words = collapsed.strip(" \n")
        self._leave_white(collapsed[: len(collapsed) - len(collapsed.lstrip(" \n"))])
        if words:
            self._append(words)
            self._leave_white(collapsed[len(collapsed.rstrip(" \n")) :])

    def _append(self, words: str) -> None:
        if not words:
            return
        if self._out:
            self._out.append("\n" * self._breaks or self._white)
        self._breaks, self._white = 0, ""
        self._out.append(words)

    def _leave_white(self, white: str) -> None:
        if self._white != "\n":
            self._white = white or self._white

    def _end_line(self) -> None:
        self._breaks += 1
        self._white = ""


def _white(blanks: re.Match[str]) -> str:
    """Return what blanks stand for: Hollo writes a line break as the line's end, which browsers show as a space."""
    return "\n" if "\n" in blanks[0] else " "


def _scheme(href: str) -> str:
    """Return the scheme of an address, nothing for one that cannot be read."""
    try:
        return urlsplit(href).scheme
    except ValueError:
        return ""


def _same_address(seen: str, href: str) -> bool:
    """Tell whether the visible text is the address itself, give or take the scheme and a last slash."""

    def bare(text: str) -> str:
        return re.sub(r"^https?://(www\.)?", "", text.lower()).rstrip("/")

    return bare(seen) == bare(href)
