"""Who is shown to whom, in which order, under which number, and why not."""

import pytest

from storage import claims
from storage.database import Database
from storage.keys import Keys
from storage.records import ClaimState, Evidence
from tests.community import ALICE, BOB, CAROL, DAVE, Community, community
from tests.conftest import OwnClock


@pytest.fixture
def town(database: Database, clock: OwnClock, keys: Keys) -> Community:
    return community(database, clock, keys, contacts_a_page=2)


async def test_contacts_come_in_pages_mutuals_first(town: Community) -> None:
    for number, handle in enumerate((BOB, CAROL, DAVE), 1):
        await town.joins(handle, f"old{number}", number)
    assert "Hand your list over with: import" in await town.sends(ALICE, "contacts")
    await town.uploads(ALICE, [1, 2, 3, 4], [3])
    first = await town.sends(ALICE, "contacts")
    assert "3 people you followed on X are here:" in first
    assert "1. @dave.bsky.social (@old3 on X) · followed you back\n2. @bob.bsky.social (@old1 on X)\n" in first
    assert "Page 1 of 2. For more: contacts 2" in first
    second = await town.sends(ALICE, "CONTACTS 2")
    assert "3. https://piaille.fr/@carol (@old2 on X)" in second
    assert "your contacts fill 2 pages" in await town.sends(ALICE, "contacts 3")
    assert "I hold 1 account that you followed on X; it is not here yet." in (
        await town.uploads(BOB, [77]) and await town.sends(BOB, "contacts")
    )


async def test_numbers_mean_the_list_that_was_read(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.joins(DAVE, "old_dave", 3)
    await town.uploads(ALICE, [1, 2, 3])
    assert "2. @dave.bsky.social" in await town.sends(ALICE, "contacts")
    await town.joins(CAROL, "old_carol", 2)
    await town.uploads(BOB, [])  # somebody else's lists change no numbers
    assert "Left out: @dave.bsky.social." in await town.sends(ALICE, "skip 2")
    assert "2. @dave.bsky.social (@old_dave on X) · skipped" in await town.sends(ALICE, "contacts")
    assert "Back in the list: @dave.bsky.social." in await town.sends(ALICE, "restore old_dave")
    assert "None of them was left out" in await town.sends(ALICE, "restore all")
    missing = await town.sends(ALICE, "skip 9 nobody")
    assert "You have no contact under: 9 and @nobody." in missing


async def test_one_person_with_several_accounts_is_one_contact(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.also(BOB, "bob@piaille.fr")
    await town.also(BOB, "bobby.piaille.fr.ap.brid.gy")
    await town.joins(BOB, "older_bob", 2)
    await town.uploads(ALICE, [1, 2])
    answer = await town.sends(ALICE, "contacts")
    assert "1 person you followed on X is here:" in answer
    assert "1. @bob.bsky.social and https://piaille.fr/@bob (@old_bob on X)" in answer


async def test_nobody_is_their_own_contact(town: Community) -> None:
    await town.joins(ALICE, "alice_x", 1)
    await town.uploads(ALICE, [1])
    assert "is not here yet" in await town.sends(ALICE, "contacts")
    assert "@alice_x is you" in await town.sends(ALICE, "why alice_x")


async def test_who_hides_is_shown_to_nobody(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.uploads(ALICE, [1])
    assert "Nobody is told that you are here." in await town.sends(BOB, "discoverable off")
    assert "is not here yet" in await town.sends(ALICE, "contacts")
    why = await town.sends(ALICE, "why old_bob")
    assert "Nobody in your list has shown to have been @old_bob" in why
    assert why.replace("old_bob", "stranger") == await town.sends(ALICE, "why stranger")


async def test_mutuals_only_is_shown_to_those_on_both_lists_who_proved_who_they_are(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.sends(BOB, "discoverable mutuals")
    await town.uploads(ALICE, [1], [1])  # Alice's own word about her followers is no proof
    assert "is not here yet" in await town.sends(ALICE, "contacts")
    await town.uploads(BOB, [5])
    assert "is not here yet" in await town.sends(ALICE, "contacts")
    await town.joins(ALICE, "alice_x", 5)
    assert "1. @bob.bsky.social" in await town.sends(ALICE, "contacts")
    await town.uploads(CAROL, [1])
    assert "is not here yet" in await town.sends(CAROL, "contacts")


async def test_a_contested_or_withdrawn_claim_is_not_shown(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.uploads(ALICE, [1])
    assert "@bob.bsky.social" in await town.sends(ALICE, "contacts")
    await town.joins(DAVE, "old_bob", 1)
    assert "is not here yet" in await town.sends(ALICE, "contacts")
    async with town.event(DAVE) as ctx:
        (contested,) = await claims.of_person(ctx.connection, ctx.person.id)
        assert contested.state is ClaimState.CONTESTED
        await claims.withdraw(ctx.connection, contested, ctx.now)
    assert "@bob.bsky.social" in await town.sends(ALICE, "contacts")


async def proves_and_crashes(town: Community) -> None:
    async with town.event(BOB) as ctx:
        keys = town.world.keys
        claim = await claims.declare(ctx.connection, keys, ctx.person.id, "old_bob", ctx.now)
        await claims.raise_evidence(
            ctx.connection, keys, claim, x_id=1, x_handle="old_bob", evidence=Evidence.POST, now=ctx.now
        )
        await town.world.registry.refresh(ctx.connection)
        assert len(town.world.registry) == 2
        raise ZeroDivisionError


async def test_what_was_rolled_back_leaves_no_trace_in_the_registry(town: Community) -> None:
    await town.uploads(ALICE, [1, 2])
    with pytest.raises(ZeroDivisionError):
        await proves_and_crashes(town)
    assert len(town.world.registry) == 0
    await town.joins(CAROL, "old_carol", 2)
    assert "1. https://piaille.fr/@carol" in await town.sends(ALICE, "contacts")
    assert len(town.world.registry) == 2


async def test_a_reader_that_ends_keeps_what_the_registry_learnt(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    async with town.database.reading() as connection:
        await town.world.registry.refresh(connection)
    assert len(town.world.registry) == 2


async def test_why_explains_evidence_choice_and_network(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.uploads(ALICE, [1], [1])
    why = await town.sends(ALICE, "why @old_bob")
    assert "@old_bob is here as @bob.bsky.social" in why
    assert "They have proved" in why
    assert "They followed you back there." in why
    assert "On Bluesky I do not have your consent" in why
    await town.consents(ALICE)
    assert "On Bluesky you have not asked me to follow them yet" in await town.sends(ALICE, "why old_bob")
    await town.sends(ALICE, "skip old_bob")
    assert "You left them out" in await town.sends(ALICE, "why old_bob")
    await town.sends(CAROL, "import somebody")
    assert "is in your list, but nobody whom you may find has proved here yet" in await town.sends(
        CAROL, "why somebody"
    )


async def test_stats_count_and_are_kept_for_a_minute(town: Community, clock: OwnClock) -> None:
    await town.uploads(ALICE, [1, 2, 3])
    assert "People registered: 1 · links held: 3 · reconnections made: 0" in await town.sends(ALICE, "stats")
    await town.uploads(BOB, [1])
    assert "links held: 3" in await town.sends(ALICE, "stats")
    clock.pass_seconds(61)
    assert "links held: 4" in await town.sends(ALICE, "stats")
