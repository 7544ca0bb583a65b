"""A preview, a yes, and it goes: on both networks, once, mutuals first, and back again."""

import json

from handlers import follows
from storage import deliveries, lanes
from storage.database import Database
from storage.records import DeliveryKind, Evidence
from storage.tables import delivery
from tests.community import ALICE, BOB, CAROL, DAVE, MASTODON, Community, Outcome, actor_of, town
from tests.conftest import OwnClock

__all__ = ["town"]  # a fixture

ALICE_THERE = "alice@piaille.fr"
ME = actor_of(ALICE)[1]


async def three_contacts(town: Community) -> None:
    """Bob and Dave are on Bluesky, Carol is on Mastodon; Dave followed back."""
    for number, handle in enumerate((BOB, CAROL, DAVE), 1):
        await town.joins(handle, f"old{number}", number)
    await town.uploads(ALICE, [1, 2, 3], [3])


async def test_follow_all_previews_asks_goes_and_reports(town: Community) -> None:
    await three_contacts(town)
    await town.consents(ALICE)
    preview = await town.sends(ALICE, "follow all")
    assert (
        "I would follow 2 accounts for you on Bluesky, mutuals first: @dave.bsky.social and @bob.bsky.social."
        in preview
    )
    assert "That takes less than a minute." in preview
    assert "1 is on Mastodon, where I do not have your consent yet." in preview
    assert town.followed == []
    answer = await town.sends(ALICE, "yes")
    assert "Here we go: I follow 2 accounts for you." in answer
    assert "as soon as I have your consent" in answer
    await town.perform()
    assert town.followed == [(ME, actor_of(DAVE)[1]), (ME, actor_of(BOB)[1])]
    assert town.told(ALICE) == ["Done: I followed 2 accounts for you.\nundo takes it back."]
    assert "· followed you back · followed on Bluesky" in await town.sends(ALICE, "contacts")
    assert "On Bluesky I followed them for you." in await town.sends(ALICE, "why old3")


async def test_what_was_wished_without_consent_is_done_when_it_comes(town: Community) -> None:
    await three_contacts(town)
    assert "3 are on Bluesky and Mastodon, where I do not have your consent" in await town.sends(ALICE, "follow")
    answer = await town.sends(ALICE, "oui")
    assert "I have noted these 3" in answer
    assert "https://reflock.example/connect/" in answer
    said = await town.consents(ALICE)
    assert said is not None
    assert "I follow 2 accounts for you" in said
    await town.also(ALICE, ALICE_THERE)
    there = await town.consents(ALICE_THERE)
    assert there is not None
    assert "I follow 1 account for you" in there
    assert await town.consents(ALICE) is None
    await town.perform()
    assert sorted(town.followed) == sorted(
        [(ME, actor_of(BOB)[1]), (ME, actor_of(DAVE)[1]), (actor_of(ALICE_THERE)[1], actor_of(CAROL)[1])]
    )


async def test_nothing_is_followed_twice(town: Community) -> None:
    await three_contacts(town)
    await town.consents(ALICE)
    await town.sends(ALICE, "follow 1 2")
    await town.sends(ALICE, "yes")
    again = await town.sends(ALICE, "follow 1 2")
    assert "followed already, or will be" in again
    assert "Shall I?" not in again
    await town.perform()
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    await town.perform()
    assert len(town.followed) == len(set(town.followed)) == 2


async def test_no_means_no_and_other_words_are_no_answer(town: Community) -> None:
    await three_contacts(town)
    await town.consents(ALICE)
    await town.sends(ALICE, "follow all")
    assert await town.sends(ALICE, "hm") == "unknown: hm"
    assert "I follow nobody" in await town.sends(ALICE, "no")
    assert await town.sends(ALICE, "yes") == "unknown: yes"
    await town.perform()
    assert town.followed == []


async def test_a_person_on_both_networks_is_followed_natively_on_both(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.also(BOB, "bob@piaille.fr")
    await town.also(BOB, "bobby.piaille.fr.ap.brid.gy")
    await town.also(ALICE, ALICE_THERE)
    await town.uploads(ALICE, [1])
    await town.consents(ALICE)
    await town.consents(ALICE_THERE)
    await town.sends(ALICE, "follow @old_bob")
    await town.sends(ALICE, "yes")
    await town.perform()
    assert sorted(town.followed) == sorted(
        [(ME, actor_of(BOB)[1]), (actor_of(ALICE_THERE)[1], actor_of("bob@piaille.fr")[1])]
    )


async def test_a_bridges_copy_is_followed_only_where_there_is_nothing_else(town: Community) -> None:
    await town.joins(CAROL, "old_carol", 1)
    await town.also(CAROL, "carol.piaille.fr.ap.brid.gy")
    await town.uploads(ALICE, [1])
    await town.consents(ALICE)
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    await town.perform()
    assert town.followed == [(ME, actor_of("carol.piaille.fr.ap.brid.gy")[1])]


async def test_weak_evidence_is_followed_only_when_chosen(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1, Evidence.ARCHIVE)
    await town.uploads(ALICE, [1])
    await town.consents(ALICE)
    assert "1 more is less sure" in await town.sends(ALICE, "follow all")
    assert await town.sends(ALICE, "yes") == "unknown: yes"
    assert "I would follow 1 account" in await town.sends(ALICE, "follow 1")
    await town.sends(ALICE, "yes")
    await town.perform()
    assert len(town.followed) == 1


async def test_refusals_are_named_with_their_reason_and_may_be_tried_again(town: Community) -> None:
    await three_contacts(town)
    await town.consents(ALICE)

    def answer(target: str) -> Outcome:
        return ("refused", "blocked") if target == actor_of(BOB)[1] else ("requested", "at://1")

    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    await town.perform(answer)
    (summary,) = town.told(ALICE)
    assert "1 account has yet to agree to be followed." in summary
    assert "1 could not be followed:\n@bob.bsky.social: one of you blocks the other" in summary
    assert "could not follow them: one of you blocks the other" in await town.sends(ALICE, "why old1")
    assert "I would follow 1 account for you on Bluesky: @bob.bsky.social." in await town.sends(ALICE, "follow old1")


async def test_undo_takes_back_what_we_did_and_cancels_the_rest(town: Community) -> None:
    await three_contacts(town)
    await town.consents(ALICE)
    await town.joins("erin.bsky.social", "old4", 4)
    await town.uploads(ALICE, [1, 2, 3, 4])
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    await town.perform(lambda target: ("already" if target == actor_of(BOB)[1] else "done", "at://1"), turns=2)
    asked = await town.sends(ALICE, "undo")
    assert "I would unfollow 1 account that I followed." in asked
    assert "I would cancel 1 follow still to come." in asked
    answer = await town.sends(ALICE, "yes")
    assert "I am unfollowing 1 account." in answer
    await town.perform()
    assert len(town.followed) == 2
    (unfollowed,) = town.unfollowed
    assert unfollowed != (ME, actor_of(BOB)[1])
    assert town.told(ALICE) == ["Undone: 1 follow is taken back."]
    assert "There is nothing to undo" in await town.sends(ALICE, "undo")
    assert "On Bluesky you took the follow back." in await town.sends(ALICE, "why old3")
    assert await town.consents(ALICE) is None  # an undone wish is no wish
    assert "I would follow 3 accounts" in await town.sends(ALICE, "follow all")


async def test_a_follow_under_way_when_the_undo_comes_is_taken_back_afterwards(
    town: Community, clock: OwnClock
) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.uploads(ALICE, [1])
    await town.consents(ALICE)
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    await town.sends(ALICE, "undo")
    async with town.database.transaction() as connection:
        (leased,) = await deliveries.take(connection, lanes.act_lane(ME), clock(), 1)
    await town.sends(ALICE, "yes")
    assert town.followed == []
    await town.finish(leased)
    await town.perform()
    assert town.unfollowed == [(ME, actor_of(BOB)[1])]
    assert town.told(ALICE) == ["Undone: 1 follow is taken back."]


async def test_skipping_or_hiding_stops_what_was_promised(town: Community) -> None:
    await three_contacts(town)
    await town.consents(ALICE)
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    assert "1 follow still to come is cancelled." in await town.sends(ALICE, "skip old1")
    await town.sends(DAVE, "discoverable off")
    await town.perform()
    assert town.followed == []
    assert "1 of them" not in await town.sends(ALICE, "contacts")
    assert town.told(ALICE) == ["1 is not to be followed any more."]


async def test_who_said_stop_or_whose_contact_lost_the_evidence_follows_nobody(town: Community) -> None:
    await three_contacts(town)
    await town.consents(ALICE)
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    await town.joins("mallory.bsky.social", "old3", 3)  # Dave's claim is contested now
    await town.perform(turns=1)
    assert town.followed == []
    await town.changes(ALICE, stopped=True)
    await town.perform()
    assert town.followed == []


async def test_a_long_list_has_an_honest_eta_and_words_on_the_way(
    town: Community, database: Database, clock: OwnClock
) -> None:
    people = 204
    for number in range(1, people + 1):
        await town.joins(f"p{number}.bsky.social", f"old{number}", number)
    await town.uploads(ALICE, list(range(1, people + 1)))
    await town.consents(ALICE)
    preview = await town.sends(ALICE, "follow all")
    assert f"I would follow {people} accounts" in preview
    assert "and 199 more" in preview
    assert "it takes about 40 minutes" in preview
    await town.sends(ALICE, "yes")
    async with database.reading() as connection:
        rows = (await connection.execute(delivery.select().where(delivery.c.kind == DeliveryKind.FOLLOW.value))).all()
    keys = [json.loads(row.payload)["rkey"] for row in rows]
    assert len(set(keys)) == people
    await town.perform(at_once=51)
    assert len(town.followed) == people
    assert town.told(ALICE) == [
        "Following: 51 of 204 so far.",
        "Following: 102 of 204 so far.",
        "Following: 153 of 204 so far.",
        "Done: I followed 204 accounts for you.\nundo takes it back.",
    ]


async def test_auto_says_what_it_does_and_asks_for_consent(town: Community) -> None:
    assert "auto is off" in await town.sends(ALICE, "auto")
    assert "For that I need your consent." in await town.sends(ALICE, "auto on")
    await town.consents(ALICE)
    assert "déjà" in await town.sends(ALICE, "automatique oui")
    assert "auto est maintenant désactivé" in await town.sends(ALICE, "auto off")
    assert "déjà désactivé" in await town.sends(ALICE, "auto off")
    assert (await town.person(ALICE)).auto is False


async def test_a_mastodon_follow_names_account_and_handle(town: Community, database: Database) -> None:
    await town.joins(CAROL, "old_carol", 1)
    await town.also(ALICE, ALICE_THERE)
    await town.uploads(ALICE, [1])
    await town.consents(ALICE_THERE)
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    async with database.reading() as connection:
        (row,) = await connection.execute(delivery.select().where(delivery.c.kind == DeliveryKind.FOLLOW.value))
    assert json.loads(row.payload) == {"actor": actor_of(CAROL)[1], "handle": CAROL}
    assert (row.network, row.account_id) == (MASTODON.value, actor_of(ALICE_THERE)[1])


async def test_progress_says_how_much_is_to_come_and_how_long_it_takes(town: Community) -> None:
    await three_contacts(town)
    await town.consents(ALICE)
    async with town.event(ALICE) as ctx:
        assert await follows.progress(ctx) is None
    await town.sends(ALICE, "follow all")
    await town.sends(ALICE, "yes")
    async with town.event(ALICE) as ctx:
        said = await follows.progress(ctx)
    assert said == "2 follows are still to come. That takes less than a minute."
