"""What Reflock says, in every language it speaks: how long it is, the choice of language, and each command's answer."""

import string
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import regex

from bot.inbox import FAILURE
from handlers import delivering, router
from handlers.farewell import MOST, farewell, weight
from handlers.routing import Command
from handlers.texts import Catalogue, Texts
from storage.database import Database
from storage.keys import Keys
from storage.records import Account, NetworkName
from tests.catalogues import catalogue_of, forms
from tests.community import ALICE, BOB, DAVE, Community, Said, actor_of, community
from tests.conftest import START, OwnClock

# Posts hold 300 graphemes on Bluesky; the mention of whom is answered comes on top on Mastodon, which holds 500.
MOST_PUBLIC = 280
# Shorter pieces of English may be names or occur in French too.
TELLING = 20

# What somebody might write, in English and with the French words.
MESSAGES = {
    "start": ("hello", "bonjour"),
    "guide": ("guide", "étapes"),
    "claim": ("claim old_handle", "prouver old_handle"),
    "unclaim": ("unclaim {own}", "renoncer {own}"),
    "link": ("link", "lier"),
    "import": ("import jack_smith marie75", "importer jack_smith marie75"),
    "connect": ("connect", "connecter"),
    "disconnect": ("disconnect", "déconnecter"),
    "contacts": ("contacts", "relations"),
    "follow": ("follow all", "suivre tout"),
    "skip": ("skip 1", "ignorer 1"),
    "restore": ("restore all", "rétablir tout"),
    "auto": ("auto on", "automatique oui"),
    "undo": ("undo", "défaire"),
    "why": ("why old_bob", "pourquoi old_bob"),
    "notify": ("notify weekly", "prévenir weekly"),
    "quiet": ("quiet 22-8", "calme 22-8"),
    "lang": ("lang en", "langue fr"),
    "discoverable": ("discoverable mutuals", "visible mutuals"),
    "status": ("status", "statut"),
    "stats": ("stats", "chiffres"),
    "exit": ("exit", "adieu"),
    "report": ("report old_handle", "signaler old_handle"),
    "export": ("export", "exporter"),
    "forget me": ("forget me", "oublie-moi"),
    "stop": ("stop", "arrêter"),
    "resume": ("resume", "reprendre"),
    "cancel": ("cancel", "annuler"),
    "help": ("help", "aide"),
}
# Words that do not fit where others than these are wanted; these commands take any words at all: start, connect, help.
WRONG = {"follow": "5-3", "skip": "5-3", "restore": "5-3", "import": "b@d!", "report": ""}
STRICT = [each for each in router.commands if each.name not in ("start", "connect", "help")]


@dataclass
class Stage:
    """Alice writes English and Dave French; both proved who they were, and both followed Bob, who is here."""

    town: Community
    count: int = 0

    async def hears(self, handle: str, text: str, *, public: bool = False, languages: tuple[str, ...] = ()) -> str:
        """Let somebody write; return the answer."""
        self.count += 1
        message = Said(f"t{self.count}", actor_of(handle)[0], text, f"thread of {handle}", public, languages)
        async with self.town.event(handle, message.id) as ctx:
            ctx.heard = message
            await router.route(ctx)
        return "\n".join(each.text for each in ctx.speeches if not each.notice)

    async def hear(self, handle: str, *messages: str) -> list[str]:
        """Let somebody write one message after the other; return the answers."""
        return [await self.hears(handle, each) for each in messages]


@pytest.fixture
async def stage(tmp_path: Path, clock: OwnClock, keys: Keys) -> AsyncIterator[Stage]:
    # Words do not depend on the kind of the database.
    database = Database(f"sqlite:///{tmp_path / 'reflock.sqlite3'}")
    await database.upgrade()
    town = community(database, clock, keys)
    await town.joins(BOB, "old_bob", 7)
    for handle, own, x_id in ((ALICE, "old_alice", 1), (DAVE, "old_dave", 2)):
        await town.joins(handle, own, x_id)
        await town.uploads(handle, [7, 8], [7])
    yield Stage(town)
    await database.close()


@pytest.fixture(scope="module")
def french() -> Texts:
    return Catalogue().texts("fr")


def pieces(message: str | tuple[str, ...] | list[str] | None) -> set[str]:
    """Return what stands between the fields of a message, as far as it is long enough to tell a language."""
    found = (literal for text in forms(message) for literal, *_ in string.Formatter().parse(text))
    return {piece for literal in found for line in literal.split("\n") if len(piece := line.strip()) > TELLING}


def english_beside(language: str) -> set[str]:
    """Return everything that is said in English and not in another language."""
    messages = [message for message in catalogue_of(language) if message.id]
    said = {piece for message in messages for piece in pieces(message.id)}
    return said - {piece for message in messages for piece in pieces(message.string)}


@pytest.fixture(scope="module")
def english_beside_arabic() -> set[str]:
    return english_beside("ar")


@pytest.fixture(scope="module")
def english_only() -> set[str]:
    """Give everything that is said in English and not in French."""
    return english_beside("fr")


@pytest.fixture(scope="module")
def french_only() -> set[str]:
    """Give everything that is said in French and not in English."""
    messages = [message for message in catalogue_of("fr") if message.id]
    return {piece for message in messages for piece in pieces(message.string) - pieces(message.id)}


def in_(text: str, foreign: set[str]) -> list[str]:
    """Return what is said in a language that it should not be said in."""
    return sorted(piece for piece in foreign if piece in text)


@pytest.mark.parametrize("language", Catalogue().languages)
async def test_what_is_said_in_public_fits_into_a_post(stage: Stage, language: str) -> None:
    texts = Catalogue().texts(language)
    millions = texts.number(123_456_789)
    counters = "People registered: {people} · links held: {links} · reconnections made: {reconnections}"
    said = [
        await stage.hears("new.bsky.social", "start", public=True, languages=(language,)),
        delivering.sent(texts),
        delivering.still_trying(texts),
        *(delivering.remedy(texts, network, reason) for network in NetworkName for reason in ("blocked", "closed")),
        texts.text(counters, people=millions, links=millions, reconnections=millions),
        texts.text(FAILURE, reference="RF-7F3K-9QXA"),
    ]
    long = [text for text in said if len(regex.findall(r"\X", text)) > MOST_PUBLIC]
    assert long == []


@pytest.mark.parametrize("language", Catalogue().languages)
def test_the_farewell_fits_into_a_post_on_x(language: str) -> None:
    texts = Catalogue().texts(language)
    both = [
        Account("did:plc:a", NetworkName.BLUESKY, f"{'a' * 60}.bsky.social", 1, None, START),
        Account("https://b/users/b", NetworkName.MASTODON, f"{'b' * 60}@mastodon.social", 1, None, START),
    ]
    post = farewell(texts, both, "RF-7F3K-9QXA")
    assert weight(post) <= MOST
    assert post.endswith("#eXit RF-7F3K-9QXA")
    assert both[0].handle in post


# Which language is answered in.


async def test_the_language_is_the_chosen_one_then_the_commands_then_the_posts_then_the_last(stage: Stage) -> None:
    assert "Hello" in await stage.hears(ALICE, "start")  # nothing is known of her language
    assert "Vos comptes" in await stage.hears(ALICE, "status", languages=("fr-CA",))  # the post's
    assert "Vos comptes" in await stage.hears(ALICE, "status")  # the last
    assert "Vos comptes" in await stage.hears(ALICE, "status", languages=("tlh",))  # one that nobody here speaks
    assert "Your accounts" in await stage.hears(ALICE, "status", languages=("tlh", "en", "fr"))
    assert "Rebonjour" in await stage.hears(ALICE, "bonjour", languages=("en",))  # the command's
    assert "From now on I answer you in English" in await stage.hears(ALICE, "lang en")
    for languages in ((), ("fr",)):
        assert "Hello" in await stage.hears(ALICE, "bonjour", languages=languages)  # the chosen one
    assert "Désormais, je vous réponds en français" in await stage.hears(ALICE, "lang fr")
    assert "Rebonjour" in await stage.hears(ALICE, "hello", languages=("en",))


async def test_what_comes_later_is_said_in_the_last_language(stage: Stage) -> None:
    await stage.hears(DAVE, "bonjour")
    await stage.town.joins("new.bsky.social", "old_new", 8)
    stage.town.clock.pass_seconds(60)
    await stage.town.announce()
    (told,) = stage.town.told(DAVE)
    assert "1 personne que vous suiviez sur X est arrivée" in told


async def test_who_writes_arabic_is_answered_in_arabic(stage: Stage) -> None:
    assert "لم أفهم «سماء»" in await stage.hears("sara.bsky.social", "سماء", languages=("ar-EG",))
    assert "أنا بوت يعثر من جديد على الأشخاص" in await stage.hears("huda.bsky.social", "مرحبا")
    assert "أنا بوت يعثر من جديد على الأشخاص" in await stage.hears("sara.bsky.social", "start", languages=("ar",))
    assert "الخطوات الثلاث" in await stage.hears("sara.bsky.social", "help")  # the last language
    public = await stage.hears("nour@mastodon.example", "start", public=True, languages=("ar",))
    assert public.endswith("يُرجى إرسال: start")


async def test_arabic_can_be_chosen_and_left_again(stage: Stage) -> None:
    assert "العربية (lang ar)" in await stage.hears(ALICE, "lang")
    for word in ("ar", "Arabic", "العربية"):
        await stage.hears(ALICE, "lang en")
        assert await stage.hears(ALICE, f"lang {word}") == "من الآن أجيبك باللغة العربية."
    assert await stage.hears(ALICE, "lang ar") == "أجيبك من قبل باللغة العربية."
    assert (await stage.hears(ALICE, "status", languages=("en",))).startswith("حساباتك:")
    assert "From now on I answer you in English" in await stage.hears(ALICE, "lang en")


async def test_newcomers_are_counted_as_arabic_counts(stage: Stage) -> None:
    sara = "sara.bsky.social"
    await stage.hears(sara, "start", languages=("ar",))
    await stage.town.uploads(sara, list(range(1_000, 1_200)))
    arrived = 0
    for more, told in (
        (1, "وصل شخص واحد ممن تابعتهم على X:"),
        (2, "وصل شخصان ممن تابعتهم على X:"),
        (3, "وصل 3 أشخاص ممن تابعتهم على X:"),
        (11, "وصل 11 شخصًا ممن تابعتهم على X:"),
        (100, "وصل 100 شخص ممن تابعتهم على X:"),
    ):
        for x_id in range(1_000 + arrived, 1_000 + arrived + more):
            await stage.town.joins(f"new{x_id}.bsky.social", f"old_{x_id}", x_id)
        arrived += more
        await stage.town.announce()
        stage.town.clock.pass_seconds(61)
        await stage.town.announce()
        (notice,) = stage.town.told(sara)
        assert notice.startswith(told)
    assert (await stage.hears(sara, "contacts")).startswith("هنا الآن 117 شخصًا ممن تابعتهم على X:")


async def test_who_is_silenced_keeps_the_language(stage: Stage) -> None:
    await stage.hears(DAVE, "arrêter")
    assert await stage.hears(DAVE, "oui", languages=("en",)) == ""
    assert (await stage.town.person(DAVE)).language == "fr"


# The commands.


def test_there_is_a_message_for_every_command() -> None:
    assert list(MESSAGES) == [each.name for each in router.commands], (
        "MESSAGES in this file needs an English and a French message for every command, in the order of help."
    )
    for name, words in MESSAGES.items():
        found = [router.find(each.split()[0]) or router.find(" ".join(each.split()[:2])) for each in words]
        assert [each.name for each in found if each] == [name, name]


@pytest.mark.parametrize("name", MESSAGES)
async def test_every_command_answers_in_both_languages(
    stage: Stage, name: str, english_only: set[str], french_only: set[str]
) -> None:
    english, french = MESSAGES[name]
    said = await stage.hears(ALICE, english.format(own="old_alice"))
    assert said
    assert in_(said, french_only) == []
    if name == "guide":  # the same word in both languages
        await stage.hears(DAVE, "bonjour")
    translated = await stage.hears(DAVE, french.format(own="old_dave"))
    assert translated
    assert translated != said
    assert in_(translated, english_only) == []


async def test_a_journey_in_french_has_no_english_in_it(stage: Stage, english_only: set[str]) -> None:
    said = await stage.hear(
        DAVE, "suivre", "oui", "connecter", "relations", "relations 7", "pourquoi old_bob", "ignorer 1", "ignorer tout"
    )
    await stage.town.consents(DAVE)
    said += await stage.hear(DAVE, "rétablir tout", "suivre tout", "oui", "statut", "défaire", "oui", "suivre 1", "oui")
    await stage.town.perform()
    said += stage.town.told(DAVE)
    said += await stage.hear(
        DAVE, "pourquoi old_bob", "automatique", "prévenir", "calme", "visible", "langue", "aide x"
    )
    said += await stage.hear(DAVE, "RF-7F3K-9QXA", "lier LK-7F3K-9QXA", "abcd-efgh-2345-mnop", "qu'est-ce ?", "statt")
    said += await stage.hear(DAVE, "https://x.com/a/status/1", "renoncer old_dave", "oui", "https://x.com/a/status/1")
    assert all(said)
    assert in_("\n".join(said), english_only) == []


async def test_a_journey_in_arabic_has_no_english_in_it(stage: Stage, english_beside_arabic: set[str]) -> None:
    said = [await stage.hears(DAVE, "start", languages=("ar",))]
    said += await stage.hear(
        DAVE, "guide", "help", "follow", "yes", "connect", "contacts", "contacts 7", "why old_bob", "skip 1", "skip all"
    )
    await stage.town.consents(DAVE)
    said += await stage.hear(DAVE, "restore all", "follow all", "yes", "status", "undo", "yes", "follow 1", "yes")
    await stage.town.perform()
    said += stage.town.told(DAVE)
    said += await stage.hear(
        DAVE,
        "why old_bob",
        "auto",
        "auto on",
        "notify",
        "quiet",
        "discoverable",
        "lang",
        "help x",
        "import a_b",
        "exit",
    )
    said += await stage.hear(
        DAVE, "RF-7F3K-9QXA", "link LK-7F3K-9QXA", "abcd-efgh-2345-mnop", "ماذا؟", "statt", "stats"
    )
    said += await stage.hear(DAVE, "unclaim old_dave", "yes", "claim", "report old_dave", "export", "stop", "resume")
    said += await stage.hear(DAVE, *(f"{each.name} one two three four" for each in STRICT), "forget me")
    assert all(said)
    assert in_("\n".join(said), english_beside_arabic) == []


@pytest.mark.parametrize("command", STRICT, ids=lambda command: command.name)
async def test_wrong_words_get_the_usage_in_both_languages(
    stage: Stage, command: Command, english_only: set[str]
) -> None:
    wrong = WRONG.get(command.name, "one two three four")
    said = await stage.hears(ALICE, f"{command.name} {wrong}")
    assert f"Write it like this: {command.usage}" in said
    translated = await stage.hears(DAVE, f"{command.aliases['fr'][0]} {wrong}")
    assert f"Cela s’écrit ainsi\u00a0: {command.usage}" in translated
    assert in_(translated, english_only) == []


@pytest.mark.parametrize(("handle", "word", "usage"), [(ALICE, "help", "Write it"), (DAVE, "aide", "Cela s’écrit")])
async def test_help_lists_all_commands_and_explains_each(
    stage: Stage, french: Texts, handle: str, word: str, usage: str
) -> None:
    texts = french if word == "aide" else Catalogue().texts("en")
    everything = (await stage.hears(handle, word)).splitlines()
    for each in router.commands:
        line = f"{each.name}: {texts.text(each.summary)}"
        assert line in everything
        explained = await stage.hears(handle, f"{word} {each.name}")
        assert explained.startswith(line)
        assert usage in explained
        assert each.aliases["fr"][0] in explained
