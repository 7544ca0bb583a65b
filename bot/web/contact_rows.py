"""What the page shows of each contact: a row with all its words, ready to be rendered in a thread."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from handlers.contacts import Standing, remarks, standings, state_of
from handlers.context import Context
from handlers.following import Plan, plan
from handlers.follows import everybody
from handlers.matching import Contact
from handlers.names import NETWORKS, address_of, plain_name
from storage.follows import LEFT

UNSURE: Final = "unsure"
SHOWN: Final = ("all", *(each.value for each in Standing), UNSURE)
"""What the list can be narrowed to."""


@dataclass(frozen=True, slots=True)
class Profile:
    """An account of a contact's: how it is called, where it is looked at, and on which network."""

    name: str
    address: str
    network: str


@dataclass(frozen=True, slots=True)
class Row:
    """A contact: who they were, where they are, and what there is to know and to do."""

    id: int
    x_handle: str
    profiles: list[Profile]
    remarks: list[str]
    standing: Standing
    sure: bool
    ticked: bool

    def fits(self, show: str, words: str) -> bool:
        """Tell whether the row is among what is shown, and holds what is searched for."""
        kind = show == "all" or (not self.sure if show == UNSURE else show == self.standing)
        return kind and any(words in each for each in (self.x_handle, *(each.name.lower() for each in self.profiles)))


@dataclass(frozen=True, slots=True)
class Listed:
    """All contacts of a visitor, and what there is to do about them."""

    context: Context
    contacts: Sequence[Contact]
    planned: Plan
    standings: dict[int, Standing]

    @property
    def ticked(self) -> list[Contact]:
        """Return whom one would follow without having looked: who is sure, and not left out, followed or taken back."""
        return [
            each
            for each in everybody(self.contacts)
            if self.standings[each.person_id] is Standing.OPEN and not _is_taken_back(each)
        ]

    def rows(self, only: Iterable[Contact] | None = None) -> list[Row]:
        """Return the rows of all contacts, or of some."""
        ticked = {each.person_id for each in self.ticked}
        return [self._row(each, ticked=each.person_id in ticked) for each in (self.contacts if only is None else only)]

    def _row(self, contact: Contact, *, ticked: bool) -> Row:
        said = remarks(self.context, contact, with_reasons=True)
        standing = self.standings[contact.person_id]
        if standing is Standing.PENDING and not any(state_of(each) == "pending" for each in contact.follows):
            said.append(self.context.text("to be followed as soon as I have your consent"))
        if standing is Standing.OPEN and _is_taken_back(contact):
            said.append(self.context.text("taken back"))
        return Row(
            id=contact.person_id,
            x_handle=contact.x_handle,
            profiles=[Profile(plain_name(each), address_of(each), NETWORKS[each.network]) for each in contact.native],
            remarks=said,
            standing=standing,
            sure=contact.sure,
            ticked=ticked,
        )


async def listed(ctx: Context, found: Sequence[Contact]) -> Listed:
    """Look up what there is to know of contacts, in a few queries however many they are."""
    planned = await plan(ctx, found, retry=True)
    return Listed(ctx, found, planned, standings(found, planned))


def _is_taken_back(contact: Contact) -> bool:
    """Tell whether the last follow was undone; whom one followed before, one follows still."""
    last = max(contact.follows, key=lambda each: each.id, default=None)
    return last is not None and last.undone and last.outcome not in LEFT
