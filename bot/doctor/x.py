"""See whether X's two public look-ups of posts answer."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import httpx

from bot.doctor import Check, Finding, ok
from bot.doctor.installation import Installation, host_of
from bot.proof import Post, PostGone, oembed, syndication

_LookUp = Callable[[httpx.AsyncClient, str, int], Awaitable[Post]]

# The first post that X still shows; that a look-up says there is none is an answer too.
_POST: Final = 20


def checks(here: Installation) -> list[Check]:
    """Return a check for each look-up."""
    section = here.loaded.config.x
    sources: dict[str, tuple[_LookUp, str]] = {
        "syndication_url": (syndication.look_up, section.syndication_url),
        "oembed_url": (oembed.look_up, section.oembed_url),
    }
    return [
        Check(
            f"X look-up ({host_of(url)})",
            partial(_ask, here, look_up, url),
            unanswered=f"Can this machine reach it, and is [x] {key} right? Proofs wait as long as neither answers.",
        )
        for key, (look_up, url) in sources.items()
    ]


async def _ask(here: Installation, look_up: _LookUp, url: str) -> Finding:
    try:
        await look_up(here.http, url, _POST)
    except PostGone:
        return ok(f"{url} answers")
    return ok(f"{url} answers, and is understood")
