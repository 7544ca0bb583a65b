"""Two accounts, one person: the code, and everything that goes over."""

import re

import pytest
import sqlalchemy as sa

from storage import accounts, deliveries, questions
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.merging import merge
from storage.records import Cadence, ClaimState, DeliveryKind, Discoverable, Evidence, NetworkName
from storage.tables import batch, code, consent_grant, decision, delivery, listing, metadata, report, told, upload
from tests.conftest import OwnClock
from tests.identity_scene import ALICE, BOB, CAROL, Scene, scene

CODE = re.compile(r"LK-[2-9A-Z]{4}-[2-9A-Z]{4}")


@pytest.fixture
def stage(database: Database, clock: OwnClock, keys: Keys) -> Scene:
    return scene(database, clock, keys)


async def code_for(stage: Scene, handle: str) -> str:
    found = CODE.search(await stage.sends(handle, "link"))
    assert found is not None
    stage.clock.pass_seconds(1)
    return found[0]


async def test_a_code_from_one_network_sent_on_the_other_makes_one_person(stage: Scene) -> None:
    secret = await code_for(stage, ALICE)
    joined = await stage.sends(CAROL, f"link {secret}")
    assert "Joined" in joined
    assert f"https://bsky.app/profile/{ALICE}" in joined
    assert "https://piaille.fr/@carol" in joined
    (told,) = stage.told(ALICE)
    assert "https://piaille.fr/@carol" in told
    assert (await stage.person(ALICE)).id == (await stage.person(CAROL)).id
    # The answer goes to the person there is now.
    assert stage.heard[-1].account.person_id == (await stage.person(ALICE)).id
    assert "joined already" in await stage.sends(CAROL, f"link {secret}")


async def test_the_older_ones_language_counts_at_once_and_the_next_step_is_said(stage: Scene) -> None:
    await stage.sends(ALICE, "lang fr")
    secret = await code_for(stage, ALICE)
    await stage.sends(CAROL, "lang en")
    joined = await stage.sends(CAROL, f"link {secret}")
    assert "C’est réuni" in joined
    assert joined.splitlines()[-1].startswith("Prochaine étape")
    assert stage.heard[-1].language == "fr"


async def test_the_code_alone_is_enough_in_any_case_and_without_dashes(stage: Scene) -> None:
    secret = await code_for(stage, ALICE)
    assert "Joined" in await stage.sends(BOB, f"  {secret.lower().replace('-', '')}. ")


async def test_a_code_that_does_not_work_says_why(stage: Scene) -> None:
    secret = await code_for(stage, ALICE)
    assert "other account" in await stage.sends(ALICE, f"link {secret}")
    assert "not one I gave out" in await stage.sends(BOB, "link LK-2222-2222")
    assert "not one of my codes" in await stage.sends(BOB, "link hello")
    stage.clock.pass_seconds(stage.world.settings.link_lifetime / 1000)
    assert "expired" in await stage.sends(BOB, f"link {secret}")
    again = await code_for(stage, ALICE)
    assert "Joined" in await stage.sends(BOB, f"link {again}")
    assert "used already" in await stage.sends(CAROL, f"link {again}")


async def test_claims_go_over_and_a_contest_with_oneself_ends(stage: Scene) -> None:
    await stage.proves(ALICE, "old_alice", 42)
    stage.clock.pass_seconds(1)
    await stage.proves(CAROL, "old_alice", 42)
    await stage.proves(CAROL, "second", 43)
    await stage.posts(CAROL, "third")
    assert (await stage.claim_of(ALICE)).state is ClaimState.CONTESTED
    await stage.sends(CAROL, f"link {await code_for(stage, ALICE)}")
    mine = await stage.claims_of(ALICE)
    assert sorted((each.x_handle, each.state, each.evidence) for each in mine) == [
        ("old_alice", ClaimState.HELD, Evidence.POST),
        ("second", ClaimState.HELD, Evidence.POST),
        ("third", ClaimState.PENDING, Evidence.DECLARED),
    ]
    async with stage.database.reading() as connection:
        await stage.world.registry.refresh(connection)
    matches = stage.world.registry.matches(stage.world.keys.of_handles(["old_alice", "second", "third"]))
    assert {each.person_id for each in matches} == {(await stage.person(ALICE)).id}
    assert len(matches) == 2


async def test_a_contest_with_a_third_goes_on(stage: Scene) -> None:
    for handle in (ALICE, BOB, CAROL):
        await stage.proves(handle, "old", 42)
        stage.clock.pass_seconds(1)
    await stage.sends(CAROL, f"link {await code_for(stage, ALICE)}")
    assert (await stage.claim_of(ALICE)).state is ClaimState.CONTESTED
    assert (await stage.claim_of(BOB)).state is ClaimState.CONTESTED


async def test_a_code_given_for_a_claim_still_proves_it_after_joining(stage: Scene) -> None:
    from handlers.claims import LookedUp

    await stage.sends(ALICE, "claim old")
    stage.clock.pass_seconds(1)
    post = await stage.posts(CAROL, "old")
    await stage.sends(CAROL, f"link {await code_for(stage, ALICE)}")
    assert "Proved" in await stage.looks_up(ALICE, LookedUp("old", 42, post))


async def test_everything_goes_over_to_the_older_and_nothing_stands_twice(
    database: Database, clock: OwnClock, keys: Keys
) -> None:
    async with database.transaction() as connection:
        persons = []
        for name in ("old", "young", "friend", "other"):
            clock.pass_seconds(1)
            persons.append((await accounts.meet(connection, NetworkName.BLUESKY, name, name, clock()))[1])
        old, young, friend, other = (each.id for each in persons)
        await accounts.change(connection, old, cadence=Cadence.DAILY.value, seen_seq=9, notice_due_at=500)
        await accounts.change(connection, young, discoverable=Discoverable.MUTUALS.value, seen_seq=4, language="fr")
        for who, whom, choice, at in (
            (old, friend, "follow", 1),
            (young, friend, "skip", 2),
            (young, other, "follow", 1),
            (old, young, "follow", 1),
            (friend, old, "follow", 5),
            (friend, young, "skip", 4),
            (other, young, "skip", 4),
        ):
            await connection.execute(sa.insert(decision).values(person_id=who, contact_id=whom, choice=choice, at=at))
            await connection.execute(sa.insert(told).values(person_id=who, contact_id=whom, at=at))
        for at, who in ((1, old), (2, young)):
            await connection.execute(sa.insert(listing).values(person_id=who, data=bytes([at]), at=at))
        await connection.execute(
            sa.insert(upload).values(
                person_id=young, source="archive", direction="following", n=1, created_at=1, data=b"12345678"
            )
        )
        await connection.execute(
            sa.insert(consent_grant).values(
                person_id=young,
                account_id="young",
                network="bluesky",
                issuer="i",
                scope="s",
                secret=b"x",
                state="active",
                created_at=1,
            )
        )
        await connection.execute(sa.insert(report).values(person_id=young, x_handle="x", words="", at=1, done=False))
        made = await deliveries.new_batch(connection, young, 1)
        await deliveries.promise(
            connection,
            [
                Promise(kind=DeliveryKind.FOLLOW, key=key, lane="act:x", person_id=who, contact_id=whom, batch_id=made)
                for key, who, whom in (("self", young, old), ("a", young, friend), ("b", friend, young))
            ],
            1,
        )
        await questions.ask(connection, "young", "unclaim", {}, 10**15)

        one, two = [await accounts.get_person(connection, each) for each in (young, old)]
        kept, freed = await merge(connection, one, two, clock())

        assert (kept.id, freed) == (old, [])
        assert (kept.cadence, kept.discoverable, kept.seen_seq) == (Cadence.DAILY, Discoverable.MUTUALS, 4)
        assert (kept.notice_due_at, kept.language) == (500, "fr")
        rows = (await connection.execute(sa.select(decision))).all()
        assert sorted((row.person_id, row.contact_id, row.choice) for row in rows) == sorted(
            [(old, friend, "skip"), (old, other, "follow"), (friend, old, "follow"), (other, old, "skip")]
        )
        pairs = {(row.person_id, row.contact_id) for row in await connection.execute(sa.select(told))}
        assert pairs == {(old, friend), (old, other), (friend, old), (other, old)}
        shown = (await connection.execute(sa.select(listing))).one()
        assert (shown.person_id, shown.data) == (old, b"\x02")
        follows = {row.key: row for row in await connection.execute(sa.select(delivery))}
        assert (follows["self"].state, follows["a"].person_id, follows["b"].contact_id) == ("cancelled", old, old)
        for table in (upload, consent_grant, report, batch):
            assert await connection.scalar(sa.select(table.c.person_id)) == old
        assert await questions.pending(connection, "young", clock()) is not None
        assert await accounts.persons(connection, [young]) == {}


async def test_no_table_about_persons_is_forgotten_when_they_are_joined(stage: Scene) -> None:
    """A table added later must be joined too: its rows would vanish with the person who goes."""
    from storage import merging

    about_persons = {
        table.name
        for table in metadata.tables.values()
        if any(key.column.table.name == "person" for column in table.c for key in column.foreign_keys)
    }
    joined = {table.name for table in merging._OWNED} | {"claim", "told", "decision", "listing"}
    assert about_persons == joined
    assert code.name in joined


async def test_the_silence_of_one_holds_for_both(stage: Scene) -> None:
    secret = await code_for(stage, ALICE)
    await stage.sends(ALICE, "stop")
    assert "resume ends it" in await stage.sends(CAROL, f"link {secret}")
    assert (await stage.person(CAROL)).stopped
