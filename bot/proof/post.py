"""A post on X: how people name it, and what a look-up tells of it."""

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

Problem = Literal["no_link", "not_x", "short_link", "mirror", "no_post"]

# What people read, by the kind of problem; others may say it in their own language by `NotAPost.problem`.
_SENTENCES: Final[dict[Problem, str]] = {
    "no_link": "There is no link in this. Open your post on X, choose “Copy link”, and send what you copied.",
    "not_x": "This link leads to {host}, not to X. Send the link of your post on x.com.",
    "short_link": "This is a shortened link ({host}), which says nothing about the post. Open it, and send the address "
    "of the post itself: https://x.com/…/status/…",
    "mirror": "{host} shows copies of posts. Send the link on x.com instead: only X itself is asked.",
    "no_post": "This is a link to X, but not to a post. A post's link has /status/ and a number in it.",
}
_HOSTS: Final = frozenset({"x.com", "twitter.com"})
_PREFIXES: Final = re.compile(r"^(?:www|mobile|m)\.")
_SHORTENERS: Final = frozenset({"t.co", "bit.ly", "tinyurl.com", "buff.ly", "ow.ly"})
_MIRRORS: Final = re.compile(
    r"(?:^|\.)(?:(?:fx|vx|fixup|fixv|girlcock|stupidpenis)?(?:twitter|x)\.com|twittpr\.com|nitter\..+|xcancel\.com"
    r"|twiiit\.com|fixupx\.com|fixvx\.com|cunnyx\.com)$"
)
_LINK: Final = re.compile(
    r"(?:https?://)?(?<![\w@.-])(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?(?:/[^\s<>\"]*)?", re.IGNORECASE
)
_PATH: Final = re.compile(r"^/(?:i/web/|i/|[A-Za-z0-9_]{1,20}/)?status(?:es)?/(\d{1,19})(?![\d\w])", re.ASCII)
_MAX_ID: Final = 2**63 - 1
_HANDLE: Final = re.compile(r"[A-Za-z0-9_]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Post:
    """A post as X itself shows it; `author_id` is None when the source does not tell it, and then proves no id.

    The handle is spelled as on X, without @. Both come from the answer, never from the link.
    """

    post_id: int
    author_handle: str
    author_id: int | None
    text: str


class NotAPost(ValueError):
    """What was sent names no post on X; the message is a sentence, `problem` its kind."""

    def __init__(self, problem: Problem, host: str = "") -> None:
        super().__init__(_SENTENCES[problem].format(host=host))
        self.problem: Problem = problem
        self.host = host


class PostGone(Exception):
    """X says that there is no such post, or that it is not public."""

    def __init__(self, post_id: int) -> None:
        super().__init__(
            f"X shows no public post with the number {post_id}: it was deleted, or the account is protected."
        )
        self.post_id = post_id


def post_id(text: str) -> int:
    """Return the number of the post that a text links to, or raise NotAPost with what is wrong with the link.

    The first link to a post counts; a name in it is ignored, because anybody can write any name there.
    """
    problems = []
    for link in _LINK.findall(text):
        parts = urlsplit(link if "://" in link else f"https://{link}")
        host = (parts.hostname or "").rstrip(".")
        bare = _PREFIXES.sub("", host)
        found = _PATH.match(parts.path)
        if bare in _HOSTS:
            if found and 0 < int(found.group(1)) <= _MAX_ID:
                return int(found.group(1))
            problems.append(NotAPost("no_post", host))
        elif bare in _SHORTENERS:
            problems.append(NotAPost("short_link", host))
        elif _MIRRORS.search(host):
            problems.append(NotAPost("mirror", host))
        else:
            problems.append(NotAPost("not_x", host))
    # The nearest miss is the most helpful one to speak of.
    order: list[Problem] = ["no_post", "mirror", "short_link", "not_x"]
    raise min(problems, key=lambda problem: order.index(problem.problem), default=NotAPost("no_link"))


def handle_of(value: object) -> str | None:
    """Return a handle that a source gave, or None if it is none."""
    return value if isinstance(value, str) and _HANDLE.fullmatch(value) else None
