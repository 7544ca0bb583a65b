"""Look a post up by X's documented oEmbed; it tells the author's handle, but no number.

https://docs.x.com/x-for-websites/oembed-api
"""

import re
from typing import Final
from urllib.parse import urlsplit

import httpx

from bot.networks.errors import Unavailable
from bot.networks.markup import html_to_text
from bot.proof.answers import ask
from bot.proof.post import Post, handle_of

URL: Final = "https://publish.x.com"

# The author's own words stand in the paragraph; what follows it (the display name, the date) is not part of the post.
_PARAGRAPH: Final = re.compile(r"<p\b[^>]*>.*?</p>", re.DOTALL | re.IGNORECASE)


async def look_up(http: httpx.AsyncClient, base_url: str, post_id: int) -> Post:
    """Return the post with its author's handle and without a number. Errors: PostGone, Unavailable."""
    parameters = {"url": f"https://x.com/i/status/{post_id}", "omit_script": "true", "dnt": "true"}
    body = await ask(http, f"{base_url}/oembed", parameters, post_id)
    handle = handle_of(urlsplit(str(body.get("author_url", ""))).path.strip("/"))
    words = _PARAGRAPH.search(str(body.get("html", "")))
    if handle is None or words is None:
        raise Unavailable("X answered the look-up in a form that is not understood.")
    return Post(post_id, handle, None, html_to_text(words.group()))
