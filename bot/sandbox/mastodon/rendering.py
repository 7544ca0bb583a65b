"""Render the text of a status as HTML, the way one or another server software does; pure.

Mastodon: `app/lib/text_formatter.rb` of 4.3. The others as their servers send it.
"""

import re
from collections.abc import Callable
from html import escape

from bot.sandbox.mastodon.quirks import HtmlStyle
from bot.sandbox.mastodon.text import Entity, Mentioned, entities

_URL_PREFIX = re.compile(r"https?://(www\.)?")
_SHOWN_OF_URL = 30
_REL = "nofollow noopener noreferrer"

Find = Callable[[str, str], Mentioned | None]


def render(text: str, find: Find, base_url: str, style: HtmlStyle = "mastodon") -> str:
    """Return the HTML of a text; `find` takes a name and a domain and knows the local people."""
    html, last = [], 0
    for entity in entities(text):
        html.append(escape(text[last : entity.start]))
        html.append(_entity(entity, text[entity.start : entity.end], find, base_url, style))
        last = entity.end
    whole = "".join([*html, escape(text[last:])]).replace("\r\n", "\n").strip()
    return _lines(whole, style) if whole else ""


def _lines(whole: str, style: HtmlStyle) -> str:
    """Break into lines and paragraphs; some know only lines."""
    if style == "pleroma":
        return whole.replace("\n", "<br/>")
    if style == "snac":
        return whole.replace("\n", "<br>") + "<br>"
    if style == "gotosocial":
        return f"<p>{whole.replace(chr(10), '<br>')}</p>"
    line_break = "\n" if style == "hollo" else "<br />"
    return "".join(f"<p>{paragraph.replace(chr(10), line_break)}</p>" for paragraph in re.split(r"\n\n+", whole))


def _entity(entity: Entity, written: str, find: Find, base_url: str, style: HtmlStyle) -> str:
    if entity.kind == "url":
        return _url(entity.value, style)
    if entity.kind == "tag":
        href = escape(f"{base_url}/tags/{entity.value}")
        return f'<a href="{href}" class="mention hashtag" rel="tag">#<span>{escape(entity.value)}</span></a>'
    mentioned = find(entity.value, entity.domain)
    return escape(written) if mentioned is None else _mention(mentioned, style)


def _mention(mentioned: Mentioned, style: HtmlStyle) -> str:
    href, name = escape(mentioned.url), escape(mentioned.name)
    if style == "snac":
        return f'<a href="{href}" class="mention u-url h-card">@{name}@{escape(mentioned.domain)}</a>'
    if style == "hollo":
        return f'<a href="{href}" class="h-card u-url mention" translate="no">@<span>{name}</span></a>'
    if style == "pleroma":
        return f'<span class="h-card"><a class="u-url mention" data-user="1" href="{href}" rel="ugc">@<span>{name}</span></a></span>'
    extra = f' rel="{_REL}" target="_blank"' if style in ("gotosocial", "takahe") else ""
    translate = ' translate="no"' if style == "mastodon" else ""
    return (
        f'<span class="h-card"{translate}><a href="{href}" class="u-url mention"{extra}>@<span>{name}</span></a></span>'
    )


def _url(url: str, style: HtmlStyle) -> str:
    if style in ("gotosocial", "pleroma", "snac", "hollo"):
        rel = "ugc" if style == "pleroma" else _REL
        return f'<a href="{escape(url)}" rel="{rel}" target="_blank">{escape(url)}</a>'
    match = _URL_PREFIX.match(url)
    start = match.end() if match else 0
    prefix, shown, hidden = url[:start], url[start : start + _SHOWN_OF_URL], url[start + _SHOWN_OF_URL :]
    if style == "takahe" and not hidden:
        return (
            f'<a href="{escape(url)}" rel="nofollow"><span class="invisible">{escape(prefix)}</span>{escape(shown)}</a>'
        )
    return (
        f'<a href="{escape(url)}" target="_blank" rel="{_REL}" translate="no">'
        f'<span class="invisible">{escape(prefix)}</span>'
        f'<span class="{"ellipsis" if hidden else ""}">{escape(shown)}</span>'
        f'<span class="invisible">{escape(hidden)}</span></a>'
    )
