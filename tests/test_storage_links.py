"""Lists are kept, replaced, added to and found again as a plain dictionary would."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import accounts, links
from storage.database import Database
from storage.keys import Keys64
from storage.links import Stored
from storage.records import Direction, NetworkName
from storage.tids import tid
from tests.conftest import START

FOLLOWING, FOLLOWERS = Direction.FOLLOWING, Direction.FOLLOWERS
PEOPLE = ("a", "b", "c")
KEYS = st.lists(st.integers(0, 30), max_size=12)


def packed(values: list[int]) -> Keys64:
    return np.array([value * 0x0123_4567_89AB_CDEF % 2**64 for value in values], np.uint64)


async def person(database: Database, name: str) -> int:
    async with database.transaction() as connection:
        _, met = await accounts.meet(connection, NetworkName.BLUESKY, f"did:plc:{name}", f"{name}.test", START)
    return met.id


@dataclass
class Model:
    lists: dict[tuple[str, str, Direction], set[int]] = field(default_factory=dict)

    def add(self, who: str, source: str, direction: Direction, values: set[int], *, replace: bool) -> Stored:
        before = self.lists.get((who, source, direction), set())
        after = values if replace else before | values
        self.lists[who, source, direction] = after
        return Stored(len(after), len(after - before), len(before - after))

    def all_of(self, who: str, direction: Direction) -> set[int]:
        return set().union(*(kept for (name, _, way), kept in self.lists.items() if name == who and way is direction))

    def remove(self, who: str, source: str | None) -> int:
        gone = [key for key in self.lists if key[0] == who and source in (None, key[1])]
        return sum(len(self.lists.pop(key)) for key in gone)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"),
            st.sampled_from(PEOPLE),
            st.sampled_from(["archive:1", "archive:2", links.TYPED]),
            st.sampled_from([FOLLOWING, FOLLOWERS]),
            KEYS,
            st.booleans(),
        ),
        st.tuples(st.just("remove"), st.sampled_from(PEOPLE), st.sampled_from(["archive:1", None])),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, wanted=KEYS, limit=st.integers(1, 4))
async def test_lists_behave_as_a_dictionary_of_sets(
    database: Database, steps: list[tuple[str, ...]], wanted: list[int], limit: int
) -> None:
    ids = {name: await person(database, name) for name in PEOPLE}
    model = Model()
    async with database.transaction() as connection:
        for each in ids.values():
            await links.remove(connection, each)
        for step in steps:
            if step[0] == "remove":
                _, who, source = step
                assert await links.remove(connection, ids[who], source) == model.remove(who, source)
                continue
            _, who, source, direction, values, replace = step
            stored = await links.add(
                connection,
                ids[who],
                source,
                Direction(direction),
                packed(list(map(int, values))),
                START,
                replace=bool(replace),
            )
            expected = model.add(who, source, Direction(direction), set(map(int, values)), replace=bool(replace))
            assert stored == expected
        for name in PEOPLE:
            own = await links.own(connection, ids[name])
            assert own.following.tolist() == sorted(packed(list(model.all_of(name, FOLLOWING))).tolist())
            assert own.followers.tolist() == sorted(packed(list(model.all_of(name, FOLLOWERS))).tolist())
        found: set[int] = set()
        slot: int | None = 0
        while slot is not None:
            chunk = await links.followers_of(connection, packed(wanted), after_slot=slot, limit=limit)
            assert len(chunk.rows) <= limit
            found |= {person_id for _, person_id in chunk.rows}
            slot = chunk.next_slot
        following = {
            ids[name]: set(packed(list(both)).tolist())
            for name in PEOPLE
            if (both := model.all_of(name, FOLLOWING) & set(wanted))
        }
        assert found == set(following)
        assert await links.who_follow(connection, list(ids.values()), packed(wanted)) == following
        assert (await links.counts(connection)).links == sum(map(len, model.lists.values()))


async def test_a_list_that_did_not_change_is_not_written_again(database: Database) -> None:
    alice = await person(database, "alice")
    async with database.transaction() as connection:
        await links.add(connection, alice, "archive:1", FOLLOWING, packed([1, 2]), START, replace=True)
        (before,) = await links.uploads_of(connection, alice)
        await links.add(connection, alice, "archive:1", FOLLOWING, packed([2, 1, 1]), START + 1, replace=True)
        assert await links.uploads_of(connection, alice) == [before]
        await links.add(connection, alice, "archive:1", FOLLOWING, packed([3]), START + 2, replace=True)
        (after,) = await links.uploads_of(connection, alice)
    assert after.slot > before.slot
    assert after.n == 1


async def test_a_long_search_is_done_in_one_pass(database: Database) -> None:
    alice, bob = await person(database, "alice"), await person(database, "bob")
    async with database.transaction() as connection:
        await links.add(connection, alice, links.TYPED, FOLLOWING, packed([5]), START, replace=False)
        await links.add(connection, bob, links.TYPED, FOLLOWING, packed([99]), START, replace=False)
        found = await links.followers_of(connection, packed(list(range(40))))
    assert [person_id for _, person_id in found.rows] == [alice]
    assert found.next_slot is None


def test_tids_grow_with_time_and_are_thirteen_letters() -> None:
    made = [tid(START, place, clock=3) for place in range(50)] + [tid(START + 1, clock=3)]
    assert made == sorted(set(made))
    assert {len(each) for each in made} == {13}
    assert tid(0, clock=0) == "2222222222222"


def test_long_lists_are_read_a_few_at_a_time() -> None:
    sizes = [(1, 300_000), (2, 200_000), (3, 1), (4, 900_000), (5, 10)]
    assert list(links._in_chunks(sizes)) == [[1, 2], [3], [4], [5]]


async def test_a_long_list_is_added_to_and_replaced_as_a_short_one_is(database: Database) -> None:
    who = await person(database, "a")
    keys = np.arange(60_000, dtype=np.uint64)
    async with database.transaction() as connection:
        assert await links.add(connection, who, "archive:1", FOLLOWING, keys, START, replace=True) == Stored(
            60_000, 60_000, 0
        )
        assert await links.add(connection, who, "archive:1", FOLLOWING, keys + 9, START, replace=False) == Stored(
            60_009, 9, 0
        )
        assert await links.add(connection, who, "archive:1", FOLLOWING, keys[:5], START, replace=True) == Stored(
            5, 0, 60_004
        )
