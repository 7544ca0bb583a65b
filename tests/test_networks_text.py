"""Text on its way in and out: measured, cut, cleaned and made harmless."""

import html
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.networks.text import clean, defuse, graphemes, html_to_text, link_facets, mastodon_length, split

FAMILY = "👨‍👩‍👧‍👦"

words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=12)
links = st.builds("https://example.org/{}".format, st.text("abc/?=&-", max_size=30))
prose = st.lists(
    st.one_of(
        words, links, st.sampled_from([" ", "\n", "\n\n", ". ", "! ", FAMILY, "é" + "\u0301", "(https://e.org/x)"])
    ),
    max_size=40,
).map(" ".join)


def without_space(text: str) -> str:
    return "".join(text.split())


def test_a_family_is_one_character_and_so_is_an_accented_letter() -> None:
    assert graphemes(FAMILY) == 1
    assert graphemes("e\u0301te\u0301") == 3


def test_mastodon_counts_a_link_as_23_and_a_remote_mention_without_its_server() -> None:
    assert mastodon_length("see https://example.org/" + "x" * 400) == 4 + 23
    assert mastodon_length("@alice@mastodon.social hello") == len("@alice hello")
    assert mastodon_length("alice@mastodon.social") == len("alice@mastodon.social")
    assert mastodon_length("(https://example.org/x).") == 1 + 23 + 2


def test_facets_are_utf8_bytes_and_leave_punctuation_outside() -> None:
    text = "Écris à (https://example.org/ü_(x)), puis https://b.org."
    facets = link_facets(text)

    assert [uri for _, _, uri in facets] == ["https://example.org/ü_(x)", "https://b.org"]
    assert [text.encode()[start:end].decode() for start, end, _ in facets] == [uri for _, _, uri in facets]


def test_a_text_is_cut_where_a_reader_would_pause() -> None:
    text = "First paragraph, short.\n\nSecond one. It has two sentences.\n\nThird."

    assert split(text, lambda piece: len(piece) <= 40) == [
        "First paragraph, short.",
        "Second one. It has two sentences.",
        "Third.",
    ]
    assert split(text, lambda piece: len(piece) <= 30)[1:] == ["Second one.", "It has two sentences.\n\nThird."]
    assert split("one two three", lambda piece: len(piece) <= 7) == ["one two", "three"]
    assert split("abcdefghij", lambda piece: len(piece) <= 4) == ["abcd", "efgh", "ij"]
    assert split(" \n ", lambda piece: len(piece) <= 4) == []


def test_a_link_that_does_not_fit_stays_whole() -> None:
    link = "https://example.org/" + "x" * 50
    assert split(f"look: {link} there", lambda piece: len(piece) <= 20) == ["look:", link, "there"]


@given(prose, st.integers(5, 60))
def test_nothing_is_lost_by_cutting_and_no_link_is_cut(text: str, limit: int) -> None:
    pieces = split(text, lambda piece: graphemes(piece) <= limit)

    assert without_space("".join(pieces)) == without_space(text)
    for piece in pieces:
        assert piece == piece.strip()
        assert graphemes(piece) <= limit or (len(link_facets(piece)) == 1 and piece == link_facets(piece)[0][2])
    assert [uri for piece in pieces for _, _, uri in link_facets(piece)] == [uri for _, _, uri in link_facets(text)]


def test_what_somebody_typed_becomes_plain() -> None:
    assert clean("claim\u00a0\u201calice\u201d \u2066@bob\u2069\ufeff") == 'claim "alice" @bob'
    assert clean("a\r\nb\u2028c\td\u00ad") == "a\nb\nc d"
    assert clean("e\u200b\u0301") == "é"
    assert clean("l\u2019ami \u00ab\u202foui\u202f\u00bb") == 'l\'ami " oui "'


@given(st.text())
@example("\u037e\u1fef")
def test_cleaning_twice_is_cleaning_once_and_leaves_nothing_invisible(text: str) -> None:
    cleaned = clean(text)

    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert all(char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") for char in cleaned)


def test_only_those_who_are_meant_are_addressed() -> None:
    text = "@me@here.org you were @old_me on X; @friend@there.org is here, so is @FRIEND2. Mail a@b.org"
    assert defuse(text, {"me@here.org", "friend2"}) == (
        "@me@here.org you were old_me on X; friend@there.org is here, so is @FRIEND2. Mail a@b.org"
    )


def test_profile_links_survive_and_hidden_mentions_in_links_do_not() -> None:
    assert defuse("https://there.org/@friend", set()) == "https://there.org/@friend"
    assert defuse("https://blog.org/-@friend", set()) == "https://blog.org/-%40friend"
    assert defuse("@https://there.org/@friend @@friend", set()) == "https://there.org/@friend friend"


def test_a_server_with_a_port_is_known_by_it() -> None:
    assert defuse("@me@127.0.0.1:8080 hi", {"me@127.0.0.1:8080"}) == "@me@127.0.0.1:8080 hi"


# How Mastodon finds whom a status is addressed to (Account::MENTION_RE, in our own spelling).
_MASTODON_MENTION = re.compile(r"(?<![=/\w])@(([a-z0-9_]+(?:[a-z0-9_.-]+[a-z0-9_]+)?)(?:@[\w.-]+\w+)?)", re.IGNORECASE)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["@", "@@", "@me@here.org", "@other", "@other@there.org", ".", "https://a.org/", " ", "é", "/"]
            ),
            words,
        )
    ).map("".join)
)
def test_nobody_else_is_ever_addressed(text: str) -> None:
    harmless = defuse(text, {"me@here.org"})

    assert {found[1].lower() for found in _MASTODON_MENTION.finditer(harmless)} <= {"me@here.org"}
    assert defuse(harmless, {"me@here.org"}) == harmless
    assert harmless.replace("%40", "").replace("@", "") == text.replace("%40", "").replace("@", "")


def test_a_mastodon_status_reads_as_it_was_written() -> None:
    status = (
        '<p><span class="h-card" translate="no"><a href="https://here.org/@bot" class="u-url mention">@<span>bot</span></a>'
        "</span> claim alice</p><p>see "
        '<a href="https://x.com/alice/status/123" rel="nofollow"><span class="invisible">https://</span>'
        '<span class="ellipsis">x.com/alice/sta</span><span class="invisible">tus/123</span></a>!<br />thanks</p>'
    )
    assert html_to_text(status) == "@bot claim alice\n\nsee https://x.com/alice/status/123!\nthanks"
    assert html_to_text(status, {"https://here.org/@bot": "bot@here.org"}).startswith("@bot@here.org claim")


def test_other_servers_write_html_differently() -> None:
    assert html_to_text("one<br>two\nthree") == "one\ntwo\nthree"
    assert (
        html_to_text("<p>one\r\n  two </p>\n<p>three <b>four</b>\n<br>\nfive</p>\n") == "one\ntwo\n\nthree four\nfive"
    )
    assert (
        html_to_text('<a href="https://b.org/@bob" class="u-url">@bob@b.org</a> <a href="/t/x">#tag</a>')
        == "@bob@b.org #tag"
    )
    assert html_to_text('<a href="https://b.org/x">my post</a>') == "my post (https://b.org/x)"
    assert html_to_text('<a href="https://b.org/">b.org</a>') == "https://b.org/"
    assert html_to_text("<ul><li>a</li><li>b</li></ul><pre>x\n  y</pre>") == "a\nb\n\nx\n  y"
    assert html_to_text('<p class="quote-inline">RE: https://b.org/1</p><p>hi<script>no<br></script></p>') == "hi"


lines = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=20)


@given(st.lists(st.lists(lines, min_size=1, max_size=3), min_size=1, max_size=4))
def test_plain_words_come_back_as_they_were_sent(paragraphs: list[list[str]]) -> None:
    sent = "".join("<p>" + "<br />".join(html.escape(line) for line in lines) + "</p>" for lines in paragraphs)
    assert html_to_text(sent) == "\n\n".join("\n".join(lines) for lines in paragraphs)


fragments = st.sampled_from([*"<>![]-/=\"'&;abp ", "<a href=", "<p>", "<br>", "<!--", "<![CDATA[", "<script>", "</"])


@given(st.lists(fragments).map("".join))
def test_no_html_is_too_broken_to_read(broken: str) -> None:
    assert isinstance(html_to_text(broken), str)


@pytest.mark.parametrize("text", ["", "@", "https://", "https://)", "@@", "http"])
def test_scraps_are_survived(text: str) -> None:
    assert link_facets(text) == []
    assert mastodon_length(text) == len(text)
    assert defuse(text, set()).strip("@") == text.strip("@")


def test_a_status_that_is_made_to_keep_us_busy_is_read_for_what_it_says() -> None:
    assert html_to_text("<p>claim alice</p>" + "<a " * 20_000) == "claim alice"
    assert html_to_text("<p>claim alice</p>" + "<a href='" * 20_000) == "claim alice"
    assert html_to_text("<p>stop</p>" + "<svg>" + "<p>" * 20_000 + "</b>" * 20_000) == "stop"
    assert len(html_to_text("<p>" + "word " * 20_000)) < 20_001


def test_what_is_hidden_stays_hidden_however_it_is_nested() -> None:
    hidden = '<span class="invisible">a<span>b</span>c</span>'
    assert html_to_text(f"<p>1 {hidden}2<svg><p>x<svg>y</svg>z</b></p></svg>3</p>") == "1 23"
