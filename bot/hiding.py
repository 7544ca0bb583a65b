"""Hide our own secrets in what is written for people: servers that are quoted there may repeat them."""

import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

import sqlalchemy as sa

from bot.config import Loaded, Secrets

_SHORTEST_SECRET: Final = 6  # what is shorter is no secret, and would blot out half of every line
_LONGEST: Final = 600  # of what a server says; our own words are shorter


class Hiding:
    """The secrets of an installation, and how a text looks without them."""

    def __init__(self, loaded: Loaded) -> None:
        # The longest first: one may be a part of another.
        written = {form for secret in _secrets(loaded) for form in _forms(secret)}
        self._secrets = sorted(written, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def hide_and_cut(self, text: str) -> str:
        """Return a text, not at any length, without the secrets; a secret that was cut first nobody would know."""
        shown = self.hide(text)
        return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _secrets(loaded: Loaded) -> Iterator[str]:
    """Yield every text that must not be read by anybody."""
    for name in Secrets.model_fields:
        value = getattr(loaded.secrets, name).get_secret_value()
        parts = [value, *value.split(","), *value.splitlines()] if name != "database_url" else _passwords(value)
        yield from (part.strip() for part in parts if len(part.strip()) >= _SHORTEST_SECRET)
    yield from (part for part in _passwords(loaded.config.database.url) if len(part) >= _SHORTEST_SECRET)


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is, and as it is written between quotation marks."""
    yield from (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1])


def _passwords(url: str) -> list[str]:
    """Return the password in an address: as it is, as it is written there, and as libraries write it."""
    try:
        plain = sa.make_url(url).password or ""
    except (sa.exc.ArgumentError, ValueError):
        return [url]
    written = url.rpartition("@")[0].partition("://")[2].partition(":")[2]
    return [plain, written, quote(plain, safe=""), quote_plus(plain)]
