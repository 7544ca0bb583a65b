"""Lists are handed over by page or by message, and answered at once with who is here."""

import numpy as np
import pytest

from handlers.archive import Lists
from handlers.claims import ArchiveMismatch
from handlers.imports import keyed, received
from storage import codes, links
from storage.codes import Purpose
from storage.database import Database
from storage.keys import Keys
from storage.records import Evidence
from tests.community import ALICE, BOB, CAROL, DAVE, Community, community, town
from tests.conftest import OwnClock

__all__ = ["town"]  # a fixture


async def test_import_gives_a_link_that_works_once_and_only_for_its_owner(town: Community) -> None:
    answer = await town.sends(ALICE, "import")
    token = answer.split("https://reflock.example/import/")[1].split()[0]
    async with town.event(ALICE) as ctx:
        code = await codes.use(ctx.connection, town.world.keys, token, Purpose.IMPORT, ctx.now)
        assert code is not None
        assert code.person_id == ctx.person.id
        assert await codes.use(ctx.connection, town.world.keys, token, Purpose.IMPORT, ctx.now) is None
    assert "import jack_smith marie75" in answer


async def test_without_a_web_address_handles_are_typed(database: Database, clock: OwnClock, keys: Keys) -> None:
    town = community(database, clock, keys, public_url=None)
    assert "I have no web address" in await town.sends(ALICE, "import")
    await town.joins(BOB, "old_bob", 12)
    answer = await town.sends(ALICE, "import @Old_Bob https://x.com/carol_x carol_x")
    assert "Noted: 2 new handles, 2 typed in all." in answer
    assert "1 of the 2 people you followed is already here:" in answer
    assert "1. @bob.bsky.social (@old_bob on X) · known by the handle alone: choose by hand" in answer
    assert "send me: connect" in answer
    assert "Noted: 1 new handle, 3 typed in all." in await town.sends(ALICE, "import carol_x tom")


async def test_too_many_handles_and_words_that_are_none_are_refused_whole(
    database: Database, clock: OwnClock, keys: Keys
) -> None:
    town = community(database, clock, keys, typed_handles=2)
    assert "Nothing was stored" in await town.sends(ALICE, "import a b c")
    assert '"not-a-handle" is not an X handle' in await town.sends(ALICE, "import a not-a-handle")
    async with town.event(ALICE) as ctx:
        assert (await links.counts(ctx.connection)).links == 0


async def test_an_upload_names_the_first_ones_and_how_to_go_on(town: Community) -> None:
    for number, handle in enumerate((BOB, CAROL, DAVE), 1):
        await town.joins(handle, f"old{number}", number)
    answer = await town.uploads(ALICE, [1, 2, 3, *range(1000, 2421)], [2])
    assert "3 of the 1,424 people you followed are already here:" in answer
    assert "1. https://piaille.fr/@carol (@old2 on X) · followed you back" in answer
    assert "3. @dave.bsky.social (@old3 on X)" in answer
    assert "https://reflock.example/connect/" in answer
    assert "follow all" in answer
    await town.consents(ALICE)
    again = await town.uploads(ALICE, [1, 2, 3])
    assert "/connect/" not in again
    assert "3 of the 3 people" in again


async def test_on_mastodon_no_third_party_is_addressed(town: Community) -> None:
    await town.joins(CAROL, "old_carol", 7)
    await town.joins(BOB, "old_bob", 8)
    answer = await town.uploads("erin@social.example", [7, 8])
    assert "@piaille" not in answer
    assert " @" not in answer
    assert "(x.com/old_carol)" in answer


async def test_a_new_upload_takes_the_place_of_the_former_and_a_part_is_added(town: Community) -> None:
    await town.uploads(ALICE, [1, 2, 3], account_x_id=9, x_handle="alice_x")
    await town.uploads(ALICE, [3, 4], account_x_id=9, x_handle="alice_x")
    await town.uploads(ALICE, [5], account_x_id=9, x_handle="alice_x", partial=True)
    async with town.event(ALICE) as ctx:
        own = await links.own(ctx.connection, ctx.person.id)
    assert len(own.following) == 3
    assert len(own.followers) == 0


async def test_an_archive_is_weak_evidence_and_one_of_somebody_else_is_refused_whole(town: Community) -> None:
    said = await town.uploads(ALICE, [1], account_x_id=9, x_handle="alice_x")
    assert "The archive says that you were @alice_x" in said
    with pytest.raises(ArchiveMismatch, match="This archive is of @mallory"):
        await town.uploads(ALICE, [2, 3], account_x_id=10, x_handle="mallory")
    async with town.event(ALICE) as ctx:
        assert (await links.counts(ctx.connection)).links == 1


async def test_who_was_named_at_the_import_is_not_announced_again(town: Community, clock: OwnClock) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.announce()
    await town.uploads(ALICE, [1, 2])
    clock.pass_seconds(3600)
    await town.announce()
    assert town.told(ALICE) == []
    await town.joins(CAROL, "old_carol", 2)
    await town.announce()
    clock.pass_seconds(3600)
    await town.announce()
    (notice,) = town.told(ALICE)
    assert "https://piaille.fr/@carol" in notice
    assert "bob" not in notice


async def test_handles_and_what_made_no_sense_are_counted(town: Community) -> None:
    async with town.event(ALICE) as ctx:
        said = (await received(ctx, keyed(town.world.keys, Lists(handles=("a", "b"), skipped=1)))).full
    assert "Kept: 2 accounts that you followed." in said
    assert "1 entry made no sense to me" in said
    assert "None of the 2 accounts you followed is here yet." in said


async def test_a_page_that_lists_who_is_here_is_given_the_outcome_alone(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    async with town.event(ALICE) as ctx:
        said = await received(ctx, keyed(town.world.keys, Lists(following=np.array([1, 2], np.uint64))))
    assert said.outcome.splitlines() == [
        "Kept: 2 accounts that you followed.",
        "1 of the 2 people you followed is already here.",
    ]
    assert "@bob.bsky.social" in said.full


async def test_before_the_opening_day_lists_are_only_collected(database: Database, clock: OwnClock, keys: Keys) -> None:
    town = community(database, clock, keys, opens_at=clock() + 3_600_000)
    await town.joins(BOB, "old_bob", 1)
    answer = await town.uploads(ALICE, [1])
    assert "Kept: 1 account that you followed." in answer
    assert "reconnection opens on" in answer
    assert "bob" not in answer
    for asked in ("contacts", "follow all"):
        assert "reconnection opens on" in await town.sends(ALICE, asked)
    await town.announce()
    assert town.told(ALICE) == []
    clock.pass_seconds(3601)
    await town.announce()
    (notice,) = town.told(ALICE)
    assert "@bob.bsky.social" in notice


async def test_only_an_archives_word_is_shown_as_such(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1, Evidence.ARCHIVE)
    await town.joins(CAROL, "old_carol", 2, Evidence.DECLARED)
    answer = await town.uploads(ALICE, [1, 2])
    assert "1. @bob.bsky.social (@old_bob on X) · not proved by a post: choose by hand" in answer
    assert "carol" not in answer


def test_pseudonyms_are_made_beforehand_in_the_order_in_which_lists_are_kept(keys: Keys) -> None:
    given = keyed(keys, Lists(following=np.array([7, 3, 7], np.uint64)))
    assert given.following is not None
    assert given.following.tolist() == sorted(keys.of_ids(np.array([3, 7], np.uint64)).tolist())
    assert given.followers is None
