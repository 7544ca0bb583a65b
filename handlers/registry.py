"""Who is registered: the keys of all claims that stand, in memory, kept up to date by version.

A person's matches are a query (their packed lists against these keys), never rows. What is found here are candidates:
whoever shows them reads the claims themselves from the database.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from storage import claims, links
from storage.database import when_undone
from storage.keys import Keys64
from storage.records import ClaimState, Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

_CLAIMS_A_CHUNK: Final = 10_000
_ENTRY: Final = np.dtype(
    [("claim", "i8"), ("person", "i8"), ("seq", "i8"), ("evidence", "i1"), ("by_id", "?")]  # seq 0: no arrival
)


# A look-up in a dictionary is a tenth of asking the enumeration, thousands of times for a long list.
_EVIDENCE: Final = {each.value: each for each in Evidence}


@dataclass(frozen=True, slots=True)
class Match:
    """A claim that stands, to an X account that was searched for: by its id or, less surely, by its handle alone."""

    claim_id: int
    person_id: int
    by_id: bool
    evidence: Evidence
    arrival_seq: int | None


@dataclass(frozen=True, slots=True)
class _State:
    """One version of the index: `keys` sorted, `entries` beside them. Never changed, only replaced."""

    version: int
    keys: Keys64
    entries: NDArray[np.void]


class Registry:
    """The index of the registered: 26 bytes an entry, two entries a claim at most."""

    def __init__(self) -> None:
        self._state = _State(0, np.empty(0, np.uint64), np.empty(0, _ENTRY))

    def __len__(self) -> int:
        """Return how many keys are known."""
        return len(self._state.keys)

    async def refresh(self, connection: "AsyncConnection") -> None:
        """Take in what changed since the last time.

        A writing transaction also sees what it wrote itself. Should it not be committed, the index goes back to what it
        was before, because those version numbers will be given to other changes.
        """
        before = self._state
        while changed := await claims.since(connection, self._state.version, _CLAIMS_A_CHUNK):
            self._state = _taken_in(self._state, changed)
        if self._state is before:
            return

        def undo() -> None:
            if self._state.version > before.version:
                self._state = before

        when_undone(connection, undo)

    def matches(self, keys: Keys64) -> list[Match]:
        """Return the claims to any of these X accounts, each once, the earliest claim first."""
        return [match for _, match in self.matches_on([keys])]

    def matches_on(self, lists: "Sequence[Keys64]", since: "Sequence[int] | None" = None) -> list[tuple[int, Match]]:
        """Return the claims to the X accounts on each of several lists, beside the place of the list, in one pass.

        With `since`, for each list the number of an arrival: only those of people who arrived after it.
        """
        state = self._state
        keys = lists[0] if len(lists) == 1 else np.concatenate(lists)
        known = np.flatnonzero(links.hold(state.keys, keys))
        if not len(known):
            return []
        first = np.searchsorted(state.keys, keys[known], side="left")
        counts = np.searchsorted(state.keys, keys[known], side="right") - first
        # Every place from first to last, of all keys at once.
        found = state.entries[np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())]
        on = np.repeat(np.searchsorted(np.cumsum([len(each) for each in lists]), known, side="right"), counts)
        # A handle changes hands on X: it says who it was only of somebody who has proved it.
        stays = found["by_id"] | (found["evidence"] >= Evidence.POST)
        if since is not None:
            person = on * (found["person"].max() + 1) + found["person"]  # one number for a person on a list
            stays &= np.isin(person, person[stays & (found["seq"] > np.array(since, np.int64)[on])])
        found, on = found[stays], on[stays]
        order = np.lexsort((~found["by_id"], found["claim"], on))
        found, on = found[order], on[order]
        once = np.append(True, (found["claim"][1:] != found["claim"][:-1]) | (on[1:] != on[:-1]))[: len(found)]
        return [
            (place, Match(claim_id, person_id, by_id, _EVIDENCE[evidence], seq or None))
            for place, (claim_id, person_id, seq, evidence, by_id) in zip(
                on[once].tolist(), found[once].tolist(), strict=True
            )
        ]


def _taken_in(state: _State, changed: "Sequence[claims.Changed]") -> _State:
    stays = ~np.isin(state.entries["claim"], [each.id for each in changed])
    keys, entries = state.keys[stays], state.entries[stays]
    new: list[tuple[int, tuple[int, int, int, int, bool]]] = []
    for each in changed:
        if each.state is not ClaimState.HELD:
            continue
        rest = (each.id, each.person_id, each.arrival_seq or 0, each.evidence.value)
        new.append((each.handle_key, (*rest, False)))
        if each.x_key is not None:
            new.append((each.x_key, (*rest, True)))
    new_keys = np.array([key for key, _ in new], np.int64).view(np.uint64)
    order = np.argsort(new_keys)
    new_keys = new_keys[order]
    new_entries = np.array([entry for _, entry in new], _ENTRY)[order]
    places = np.searchsorted(keys, new_keys)
    return _State(changed[-1].version, np.insert(keys, places, new_keys), np.insert(entries, places, new_entries))
