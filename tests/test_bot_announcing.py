"""One notice for each newcomer and reader, ever: at the reader's hours, by name, in bounded steps that can be resumed."""

from collections.abc import AsyncIterator, Sequence

import pytest
import sqlalchemy as sa

from bot.sandbox.faults import Fault
from handlers.context import Context
from handlers.notices import newcomers
from storage import accounts, arrivals, merging, privacy
from storage.tables import decision
from tests.conftest import OwnClock
from tests.flock import Flock, open_flock
from tests.reunion import bot_dms, code_in, kill, reborn, traveller
from tests.test_journey import Traveller

NETWORKS = ["bluesky", "mastodon"]
HOUR, DAY = 3_600, 86_400
TALK: dict[str, object] = {"mastodon_messages_an_hour": 290, "message_burst": 140}


@pytest.fixture
async def flock(database_url: str, clock: OwnClock) -> AsyncIterator[Flock]:
    async with open_flock(database_url, clock, pace=TALK, notices={"silence_after": 2}) as opened:
        yield opened


async def waiting_for(flock: Flock, network: str, *awaited: Traveller, name: str = "alice") -> Traveller:
    """Return somebody who followed these on X and waits for them."""
    reader = traveller(flock, network, name)
    link = await reader.write("import")
    await reader.upload(link, [each.x.x_id for each in awaited], [])
    return reader


async def awaited(flock: Flock, network: str, *names: str) -> tuple[Traveller, list[Traveller]]:
    """Return alice, who followed these on X and waits, and them, who have just arrived."""
    arrived = [traveller(flock, network, name) for name in names]
    alice = await waiting_for(flock, network, *arrived)
    for each in arrived:
        await each.prove()
    return alice, arrived


def notices(flock: Flock, reader: Traveller) -> list[str]:
    return [each.text for each in bot_dms(flock, reader.person) if "arrived" in each.text]


@pytest.mark.parametrize("network", NETWORKS)
async def test_whoever_comes_back_or_comes_twice_is_announced_once(flock: Flock, network: str) -> None:
    alice, (bob,) = await awaited(flock, network, "bob")
    await flock.pass_seconds(61)
    assert len(notices(flock, alice)) == 1
    await bob.write("unclaim @bob_on_x")
    await bob.write("yes")
    await bob.prove()
    await flock.pass_seconds(DAY)
    await bob.write("discoverable off")
    await bob.write("discoverable everyone")
    await flock.pass_seconds(DAY)
    second = flock.x.create_account("bob_second")
    await alice.upload(await alice.write("import"), [bob.x.x_id, second.x_id], [])
    code = code_in(await bob.write("claim @bob_second"))
    await bob.write(second.post(f"#eXit {code}"))
    await flock.pass_seconds(DAY)
    assert len(notices(flock, alice)) == 1
    assert "bob" in notices(flock, alice)[0]


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_notice_whose_answer_is_lost_is_sent_once_even_when_one_of_it_goes(flock: Flock, network: str) -> None:
    """The retry finds that one of the named has gone; the others are not announced a second time."""
    alice, (bob, _) = await awaited(flock, network, "bob", "carol")
    sandbox = flock.bluesky if network == "bluesky" else flock.mastodon
    path = "chat.bsky.convo.sendMessage" if network == "bluesky" else "/api/v1/statuses"
    sandbox.faults.plan(Fault(path, "cut", after=True, method="POST"))
    await flock.pass_seconds(61)
    assert len(notices(flock, alice)) == 1
    await bob.write("discoverable off")
    for _ in range(4):
        await flock.pass_seconds(HOUR)
    assert len(notices(flock, alice)) == 1


@pytest.mark.parametrize("words", ["stop", "notify off"])
async def test_who_wants_no_notice_by_the_time_gets_none(flock: Flock, words: str) -> None:
    alice, _ = await awaited(flock, "bluesky", "bob")
    await alice.write(words)
    await flock.pass_seconds(DAY)
    assert notices(flock, alice) == []


async def test_a_promised_notice_is_not_sent_after_a_stop(flock: Flock) -> None:
    alice, _ = await awaited(flock, "bluesky", "bob")
    flock.bluesky.faults.plan(Fault("chat.bsky.convo.sendMessage", status=500))
    await flock.pass_seconds(61)
    await alice.write("stop")
    await flock.pass_seconds(DAY)
    assert notices(flock, alice) == []


@pytest.mark.parametrize("words", ["discoverable off", "forget me yes"])
async def test_a_newcomer_who_has_gone_by_the_time_is_not_named(flock: Flock, words: str) -> None:
    alice, (bob, _) = await awaited(flock, "bluesky", "bob", "carol")
    await bob.write(words)
    await flock.pass_seconds(61)
    for _ in range(3):
        await flock.pass_seconds(HOUR)
    (notice,) = notices(flock, alice)
    assert "carol" in notice
    assert "bob" not in notice


async def test_quiet_hours_are_kept(flock: Flock) -> None:
    """The clock of the tests begins at 17:46 UTC."""
    bob = traveller(flock, "bluesky", "bob")
    alice = await waiting_for(flock, "bluesky", bob)
    await alice.write("quiet 17-20")
    await bob.prove()
    await flock.pass_seconds(2 * HOUR)
    assert notices(flock, alice) == []
    await flock.pass_seconds(900)
    assert len(notices(flock, alice)) == 1


@pytest.mark.parametrize(("cadence", "days"), [("daily", 1), ("weekly", 7)])
async def test_the_chosen_cadence_is_kept_and_gathers(flock: Flock, cadence: str, days: int) -> None:
    friends = [traveller(flock, "bluesky", name) for name in ("bob", "carol", "dave")]
    alice = await waiting_for(flock, "bluesky", *friends)
    await alice.write(f"notify {cadence}")
    for friend in friends:
        await friend.prove()
        await flock.pass_seconds(HOUR)
    assert notices(flock, alice) == []
    for _ in range(days):
        await flock.pass_seconds(DAY)
    (notice,) = notices(flock, alice)
    assert all(friend.x.screen_name in notice for friend in friends)


async def test_who_never_answers_is_written_to_less_and_less(flock: Flock) -> None:
    friends = [traveller(flock, "bluesky", f"friend{number}") for number in range(6)]
    alice = await waiting_for(flock, "bluesky", *friends)
    for friend in friends:
        await friend.prove()
        await flock.pass_seconds(61)
    told = notices(flock, alice)
    assert len(told) == 3
    assert "once a day at most" in told[-1]
    await flock.pass_seconds(DAY)
    assert len(notices(flock, alice)) == 4


@pytest.mark.parametrize("network", NETWORKS)
async def test_many_who_wait_are_told_once_each_though_it_is_killed_in_between(flock: Flock, network: str) -> None:
    bob = traveller(flock, network, "bob")
    readers = [await waiting_for(flock, network, bob, name=f"reader{number}") for number in range(12)]
    await bob.prove()
    flock.clock.pass_seconds(61)
    for step in range(3):
        await flock.app.announcing.turn()
        await flock.app.outbox.begin()
        await kill()
        async with reborn(flock):
            if step == 2:
                await flock.settle()
    await flock.pass_seconds(120)
    assert [len(notices(flock, reader)) for reader in readers] == [1] * 12


@pytest.mark.parametrize("network", NETWORKS)
async def test_who_cannot_be_told_keeps_nobody_from_being_told_and_is_told_when_they_can_be(
    flock: Flock, network: str
) -> None:
    bob = traveller(flock, network, "bob")
    readers = [await waiting_for(flock, network, bob, name=f"reader{number}") for number in range(4)]
    await bob.write("hello")
    database = flock.app.events.database
    async with database.transaction() as connection:  # a row that no code of ours has written
        people = [await accounts.get(connection, each.person.actor) for each in (readers[0], bob)]
        unreadable = {"choice": "?", "at": 0}
        ids = dict(zip(("person_id", "contact_id"), (each.person_id for each in people if each), strict=True))
        await connection.execute(sa.insert(decision).values(**ids, **unreadable))
    await bob.prove()
    await flock.pass_seconds(61)
    assert [len(notices(flock, reader)) for reader in readers] == [0, 1, 1, 1]
    async with database.transaction() as connection:
        await connection.execute(sa.delete(decision))
    await flock.pass_seconds(HOUR + 60)
    assert [len(notices(flock, reader)) for reader in readers] == [1, 1, 1, 1]


async def due(flock: Flock) -> dict[str, str]:
    """Return whose turn it is to be told, by the accounts to which it is said."""
    database, now = flock.app.events.database, flock.clock()
    async with database.reading() as connection:
        voices = await accounts.voices_of(connection, await arrivals.due_persons(connection, now, 100))
    return {account_id: f"newcomers:{person_id}:{now}" for person_id, account_id in voices.items()}


@pytest.mark.parametrize("network", NETWORKS)
async def test_of_many_who_are_told_together_some_stop_leave_or_become_one_person(flock: Flock, network: str) -> None:
    bob = traveller(flock, network, "bob")
    names = ["stopping", "leaving", "young", "old", "staying"]
    stopping, leaving, young, old, staying = [await waiting_for(flock, network, bob, name=each) for each in names]
    await bob.prove()
    flock.clock.pass_seconds(61)
    together, events = await due(flock), flock.app.events
    assert len(together) == 5
    async with events.database.transaction() as connection:
        known = await accounts.with_persons(connection, together)
        people = {each: known[each.person.actor][1] for each in (stopping, leaving, young, old)}
        await accounts.change(connection, people[stopping].id, stopped=True)
        await privacy.forget(connection, events.world.keys, people[leaving].id, flock.clock())
        await merging.merge(connection, people[young], people[old], flock.clock())
    await events.decide_together(together, newcomers)
    await flock.settle()
    told = {each: len(notices(flock, each)) for each in (stopping, leaving, staying)}
    assert told == {stopping: 0, leaving: 0, staying: 1}
    assert len(notices(flock, young)) + len(notices(flock, old)) == 1


@pytest.mark.parametrize("network", NETWORKS)
async def test_what_was_not_committed_was_said_to_nobody_and_what_was_is_not_said_again(
    flock: Flock, network: str
) -> None:
    bob = traveller(flock, network, "bob")
    readers = [await waiting_for(flock, network, bob, name=f"reader{number}") for number in range(3)]
    await bob.prove()
    flock.clock.pass_seconds(61)
    together, events = await due(flock), flock.app.events

    async def dies(contexts: Sequence[Context]) -> None:
        await newcomers(contexts)
        assert sum(len(each.speeches) for each in contexts) == 3
        raise RuntimeError("the process ends here")

    with pytest.raises(RuntimeError):
        await events.decide_together(together, dies)
    assert [len(notices(flock, reader)) for reader in readers] == [0, 0, 0]
    await events.decide_together(together, newcomers)
    await events.decide_together(together, newcomers)  # by another process, which had seen the same persons due
    await flock.settle()
    assert [len(notices(flock, reader)) for reader in readers] == [1, 1, 1]
