"""Work out who of a person's lists is here, and which of them may be shown: a query, never rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from handlers.context import Context, World
from handlers.registry import Match
from storage import accounts, claims, decisions, follows, links
from storage.follows import Followed
from storage.keys import Keys, Keys64
from storage.records import Account, Choice, Claim, ClaimState, Discoverable, Evidence, NetworkName, Person

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# Bridgy Fed's copies of accounts of the other network (fed.brid.gy/docs).
_BRIDGED: Final = (".ap.brid.gy", "@bsky.brid.gy")
# So many at a time: whoever has thousands of contacts must not keep the others waiting.
_IDS_A_QUERY: Final = 500


@dataclass(frozen=True, slots=True)
class Contact:
    """A registered person whom somebody followed on X, as they may be shown to them.

    `x_handle`, `evidence` and `by_id` are of the surest claim that matched. `mutual`: they followed back, by the
    reader's own list of followers. `follows` are the latest of each pair of accounts.
    """

    person_id: int
    accounts: tuple[Account, ...]
    x_handle: str
    evidence: Evidence
    by_id: bool
    mutual: bool
    choice: Choice | None
    arrival_seq: int | None
    follows: tuple[Followed, ...]

    @property
    def sure(self) -> bool:
        """Tell whether they may be followed without having been chosen one by one."""
        return is_sure(self.by_id, self.evidence)

    @property
    def native(self) -> tuple[Account, ...]:
        """Return the accounts that are no bridge's copies; all when there is nothing but copies."""
        return tuple(each for each in self.accounts if not is_bridged(each)) or self.accounts

    @property
    def networks(self) -> set[NetworkName]:
        """Return where they can be followed."""
        return {each.network for each in self.native}


def is_sure(by_id: bool, evidence: Evidence) -> bool:  # what a match and its claim say, in one word
    """Tell whether somebody may be followed without having been chosen one by one."""
    return by_id and evidence >= Evidence.POST


def is_bridged(account: Account) -> bool:
    """Tell a bridge's copy from an account of its own."""
    return account.handle.lower().endswith(_BRIDGED)


async def contacts(ctx: Context) -> list[Contact]:
    """Return the contacts of whom the event is about."""
    return await contacts_of(ctx.connection, ctx.world, ctx.person)


async def contacts_of(connection: "AsyncConnection", world: World, person: Person) -> list[Contact]:
    """Return who of a person's lists is here and may be shown to them: mutuals first, then as they arrived."""
    await world.registry.refresh(connection)
    own = await links.own(connection, person.id)
    matched: dict[int, list[Match]] = {}
    for match in world.registry.matches(own.following):
        if match.person_id != person.id and match.evidence > Evidence.DECLARED:
            matched.setdefault(match.person_id, []).append(match)
    shown = await _shown(connection, world.keys, person, list(matched))
    choices = await decisions.of_person(connection, person.id) if shown else {}
    followed: dict[int, list[Followed]] = {}
    for each in await follows.of_person(connection, person.id) if shown else ():
        followed.setdefault(each.contact_id, []).append(each)
    found = []
    for start in range(0, len(shown), _IDS_A_QUERY):
        ids = shown[start : start + _IDS_A_QUERY]
        reachable = await accounts.accounts_of(connection, ids)
        held = await claims.of_persons(connection, ids)
        surest = {
            person_id: pair
            for person_id in ids
            if person_id in reachable and (pair := _surest(matched[person_id], held.get(person_id, ()))) is not None
        }
        mutual = _on(own.followers, world.keys, [claim for _, claim in surest.values()])
        for person_id, (match, claim) in surest.items():
            found.append(
                Contact(
                    person_id=person_id,
                    accounts=tuple(reachable[person_id]),
                    x_handle=claim.x_handle,
                    evidence=claim.evidence,
                    by_id=match.by_id,
                    mutual=claim.id in mutual,
                    choice=choices.get(person_id),
                    arrival_seq=max((each.arrival_seq or 0 for each in matched[person_id]), default=0) or None,
                    follows=tuple(followed.get(person_id, ())),
                )
            )
    return sorted(found, key=_place)


async def surest_of(
    connection: "AsyncConnection", keys: Keys, reader: Person, ids: list[int]
) -> dict[int, tuple[Match, Claim]]:
    """Return, of some persons, those who may be shown to a reader now, each with the surest claim that matches.

    It is what `contacts_of` finds, without the index of everybody: for a last look at a few.
    """
    following = (await links.own(connection, reader.id)).following
    shown = await _shown(connection, keys, reader, ids)
    held = await claims.of_persons(connection, shown)
    found = {}
    for person_id in shown:
        matched = []
        for each in held.get(person_id, ()):
            by_id = each.x_id is not None and bool(links.hold(following, keys.of_ids(_ids([each]))).any())
            if by_id or links.hold(following, keys.of_handles([each.x_handle])).any():
                matched.append(Match(each.id, person_id, by_id, each.evidence, each.arrival_seq))
        surest = _surest(matched, held.get(person_id, ()))
        if surest is not None:
            found[person_id] = surest
    return found


def _on(listed: Keys64, keys: Keys, of: Sequence[Claim]) -> set[int]:
    """Return the claims, by id, whose X account stands on a list; all at once, because keys are cheap by the dozen."""
    with_id = [each for each in of if each.x_id is not None]
    by_id = links.hold(listed, keys.of_ids(_ids(with_id)))
    by_handle = links.hold(listed, keys.of_handles([each.x_handle for each in of]))
    return {
        each.id
        for some, holds in ((with_id, by_id), (of, by_handle))
        for each, on in zip(some, holds.tolist(), strict=True)
        if on
    }


def _ids(of: Iterable[Claim]) -> Keys64:
    return np.array([each.x_id for each in of if each.x_id is not None], np.uint64)


def keys_of(keys: Keys, of: Iterable[Claim]) -> Keys64:
    """Return the keys under which others may have these X accounts in their lists."""
    listed = list(of)
    return np.concatenate([keys.of_ids(_ids(listed)), keys.of_handles([each.x_handle for each in listed])])


async def _shown(connection: "AsyncConnection", keys: Keys, reader: Person, ids: list[int]) -> list[int]:
    """Leave out who hides, and who shows themselves to mutuals only and did not follow the reader.

    That the reader followed them is given: it is the reader's list that was matched. What the reader was on X counts
    only when it is proved.
    """
    shown: set[int] = set()
    reserved: list[int] = []
    for start in range(0, len(ids), _IDS_A_QUERY):
        for person in (await accounts.persons(connection, ids[start : start + _IDS_A_QUERY])).values():
            if person.discoverable is Discoverable.EVERYONE:
                shown.add(person.id)
            elif person.discoverable is Discoverable.MUTUALS:
                reserved.append(person.id)
    if reserved:
        proved = [
            each
            for each in await claims.of_person(connection, reader.id)
            if each.state is ClaimState.HELD and each.evidence >= Evidence.POST
        ]
        shown |= await links.who_follow(connection, reserved, keys_of(keys, proved))
    return [person_id for person_id in ids if person_id in shown]


def _surest(matched: Iterable[Match], held: Iterable[Claim]) -> tuple[Match, Claim] | None:
    """Pick the surest of the claims that matched, as the database has them now."""
    by_id = {each.id: each for each in held if each.state is ClaimState.HELD}
    pairs = [(match, by_id[match.claim_id]) for match in matched if match.claim_id in by_id]
    pairs = [
        (match, claim)
        for match, claim in pairs
        if claim.evidence >= (Evidence.ARCHIVE if match.by_id else Evidence.POST)
    ]
    return max(pairs, key=lambda pair: (pair[0].by_id, pair[1].evidence, -pair[1].id), default=None)


def _place(contact: Contact) -> tuple[bool, bool, int, int]:
    return not contact.mutual, contact.arrival_seq is None, contact.arrival_seq or 0, contact.person_id
