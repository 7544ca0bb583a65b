"""Look a post up where X's embedded posts come from; undocumented, but it tells the author's number."""

import html
import math
import re
from typing import Any, Final

import httpx

from bot.networks.errors import Unavailable
from bot.proof.answers import ask
from bot.proof.post import Post, PostGone, handle_of

URL: Final = "https://cdn.syndication.twimg.com"

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


async def look_up(http: httpx.AsyncClient, base_url: str, post_id: int) -> Post:
    """Return the post with its author's handle and number. Errors: PostGone, Unavailable.

    `{base_url}/tweet-result?id=…&token=…` answers a `Tweet` (id_str, text, user.id_str, user.screen_name) or a
    `TweetTombstone`, 404 for what never was.
    """
    parameters = {"id": str(post_id), "token": token(post_id), "lang": "en"}
    body = await ask(http, f"{base_url}/tweet-result", parameters, post_id)
    if body.get("__typename") == "TweetTombstone":
        raise PostGone(post_id)
    post = _read(body, post_id)
    if post is None:
        raise Unavailable("X answered the look-up in a form that is not understood.")
    return post


def _read(body: dict[str, Any], post_id: int) -> Post | None:
    user, text = body.get("user"), body.get("text")
    if body.get("id_str") != str(post_id) or not isinstance(user, dict) or not isinstance(text, str):
        return None
    handle, number = handle_of(user.get("screen_name")), str(user.get("id_str", ""))
    if handle is None or not (re.fullmatch(r"[0-9]{1,19}", number) and 0 < int(number) < 2**63):
        return None
    return Post(post_id, handle, int(number), html.unescape(text))


def token(post_id: int) -> str:
    """Return the token that goes with a post's number: ((id / 1e15) * π) in base 36 without zeros and dot.

    The digits are those of JavaScript's Number.prototype.toString(36): as many as tell the number from its neighbours.
    """
    value = (post_id / 1e15) * math.pi
    whole, rest = int(value), value - int(value)
    # Half the distance to the next number: digits beyond it would say nothing.
    margin = max(0.5 * (math.nextafter(value, math.inf) - value), math.nextafter(0.0, 1.0))
    fraction: list[int] = []
    while rest >= margin:
        rest *= 36
        margin *= 36
        fraction.append(int(rest))
        rest -= fraction[-1]
        if (rest > 0.5 or (rest == 0.5 and fraction[-1] & 1)) and rest + margin > 1:
            whole += _round_up(fraction)
            break
    digits = ""
    while whole:
        whole, digit = divmod(whole, 36)
        digits = _DIGITS[digit] + digits
    return (digits + "".join(_DIGITS[digit] for digit in fraction)).replace("0", "")


def _round_up(fraction: list[int]) -> int:
    """Add one to the last digit; return what is carried over to the whole part."""
    while fraction:
        if fraction[-1] < 35:
            fraction[-1] += 1
            return 0
        fraction.pop()
    return 1
