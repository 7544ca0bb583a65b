"""People change their minds, vanish, or become one with somebody, while something is still to be done for them."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from handlers import privacy
from storage import accounts, deliveries, lanes, merging
from storage.records import Delivery, DeliveryKind, Evidence
from storage.tables import delivery
from tests.community import ALICE, BOB, CAROL, DAVE, Community, actor_of, later, town

__all__ = ["town"]  # a fixture

ALICE_THERE = "alice@piaille.fr"
ERIN = "erin.bsky.social"
ME = actor_of(ALICE)[1]


async def waits(town: Community, *x_ids: int) -> None:
    """Let Alice wait for people of these X ids, with nothing else due."""
    await town.uploads(ALICE, list(x_ids))
    town.clock.pass_seconds(61)
    await town.announce()


async def promised(town: Community, *handles: str) -> None:
    """Let Alice have promised to follow those who were on X under these numbers, counted from 1."""
    for number, handle in enumerate(handles, 1):
        await town.joins(handle, f"old{number}", number)
    await town.uploads(ALICE, list(range(1, len(handles) + 1)))
    await town.consents(ALICE)
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")


async def begun(town: Community) -> Delivery:
    """Let the next follow be attempted, and nobody know what came of it."""
    async with town.database.transaction() as connection:
        (taken,) = await deliveries.take(connection, lanes.act_lane(ME), town.clock(), 1)
        await deliveries.postpone(connection, [taken], town.clock(), performed=True)
    return taken


async def merges(town: Community, older: str, younger: str) -> None:
    async with town.event(younger) as ctx:
        first = await accounts.get(ctx.connection, actor_of(older)[1])
        assert first is not None
        other = await accounts.get_person(ctx.connection, first.person_id)
        await merging.merge(ctx.connection, other, ctx.person, ctx.now)


async def test_auto_off_stops_what_auto_had_promised(town: Community) -> None:
    await waits(town, 1)
    await town.consents(ALICE)
    await town.sends(ALICE, "auto on")
    await town.joins(BOB, "old_bob", 1)
    await later(town)
    assert "1 follow still to come is cancelled." in await town.sends(ALICE, "auto off")
    await town.perform()
    assert town.followed == []


async def test_an_automatic_follow_looks_at_auto_a_last_time(town: Community) -> None:
    await waits(town, 1)
    await town.consents(ALICE)
    await town.sends(ALICE, "auto on")
    await town.joins(BOB, "old_bob", 1)
    await later(town)
    await town.changes(ALICE, auto=False)
    await town.perform()
    assert town.followed == []
    assert "you ended auto before its turn came" in await town.sends(ALICE, "why old_bob")


async def test_who_shows_themselves_to_mutuals_only_is_not_followed_by_others(town: Community) -> None:
    await promised(town, BOB)
    await town.sends(BOB, "discoverable mutuals")
    await town.perform()
    assert town.followed == []


async def test_only_the_claim_that_matched_counts(town: Community) -> None:
    await promised(town, BOB)
    await town.joins(BOB, "other_bob", 99)
    await town.joins("mallory.bsky.social", "old1", 1)  # the one in Alice's list is contested now
    await town.perform()
    assert town.followed == []


async def test_what_may_have_come_through_is_made_sure_of_and_undone(town: Community) -> None:
    await promised(town, BOB)
    await begun(town)
    await town.sends(ALICE, "undo")
    assert await town.sends(ALICE, "yes") == "What is under way just now I take back as soon as it is through."
    await town.perform()
    assert town.unfollowed == town.followed == [(ME, actor_of(BOB)[1])]
    assert town.told(ALICE) == ["Undone: 1 follow is taken back."]


@pytest.mark.parametrize("words", ["skip old1", "stop"])
async def test_what_may_have_come_through_is_taken_back_after_skip_and_stop(town: Community, words: str) -> None:
    await promised(town, BOB)
    await begun(town)
    await town.sends(ALICE, words)
    await town.perform()
    assert town.unfollowed == town.followed == [(ME, actor_of(BOB)[1])]
    await town.sends(ALICE, "resume")
    assert "On Bluesky you took the follow back." in await town.sends(ALICE, "why old1")
    await town.sends(ALICE, "restore old1")
    assert "I would follow 1 account" in await town.sends(ALICE, "follow all")


async def test_what_was_not_told_because_of_stop_is_told_after_resume(town: Community) -> None:
    await waits(town, 1, 2)
    await town.joins(BOB, "old_bob", 1)
    assert len(await later(town)) == 1
    await town.sends(ALICE, "stop")
    assert await town.checks_notices(ALICE) == ["stopped"]
    await town.joins(CAROL, "old_carol", 2)
    assert await later(town) == []
    await town.sends(ALICE, "resume")
    (notice,) = await later(town)
    assert "@bob.bsky.social" in notice
    assert "piaille.fr/@carol" in notice
    assert await town.checks_notices(ALICE) == [None]


async def test_the_same_notice_comes_again_after_it_was_taken_back(town: Community) -> None:
    await waits(town, 1)
    await town.joins(BOB, "old_bob", 1)
    first = await later(town)
    await town.sends(ALICE, "stop")
    assert await town.checks_notices(ALICE) == ["stopped"]
    await town.sends(ALICE, "resume")
    assert await later(town) == first


async def test_auto_on_looks_for_those_who_came_while_nobody_was_told(town: Community) -> None:
    await waits(town, 1)
    await town.consents(ALICE)
    await town.sends(ALICE, "notify off")
    await town.joins(BOB, "old_bob", 1)
    assert await later(town) == []
    await town.sends(ALICE, "auto on")
    assert await later(town) == []
    await town.perform()
    assert town.followed == [(ME, actor_of(BOB)[1])]


async def test_a_notice_that_was_held_up_waits_for_the_end_of_the_quiet_hours(town: Community) -> None:
    await waits(town, 1)
    await town.joins(BOB, "old_bob", 1)
    assert len(await later(town)) == 1
    hour = datetime.fromtimestamp(town.clock() / 1000, UTC).hour
    await town.sends(ALICE, f"quiet {hour}-{(hour + 3) % 24}")
    assert await town.checks_notices(ALICE) == ["quiet"]
    assert await later(town) == []
    assert len(await later(town, 3 * 3600)) == 1
    assert await town.checks_notices(ALICE) == [None]


async def test_a_typed_list_shows_a_mutual_too(town: Community) -> None:
    await town.sends(BOB, "discoverable mutuals")
    await town.joins(BOB, "old_bob", 1)
    await town.joins(ALICE, "alice_x", 5)
    await waits(town, 1)
    assert await later(town) == []
    await town.sends(BOB, "import alice_x")
    (notice,) = await later(town)
    assert "@bob.bsky.social" in notice


async def test_a_notice_outlives_that_two_persons_become_one(town: Community) -> None:
    await town.person(ERIN)
    await town.person(ALICE_THERE)
    town.clock.pass_seconds(1)
    await waits(town, 1)
    await town.joins(BOB, "old_bob", 1)
    assert len(await later(town)) == 1
    await merges(town, ERIN, BOB)
    await merges(town, ALICE_THERE, ALICE)
    assert await town.checks_notices(ALICE) == [None]


async def test_a_stop_and_a_chosen_language_outlive_a_merge(town: Community) -> None:
    await town.changes(BOB, language="en")
    town.clock.pass_seconds(1)
    await town.changes(ALICE, stopped=True, language="fr", language_chosen=True)
    await merges(town, BOB, ALICE)
    one = await town.person(BOB)
    assert (one.stopped, one.language, one.language_chosen) == (True, "fr", True)


async def test_a_batch_is_concluded_although_somebody_in_it_wanted_to_be_forgotten(town: Community) -> None:
    await promised(town, BOB, DAVE)
    await town.perform(turns=1)
    (done,) = town.followed
    waiting = BOB if done == (ME, actor_of(DAVE)[1]) else DAVE
    assert town.told(ALICE) == []
    async with town.event(waiting) as ctx:
        await privacy.forget_now(ctx)
    assert town.told(ALICE) == ["Done: I followed 1 account for you.\nundo takes it back."]


async def test_an_undo_without_a_consent_does_not_say_that_it_was_done(town: Community) -> None:
    await promised(town, BOB, DAVE)
    await town.perform()
    town.told(ALICE)
    await town.sends(ALICE, "undo")
    await town.sends(ALICE, "yes")
    async with town.database.transaction() as connection:
        first = sa.select(sa.func.min(delivery.c.id)).where(delivery.c.kind == DeliveryKind.UNFOLLOW.value)
        await deliveries.cancel(connection, town.clock(), delivery.c.id == first.scalar_subquery())
    await town.perform(lambda _target: ("refused", "grant_lost"))
    assert town.told(ALICE) == ["2 could not be taken back: unfollow those accounts yourself, please."]


@pytest.mark.parametrize(
    ("language", "told"),
    [
        (
            "en",
            "Done: I followed 1 account for you.\nWhere your consent has ended, undo takes nothing back: unfollow there "
            "yourself, or send me first: connect",
        ),
        (
            "fr",
            "C’est fait : j’ai suivi 1 compte pour vous.\nLà où votre autorisation a pris fin, undo ne revient "
            "sur rien : cessez vous-même de suivre, ou envoyez-moi d’abord : connect",
        ),
    ],
)
async def test_who_has_ended_the_consent_is_not_told_that_undo_works(town: Community, language: str, told: str) -> None:
    await promised(town, BOB)
    await town.changes(ALICE, language=language)
    async with town.database.transaction() as connection:
        (under_way,) = await deliveries.take(connection, lanes.act_lane(ME), town.clock(), 1)
    await town.loses_consent(ALICE)
    await town.finish(under_way)
    assert town.told(ALICE) == [told]


async def test_what_was_refused_for_want_of_a_consent_is_done_with_a_new_one(town: Community) -> None:
    await promised(town, BOB)
    await town.perform(lambda _target: ("refused", "grant_lost"))
    said = await town.consents(ALICE)
    assert said is not None
    assert "I follow 1 account for you" in said


async def test_a_preview_names_the_account_that_would_be_followed(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.also(BOB, "bob@piaille.fr")
    await town.also(ALICE, ALICE_THERE)
    await town.uploads(ALICE, [1])
    await town.consents(ALICE_THERE)
    assert "on Mastodon: https://piaille.fr/@bob." in await town.sends(ALICE, "follow all")


async def test_weak_evidence_is_no_longer_followed_by_itself(town: Community) -> None:
    await waits(town, 1)
    await town.consents(ALICE)
    await town.sends(ALICE, "auto on")
    await town.joins(BOB, "old_bob", 1)
    await later(town)
    await town.joins("mallory.bsky.social", "old_bob", 1, Evidence.OAUTH)
    await town.perform()
    assert town.followed == []
