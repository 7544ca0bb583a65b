"""Meeting the bot, asking it for help, and telling it to be silent."""

import pytest
import regex
import sqlalchemy as sa

import handlers
from storage import accounts, deliveries
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.records import DeliveryKind, DeliveryState
from storage.tables import consent_grant, delivery, upload
from tests.conftest import OwnClock
from tests.identity_scene import ALICE, BOB, CAROL, ROUTER, Scene, scene


@pytest.fixture
def stage(database: Database, clock: OwnClock, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(handlers, "router", ROUTER, raising=False)  # this stage's commands are all there are
    return scene(database, clock, keys)


@pytest.mark.parametrize(
    "hello", ["hello", "Hi!", "@reflock.example start", "bonjour", "salut toi", "@reflock.example"]
)
async def test_whoever_says_hello_is_shown_the_three_steps(stage: Scene, hello: str) -> None:
    await stage.sends(ALICE, "lang en")
    answer = await stage.sends(ALICE, hello)
    assert all(step in answer for step in ("1.", "2.", "3.", "claim", "import", "connect"))


@pytest.mark.parametrize("hello", ["@reflock.example hello", "@reflock.example what a nice day it is"])
async def test_in_public_the_answer_is_one_short_post_with_nothing_personal(stage: Scene, hello: str) -> None:
    await stage.proves(ALICE, "old_alice", 42)
    answer = await stage.sends(ALICE, hello, public=True)
    assert stage.heard[-1].public
    assert "old_alice" not in answer
    assert "start" in answer
    assert len(regex.findall(r"\X", answer)) <= 230  # a translation may be a quarter longer, a post is 300


async def test_whoever_returns_is_shown_the_next_step(stage: Scene) -> None:
    await stage.sends(ALICE, "claim old_alice")
    assert "Next step: tell me who you were" in await stage.sends(ALICE, "start")
    await stage.proves(ALICE, "old_alice", 42)
    assert "with import" in await stage.sends(ALICE, "start")
    await hands_over_a_list(stage, ALICE)
    assert "with connect" in await stage.sends(ALICE, "start")
    await connects(stage, ALICE)
    assert "All is set up" in await stage.sends(ALICE, "start")


async def test_the_guide_names_every_step_and_exit_has_no_code(stage: Scene) -> None:
    guide = await stage.sends(ALICE, "guide")
    assert all(step in guide for step in ("claim", "import", "connect", "forget me"))
    goodbye = await stage.sends(ALICE, "adieu")
    assert "#eXit" in goodbye
    assert ALICE in goodbye
    assert "RF-" not in goodbye


async def test_help_lists_every_command_and_explains_each(stage: Scene) -> None:
    everything = await stage.sends(CAROL, "help")
    assert "@" not in everything  # on Mastodon an example of a handle would be somebody's address
    for each in ROUTER.commands:
        assert f"\n{each.name}: " in everything
        explained = await stage.sends(CAROL, f"help {each.name}")
        assert explained.startswith(f"{each.name}: ")
        assert "Write it like this" in explained
        assert "@" not in explained
    await stage.sends(ALICE, "lang en")
    claim = await stage.sends(ALICE, "aide prouver")
    assert "claim [old_handle]" in claim
    assert "prouver" in claim
    assert "no command" in await stage.sends(ALICE, "help dance")


async def test_what_is_not_understood_gets_the_nearest_command(stage: Scene) -> None:
    assert "Did you mean status?" in await stage.sends(ALICE, "statsu please")
    assert "Did you mean unclaim old_alice?" in await stage.sends(ALICE, "unclaaim old_alice")
    assert "Did you mean unclaim?" in await stage.sends(ALICE, "unclaaim old alice")
    answer = await stage.sends(CAROL, "colorless green ideas of @dora")
    assert 'I did not understand "colorless green ideas of dora"' in answer
    assert "@" not in answer


@pytest.mark.parametrize(
    ("thanks", "language"),
    [("thanks", "en"), ("Thank you!", "en"), ("Merci.", "fr"), ("شكرا", "ar"), ("شكرًا 🙏", "ar")],
)
async def test_thanks_are_answered_in_their_language_and_in_public_not_at_all(
    stage: Scene, thanks: str, language: str
) -> None:
    answer = await stage.sends(ALICE, thanks)
    assert answer == stage.catalogue.texts(language).text("With pleasure.")
    assert stage.heard[-1].language == language
    assert await stage.sends(ALICE, f"@reflock.example {thanks}", public=True) == ""
    await stage.sends(BOB, "lang en")
    assert await stage.sends(BOB, thanks) == "With pleasure."
    assert "did not understand" in await stage.sends(BOB, f"{thanks} for all the fish")


async def test_the_language_can_be_chosen_by_code_or_by_name(stage: Scene) -> None:
    assert "From now on I answer you in English" in await stage.sends(ALICE, "lang en")
    assert "already" in await stage.sends(ALICE, "lang English")
    assert (await stage.person(ALICE)).language_chosen
    unknown = await stage.sends(ALICE, "lang tlh")
    assert '"tlh"' in unknown
    assert "lang en" in unknown
    assert "lang en" in await stage.sends(ALICE, "langue")
    assert "lang en" in await stage.sends(CAROL, "langue")
    for language in stage.catalogue.languages:
        await stage.sends(BOB, f"lang {language}")
        assert stage.heard[-1].language == language


async def test_status_says_all_there_is(stage: Scene) -> None:
    empty = await stage.sends(CAROL, "status")
    assert "https://piaille.fr/@carol" in empty
    assert "none yet" in empty
    await stage.proves(ALICE, "old_alice", 42)
    await hands_over_a_list(stage, ALICE)
    await connects(stage, ALICE)
    await promises(stage, ALICE, DeliveryKind.FOLLOW)
    status = await stage.sends(ALICE, "status")
    for said in (
        "(connected",
        "@old_alice: proved by a post",
        "1,424 accounts",
        "1 follow is still to come",
        "auto is off",
    ):
        assert said in status


async def test_stop_silences_and_resume_ends_it(stage: Scene) -> None:
    await stage.sends(ALICE, "hello")
    assert "not stopped" in await stage.sends(ALICE, "resume")
    await promises(stage, ALICE, DeliveryKind.FOLLOW)
    await promises(stage, ALICE, DeliveryKind.NOTICE)
    await promises(stage, ALICE, DeliveryKind.REPLY)
    stopped = await stage.sends(ALICE, "stop")
    assert "silent" in stopped
    assert "1 follow still to come is cancelled" in stopped
    async with stage.database.reading() as connection:
        states = {row.kind: row.state for row in await connection.execute(sa.select(delivery))}
    assert states == {
        DeliveryKind.FOLLOW: DeliveryState.CANCELLED,
        DeliveryKind.NOTICE: DeliveryState.CANCELLED,
        DeliveryKind.REPLY: DeliveryState.PROMISED,
    }
    assert await stage.sends(ALICE, "claim old_alice") == ""
    assert "already" in await stage.sends(ALICE, "stop")
    assert "resume" in await stage.sends(ALICE, "hello")
    assert "keep silent" in await stage.sends(ALICE, "status")
    assert "I am back" in await stage.sends(ALICE, "resume")
    assert not (await stage.person(ALICE)).stopped


async def test_cancel_drops_what_was_asked_and_says_what_that_was(stage: Scene) -> None:
    assert "Nothing was waiting" in await stage.sends(ALICE, "cancel")
    await stage.sends(ALICE, "claim old_alice")
    await stage.sends(ALICE, "unclaim old_alice")
    assert "about unclaim" in await stage.sends(ALICE, "cancel")
    assert "did not understand" in await stage.sends(ALICE, "yes")
    assert (await stage.claim_of(ALICE)).x_handle == "old_alice"


async def hands_over_a_list(stage: Scene, handle: str) -> None:
    person = await stage.person(handle)
    async with stage.database.transaction() as connection:
        await connection.execute(
            sa.insert(upload).values(
                person_id=person.id, source="archive", direction="following", n=1424, created_at=1, data=b""
            )
        )


async def connects(stage: Scene, handle: str) -> None:
    person = await stage.person(handle)
    async with stage.database.transaction() as connection:
        (account,) = (await accounts.accounts_of(connection, [person.id]))[person.id]
        await connection.execute(
            sa.insert(consent_grant).values(
                person_id=person.id,
                account_id=account.id,
                network=account.network.value,
                issuer="https://issuer.example",
                scope="follows",
                secret=b"",
                state="active",
                created_at=1,
            )
        )


async def promises(stage: Scene, handle: str, kind: DeliveryKind) -> None:
    person = await stage.person(handle)
    async with stage.database.transaction() as connection:
        await deliveries.promise(
            connection, [Promise(kind=kind, key=kind.value, lane="lane", person_id=person.id)], stage.clock()
        )
