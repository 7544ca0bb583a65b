"""Say things in the reader's language: gettext catalogues read once from their .po files.

Babel extracts the messages with: `make texts`. A language is one folder under `handlers/locales`; English is the
source itself.
"""

import gettext
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

SOURCE: Final = "en"
_SECOND: Final = 1_000
_UNITS: Final = (86_400_000, 3_600_000, 60_000, _SECOND)  # a day, an hour, a minute, in milliseconds


def N_(message: str) -> str:  # noqa: N802  # the name gettext's tools look for
    """Mark a message for translation where it is declared; it is translated where it is said."""
    return message


@dataclass(frozen=True, slots=True)
class Texts:
    """The messages in one language."""

    language: str
    catalogue: "Catalogue"
    _translations: gettext.NullTranslations

    def text(self, message: str, /, **values: object) -> str:
        """Translate a message and fill in its {fields}."""
        return self._translations.gettext(message).format(**values) if message else ""

    def plural(self, one: str, many: str, n: int, /, **values: object) -> str:
        """Translate a message about n things, by the language's own plural rule; {n} is the number."""
        return self._translations.ngettext(one, many, n).format(n=self.number(n), **values)

    def number(self, n: int) -> str:
        """Write a whole number as the language groups its digits."""
        from babel.numbers import format_decimal

        return format_decimal(n, locale=self.language)

    def moment(self, milliseconds: int) -> str:
        """Write a moment (epoch milliseconds), in UTC, as the language does."""
        from datetime import UTC, datetime

        from babel.dates import format_date, format_time

        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
        day, time = format_date(moment, locale=self.language), format_time(moment, "short", locale=self.language)
        return f"{day}, {time} UTC"

    def span(self, milliseconds: float) -> str:
        """Write a length of time in its largest fitting unit; where that alone says too little, with a part of it."""
        from datetime import timedelta

        from babel.dates import format_timedelta
        from babel.lists import format_list

        def written(n: int, unit: int) -> str:
            # With this threshold in no larger unit: 11 days are not 2 weeks.
            return format_timedelta(timedelta(milliseconds=n * unit), threshold=max(1, n), locale=self.language)

        unit = next((each for each in _UNITS if milliseconds >= 1.5 * each), _SECOND)
        if unit == _SECOND or milliseconds >= 10 * unit:
            return written(round(milliseconds / unit), unit)
        # 2.5 days are neither 2 nor 3: to a sixth of a day, of an hour, of a minute it is never off by much.
        whole, sixths = divmod(round(milliseconds * 6 / unit), 6)
        smaller = _UNITS[_UNITS.index(unit) + 1]
        parts = [(whole, unit), (sixths * unit // (6 * smaller), smaller)]
        return format_list([written(*each) for each in parts if each[0]], locale=self.language)

    def listing(self, items: list[str]) -> str:
        """Join items as the language does: "a, b and c"."""
        from babel import Locale
        from babel.lists import format_list

        if Locale.parse(self.language).text_direction == "rtl":
            # A left-to-right mark keeps a leading @ in front, and a Latin name apart from the "and" before it.
            items = [f"\u200e{item}" for item in items]
        return format_list(items, locale=self.language) if items else ""


class Catalogue:
    """The languages Reflock speaks."""

    def __init__(self) -> None:
        folder = files("handlers") / "locales"
        found = {entry.name for entry in folder.iterdir() if (entry / "LC_MESSAGES" / "reflock.po").is_file()}
        self.languages: Final = tuple(sorted(found | {SOURCE}))

    @cache  # noqa: B019  # one catalogue a process, a handful of languages
    def texts(self, language: str | None) -> Texts:
        """Return the messages in a language (a tag such as fr or fr-CA); English for one we do not speak."""
        known = self.match(language) or SOURCE
        return Texts(known, self, _read(known))

    def match(self, tag: str | None) -> str | None:
        """Return the language of ours that a tag asks for, if any."""
        if not tag:
            return None
        lowered = tag.replace("-", "_").lower()
        for language in self.languages:
            if language.lower() == lowered:
                return language
        primary = lowered.split("_")[0]
        return primary if primary in self.languages else None


def _read(language: str) -> gettext.NullTranslations:
    if language == SOURCE:
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    source = files("handlers") / "locales" / language / "LC_MESSAGES" / "reflock.po"
    compiled = io.BytesIO()
    with source.open("rb") as po:
        write_mo(compiled, read_po(po, locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
