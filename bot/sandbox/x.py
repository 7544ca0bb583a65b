"""A stand-in of X's two public look-ups of a post, and of the people who post there.

`/tweet-result` answers as cdn.syndication.twimg.com does (undocumented), `/oembed` as publish.x.com/oembed
(https://developer.x.com/en/docs/x-for-websites/oembed-api).
"""

import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.sandbox.faults import FaultMiddleware, Faults
from bot.sandbox.server import LoopbackServer

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# Ids count up to 2^32 until November 2010; since then they hold the milliseconds since this moment in their upper bits.
_SNOWFLAKE_EPOCH_MS: Final = 1_288_834_974_657
_SNOWFLAKE_SHIFT: Final = 22
_FIRST_OLD_ID: Final = 12_345_678
_OLD_ID_STEP: Final = 7_919

_SCREEN_NAME = re.compile(r"\w{1,15}", re.ASCII)
_POST_PATH = re.compile(r"/(?:\w+|i/web)/status(?:es)?/(\d+)/?", re.ASCII)
_HOSTS: Final = frozenset(
    {"x.com", "www.x.com", "mobile.x.com", "twitter.com", "www.twitter.com", "mobile.twitter.com"}
)
# A bare host name is a link to X as well; these endings stand for the whole list of the registries.
_LINK = re.compile(
    r"https?://[^\s<>\"]*[^\s<>\".,;:!?'…)]"
    r"|(?<![\w@#$./-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+(?:com|org|net|social|online|app|dev|fr|de|eu|uk|jp)\b(?:/[^\s<>\"]*[^\s<>\".,;:!?'…)])?",
    re.IGNORECASE,
)
_TOMBSTONE: Final = {
    "__typename": "TweetTombstone",
    "tombstone": {
        "text": {"text": "This Post was deleted by the Post author. Learn more", "entities": [], "rtl": False}
    },
}


@dataclass(frozen=True, slots=True)
class _Link:
    """One link of a post: what stands there instead, what was written, and where it leads."""

    short: str
    written: str
    expanded: str


@dataclass(slots=True)
class XPost:
    """One post; `text` is as X gives it back, with t.co links."""

    id: int
    author: "XAccount"
    text: str
    links: list[_Link]
    lang: str
    at: float
    deleted: bool = False


class XAccount:
    """Somebody on X and the hands on their keyboard."""

    def __init__(self, sandbox: "XSandbox", x_id: int, screen_name: str) -> None:
        self._sandbox = sandbox
        self.x_id = x_id
        self.screen_name = screen_name
        self.name = screen_name.replace("_", " ").title()

    def __repr__(self) -> str:
        return f"<XAccount @{self.screen_name} {self.x_id}>"

    def post(self, text: str, *, lang: str = "en") -> str:
        """Publish a post and return its address; links in it become t.co."""
        post = self._sandbox.publish(self, text, lang)
        return f"https://x.com/{self.screen_name}/status/{post.id}"

    def delete_post(self, url: str) -> None:
        """Delete a post of this account's; LookupError if there is none at this address."""
        post = self._sandbox.find_post(url)
        if post is None or post.author is not self:
            raise LookupError(f"@{self.screen_name} has no post {url}.")
        post.deleted = True

    def rename(self, screen_name: str) -> None:
        """Take another name; the number stays, and the old name is free again."""
        self._sandbox.rename(self, screen_name)


class XSandbox:
    """Serve X's look-ups and let a story post in process; `faults` is what is to go wrong."""

    def __init__(self, *, now: Callable[[], float] = time.time, port: int = 0) -> None:
        self._now = now
        self._server = LoopbackServer(port=port)
        self.url = self._server.url
        self.faults = Faults()
        self.accounts: dict[int, XAccount] = {}
        self._by_name: dict[str, XAccount] = {}
        self._posts: dict[int, XPost] = {}
        self._numbers = itertools.count()
        self._last_snowflake = 0
        routes = [Route("/tweet-result", self._tweet_result), Route("/oembed", self._oembed)]
        self.app: ASGIApp = FaultMiddleware(Starlette(routes=routes), self.faults)
        self._server.app = self.app

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()

    # In process.

    def create_account(self, screen_name: str, x_id: int | None = None) -> XAccount:
        """Open an account; every other one without a number of its own is from before snowflakes. ValueError."""
        if x_id is None:
            number = next(self._numbers)
            x_id = self._snowflake() if number % 2 else _FIRST_OLD_ID + _OLD_ID_STEP * number
        if x_id in self.accounts:
            raise ValueError(f"The number {x_id} is taken.")
        account = XAccount(self, x_id, screen_name)
        self._take_name(account, screen_name)
        self.accounts[x_id] = account
        return account

    def rename(self, account: XAccount, screen_name: str) -> None:
        """Give an account another name. ValueError if it is malformed or taken."""
        old = account.screen_name.lower()
        self._take_name(account, screen_name)
        if old != screen_name.lower():
            del self._by_name[old]
        account.screen_name = screen_name

    def _take_name(self, account: XAccount, screen_name: str) -> None:
        if not _SCREEN_NAME.fullmatch(screen_name):
            raise ValueError(f"{screen_name!r} is no name of an X account.")
        if self._by_name.setdefault(screen_name.lower(), account) is not account:
            raise ValueError(f"The name @{screen_name} is taken.")

    def publish(self, account: XAccount, text: str, lang: str) -> XPost:
        """Publish a post."""
        links: list[_Link] = []

        def shorten(match: re.Match[str]) -> str:
            written = match[0]
            expanded = written if "://" in written else f"http://{written}"
            short = f"https://t.co/{sha256(expanded.encode()).hexdigest()[:10]}"
            links.append(_Link(short, written, expanded))
            return short

        shortened = _LINK.sub(shorten, text)
        post = XPost(self._snowflake(), account, shortened, links, lang, self._now())
        self._posts[post.id] = post
        return post

    def find_post(self, url: str) -> XPost | None:
        """Return the post at an address, whatever name stands in it: X goes by the number alone."""
        parts = urlsplit(url)
        match = _POST_PATH.fullmatch(parts.path)
        if match is None or parts.scheme not in ("http", "https") or parts.hostname not in _HOSTS:
            return None
        return self._posts.get(int(match[1]))

    def _snowflake(self) -> int:
        by_clock = (int(self._now() * 1000) - _SNOWFLAKE_EPOCH_MS) << _SNOWFLAKE_SHIFT
        self._last_snowflake = max(self._last_snowflake + 1, by_clock)
        return self._last_snowflake

    # HTTP.

    async def _tweet_result(self, request: Request) -> Response:
        """Answer a look-up by number; 400 without a token, 404 and nothing for what never was."""
        number = request.query_params.get("id", "")
        if not request.query_params.get("token") or not number.isdecimal():
            return Response(status_code=400)
        post = self._posts.get(int(number))
        if post is None:
            return Response(status_code=404)
        return JSONResponse(_TOMBSTONE if post.deleted else _tweet(post))

    async def _oembed(self, request: Request) -> Response:
        """Answer a look-up by address; 404 for what is gone or never was."""
        post = self.find_post(request.query_params.get("url", ""))
        if post is None or post.deleted:
            return JSONResponse({"error": "Sorry, that page does not exist"}, 404)
        return JSONResponse(_embed(post))


def _tweet(post: XPost) -> dict[str, Any]:
    author = post.author
    urls, at = [], 0
    for link in post.links:
        start = post.text.index(link.short, at)
        at = start + len(link.short)
        shown = re.sub(r"^https?://(www\.)?", "", link.expanded)
        display = shown if len(shown) <= 27 else shown[:26] + "…"
        urls.append({"display_url": display, "expanded_url": link.expanded, "indices": [start, at], "url": link.short})
    return {
        "__typename": "Tweet",
        "id_str": str(post.id),
        "text": escape(post.text, quote=False),
        "lang": post.lang,
        "created_at": datetime.fromtimestamp(post.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "display_text_range": [0, len(post.text)],
        "entities": {"hashtags": [], "urls": urls, "user_mentions": [], "symbols": []},
        "user": {
            "id_str": str(author.x_id),
            "name": author.name,
            "screen_name": author.screen_name,
            "is_blue_verified": False,
            "profile_image_shape": "Circle",
            "verified": False,
            "profile_image_url_https": "https://abs.twimg.com/sticky/default_profile_images/default_profile_normal.png",
        },
        "favorite_count": 0,
        "conversation_count": 0,
        "news_action_type": "conversation",
        "isEdited": False,
        "isStaleEdit": False,
    }


def _embed(post: XPost) -> dict[str, Any]:
    author = post.author
    html = escape(post.text, quote=False).replace("\n", "<br>")
    for short in dict.fromkeys(link.short for link in post.links):
        html = html.replace(short, f'<a href="{short}">{short}</a>')
    url = f"https://twitter.com/{author.screen_name}/status/{post.id}"
    day = f"{datetime.fromtimestamp(post.at, UTC):%B %d, %Y}"
    return {
        "url": url,
        "author_name": author.name,
        "author_url": f"https://twitter.com/{author.screen_name}",
        "html": f'<blockquote class="twitter-tweet"><p lang="{escape(post.lang)}" dir="ltr">{html}</p>'
        f"&mdash; {escape(author.name)} (@{author.screen_name}) "
        f'<a href="{url}?ref_src=twsrc%5Etfw">{day}</a></blockquote>\n'
        '<script async src="https://platform.twitter.com/widgets.js" charset="utf-8"></script>\n\n',
        "width": 550,
        "height": None,
        "type": "rich",
        "cache_age": "3153600000",
        "provider_name": "Twitter",
        "provider_url": "https://twitter.com",
        "version": "1.0",
    }
