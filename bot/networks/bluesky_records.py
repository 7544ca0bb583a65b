"""Read and write what travels on Bluesky: texts with facets, times, record keys; pure functions on its JSON."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

from bot.networks.text import graphemes, link_facets

Json = dict[str, Any]

POST: Final = "app.bsky.feed.post"
FOLLOW: Final = "app.bsky.graph.follow"
BOT_LABEL: Final = "bot"

# The most graphemes and the most UTF-8 bytes, as the lexicons of posts and of chat messages say.
POST_LIMITS: Final = (300, 3000)
DM_LIMITS: Final = (1000, 10_000)

_MENTION: Final = "app.bsky.richtext.facet#mention"
_LINK: Final = "app.bsky.richtext.facet#link"
_TID_ALPHABET: Final = "234567abcdefghijklmnopqrstuvwxyz"


def within(text: str, limits: tuple[int, int]) -> bool:
    """Tell whether a text keeps to a limit in graphemes and in bytes."""
    return len(text.encode()) <= limits[1] and graphemes(text) <= limits[0]


def tid_for(key: str) -> str:
    """Return the record key that belongs to an idempotency key: always the same, in the form of a TID.

    A TID (https://atproto.com/specs/tid) is 13 letters for a time in microseconds and a clock's id. 60 bits of a hash
    fill it so that the time lies before 2006: no server can take it for the future.
    """
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 4
    return "".join(_TID_ALPHABET[(number >> shift) & 31] for shift in range(60, -1, -5))


def iso(epoch_ms: int) -> str:
    """Write a time as atproto does."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_ms(text: str) -> int:
    """Read an atproto time; ValueError if it is none."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def rkey_of(uri: str) -> str:
    """Return the last part of a record's address."""
    return uri.rpartition("/")[2]


def facets_of_links(text: str) -> list[Json]:
    """Return the facets that make a text's addresses clickable. Nobody is mentioned by one: that would notify them."""
    return [
        {"index": {"byteStart": start, "byteEnd": end}, "features": [{"$type": _LINK, "uri": uri}]}
        for start, end, uri in link_facets(text)
    ]


def plain_text(record: Json) -> str:
    """Return a text with its links whole: apps show "example.com/a/ver..." and keep the address in a facet."""
    raw = str(record["text"]).encode()
    for start, end, features in sorted(_facets(record), key=lambda facet: facet[0], reverse=True):
        uri = next((feature["uri"] for feature in features if feature.get("$type") == _LINK), None)
        if isinstance(uri, str) and 0 <= start < end <= len(raw):
            raw = raw[:start] + uri.encode() + raw[end:]
    return raw.decode(errors="replace")


def mentions(record: Json, did: str) -> bool:
    """Tell whether a post mentions an account."""
    return any(feature.get("did") == did for _, _, features in _facets(record) for feature in features)


def _facets(record: Json) -> list[tuple[int, int, list[Json]]]:
    """Return the well-formed facets; a client's mistake in one costs nobody the text."""
    found = []
    facets = record.get("facets")
    for facet in facets if isinstance(facets, list) else []:
        try:
            start, end = facet["index"]["byteStart"], facet["index"]["byteEnd"]
            features = [feature for feature in facet["features"] if isinstance(feature, dict)]
        except (KeyError, TypeError):
            continue
        if isinstance(start, int) and isinstance(end, int):
            found.append((start, end, features))
    return found


def is_bot(profile: Json) -> bool:
    """Tell whether an account labels itself as a bot."""
    labels = profile.get("labels")
    return any(
        isinstance(label, dict) and label.get("val") == BOT_LABEL
        for label in (labels if isinstance(labels, list) else [])
    )


def strong_ref(value: Json) -> Json:
    """Return what names one version of a record; KeyError or TypeError if it is none."""
    return {"uri": str(value["uri"]), "cid": str(value["cid"])}


def languages_of(record: Json) -> tuple[str, ...]:
    """Return the languages that a post declares."""
    langs = record.get("langs")
    return tuple(lang for lang in (langs if isinstance(langs, list) else []) if isinstance(lang, str))
