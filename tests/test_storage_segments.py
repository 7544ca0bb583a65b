"""The index of lists answers as the lists themselves would, whatever happened to it in between."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import accounts, links, segments
from storage.database import Database
from storage.keys import Keys64
from storage.postings import bits_for, pack, slots_of, unpack
from storage.records import Direction, NetworkName
from storage.segment_states import Segment, live_segments
from storage.segments import Sizes, purge, rebuild, tend
from storage.segments_check import verify
from tests.conftest import START

SMALL = Sizes(pending=6, sorted=10, fan=2)
ALL = np.array([value * 0x0123_4567_89AB_CDEF % 2**64 for value in range(40)], np.uint64)


async def person(database: Database, name: str) -> int:
    async with database.transaction() as connection:
        _, met = await accounts.meet(connection, NetworkName.MASTODON, f"https://x.test/{name}", f"@{name}@x", START)
        return met.id


async def hand_over(database: Database, person_id: int, keys: Keys64) -> None:
    async with database.transaction() as connection:
        await links.add(connection, person_id, links.TYPED, Direction.FOLLOWING, keys, START, replace=True)


async def forget(database: Database, person_id: int) -> None:
    async with database.transaction() as connection:
        await links.remove(connection, person_id)


async def found(database: Database, keys: Keys64, *, limit: int = 500) -> list[int]:
    """Return everybody who follows one of the keys, in pages as small as the test likes."""
    people: list[int] = []
    slot: int | None = 0
    while slot is not None:
        async with database.reading() as connection:
            page = await links.followers_of(connection, keys, after_slot=slot, limit=limit)
        assert len(page.rows) <= limit
        people += [person_id for _, person_id in page.rows]
        slot = page.next_slot
    return people


async def all_tended(database: Database, sizes: Sizes = SMALL) -> list[Segment]:
    while await tend(database, sizes):
        pass
    async with database.reading() as connection:
        return await live_segments(connection)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)), max_size=60),
    st.integers(0, 2**64 - 1),
)
def test_what_is_packed_is_unpacked_and_found(pairs: list[tuple[int, int]], shared: int) -> None:
    pairs = sorted([*pairs, (shared, 7), (shared, 9)])
    keys = np.array([key for key, _ in pairs], np.uint64)
    slots = np.array([slot for _, slot in pairs], np.uint32)
    packed = list(pack(keys, slots, bits_for(len(pairs))))
    assert [bucket for bucket, _ in packed] == sorted({bucket for bucket, _ in packed})
    parts = [unpack(data) for _, data in packed]
    assert np.concatenate([part[0] for part in parts]).tolist() == keys.tolist()
    assert np.concatenate([part[1] for part in parts]).tolist() == slots.tolist()
    (data,) = [data for bucket, data in packed if bucket == shared >> (64 - bits_for(len(pairs)))]
    assert slots_of(data, np.uint64(shared)).tolist() == slots[keys == shared].tolist()
    assert slots_of(data, np.uint64(shared ^ 1)).tolist() == [slot for key, slot in pairs if key == shared ^ 1]


def test_a_key_that_everybody_has_is_packed_too() -> None:
    keys = np.repeat(np.array([3, 2**63], np.uint64), [70_000, 2])
    slots = np.concatenate([np.arange(70_000), [5, 6]]).astype(np.uint32)
    packed = dict(pack(keys, slots, 6))
    assert slots_of(packed[0], keys[0]).tolist() == list(range(70_000))
    assert slots_of(packed[32], keys[-1]).tolist() == [5, 6]
    assert unpack(packed[0])[0].tolist() == [3] * 70_000


def test_a_bigger_segment_has_more_buckets() -> None:
    assert [bits_for(links) for links in (0, 10, 100_000, 47_000_000, 10**12)] == [6, 6, 7, 16, 24]


@dataclass
class Model:
    lists: dict[int, set[int]] = field(default_factory=dict)

    def followers(self, wanted: set[int]) -> list[int]:
        return sorted(person_id for person_id, kept in self.lists.items() if kept & wanted)


STEP = st.one_of(
    st.tuples(st.just("hand over"), st.integers(0, 5), st.sets(st.integers(0, 39), max_size=12)),
    st.tuples(st.just("forget"), st.integers(0, 5), st.just(set[int]())),
    st.tuples(st.sampled_from(["tend", "tend all", "purge", "rebuild"]), st.just(0), st.just(set[int]())),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, max_size=16), wanted=st.sets(st.integers(0, 39), max_size=4), limit=st.integers(1, 4))
async def test_the_index_behaves_as_a_dictionary_of_sets(
    database: Database, steps: list[tuple[str, int, set[int]]], wanted: set[int], limit: int
) -> None:
    people = [await person(database, str(number)) for number in range(6)]
    model = Model()
    for each in people:
        await forget(database, each)
    for step, number, values in steps:
        who = people[number]
        if step == "hand over":
            await hand_over(database, who, ALL[sorted(values)])
            model.lists[who] = values
        elif step == "forget":
            await forget(database, who)
            model.lists.pop(who, None)
        elif step == "tend":
            await tend(database, SMALL)
        elif step == "tend all":
            await all_tended(database)
        elif step == "purge":
            await purge(database)
        else:
            await rebuild(database, lambda _done, _all: None, SMALL)
        assert sorted(await found(database, ALL[sorted(wanted)], limit=limit)) == model.followers(wanted)
    assert await verify(database, lambda _done, _whole: None) == []


async def test_a_small_installation_has_no_index_and_grows_one_by_itself(database: Database) -> None:
    ann, bob = await person(database, "ann"), await person(database, "bob")
    await hand_over(database, ann, ALL[:3])
    assert not await tend(database, SMALL)
    assert await all_tended(database) == []
    await hand_over(database, bob, ALL[2:5])
    (only,) = await all_tended(database)
    assert (only.level, only.links) == (0, 6)
    assert await found(database, ALL[2:3]) == [ann, bob]


async def test_segments_of_a_level_become_one_of_the_next_and_keep_their_order(database: Database) -> None:
    people = [await person(database, str(number)) for number in range(8)]
    for each in people:
        await hand_over(database, each, ALL[:6])
        await all_tended(database)
    (only,) = await all_tended(database)
    assert (only.level, only.links) == (3, 48)
    assert await found(database, ALL[:1], limit=3) == people


async def test_however_lists_come_a_look_up_looks_into_few_segments(database: Database) -> None:
    sizes = Sizes(pending=6, sorted=20, fan=4)
    people = [await person(database, str(number)) for number in range(16)]
    sizes_seen = set()
    for number, each in enumerate(people):
        await hand_over(database, each, ALL[: 6 if number % 4 else 14])
        live = await all_tended(database, sizes)
        sizes_seen.add(len(live))
    assert max(sizes_seen) == 2 * sizes.fan - 1
    assert await found(database, ALL[:1], limit=7) == people


async def test_what_was_forgotten_is_not_found_and_leaves_the_index_with_the_purge(database: Database) -> None:
    ann, bob = await person(database, "ann"), await person(database, "bob")
    await hand_over(database, ann, ALL[:5])
    await hand_over(database, bob, ALL[:3])
    await all_tended(database)
    await forget(database, ann)
    assert await found(database, ALL[:5]) == [bob]
    assert await purge(database) == 5
    (only,) = await all_tended(database)
    assert only.links == 3
    async with database.reading() as connection:
        slots, known = await segments.slots_with(connection, ALL[4:5])
    assert (slots.tolist(), known) == ([], only.hi)
    assert await purge(database) == 0


class PowerCut(Exception):
    """The database goes away in the middle."""


@pytest.fixture
async def power(database: Database) -> AsyncIterator["Power"]:
    cut = Power(database)
    yield cut
    cut.restore()


class Power:
    """Cuts off the database's writes after so many transactions, as the end of the process would."""

    def __init__(self, database: Database) -> None:
        self._engine = database._writer.sync_engine
        self.left = 0
        self._listening = False

    def _begin(self, _connection: sa.Connection) -> None:
        if self.left == 0:
            raise PowerCut
        self.left -= 1

    def last_for(self, transactions: int) -> None:
        """Let so many more transactions begin."""
        self.left = transactions
        if not self._listening:
            sa.event.listen(self._engine, "begin", self._begin)
            self._listening = True

    def restore(self) -> None:
        """Have power again."""
        if self._listening:
            sa.event.remove(self._engine, "begin", self._begin)
            self._listening = False


@pytest.mark.parametrize("after", range(1, 14))
async def test_a_cut_in_the_middle_costs_work_and_no_answer(database: Database, power: Power, after: int) -> None:
    people = [await person(database, str(number)) for number in range(4)]
    for number, each in enumerate(people):
        await hand_over(database, each, ALL[number : number + 6])
        await tend(database, SMALL)
    await forget(database, people[1])
    await hand_over(database, people[0], ALL[20:30])
    power.last_for(after)

    async def tend_on() -> None:
        while True:
            await tend(database, SMALL)
            await purge(database)

    with pytest.raises(PowerCut):
        await tend_on()
    power.restore()
    expected = [people[2], people[3]]
    assert await found(database, ALL[4:5]) == expected
    await all_tended(database)
    assert await found(database, ALL[4:5]) == expected
    assert await found(database, ALL[25:26]) == [people[0]]
    async with database.reading() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM segment WHERE state <> 'live'")) == 0


async def test_readers_are_right_while_the_index_is_tended(database: Database) -> None:
    people = [await person(database, str(number)) for number in range(12)]
    for each in people:
        await hand_over(database, each, ALL[:6])

    async def tend_on() -> None:
        await all_tended(database)
        await forget(database, people[5])
        await purge(database)

    tending = asyncio.create_task(tend_on())
    looks = 0
    while not tending.done() or looks == 0:
        answer = await found(database, ALL[:1], limit=5)
        assert answer in (people, [*people[:5], *people[6:]])
        looks += 1
    await tending
    assert await found(database, ALL[:1]) == [*people[:5], *people[6:]]


async def test_a_list_that_goes_during_a_merge_is_purged_afterwards(database: Database, power: Power) -> None:
    people = [await person(database, str(number)) for number in range(2)]
    for each in people:
        await hand_over(database, each, ALL[:6])
        await tend(database, SMALL)
    power.last_for(2)  # the merge has begun and has written what it read
    with pytest.raises(PowerCut):
        await tend(database, SMALL)
    power.restore()
    await forget(database, people[0])
    await all_tended(database)
    await purge(database)
    (only,) = await all_tended(database)
    assert only.links == 6
    assert await found(database, ALL[:1]) == [people[1]]


async def test_an_index_that_is_wrong_is_noticed_and_made_anew(database: Database) -> None:
    people = [await person(database, str(number)) for number in range(4)]
    for each in people:
        await hand_over(database, each, ALL[:6])
    await all_tended(database)
    told: list[tuple[int, int]] = []

    async def problems() -> list[str]:
        return await verify(database, lambda done, links: told.append((done, links)))

    assert await problems() == []
    assert told[-1] == (24, 24)
    async with database.transaction() as connection:
        (data,) = await connection.scalars(sa.text("SELECT data FROM posting ORDER BY id LIMIT 1"))
        keys, slots = unpack(data)
        ((_, swapped),) = pack(keys, np.full_like(slots, slots[0]), 6)
        await connection.execute(
            sa.text("UPDATE posting SET data = :data WHERE id = (SELECT min(id) FROM posting)"), {"data": swapped}
        )
    assert any("does not hold list" in problem for problem in await problems())
    async with database.transaction() as connection:
        await connection.execute(sa.text("DELETE FROM posting WHERE id = (SELECT max(id) FROM posting)"))
    assert any("links instead of" in problem for problem in await problems())
    await rebuild(database, lambda _done, _links: None, SMALL)
    assert await problems() == []
    assert await found(database, ALL[:1]) == people


async def test_only_one_tends_at_a_time(database: Database) -> None:
    other = Database(database.url.render_as_string(hide_password=False))
    async with database.only_one("index") as mine, database.only_one("index") as again:
        assert (bool(mine), bool(again)) == (True, False)
        if not database.is_sqlite:
            async with other.only_one("index") as theirs:
                assert not theirs
    async with database.only_one("index") as mine:
        assert mine
    await other.close()
