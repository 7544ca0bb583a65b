"""Read X's answers: what is gone, what is only not to be had now."""

import re
from typing import Any

import httpx

from bot.networks.errors import Unavailable
from bot.proof.post import PostGone

# A post that is deleted, suspended or protected; both sources use all of them.
_GONE = frozenset({403, 404, 410})


async def ask(http: httpx.AsyncClient, url: str, parameters: dict[str, str], post_id: int) -> dict[str, Any]:
    """Return the JSON object that answers a look-up. Errors: PostGone, Unavailable."""
    try:
        response = await http.get(url, params=parameters)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable("X could not be reached for the look-up.") from error
    if response.status_code in _GONE:
        raise PostGone(post_id)
    if response.status_code != 200:
        raise Unavailable(f"X answered the look-up with {response.status_code}.", _retry_in(response))
    try:
        body = response.json()
    except ValueError as error:
        raise Unavailable("X answered the look-up with something that is not JSON.") from error
    if not isinstance(body, dict):
        raise Unavailable("X answered the look-up in a form that is not understood.")
    return body


def _retry_in(response: httpx.Response) -> float | None:
    """Return the seconds after which X wants to be asked again, if it says so."""
    after = response.headers.get("retry-after", "").strip()
    return float(after) if re.fullmatch(r"\d{1,6}", after, re.ASCII) else None
