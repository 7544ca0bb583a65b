"""Work out who of a person's lists is here, and which of them may be shown: a query, never rows."""

from collections.abc import Iterable, Mapping, Sequence
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

# A reader and a contact of theirs, by their persons' ids; and what was followed on the reader's behalf of each.
_Pair = tuple[int, int]
_Followed = dict[_Pair, list[Followed]]


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
    own, matched = await _matched(connection, world, [person], newly=False)
    shown = await _shown(connection, world.keys, [person], list(matched))
    if not shown:
        return []
    decided = await decisions.of_person(connection, person.id)
    choices = {(person.id, contact_id): choice for contact_id, choice in decided.items()}
    followed: _Followed = {}
    for each in await follows.of_person(connection, person.id):
        followed.setdefault((person.id, each.contact_id), []).append(each)
    surest = await _surest_of_each(connection, {pair: matched[pair] for pair in shown})
    return _described(world.keys, own, matched, surest, choices, followed)[person.id]


async def arrived(connection: "AsyncConnection", world: World, readers: Sequence[Person]) -> dict[int, list[Contact]]:
    """Return, by reader, which of their contacts arrived after those they were told of: one pass over all readers."""
    own, matched = await _matched(connection, world, readers, newly=True)
    shown = await _shown(connection, world.keys, readers, list(matched))
    if not shown:
        return {}
    surest = await _surest_of_each(connection, {pair: matched[pair] for pair in shown})
    telling, told_of = {reader_id for reader_id, _ in surest}, sorted({contact_id for _, contact_id in surest})
    choices = await decisions.among(connection, telling, told_of)
    followed = await follows.among(connection, telling, told_of)
    return _described(world.keys, own, matched, surest, choices, followed)


async def surest_of(
    connection: "AsyncConnection", keys: Keys, reader: Person, ids: list[int]
) -> dict[int, tuple[Match, Claim]]:
    """Return, of some persons, those who may be shown to a reader now, each with the surest claim that matches.

    It is what `contacts_of` finds, without the index of everybody: for a last look at a few.
    """
    following = (await links.own(connection, reader.id)).following
    shown = [
        contact_id for _, contact_id in await _shown(connection, keys, [reader], [(reader.id, each) for each in ids])
    ]
    held = await claims.of_persons(connection, shown)
    by_id, by_handle = _on(following, keys, [each for of_one in held.values() for each in of_one])
    found = {}
    for person_id, theirs in held.items():
        matched = [
            Match(each.id, person_id, each.id in by_id, each.evidence, each.arrival_seq)
            for each in theirs
            if each.id in by_id or each.id in by_handle
        ]
        surest = _surest(matched, theirs)
        if surest is not None:
            found[person_id] = surest
    return found


async def _matched(
    connection: "AsyncConnection", world: World, readers: Sequence[Person], *, newly: bool
) -> tuple[dict[int, links.Own], dict[_Pair, list[Match]]]:
    """Return readers' lists, and who of them is here, or came `newly`, with the claims that say so."""
    await world.registry.refresh(connection)
    own = await links.own_of(connection, [each.id for each in readers])
    since = [each.seen_seq for each in readers] if newly else None
    matched: dict[_Pair, list[Match]] = {}
    for place, match in world.registry.matches_on([own[each.id].following for each in readers], since):
        reader = readers[place]
        if match.person_id != reader.id and match.evidence > Evidence.DECLARED:
            matched.setdefault((reader.id, match.person_id), []).append(match)
    return own, matched


async def _surest_of_each(
    connection: "AsyncConnection", matched: Mapping[_Pair, list[Match]]
) -> dict[_Pair, tuple[tuple[Account, ...], Match, Claim]]:
    """Return, of pairs, those whose contact can be reached, with their accounts and the surest claim that matches."""
    ids = list(dict.fromkeys(contact_id for _, contact_id in matched))
    reachable: dict[int, list[Account]] = {}
    held: dict[int, list[Claim]] = {}
    for start in range(0, len(ids), _IDS_A_QUERY):
        reachable |= await accounts.accounts_of(connection, ids[start : start + _IDS_A_QUERY])
        held |= await claims.of_persons(connection, ids[start : start + _IDS_A_QUERY])
    return {
        pair: (tuple(reachable[pair[1]]), *surest)
        for pair, matches in matched.items()
        if pair[1] in reachable and (surest := _surest(matches, held.get(pair[1], ()))) is not None
    }


def _described(
    keys: Keys,
    own: Mapping[int, links.Own],
    matched: Mapping[_Pair, list[Match]],
    surest: Mapping[_Pair, tuple[tuple[Account, ...], Match, Claim]],
    choices: Mapping[_Pair, Choice],
    followed: _Followed,
) -> dict[int, list[Contact]]:
    """Return, by reader, the contacts in the order in which they are shown."""
    mutual = _mutual(keys, own, {pair: claim for pair, (_, _, claim) in surest.items()})
    found: dict[int, list[Contact]] = {each: [] for each in own}
    for pair, (reachable, match, claim) in surest.items():
        reader_id, person_id = pair
        found[reader_id].append(
            Contact(
                person_id=person_id,
                accounts=reachable,
                x_handle=claim.x_handle,
                evidence=claim.evidence,
                by_id=match.by_id,
                mutual=pair in mutual,
                choice=choices.get(pair),
                arrival_seq=max((each.arrival_seq or 0 for each in matched[pair]), default=0) or None,
                follows=tuple(followed.get(pair, ())),
            )
        )
    return {reader_id: sorted(contacts, key=_place) for reader_id, contacts in found.items()}


def _mutual(keys: Keys, own: Mapping[int, links.Own], surest: Mapping[_Pair, Claim]) -> set[_Pair]:
    """Return the pairs whose contact stands on the reader's list of followers."""
    pairs_of: dict[int, list[_Pair]] = {}
    for pair in surest:
        pairs_of.setdefault(pair[0], []).append(pair)
    keyed = _keyed(keys, {claim.id: claim for claim in surest.values()}.values())
    mutual: set[_Pair] = set()
    for reader_id, pairs in pairs_of.items():
        if len(followers := own[reader_id].followers):
            both = np.array([keyed[surest[pair].id] for pair in pairs], np.uint64)
            holds = links.hold(followers, both.ravel()).reshape(both.shape)
            mutual.update(pairs[place] for place in np.flatnonzero(holds.any(axis=1)).tolist())
    return mutual


def _keyed(keys: Keys, of: Iterable[Claim]) -> dict[int, tuple[int, int]]:
    """Return claims' two keys, or one twice where no id is known; all at once: keys are cheap by the dozen."""
    listed = list(of)
    by_handle = keys.of_handles([each.x_handle for each in listed]).tolist()
    by_id = iter(keys.of_ids(_ids(listed)).tolist())
    return {
        each.id: (handle if each.x_id is None else next(by_id), handle)
        for each, handle in zip(listed, by_handle, strict=True)
    }


def _on(listed: Keys64, keys: Keys, of: Sequence[Claim]) -> tuple[set[int], set[int]]:
    """Return the claims, by id, whose X account stands on a list by its number, and by its handle.

    All at once, because keys are cheap by the dozen.
    """
    with_id = [each for each in of if each.x_id is not None]
    by_id = links.hold(listed, keys.of_ids(_ids(with_id)))
    by_handle = links.hold(listed, keys.of_handles([each.x_handle for each in of]))
    numbered, named = (
        {each.id for each, on in zip(some, holds.tolist(), strict=True) if on}
        for some, holds in ((with_id, by_id), (of, by_handle))
    )
    return numbered, named


def _ids(of: Iterable[Claim]) -> Keys64:
    return np.array([each.x_id for each in of if each.x_id is not None], np.uint64)


def keys_of(keys: Keys, of: Iterable[Claim]) -> Keys64:
    """Return the keys under which others may have these X accounts in their lists."""
    listed = list(of)
    return np.concatenate([keys.of_ids(_ids(listed)), keys.of_handles([each.x_handle for each in listed])])


async def _shown(
    connection: "AsyncConnection", keys: Keys, readers: Sequence[Person], pairs: Sequence[_Pair]
) -> list[_Pair]:
    """Leave out who hides, and who shows themselves to mutuals only and did not follow the reader.

    That the reader followed them is given: it is the reader's list that was matched. What the reader was on X counts
    only when it is proved.
    """
    ids = list(dict.fromkeys(contact_id for _, contact_id in pairs))
    shows: dict[int, Discoverable] = {}
    for start in range(0, len(ids), _IDS_A_QUERY):
        for person in (await accounts.persons(connection, ids[start : start + _IDS_A_QUERY])).values():
            shows[person.id] = person.discoverable
    reserved = [each for each in ids if shows.get(each) is Discoverable.MUTUALS]
    mutual = await _followed_by(connection, keys, readers, reserved) if reserved else set()
    return [
        pair
        for pair in pairs
        if (shown := shows.get(pair[1])) is Discoverable.EVERYONE or (shown is Discoverable.MUTUALS and pair in mutual)
    ]


async def _followed_by(
    connection: "AsyncConnection", keys: Keys, readers: Sequence[Person], ids: Sequence[int]
) -> set[_Pair]:
    """Return the pairs of a reader and one of some persons who followed what the reader has proved to have been on X."""
    held = await claims.of_persons(connection, [each.id for each in readers])
    proved = {
        reader_id: [each for each in of if each.state is ClaimState.HELD and each.evidence >= Evidence.POST]
        for reader_id, of in held.items()
    }
    was = {reader_id: set(keys_of(keys, of).tolist()) for reader_id, of in proved.items() if of}
    wanted = np.array([*set[int]().union(*was.values())], np.uint64)
    followed = await links.who_follow(connection, ids, wanted)
    return {
        (reader_id, person_id)
        for person_id, listed in followed.items()
        for reader_id, reader_keys in was.items()
        if not reader_keys.isdisjoint(listed)
    }


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
