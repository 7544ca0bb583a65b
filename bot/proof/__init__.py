"""Look up the X post by which somebody proves an old account.

One question, two sources: `syndication` tells the author's handle and number, `oembed` only the handle. To add a
source, write one function (http, base_url, post_id) -> Post and name it in `PostLookup`.
"""

import httpx

from bot.networks.errors import Unavailable
from bot.proof import oembed, syndication
from bot.proof.post import NotAPost, Post, PostGone, post_id

__all__ = ["NotAPost", "Post", "PostGone", "PostLookup", "Unavailable", "post_id"]


class PostLookup:
    """Ask X for posts, each source in turn, at the base URLs it is given (no trailing path)."""

    def __init__(
        self, http: httpx.AsyncClient, syndication_url: str = syndication.URL, oembed_url: str = oembed.URL
    ) -> None:
        self._http = http
        self._sources = (
            (syndication.look_up, syndication_url.rstrip("/")),
            (oembed.look_up, oembed_url.rstrip("/")),
        )

    async def look_up(self, post_url: str) -> Post:
        """Return the post a text links to. The author is the one X returns, whatever the link says.

        Errors: NotAPost (the link is none to a post), PostGone (X says there is no such post; nobody else is asked),
        Unavailable (no source answered; `retry_in` is the earliest any of them named).
        """
        number = post_id(post_url)
        waits = []
        for source, base_url in self._sources:
            try:
                return await source(self._http, base_url, number)
            except Unavailable as error:
                waits.append(error.retry_in)
        named = [wait for wait in waits if wait is not None]
        raise Unavailable("X does not answer look-ups at the moment.", min(named, default=None))
