"""The catalogues of what is said in other languages than English, as they are written."""

from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

LOCALES: Final = Path(__file__).parents[1] / "handlers" / "locales"


def catalogue_of(language: str) -> Catalog:
    """Return the catalogue of a language, as its translators write it."""
    with (LOCALES / language / "LC_MESSAGES" / "reflock.po").open("rb") as file:
        return read_po(file, locale=language, domain="reflock")


def forms(message: str | tuple[str, ...] | list[str] | None) -> list[str]:
    """Return a message's words, one for each of its forms."""
    return [message] if isinstance(message, str) else list(message or [""])
