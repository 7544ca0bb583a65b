"""What the lexicons ask of the records that the stand-in understands."""

from collections.abc import Callable

import regex

from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.ids import Json, is_did, is_record_key, is_tid, parse_iso, split_uri

POST = "app.bsky.feed.post"
FOLLOW = "app.bsky.graph.follow"
BLOCK = "app.bsky.graph.block"
PROFILE = "app.bsky.actor.profile"
DECLARATION = "chat.bsky.actor.declaration"
MENTION = "app.bsky.richtext.facet#mention"
LINK = "app.bsky.richtext.facet#link"

# app.bsky.feed.post: text maxGraphemes 300, maxLength 3000 (UTF-8 bytes), langs at most 3.
_POST_GRAPHEMES, _POST_BYTES, _POST_LANGS = 300, 3000, 3
_LANGUAGE = regex.compile(r"(i|[a-z]{2,3})(-[A-Za-z0-9]{1,8})*")
_URI = regex.compile(r"[A-Za-z][A-Za-z.-]{0,80}:\S+")
_GRAPHEME = regex.compile(r"\X")
_TID_KEYS = frozenset({POST, FOLLOW, BLOCK, "app.bsky.feed.like", "app.bsky.feed.repost"})
_SELF_KEYS = frozenset({PROFILE, DECLARATION})


def graphemes(text: str) -> int:
    """Count what a reader sees as characters."""
    return len(text) if text.isascii() and "\r" not in text else len(_GRAPHEME.findall(text))


def check_key(collection: str, rkey: str) -> None:
    """Refuse a key that the collection's lexicon does not allow."""
    if not is_record_key(rkey):
        raise XrpcError("InvalidRequest", f"Invalid record key {rkey!r}")
    if collection in _TID_KEYS and not is_tid(rkey):
        raise XrpcError("InvalidRequest", f"Invalid record key for {collection}: {rkey!r} is not a TID")
    if collection in _SELF_KEYS and rkey != "self":
        raise XrpcError("InvalidRequest", f'Invalid record key for {collection}: expected "self", got {rkey!r}')


def check_record(collection: str, value: object) -> str:
    """Refuse a record that breaks its lexicon; return the validation status `valid` or `unknown`."""
    if not isinstance(value, dict):
        raise XrpcError("InvalidRequest", "Input/record must be an object")
    kind = value.setdefault("$type", collection)
    if kind != collection:
        raise XrpcError("InvalidRequest", f"Invalid $type: expected {collection}, got {kind}")
    check = _CHECKS.get(collection)
    if check is None:
        return "unknown"
    fault = check(value)
    if fault is not None:
        raise XrpcError("InvalidRequest", f"Invalid {collection} record: {fault}")
    return "valid"


def _check_post(value: Json) -> str | None:
    text = value.get("text")
    if not isinstance(text, str):
        return 'Record must have the property "text"'
    if len(text.encode()) > _POST_BYTES:
        return f"Record/text must not be longer than {_POST_BYTES} characters"
    if graphemes(text) > _POST_GRAPHEMES:
        return f"Record/text must not be longer than {_POST_GRAPHEMES} graphemes"
    langs = value.get("langs") or []
    if not isinstance(langs, list) or len(langs) > _POST_LANGS:
        return f"Record/langs must be an array of at most {_POST_LANGS} elements"
    if not all(isinstance(lang, str) and _LANGUAGE.fullmatch(lang) for lang in langs):
        return "Record/langs must hold languages as BCP 47 writes them"
    return _check_shape(value.get("facets")) or _check_reply(value.get("reply")) or _check_date(value)


def _check_shape(facets: object) -> str | None:
    """Tell what is wrong with the form of facets; where they lie in the text is the apps' affair."""
    if facets is None:
        return None
    if not isinstance(facets, list):
        return "Record/facets must be an array"
    for facet in facets:
        index, features = (facet.get("index"), facet.get("features")) if isinstance(facet, dict) else (None, None)
        ends = (index.get("byteStart"), index.get("byteEnd")) if isinstance(index, dict) else (None, None)
        if not all(isinstance(end, int) and end >= 0 for end in ends):
            return "Record/facets/index must have byteStart and byteEnd"
        if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
            return "Record/facets/features must be an array of objects"
        if not all(_URI.fullmatch(str(feature["uri"])) for feature in features if feature.get("$type") == LINK):
            return "Record/facets/features/uri must be a uri"
    return None


def check_facets(facets: object, text: str) -> str | None:
    """Tell what is wrong with facets, whose ranges are UTF-8 byte offsets within the text; nothing if they are fine."""
    if facets is None:
        return None
    if not isinstance(facets, list):
        return "Record/facets must be an array"
    raw = text.encode()
    for facet in facets:
        index = facet.get("index") if isinstance(facet, dict) else None
        start, end = (index.get("byteStart"), index.get("byteEnd")) if isinstance(index, dict) else (None, None)
        if not isinstance(start, int) or not isinstance(end, int):
            return "Record/facets/index must have byteStart and byteEnd"
        if not 0 <= start < end <= len(raw):
            return f"Record/facets/index {start}-{end} is not within the text's {len(raw)} bytes"
        try:
            raw[start:end].decode()
        except UnicodeDecodeError:
            return f"Record/facets/index {start}-{end} cuts a character in two"
        features = facet.get("features")
        if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
            return "Record/facets/features must be an array of objects"
    return None


def _check_reply(reply: object) -> str | None:
    if reply is None:
        return None
    for end in ("root", "parent"):
        ref = reply.get(end) if isinstance(reply, dict) else None
        if not isinstance(ref, dict) or split_uri(ref.get("uri")) is None or not isinstance(ref.get("cid"), str):
            return f"Record/reply/{end} must be a strong reference (uri and cid)"
    return None


def _check_date(value: Json) -> str | None:
    return None if parse_iso(value.get("createdAt")) is not None else 'Record must have the property "createdAt"'


def _check_subject(value: Json) -> str | None:
    subject = value.get("subject")
    if not isinstance(subject, str):
        return 'Record must have the property "subject"'
    return None if is_did(subject) else "Record/subject must be a valid did"


def _check_edge(value: Json) -> str | None:
    return _check_subject(value) or _check_date(value)


def _check_profile(value: Json) -> str | None:
    name = value.get("displayName", "")
    fits = isinstance(name, str) and graphemes(name) <= 64
    return None if fits else "Record/displayName must be a string of at most 64 graphemes"


def _check_declaration(value: Json) -> str | None:
    return None if isinstance(value.get("allowIncoming"), str) else 'Record must have the property "allowIncoming"'


_CHECKS: dict[str, Callable[[Json], str | None]] = {
    POST: _check_post,
    FOLLOW: _check_edge,
    BLOCK: _check_edge,
    PROFILE: _check_profile,
    DECLARATION: _check_declaration,
}
