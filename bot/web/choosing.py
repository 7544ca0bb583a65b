"""Read which contacts somebody ticked: a form with thousands of fields, where our other forms have ten."""

import asyncio
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from bot.web.pages import Pages

# Fifty thousand ticked boxes, each as contact=1234567890&.
_MOST_BYTES: Final = 2**20
_MOST_FIELDS: Final = 50_000
_ID: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The person ids that were ticked, and `one` whose own button was pressed, as sent, and all else.

    Whose contacts they are is for the handler to see.
    """

    ids: frozenset[int]
    one: int | None
    fields: dict[str, str]


async def chosen(pages: Pages, request: Request) -> Chosen | None:
    """Read a form that was sent from its own page; None for anything else, and for what is too long."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return None
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BYTES:
                return None
        given = await asyncio.to_thread(_parsed, bytes(body))
    except (ClientDisconnect, ValueError):
        return None
    return given if pages.is_own_form(request, given.fields.get("csrf", "")) else None


def _parsed(body: bytes) -> Chosen:
    ids: dict[str, list[int]] = {"contact": [], "one": []}
    fields = {}
    for name, value in parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS):
        if name not in ids:
            fields[name] = value
        elif _ID.fullmatch(value):
            ids[name].append(int(value))
        else:
            raise ValueError("A contact is named by a number.")
    return Chosen(frozenset(ids["contact"]), next(iter(ids["one"]), None), fields)
