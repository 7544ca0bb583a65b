"""Who somebody was on X: claimed, proved, contested, taken back."""

import asyncio
import json
import re

import pytest
import sqlalchemy as sa

from handlers.claims import ArchiveMismatch, LookedUp, review
from handlers.contests import FROZEN_PROVED
from handlers.farewell import farewell, weight
from handlers.names import name_of, x_name
from handlers.texts import Catalogue
from storage import accounts, claims, reports
from storage.codes import Purpose
from storage.database import Database
from storage.keys import Keys
from storage.records import Account, ClaimState, DeliveryKind, Evidence, NetworkName
from storage.tables import code, delivery
from tests.conftest import OwnClock
from tests.identity_scene import ALICE, BOB, CAROL, Scene, scene

CODE = re.compile(r"RF-[2-9A-Z]{4}-[2-9A-Z]{4}")


@pytest.fixture
def stage(database: Database, clock: OwnClock, keys: Keys) -> Scene:
    return scene(database, clock, keys)


async def test_a_claim_is_answered_with_a_farewell_post_that_proves_it(stage: Scene) -> None:
    answer = await stage.sends(ALICE, "claim @Old_Alice")
    post = answer.split("\n\n")[1]
    assert CODE.search(post)
    assert "#eXit" in post
    assert ALICE in post
    assert f"@{ALICE}" not in post  # on X, @alice would be somebody else
    assert weight(post) <= 280
    assert (await stage.claim_of(ALICE)).state is ClaimState.PENDING

    assert await stage.sends(ALICE, "here: https://x.com/old_alice/status/1234567890123456789?s=20") == ""
    async with stage.database.reading() as connection:
        promised = (await connection.execute(sa.select(delivery).where(delivery.c.kind == DeliveryKind.LOOKUP))).one()
    assert json.loads(promised.payload) == {"url": "https://x.com/old_alice/status/1234567890123456789"}

    proved = await stage.looks_up(ALICE, LookedUp("Old_Alice", 42, f"Goodbye!\n“{post.lower()}”."))
    assert "Proved: @old_alice was you." in proved
    assert "import" in proved
    assert "connect" in proved
    held = await stage.claim_of(ALICE)
    assert (held.state, held.evidence, held.x_id) == (ClaimState.HELD, Evidence.POST, 42)
    assert held.arrival_seq is not None
    assert "proved already" in await stage.sends(ALICE, "claim old_alice")


async def test_the_proof_is_answered_with_the_links_of_the_next_steps(
    database: Database, clock: OwnClock, keys: Keys
) -> None:
    stage = scene(database, clock, keys, public_url="https://reflock.example")
    assert (await stage.proves(CAROL, "old_carol", 7)).count("https://reflock.example/") == 2


@pytest.mark.parametrize(
    "link",
    [
        "https://twitter.com/old/status/12",
        "mobile.twitter.com/old/status/12/photo/1",
        "look <https://www.x.com/old/statuses/12>",
        "HTTPS://X.COM/i/web/status/12",
    ],
)
async def test_a_link_to_a_post_is_known_in_every_form(stage: Scene, link: str) -> None:
    assert "you have not told me yet" in await stage.sends(ALICE, link)
    await stage.sends(ALICE, "claim old")
    assert await stage.sends(ALICE, link) == ""
    assert "did not understand" in await stage.sends(ALICE, "https://netflix.com/old/status/12")


async def test_each_thing_that_can_be_wrong_with_a_post_has_its_own_sentence(stage: Scene) -> None:
    post = await stage.posts(ALICE, "old_alice")
    others = await stage.posts(BOB, "old_bob")
    assert "none of my codes" in await stage.looks_up(ALICE, LookedUp("old_alice", 42, "Bye! #eXit"))
    assert "not one of mine" in await stage.looks_up(ALICE, LookedUp("old_alice", 42, "RF-2222-2222"))
    assert "somebody else" in await stage.looks_up(ALICE, LookedUp("old_alice", 42, others))
    stranger = await stage.looks_up(ALICE, LookedUp("Stranger", 43, post))
    assert "@Stranger" in stranger
    assert "@old_alice" in stranger
    assert "gone" in await stage.looks_up(ALICE, None, "gone")
    assert "does not lead to a post" in await stage.looks_up(ALICE, None, "not_a_post")
    assert "again later" in await stage.looks_up(ALICE, None, "unavailable")
    assert (await stage.claim_of(ALICE)).state is ClaimState.PENDING


async def test_a_code_expires_and_a_new_one_is_offered(stage: Scene) -> None:
    post = await stage.posts(ALICE, "old_alice")
    stage.clock.pass_seconds(stage.world.settings.code_lifetime / 1000)
    late = await stage.looks_up(ALICE, LookedUp("old_alice", 42, post))
    assert "expired" in late
    assert "claim old_alice" in late
    fresh = await stage.sends(ALICE, "claim old_alice")
    assert "only the code in it counts" in fresh
    assert "Proved" in await stage.looks_up(ALICE, LookedUp("old_alice", 42, fresh))


async def test_a_code_counts_once(stage: Scene) -> None:
    post = await stage.posts(ALICE, "old_alice")
    await stage.looks_up(ALICE, LookedUp("old_alice", 42, post))
    assert "used already" in await stage.looks_up(ALICE, LookedUp("old_alice", 42, post))


async def test_without_the_accounts_number_the_handle_is_proved_but_nobody_arrives(stage: Scene) -> None:
    post = await stage.posts(ALICE, "old_alice")
    half = await stage.looks_up(ALICE, LookedUp("old_alice", None, post))
    assert "number" in half
    held = await stage.claim_of(ALICE)
    assert (held.state, held.evidence, held.x_id, held.arrival_seq) == (ClaimState.HELD, Evidence.POST, None, None)
    assert await stage.sends(ALICE, "x.com/old_alice/status/12") == ""
    assert "Proved" in await stage.looks_up(ALICE, LookedUp("old_alice", 42, post))
    held = await stage.claim_of(ALICE)
    assert held.x_id == 42
    assert held.arrival_seq is not None


async def test_an_archives_number_is_never_worth_more_than_an_archive(stage: Scene) -> None:
    """Anybody can write an archive: joined to a post without a number it must not prove somebody else's account."""
    await stage.proves(ALICE, "old_alice", None)
    await stage.uploads(ALICE, 4711, "old_alice")
    first = await stage.claim_of(ALICE)
    assert (first.evidence, first.x_id, first.arrival_seq) == (Evidence.ARCHIVE, 4711, None)
    await stage.uploads(BOB, 815, "old_bob")
    await stage.proves(BOB, "old_bob", None)
    second = await stage.claim_of(BOB)
    assert (second.evidence, second.x_id, second.arrival_seq) == (Evidence.ARCHIVE, 815, None)


async def test_a_renamed_account_is_the_same_account(stage: Scene) -> None:
    await stage.uploads(ALICE, 42, "old_alice")
    post = await stage.posts(ALICE, "old_alice")
    assert "Proved: @new_alice" in await stage.looks_up(ALICE, LookedUp("New_Alice", 42, post))
    assert (await stage.claim_of(ALICE)).x_handle == "new_alice"
    # Claimed under its next name, it is still one claim.
    first = await stage.claim_of(ALICE)
    await stage.proves(ALICE, "newer_alice", 42)
    again = await stage.claim_of(ALICE)
    assert (again.id, again.x_handle) == (first.id, "newer_alice")


async def test_a_renamed_account_whose_new_handle_is_too_long_to_match_keeps_its_own(stage: Scene) -> None:
    await stage.uploads(ALICE, 42, "old_alice")
    post = await stage.posts(ALICE, "old_alice")
    assert "Proved: @old_alice" in await stage.looks_up(ALICE, LookedUp("an_early_and_long_one", 42, post))
    assert (await stage.claim_of(ALICE)).x_handle == "old_alice"


async def test_an_archive_counts_less_than_a_post_and_only_for_what_was_claimed(stage: Scene) -> None:
    await stage.sends(ALICE, "hello")
    assert "by hand" in await stage.uploads(ALICE, 42, "Old_Alice")
    held = await stage.claim_of(ALICE)
    assert (held.state, held.evidence, held.arrival_seq) == (ClaimState.HELD, Evidence.ARCHIVE, None)
    with pytest.raises(ArchiveMismatch, match="claim other"):
        await stage.uploads(ALICE, 43, "other")
    with pytest.raises(ArchiveMismatch, match="numbers differ"):
        await stage.uploads(ALICE, 44, "old_alice")
    with pytest.raises(ArchiveMismatch, match="names no X account"):
        await stage.uploads(ALICE, 45, "not a handle")
    await stage.sends(ALICE, "claim other")
    await stage.uploads(ALICE, 43, "other")
    await stage.proves(ALICE, "old_alice", 42)
    assert "proved already" in await stage.uploads(ALICE, 42, "old_alice")
    assert [each.evidence for each in await stage.claims_of(ALICE)] == [Evidence.POST, Evidence.ARCHIVE]


async def test_higher_evidence_wins_and_the_other_is_told(stage: Scene) -> None:
    await stage.sends(BOB, "hello")
    await stage.uploads(BOB, 42, "old_alice")
    await stage.proves(ALICE, "old_alice", 42)
    assert (await stage.claim_of(ALICE)).state is ClaimState.HELD
    assert await stage.claims_of(BOB) == []
    (told,) = stage.told(BOB)
    assert "stronger evidence" in told
    # The weaker one does not get it back by trying again.
    assert "stronger evidence" in await stage.uploads(BOB, 42, "old_alice")
    assert await stage.claims_of(BOB) == []
    assert stage.told(ALICE) == []


async def test_equal_evidence_freezes_both_until_it_is_decided(stage: Scene) -> None:
    await stage.proves(ALICE, "old_alice", 42)
    frozen = await stage.proves(CAROL, "old_alice", 42)
    assert "has proved x.com/old_alice as well as you" in frozen
    (told,) = stage.told(ALICE)
    assert "has proved @old_alice as well as you" in told
    first, second = await stage.claim_of(ALICE), await stage.claim_of(CAROL)
    assert (first.state, second.state) == (ClaimState.CONTESTED, ClaimState.CONTESTED)
    assert "report old_alice" in await stage.sends(CAROL, "claim old_alice")

    async with stage.event(ALICE) as context:
        confirmed = await review(context, first.id, for_it=True)
        stage.heard += context.speeches
    assert "confirmed" in confirmed
    assert (await stage.claim_of(ALICE)).evidence is Evidence.OPERATOR
    assert await stage.claims_of(CAROL) == []
    (told,) = stage.told(CAROL)
    assert "x.com/old_alice" in told
    assert "@" not in told  # on Mastodon a mention would be an address


async def test_each_is_told_in_their_own_language(stage: Scene) -> None:
    await stage.proves(CAROL, "old", 42)
    person = await stage.person(CAROL)
    async with stage.database.transaction() as connection:
        await accounts.change(connection, person.id, language="fr")
    await stage.proves(ALICE, "old", 42)
    french = stage.catalogue.texts("fr")
    assert stage.told(CAROL) == [french.text(FROZEN_PROVED, x="x.com/old", handle="old")]


async def test_two_who_prove_the_same_at_the_same_moment_are_both_frozen(stage: Scene) -> None:
    first, second = await stage.posts(ALICE, "old"), await stage.posts(BOB, "old")
    await asyncio.gather(
        stage.looks_up(ALICE, LookedUp("old", 42, first)), stage.looks_up(BOB, LookedUp("old", 42, second))
    )
    assert (await stage.claim_of(ALICE)).state is ClaimState.CONTESTED
    assert (await stage.claim_of(BOB)).state is ClaimState.CONTESTED


async def test_a_word_without_proof_freezes_nobody(stage: Scene) -> None:
    await stage.proves(ALICE, "old_alice", 42)
    await stage.sends(BOB, "claim old_alice")
    assert (await stage.claim_of(ALICE)).state is ClaimState.HELD
    assert stage.told(ALICE) == []


async def test_a_handle_that_another_account_took_over_contests_nothing(stage: Scene) -> None:
    await stage.proves(ALICE, "old_alice", 42)
    await stage.proves(BOB, "old_alice", 43)
    assert (await stage.claim_of(ALICE)).state is ClaimState.HELD
    assert (await stage.claim_of(BOB)).state is ClaimState.HELD
    # Without a number the handle is all there is to go by.
    await stage.proves(CAROL, "old_alice", None)
    assert (await stage.claim_of(ALICE)).state is ClaimState.CONTESTED
    assert (await stage.claim_of(BOB)).state is ClaimState.CONTESTED


async def test_a_claim_taken_back_frees_the_other(stage: Scene) -> None:
    await stage.proves(ALICE, "old_alice", 42)
    await stage.proves(BOB, "old_alice", 42)
    stage.told(ALICE)
    assert "yes or no" in await stage.sends(BOB, "unclaim @old_alice")
    assert "stays" in await stage.sends(BOB, "no")
    await stage.sends(BOB, "unclaim @old_alice")
    assert "did not understand" in await stage.sends(BOB, "perhaps")
    assert "withdrawn" in await stage.sends(BOB, "Yes!")
    assert await stage.claims_of(BOB) == []
    assert (await stage.claim_of(ALICE)).state is ClaimState.HELD
    (told,) = stage.told(ALICE)
    assert "stands" in told
    assert "nothing changed" in await stage.sends(BOB, "unclaim old_alice")


async def test_a_claim_taken_back_can_be_made_again(stage: Scene) -> None:
    post = await stage.posts(ALICE, "old_alice")
    await stage.sends(ALICE, "unclaim old_alice")
    await stage.sends(ALICE, "yes")
    async with stage.database.reading() as connection:
        left = await connection.scalar(
            sa.select(sa.func.count()).select_from(code).where(code.c.purpose == Purpose.CLAIM.value)
        )
    assert left == 0
    assert "not one of mine" in await stage.looks_up(ALICE, LookedUp("old_alice", 42, post))
    assert "Proved" in await stage.proves(ALICE, "old_alice", 42)


async def test_every_change_has_a_version_of_its_own_in_order(stage: Scene) -> None:
    await stage.proves(ALICE, "old_alice", 42)
    await stage.proves(BOB, "old_alice", 42)
    async with stage.database.reading() as connection:
        changed = await claims.since(connection, 0, 10)
        latest = changed[-1].version
        assert await claims.since(connection, latest, 10) == []
    assert sorted(each.version for each in changed) == [each.version for each in changed]
    assert {each.state for each in changed} == {ClaimState.CONTESTED}
    await stage.sends(BOB, "unclaim old_alice")
    await stage.sends(BOB, "yes")
    async with stage.database.reading() as connection:
        states = {each.state for each in await claims.since(connection, latest, 10)}
    assert states == {ClaimState.HELD, ClaimState.WITHDRAWN}


async def test_a_report_has_a_number_and_keeps_the_words(stage: Scene) -> None:
    answer = await stage.sends(ALICE, "report @old_alice it was mine,\nand X deleted it")
    (number,) = re.findall(r"number (\d+)", answer)
    await stage.sends(ALICE, "lang en")
    assert number in await stage.sends(ALICE, "signaler old_alice")
    async with stage.database.transaction() as connection:
        (waiting,) = await reports.waiting(connection, 10)
        assert (str(waiting.id), waiting.x_handle) == (number, "old_alice")
        assert "X deleted it" in waiting.words
        assert await reports.close_about(connection, "old_alice") == 1
        assert await reports.close_about(connection, "old_alice") == 0
        assert await reports.waiting(connection, 10) == []


async def test_claim_alone_lists_what_was_claimed(stage: Scene) -> None:
    assert "not told me yet" in await stage.sends(ALICE, "claim")
    await stage.sends(ALICE, "claim first_one")
    await stage.proves(ALICE, "second_one", 2)
    listed = await stage.sends(ALICE, "claim")
    assert "@first_one: said by you, not proved yet" in listed
    assert "@second_one: proved by a post" in listed
    assert "not an X handle" in await stage.sends(ALICE, "claim some-thing")


async def test_the_code_sent_here_instead_of_posted_there(stage: Scene) -> None:
    post = await stage.posts(ALICE, "old_alice")
    assert "Post it there" in await stage.sends(ALICE, post)


def test_a_farewell_fits_however_long_the_names_are() -> None:
    long = Account("did:plc:x", NetworkName.BLUESKY, "a" * 60 + "." + "b" * 60 + "." + "c" * 60 + ".social", 1, None, 0)
    also = Account("https://m.example/users/a", NetworkName.MASTODON, "a@m.example", 1, None, 0)
    catalogue = Catalogue()
    for language in catalogue.languages:
        for own in ([long, long, also], [also, long], [also], []):
            post = farewell(catalogue.texts(language), own, "RF-7F3K-9QXA")
            assert weight(post) <= 280
            assert "#eXit RF-7F3K-9QXA" in post or "RF-7F3K-9QXA" in post
    assert weight("日本") == 4
    assert weight("see x.com") == 4 + 23


def test_a_third_party_is_never_addressed_on_mastodon() -> None:
    dora = Account("did:plc:dora", NetworkName.BLUESKY, "dora.example", 1, None, 0)
    carol = Account("https://piaille.fr/users/carol", NetworkName.MASTODON, "carol@piaille.fr", 1, None, 0)
    assert name_of(NetworkName.BLUESKY, dora) == "@dora.example"
    assert name_of(NetworkName.MASTODON, dora) == "https://bsky.app/profile/dora.example"
    assert name_of(NetworkName.MASTODON, carol) == name_of(NetworkName.BLUESKY, carol) == "https://piaille.fr/@carol"
    assert x_name("old", NetworkName.MASTODON) == "x.com/old"
