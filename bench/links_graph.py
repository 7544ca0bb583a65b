"""The reference graph: whom 33,000 people followed on X, 47 million links, drawn anew by the same seed.

Lists are log-normal (mean 1,440, the longest beyond 100,000), targets follow a power law over 30 million accounts: the
most popular one is followed by two thirds of everybody.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from storage.keys import Keys

Ids = NDArray[np.uint64]

PEOPLE: Final = 33_000
_TARGETS: Final = 30_000_000
_FLATTENED: Final = 20
_SIGMA: Final = 1.45
# As many are drawn that about 1,440 distinct ones are left.
_MEAN_DRAWN: Final = 1_766
_LONGEST: Final = 200_000


class Graph:
    """The lists of so many people; `list_of` draws one, always the same."""

    def __init__(self, people: int = PEOPLE, seed: int = 1) -> None:
        self.people = people
        self._seed = seed
        chance = np.random.default_rng(seed)
        drawn = chance.lognormal(0, _SIGMA, people)
        self._lengths = np.clip(drawn / drawn.mean() * _MEAN_DRAWN, 3, _LONGEST).astype(np.int64)

    def list_of(self, person: int) -> Ids:
        """Return whom somebody followed, as X ids, each once."""
        return self.list_as_long(person, int(self._lengths[person]))

    def list_as_long(self, number: int, drawn: int, exactly: int | None = None) -> Ids:
        """Return a list of its own number; `exactly` so long, if so many were drawn."""
        chance = np.random.default_rng((self._seed, number))
        ranks = np.unique(_ranks(chance, drawn))
        if exactly is not None:
            chance.shuffle(ranks)
        return x_ids(ranks[:exactly])

    @staticmethod
    def popular(rank: int) -> int:
        """Return the X id of the account of a rank: 0 is the most popular one."""
        return int(x_ids(np.array([rank], np.int64))[0])


def _ranks(chance: np.random.Generator, n: int) -> NDArray[np.int64]:
    low, span = _FLATTENED + 1, (_TARGETS + _FLATTENED) / (_FLATTENED + 1)
    return np.minimum((low * span ** chance.random(n) - _FLATTENED).astype(np.int64) - 1, _TARGETS - 1)


def x_ids(ranks: NDArray[np.int64]) -> Ids:
    """Return ids as X gave them: two of five are small numbers of the early years, the others snowflakes."""
    number = ranks.astype(np.uint64)
    mixed = (number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    early = (mixed & np.uint64(0xFF)) < np.uint64(102)
    small = number * np.uint64(137) % np.uint64(4_200_000_000)
    snowflake = (
        np.uint64(7 * 10**17)
        + (mixed % np.uint64(1_100_000_000_000)) * np.uint64(1_000_000)
        + (number & np.uint64(0xFFFFF))
    )
    return np.where(early, small, snowflake)


def write_lists(path: Path, graph: Graph, keys: Keys) -> None:
    """Write everybody's list into one file as it is stored, with where each ends beside it."""
    ends = np.empty(graph.people, np.int64)
    total = 0
    with path.open("wb") as file:
        for number in range(graph.people):
            listed = keys.of_ids(graph.list_of(number))
            total += len(listed)
            ends[number] = total
            listed.tofile(file)
    np.save(path.with_suffix(".ends.npy"), ends)
