"""The demo plays its whole story with a small community; its books notice what comes twice and what never comes."""

import ast
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.sandbox.archive import following_js, write_archive
from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.bluesky.records import FOLLOW
from bot.sandbox.bluesky.sky import StandInHands, StandInSky
from bot.sandbox.bluesky.world import Write
from bot.sandbox.demo import run_demo, said
from bot.sandbox.demo.books import Books
from bot.sandbox.demo.community import RealArchive, Resident, seed_community
from bot.sandbox.demo.diary import Diary, Span
from bot.sandbox.demo.lines import Line
from bot.sandbox.demo.phrases import Phrase, number
from bot.sandbox.demo.play import LEADS, STAR, befriend_leads
from bot.sandbox.demo.reading import BadArchive, read_real_archive
from handlers.texts import Catalogue
from storage.records import NetworkName

PHRASES = [value for value in vars(said).values() if isinstance(value, Phrase)]
LONG_AGO = 1_000.0


def test_a_small_community_plays_the_whole_story(capsys: pytest.CaptureFixture[str]) -> None:
    code = run_demo(once=True, json_output=True, archive=None, database_url=None, people=12)

    transcript = capsys.readouterr()
    figures = json.loads(transcript.out.splitlines()[-1])
    assert code == 0, transcript.err
    assert list(figures) == [
        *("people", "claims", "links", "contacts", "follows", "unfollows"),
        *("notices", "replies", "duplicates", "lost", "seconds"),
    ]
    assert figures["people"] == 12
    assert figures["claims"] == {"proved": 10, "refused": 1, "contested": 2}
    assert figures["links"] > 1_000
    assert figures["contacts"] > 10
    assert figures["follows"]["bluesky"] > 0
    assert figures["follows"]["mastodon"] > 0
    assert figures["unfollows"] > 0
    assert figures["notices"] > 0
    assert figures["replies"] > 50
    assert (figures["duplicates"], figures["lost"]) == (0, 0)
    assert "Camille → Reflock" in transcript.err


def test_an_archive_that_is_none_ends_with_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "following.js").write_text("<html>log in, please</html>", encoding="utf-8")

    code = run_demo(once=True, json_output=True, archive=tmp_path / "following.js", database_url=None, people=12)

    assert code == 2
    assert "following.js is a web page" in capsys.readouterr().err


# A real archive for the leading part.


def test_a_zip_and_a_single_file_are_read_alike(tmp_path: Path) -> None:
    ids = tuple(range(5, 25))
    write_archive(tmp_path / "x.zip", x_id=77, screen_name="Camille75", following=ids, followers=[8])
    (tmp_path / "following.js").write_bytes(following_js(ids))

    packed, single = read_real_archive(tmp_path / "x.zip"), read_real_archive(tmp_path / "following.js")
    assert (packed.following, packed.x_id, packed.x_handle) == (ids, 77, "camille75")
    assert (single.following, single.x_id, single.x_handle) == (ids, None, None)
    assert single.file == ("following.js", following_js(ids))
    with pytest.raises(BadArchive, match="cannot be read"):
        read_real_archive(tmp_path / "nothing.zip")
    (tmp_path / "few.js").write_bytes(following_js(ids[:3]))
    with pytest.raises(BadArchive, match="names 3 people"):
        read_real_archive(tmp_path / "few.js")


def test_the_crowd_takes_its_x_accounts_out_of_a_real_archive() -> None:
    listed = tuple(range(1_000, 1_400))

    community = seed_community(60, 7, LEADS, RealArchive(listed, 77, "camille75"), STAR)

    star = community.leads[STAR]
    assert (star.x_id, star.x_handle) == (77, "camille75")
    befriend_leads(community)
    assert set(star.follows) == set(listed)
    assert len(star.friends) == 29
    assert all(friend.x_id in listed for friend in star.friends)


def test_the_same_seed_gives_the_same_community() -> None:
    def names(seed: int) -> list[tuple[str, int, tuple[int, ...]]]:
        return [(each.slug, each.x_id, tuple(each.follows)) for each in seed_community(40, seed, LEADS).everybody]

    assert names(7) == names(7) != names(8)
    everybody = seed_community(40, 7, LEADS).everybody
    assert len({each.x_id for each in everybody}) == len({each.x_handle for each in everybody}) == 40


# What the bot says is recognised by its own messages.


def test_every_phrase_is_a_message_of_the_handlers() -> None:
    spoken = {
        node.value
        for file in Path("handlers").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [message for phrase in PHRASES for message in phrase.messages if message not in spoken] == []


@pytest.mark.parametrize("language", Catalogue().languages)
def test_phrases_are_found_in_every_language_with_their_fields(language: str) -> None:
    texts = Catalogue().texts(language)

    one, many = said.ALREADY_HERE.messages
    heard = texts.plural(one, many, 1_312, total=texts.number(2_424))
    found = said.ALREADY_HERE.find(f"Kept: 9 accounts.\n{heard}\n1. somebody")
    assert found is not None
    assert (number(found["n"]), number(found["total"])) == (1_312, 2_424)

    heard = texts.text(said.NOT_THE_AUTHOR.messages[0], author="x.com/one", x="x.com/two", handle="one")
    assert said.NOT_THE_AUTHOR.find(heard.replace(" ", "\n", 1)) == {
        "author": "x.com/one",
        "x": "x.com/two",
        "handle": "one",
    }
    assert said.PROVED.find(heard) is None


# The books.


class Village:
    """Two people and the bot on a real sandbox; what is sent is written down in its journal."""

    def __init__(self) -> None:
        self.sandbox = BlueskySandbox(rate_limits=False)
        self.sky = StandInSky(self.sandbox)
        self.bot = self.sandbox.create_account("reflock.bsky.social")
        self.bot.allow_incoming = "all"
        self.diary = Diary()
        self.lines: list[Line] = []

    def settle(self, name: str) -> Line:
        """Have somebody live here."""
        resident = Resident(name, name, "poets", "en", (NetworkName.BLUESKY,), f"{name}_old", len(self.lines) + 1)
        person = self.sandbox.create_account(f"{name}.bsky.social")
        person.allow_incoming = "all"
        journal = self.sandbox.journal
        hands, bot = StandInHands(self.sky, person), StandInHands(self.sky, self.bot)
        line = Line(resident, NetworkName.BLUESKY, hands, bot, journal, patience=1)
        self.lines.append(line)
        return line

    def say(self, line: Line, text: str) -> None:
        """Have the bot send a DM."""
        self.bot.dm(person_of(line), text)
        line.hear(self.sandbox.journal.effects[-1])

    def follow_again(self, line: Line, other: Line) -> None:
        """Have an app make one more record of a follow, as com.atproto.repo.applyWrites lets it."""
        value = {"subject": other.actor, "createdAt": "2030-01-01T00:00:00Z"}
        self.sandbox.world.commit(self.sandbox.world.accounts[line.actor], [Write("create", FOLLOW, value=value)])

    def prove(self, line: Line) -> None:
        """Have somebody have proved who they were, long ago."""
        page = self.diary.of(line.resident)
        page.proved = Span(LONG_AGO, LONG_AGO)
        page.known[NetworkName.BLUESKY] = LONG_AGO

    def hand_over(self, line: Line, *friends: Line, here: int) -> None:
        """Have somebody have handed their list over, and been told how many of it are here."""
        page = self.diary.of(line.resident)
        page.listed = [friend.resident for friend in friends]
        page.uploaded, page.entries, page.here = Span(LONG_AGO, LONG_AGO), len(friends), here

    def books(self) -> Books:
        """Open the books."""
        return Books({NetworkName.BLUESKY: self.sandbox.journal.effects}, self.lines, self.diary)


def person_of(line: Line) -> BlueskyPerson:
    assert isinstance(line.person, StandInHands)
    return line.person.person


@pytest.fixture
async def village() -> AsyncIterator[Village]:
    opened = Village()
    async with opened.sandbox:
        yield opened


def arrived(*names: str) -> str:
    texts = Catalogue().texts("en")
    entries = [f"{place}. @{name}.bsky.social (@{name}_old on X)" for place, name in enumerate(names, 1)]
    one, many = said.ARRIVED.messages
    return "\n".join([texts.plural(one, many, len(names)), *entries])


def test_a_second_follow_of_the_same_person_is_a_duplicate(village: Village) -> None:
    ann, bob = village.settle("ann"), village.settle("bob")
    person_of(ann).follow(person_of(bob))
    assert village.books().duplicates() == []
    person_of(ann).unfollow(person_of(bob))
    person_of(ann).follow(person_of(bob))
    assert village.books().duplicates() == []
    village.follow_again(ann, bob)
    assert len(village.books().duplicates()) == 1


def test_a_newcomer_who_is_named_twice_is_a_duplicate(village: Village) -> None:
    ann = village.settle("ann")
    village.say(ann, arrived("bob", "eve"))
    village.say(ann, arrived("joe"))
    books = village.books()
    assert books.duplicates() == []
    assert books.figures(1)["notices"] == 2
    village.say(ann, arrived("zoe", "bob"))
    assert village.books().duplicates() == ["ann was told twice that bob has arrived"]


def test_a_notice_that_goes_on_in_a_second_part_is_one_notice(village: Village) -> None:
    ann = village.settle("ann")
    first, second = arrived("bob", "eve").rsplit("\n", 1)
    village.say(ann, first)
    village.say(ann, second)
    village.say(ann, "Your accounts:\n• @ann.bsky.social")
    assert village.books().figures(1)["notices"] == 1
    assert village.books().figures(1)["replies"] == 1
    village.say(ann, arrived("eve"))
    assert village.books().duplicates() == ["ann was told twice that eve has arrived"]


async def test_an_answer_may_come_as_often_as_it_was_asked_for(village: Village) -> None:
    ann = village.settle("ann")
    for _ in range(2):
        await ann.send("status", said.STATUS)
        village.say(ann, "Your accounts:\n• @ann.bsky.social")
    assert village.books().duplicates() == []
    village.say(ann, "Your accounts:\n• @ann.bsky.social")
    assert len(village.books().duplicates()) == 1


async def test_a_message_without_an_answer_is_lost(village: Village) -> None:
    ann = village.settle("ann")
    await ann.send("status", said.STATUS)
    village.say(ann, arrived("bob"))
    assert village.books().losses().all == ["ann (bluesky) got no answer to “status”"]
    village.say(ann, "Your accounts:\n• @ann.bsky.social")
    assert village.books().losses().all == []


def test_a_follow_that_was_chosen_and_never_came_is_lost(village: Village) -> None:
    ann, bob, eve = village.settle("ann"), village.settle("bob"), village.settle("eve")
    village.prove(bob)
    village.hand_over(ann, bob, eve, here=1)
    assert village.books().losses().all == []
    page = village.diary.of(ann.resident)
    page.granted[NetworkName.BLUESKY] = LONG_AGO
    page.chose.append(Span(time.time(), time.time()))
    assert village.books().losses().all == ["ann never came to follow bob on bluesky"]
    person_of(ann).follow(person_of(bob))
    assert village.books().losses().all == []


def test_a_newcomer_of_whom_somebody_was_never_told_is_lost(village: Village) -> None:
    ann, bob, eve = village.settle("ann"), village.settle("bob"), village.settle("eve")
    village.prove(bob)
    village.hand_over(ann, bob, eve, here=1)
    village.prove(eve)
    assert village.books().losses().all == ["ann was never told of somebody who is here"]
    village.say(ann, arrived("eve"))
    assert village.books().losses().all == []
