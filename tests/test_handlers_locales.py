"""What the catalogues say is set, counted and copied as each language does, in French and in Arabic."""

import re

import pytest
from babel.messages.catalog import Catalog
from hypothesis import given
from hypothesis import strategies as st

from handlers import router
from handlers.texts import Catalogue, Texts
from tests.catalogues import catalogue_of, forms
from tests.conftest import START

HOUR = 3_600_000


@pytest.fixture(scope="module")
def french() -> Texts:
    return Catalogue().texts("fr")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return catalogue_of("fr")


@pytest.fixture(scope="module")
def arabic_catalog() -> Catalog:
    return catalogue_of("ar")


def copied_otherwise(catalog: Catalog, literal: re.Pattern[str]) -> list[object]:
    """Return the messages in whose translation other things have to be copied."""

    def copied(message: str | tuple[str, ...] | list[str] | None) -> set[str]:
        return {found.strip() for text in forms(message) for found in literal.findall(text)}

    return [each.id for each in catalog if each.id and copied(each.id) != copied(each.string)]


# French.


def test_every_message_has_a_french_one_that_is_certain(catalog: Catalog) -> None:
    messages = [message for message in catalog if message.id]
    assert len(messages) > 300
    assert [message.id for message in messages if message.fuzzy or not all(forms(message.string))] == []
    assert not catalog.obsolete


def test_french_is_set_as_french_is(catalog: Catalog) -> None:
    # A space before these marks must not break, or a mark begins a line; a straight apostrophe is a typewriter's.
    wrong = re.compile(r" [:;!?»]|« |\w'\w")
    assert [text for each in catalog if each.id for text in forms(each.string) if wrong.search(text)] == []


def test_what_has_to_be_copied_is_the_same_in_french(catalog: Catalog) -> None:
    literal = re.compile(
        r"RF-7F3K-9QXA|LK-7F3K-9QXA|#eXit|(?:data/)?\w+\.js\b|[\w.]+\.social|\b\d+-\d+\b|\b(?:follow|skip) \d[ \d-]*"
    )
    assert copied_otherwise(catalog, literal) == []


def test_what_french_asks_for_is_a_command(catalog: Catalog) -> None:
    asked = [
        match[1]
        for each in catalog
        if each.id
        for text in forms(each.string)
        for match in re.finditer(r"envoyez-moi\s:\s(\w+)", text)
    ]
    assert len(asked) > 10
    assert [word for word in asked if router.find(word) is None and word != "forget"] == []
    assert router.find("forget me") is not None


def test_french_counts_nought_as_one_and_english_as_many(french: Texts) -> None:
    one, many = "You followed {n} account already.", "You followed {n} accounts already."
    english = Catalogue().texts("en")
    assert [english.plural(one, many, n) for n in (0, 1, 2)] == [
        "You followed 0 accounts already.",
        "You followed 1 account already.",
        "You followed 2 accounts already.",
    ]
    assert [french.plural(one, many, n) for n in (0, 1, 2)] == [
        "Vous suiviez déjà 0 compte.",
        "Vous suiviez déjà 1 compte.",
        "Vous suiviez déjà 2 comptes.",
    ]


def test_numbers_moments_spans_and_lists_are_written_as_the_language_does(french: Texts) -> None:
    english = Catalogue().texts("en")
    assert (english.number(1_234_567), french.number(1_234_567)) == ("1,234,567", "1\u202f234\u202f567")
    assert "Mar 17, 2030" in english.moment(START)
    assert "17 mars 2030" in french.moment(START)
    assert french.moment(START).endswith(" UTC")
    assert (english.span(3 * 3_600_000), french.span(3 * 3_600_000)) == ("3 hours", "3\u00a0heures")
    assert (english.span(2 * 86_400_000), french.span(2 * 86_400_000)) == ("2 days", "2\u00a0jours")
    assert (english.span(60 * HOUR), french.span(60 * HOUR)) == (
        "2 days and 12 hours",
        "2\u00a0jours et 12\u00a0heures",
    )
    assert english.listing(["a", "b", "c"]) == "a, b, and c"
    assert french.listing(["a", "b", "c"]) == "a, b et c"
    assert french.listing([]) == ""


@given(st.integers(60_000, 400 * 24 * HOUR))
def test_a_span_in_words_is_the_span_within_a_tenth(milliseconds: int) -> None:
    units = {"day": 24 * HOUR, "hour": HOUR, "minute": 60_000, "second": 1_000}
    words = Catalogue().texts("en").span(milliseconds)
    said = sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+) (\w+?)s?\b", words.replace(",", "")))
    assert said == pytest.approx(milliseconds, rel=0.1), words


def test_a_language_is_found_by_its_tag_and_an_unknown_one_is_english() -> None:
    catalogue = Catalogue()
    assert {"en", "fr"} <= set(catalogue.languages)
    for tag, language in (("fr", "fr"), ("fr-CA", "fr"), ("FR_be", "fr"), ("en-GB", "en"), ("tlh", "en"), ("", "en")):
        assert catalogue.texts(tag).language == language
    assert catalogue.texts(None).language == "en"
    assert catalogue.match("tlh") is None


# Arabic.


def test_what_has_to_be_copied_is_the_same_in_arabic(arabic_catalog: Catalog) -> None:
    literal = re.compile(
        r"RF-7F3K-9QXA|LK-7F3K-9QXA|#eXit|old_handle|(?:data/)?\w+\.js\b|[\w.]+\.social|\b\d+-\d+\b"
        r"|\b(?:follow|skip) \d[ \d-]*"
    )
    assert copied_otherwise(arabic_catalog, literal) == []


def test_what_arabic_asks_for_is_a_command(arabic_catalog: Catalog) -> None:
    # "please send: start", and what ends a line: "to take it back: undo"
    written = re.compile(r"إرسال:\s([a-z]+)|:\s([a-z]+)(?: (?:me|all|on|off|now))?$", re.MULTILINE)
    asked = [
        match[1] or match[2]
        for each in arabic_catalog
        if each.id
        for text in forms(each.string)
        for match in written.finditer(text)
    ]
    assert len(asked) > 50
    assert [word for word in asked if router.find(word) is None and word != "forget"] == []


def test_names_and_addresses_stand_free_in_arabic(arabic_catalog: Catalog) -> None:
    # A letter or an Arabic mark right beside an address would be taken for a part of it; numbers may be prefixed.
    glued = re.compile(r"[ء-ي]\{(?!n\})|\}[ء-ي]|\{(?:x|author|accounts?|names|link|url|places|server)\}[،؛؟]")
    # Where a line reads from right to left, an @ that begins a name would be shown at its end.
    unmarked = re.compile(r"(?<!\u200e)\{(?:x|author|accounts?)\}")
    wrong = [
        text
        for each in arabic_catalog
        if each.id
        for text in forms(each.string)
        if glued.search(text) or unmarked.search(text)
    ]
    assert wrong == []


def test_arabic_is_set_as_arabic_is(arabic_catalog: Catalog) -> None:
    # A line whose first letter is Latin would be read from left to right; Latin marks look the wrong way.
    lines = [line for each in arabic_catalog if each.id for text in forms(each.string) for line in text.split("\n")]
    assert [line for line in lines if re.match(r"[A-Za-z]|.*[?,;\"“”]", line)] == []


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (0, "كان ضمن متابعاتك من قبل 0 حساب."),
        (1, "كان ضمن متابعاتك من قبل حساب واحد."),
        (2, "كان ضمن متابعاتك من قبل حسابان."),
        (3, "كان ضمن متابعاتك من قبل 3 حسابات."),
        (10, "كان ضمن متابعاتك من قبل 10 حسابات."),
        (11, "كان ضمن متابعاتك من قبل 11 حسابًا."),
        (99, "كان ضمن متابعاتك من قبل 99 حسابًا."),
        (100, "كان ضمن متابعاتك من قبل 100 حساب."),
        (102, "كان ضمن متابعاتك من قبل 102 حساب."),
        (1_103, "كان ضمن متابعاتك من قبل 1,103 حسابات."),
    ],
)
def test_arabic_counts_in_six_ways(n: int, said: str) -> None:
    one, many = "You followed {n} account already.", "You followed {n} accounts already."
    assert Catalogue().texts("ar").plural(one, many, n) == said


def test_spans_and_moments_are_written_as_arabic_does() -> None:
    arabic = Catalogue().texts("ar")
    assert [arabic.span(hours * 3_600_000) for hours in (2, 3, 11)] == ["ساعتان", "3 ساعات", "11 ساعة"]
    assert arabic.span(60 * HOUR) == "يومان و12 ساعة"
    assert "2030" in arabic.moment(START)
    assert arabic.moment(START).endswith(" UTC")
