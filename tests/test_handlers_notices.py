"""Newcomers are announced by name, once, at the reader's own pace, and followed if that is what they want."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from handlers.cadence import after_quiet
from storage import links
from storage.database import Database
from storage.keys import Keys
from storage.records import Cadence, DeliveryKind, Direction, Evidence
from storage.tables import arrival, delivery, person, told
from tests.community import ALICE, BOB, CAROL, DAVE, Community, actor_of, community, later
from tests.conftest import START, OwnClock

DAY = 86_400
ME = actor_of(ALICE)[1]


@pytest.fixture
def town(database: Database, clock: OwnClock, keys: Keys) -> Community:
    return community(database, clock, keys, silence_after=2)


async def waits(town: Community, *x_ids: int) -> None:
    """Let Alice wait for people of these X ids, with nothing else due."""
    await town.sends(ALICE, "import nobody_yet")
    await town.uploads(ALICE, list(x_ids))
    town.clock.pass_seconds(61)
    await town.announce()


async def test_a_newcomer_is_announced_by_name_once_ever(town: Community) -> None:
    await waits(town, 1, 2)
    await town.joins(BOB, "old_bob", 1)
    await town.announce()
    assert town.told(ALICE) == []  # not at once: others may come in the same minute
    (notice,) = await later(town)
    assert "1 person you followed on X has arrived:\n1. @bob.bsky.social (@old_bob on X)" in notice
    assert "To follow them: follow 1." in notice
    await town.sends(BOB, "discoverable off")
    await town.sends(BOB, "discoverable everyone")
    await town.joins(BOB, "older_bob", 2)
    assert await later(town) == []


async def test_those_who_come_together_are_announced_together(town: Community) -> None:
    await waits(town, *range(1, 30))
    for number in range(1, 24):
        await town.joins(f"p{number}.bsky.social", f"old{number}", number)
    (notice,) = await later(town)
    assert "23 people you followed on X have arrived:" in notice
    assert "20. @p20.bsky.social" in notice
    assert "21." not in notice
    assert "and 3 more: contacts" in notice
    await town.consents(ALICE)
    assert "@p23.bsky.social" in await town.sends(ALICE, "follow 23")


async def test_only_proof_is_announced(town: Community) -> None:
    await waits(town, 1, 2, 3)
    await town.joins(BOB, "old_bob", 1, Evidence.ARCHIVE)
    await town.joins(CAROL, "old_carol", None)
    await town.joins(DAVE, "old_dave", 3, Evidence.DECLARED)
    assert await later(town) == []
    await town.joins(BOB, "old_bob", 1)
    (notice,) = await later(town)
    assert "@bob.bsky.social" in notice


async def test_a_typed_handle_is_announced_and_left_to_be_chosen(town: Community) -> None:
    await town.sends(ALICE, "import old_bob")
    await town.sends(ALICE, "auto on")
    await town.consents(ALICE)
    await town.joins(BOB, "old_bob", 1)
    (notice,) = await later(town)
    assert "known by the handle alone: choose by hand" in notice
    await town.perform()
    assert town.followed == []


async def test_with_auto_the_follow_is_made_and_the_notice_says_so(town: Community) -> None:
    await waits(town, 1, 2)
    await town.consents(ALICE)
    await town.sends(ALICE, "auto on")
    await town.joins(BOB, "old_bob", 1)
    (notice,) = await later(town)
    assert "I follow them for you, because auto is on." in notice
    await town.perform()
    assert town.followed == [(ME, actor_of(BOB)[1])]
    assert town.told(ALICE) == []
    assert "I would unfollow 1 account that I followed." in await town.sends(ALICE, "undo")
    await town.joins(CAROL, "old_carol", 2)
    await town.joins(DAVE, "old_dave", 2)  # contested: nobody is told
    assert await later(town) == []


async def test_an_automatic_follow_that_is_refused_is_told(town: Community) -> None:
    await waits(town, 1)
    await town.consents(ALICE)
    await town.sends(ALICE, "auto on")
    await town.joins(BOB, "old_bob", 1)
    await later(town)
    await town.perform(lambda _target: ("refused", "odd_thing"))
    (said,) = town.told(ALICE)
    assert "1 could not be followed:\n@bob.bsky.social: the network says no (odd_thing)" in said


async def test_with_notices_off_auto_follows_without_a_word(town: Community) -> None:
    await waits(town, 1, 2)
    await town.consents(ALICE)
    await town.sends(ALICE, "notify off")
    await town.joins(BOB, "old_bob", 1)
    assert await later(town) == []
    await town.sends(ALICE, "auto on")
    await town.joins(CAROL, "old_carol", 2)
    await town.joins(DAVE, "old_dave", 3)
    assert await later(town) == []
    await town.perform()
    assert town.followed == [(ME, actor_of(BOB)[1])]


async def test_daily_and_weekly_wait_for_their_morning(town: Community, clock: OwnClock) -> None:
    await waits(town, 1, 2)
    assert "once a week" in await town.sends(ALICE, "notify weekly")
    await town.joins(BOB, "old_bob", 1)
    await town.announce()
    due = (await town.person(ALICE)).notice_due_at
    assert due is not None
    moment = datetime.fromtimestamp(due / 1000, UTC)
    assert (moment.weekday(), moment.hour) == (0, 9)
    assert "Nothing changed. I tell you about newcomers once a week" in await town.sends(ALICE, "notify weekly")
    await town.sends(ALICE, "notify daily")
    daily = (await town.person(ALICE)).notice_due_at
    assert daily is not None
    assert daily - clock() <= DAY * 1000
    assert len(await later(town, DAY)) == 1
    assert "newcomers once a day" in await town.sends(ALICE, "notify")


async def test_quiet_hours_put_a_notice_off(town: Community, clock: OwnClock) -> None:
    await waits(town, 1)
    hour = datetime.fromtimestamp(clock() / 1000, UTC).hour
    said = await town.sends(ALICE, f"quiet {hour}-{(hour + 3) % 24}")
    assert f"between {hour}:00 and {(hour + 3) % 24}:00 UTC" in said
    await town.joins(BOB, "old_bob", 1)
    assert await later(town) == []
    assert len(await later(town, 3 * 3600)) == 1
    assert "You have no quiet hours." in await town.sends(ALICE, "quiet off")
    assert "You have no quiet hours." in await town.sends(ALICE, "quiet")


async def test_quiet_hours_may_span_midnight(town: Community) -> None:
    await town.sends(ALICE, "quiet 22-8")
    alice = await town.person(ALICE)
    midnight = START - START % (DAY * 1000)
    hour = 3_600_000
    for asked, answered in ((21, 21), (22, 32), (23, 32), (24, 32), (31, 32), (32, 32)):
        assert after_quiet(alice, midnight + asked * hour) == midnight + answered * hour


async def test_who_never_answers_hears_less_and_less(town: Community, clock: OwnClock) -> None:
    await waits(town, *range(1, 20))
    await town.changes(ALICE, unanswered=2)
    await town.joins(BOB, "old_bob", 1)
    (notice,) = await later(town)
    assert "from now on I write once a day at most" in notice
    alice = await town.person(ALICE)
    assert (alice.cadence, alice.unanswered) == (Cadence.DAILY, 0)
    await town.changes(ALICE, unanswered=2, cadence="weekly")
    await town.joins(CAROL, "old_carol", 2)
    (last,) = await later(town, 8 * DAY)
    assert "this is my last notice" in last
    await town.joins(DAVE, "old_dave", 3)
    assert await later(town, 30 * DAY) == []
    await town.sends(ALICE, "notify now")
    assert len(await later(town)) == 1


async def test_who_stopped_or_skipped_hears_nothing(town: Community) -> None:
    await waits(town, 1, 2)
    await town.changes(ALICE, stopped=True)
    await town.joins(BOB, "old_bob", 1)
    assert await later(town) == []


async def test_a_notice_is_held_back_when_somebody_it_names_has_gone(town: Community, clock: OwnClock) -> None:
    await waits(town, 1, 2)
    await town.joins(BOB, "old_bob", 1)
    await town.joins(CAROL, "old_carol", 2)
    assert len(await later(town)) == 1
    await town.sends(BOB, "discoverable off")
    assert await town.checks_notices(ALICE) == ["newcomer_gone"]
    (again,) = await later(town)
    assert "piaille.fr/@carol" in again
    assert "bob" not in again
    assert await town.checks_notices(ALICE) == [None]


async def test_a_notice_is_not_sent_to_who_said_stop_meanwhile(town: Community) -> None:
    await waits(town, 1)
    await town.joins(BOB, "old_bob", 1)
    assert len(await later(town)) == 1
    await town.changes(ALICE, stopped=True)
    assert await town.checks_notices(ALICE) == ["stopped"]


async def test_who_widens_arrives_for_those_who_could_not_see_them(town: Community) -> None:
    await town.joins(BOB, "old_bob", 1)
    await town.sends(BOB, "discoverable mutuals")
    await waits(town, 1)
    assert await later(town) == []
    assert "Nothing changed." in await town.sends(BOB, "discoverable mutuals")
    await town.sends(BOB, "discoverable everyone")
    (notice,) = await later(town)
    assert "@bob.bsky.social" in notice


async def test_mutuals_only_arrives_for_a_mutual_when_the_list_that_shows_it_comes(town: Community) -> None:
    await town.sends(BOB, "discoverable mutuals")
    await town.joins(BOB, "old_bob", 1)
    await town.joins(ALICE, "alice_x", 5)
    await waits(town, 1)
    assert await later(town) == []
    await town.uploads(BOB, [5])
    (notice,) = await later(town)
    assert "@bob.bsky.social" in notice


async def test_an_arrival_is_worked_off_in_bounded_steps_without_rows_per_pair(
    town: Community, database: Database, keys: Keys
) -> None:
    followers = 12
    for number in range(followers):
        async with town.event(f"f{number}.bsky.social") as ctx:
            await links.add(
                ctx.connection,
                ctx.person.id,
                links.TYPED,
                Direction.FOLLOWING,
                keys.of_handles(["star"]),
                ctx.now,
                replace=False,
            )
    await town.joins(BOB, "star", 1)
    await town.joins(CAROL, "other", 2)
    await town.announce(limit=5)
    async with database.reading() as connection:
        due = await connection.scalar(
            sa.select(sa.func.count()).select_from(person).where(person.c.notice_due_at.is_not(None))
        )
        rows = await connection.scalar(sa.select(sa.func.count()).select_from(told))
        done = (await connection.scalars(sa.select(arrival.c.done))).all()
    assert (due, rows, done) == (followers, 0, [True, True])
    town.clock.pass_seconds(61)
    assert await town.announce() == followers
    assert len(town.notices) == followers


async def test_an_automatic_follow_needs_proof_to_the_end(town: Community, database: Database) -> None:
    await waits(town, 1)
    await town.consents(ALICE)
    await town.sends(ALICE, "auto on")
    await town.joins(BOB, "old_bob", 1)
    await later(town)
    await town.joins(DAVE, "old_bob", 1)
    await town.perform()
    assert town.followed == []
    async with database.reading() as connection:
        (row,) = await connection.execute(
            sa.select(delivery.c.key, delivery.c.reason).where(delivery.c.kind == DeliveryKind.FOLLOW.value)
        )
    assert row.reason == "contact_gone"
    assert row.key.startswith("auto:")
