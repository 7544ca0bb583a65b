"""Seed a community: people with an old X account, whom they followed there, and where they live now."""

import itertools
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bot.sandbox.demo.names import CIRCLES, FIRST, LAST
from storage.records import NetworkName

# Each person also follows this many accounts whom nobody here has heard of: most of an archive is not there yet.
_OUTSIDE: Final = (120, 380)
_OUTSIDERS: Final = 20_000
_CIRCLE: Final = 16
# The longest name that a PDS gives out below its own domain (PDS, normalizeAndValidateHandle).
_SLUG_ROOM: Final = 18
# A real archive must name at least so many people: the leading ones are taken out of its list.
FEWEST: Final = 12
# How likely somebody follows another of the same circle, and how many of the others they follow.
_INSIDE: Final = 0.6
_ACROSS: Final = (2, 6)
# Where people live now, by weight.
_HOMES: Final = (
    ((NetworkName.BLUESKY,), 46),
    ((NetworkName.MASTODON,), 42),
    ((NetworkName.BLUESKY, NetworkName.MASTODON), 12),
)


@dataclass(slots=True, eq=False, repr=False)
class Resident:
    """One person: `follows` are the X ids of their archive, `friends` the residents among them.

    `archive` is a file of their own, name and content, where it is not to be made up from these.
    `homes` are the networks on which they live now, the one on which they talk to the bot first.
    """

    name: str
    slug: str
    circle: str
    language: str
    homes: tuple[NetworkName, ...]
    x_handle: str
    x_id: int
    friends: list["Resident"] = field(default_factory=list)
    follows: list[int] = field(default_factory=list)
    archive: tuple[str, bytes] | None = None


@dataclass(slots=True)
class Community:
    """Everybody: the crowd, and the leading people by first name."""

    crowd: list[Resident]
    leads: dict[str, Resident]

    @property
    def everybody(self) -> list[Resident]:
        """Return all residents, the leading people first."""
        return [*self.leads.values(), *self.crowd]

    def befriend(self, one: Resident, others: Sequence[Resident]) -> None:
        """Have somebody follow others on X, beyond what chance gave them."""
        for other in others:
            if other is not one and other not in one.friends:
                one.friends.append(other)
                one.follows.append(other.x_id)


@dataclass(frozen=True, slots=True)
class Lead:
    """Somebody the story is about."""

    name: str
    homes: tuple[NetworkName, ...]
    language: str
    circle: str = "journalists"


@dataclass(frozen=True, slots=True)
class RealArchive:
    """A real X archive, for the leading part: whom its owner followed, and who they were if it tells.

    `file` is its name and content; None when it is larger than what the bot takes, then the list alone is handed over.
    """

    following: tuple[int, ...]
    x_id: int | None
    x_handle: str | None
    file: tuple[str, bytes] | None = None


def seed_community(
    people: int, seed: int, leads: Sequence[Lead], real: RealArchive | None = None, star: str = ""
) -> Community:
    """Make a community of so many people, the same for the same seed.

    With a real archive the lead named `star` takes its list, and the crowd takes X ids out of that list.
    """
    chance = random.Random(seed)  # noqa: S311  # a story, not a secret
    ids = _x_ids(chance, max(people, len(leads)), real)
    handles: set[str] = set()
    circles = list(CIRCLES[: max(2, (people - len(leads)) // _CIRCLE)])
    cast = {
        lead.name.split()[0]: _resident(lead.name, lead.circle, lead.language, lead.homes, ids.pop(), handles)
        for lead in leads
    }
    crowd = []
    for number in range(max(0, people - len(leads))):
        name = f"{chance.choice(FIRST)} {chance.choice(LAST)}"
        homes = chance.choices([home for home, _ in _HOMES], [weight for _, weight in _HOMES])[0]
        language = chance.choice(("en", "en", "fr"))
        crowd.append(_resident(name, circles[number % len(circles)], language, homes, ids.pop(), handles))
    community = Community(crowd, cast)
    if real is not None:  # before anybody follows them
        cast[star].x_id = real.x_id or _x_id(chance)
        cast[star].x_handle = (real.x_handle or cast[star].x_handle).lower()
    _befriend_by_chance(chance, community)
    if real is not None:
        _take_list(cast[star], community, real)
    return community


def _x_ids(chance: random.Random, people: int, real: RealArchive | None) -> list[int]:
    """Draw distinct account numbers, to be taken from the end: those of a real archive come first."""
    known = list(real.following) if real else []
    listed = set(known)
    chance.shuffle(known)
    known = known[: max(people // 2, len(known) and FEWEST)]
    drawn: dict[int, None] = {}
    while len(drawn) < people - len(known):
        number = _x_id(chance)
        if number not in listed:
            drawn[number] = None
    return [*drawn, *known]


def _x_id(chance: random.Random) -> int:
    """Draw a number as X gave them: small ones in the early years, snowflakes since 2016."""
    early = chance.random() < 0.6
    return chance.randint(1_000_000, 4_000_000_000) if early else chance.randint(7 * 10**17, 17 * 10**17)


def _resident(
    name: str, circle: str, language: str, homes: tuple[NetworkName, ...], x_id: int, handles: set[str]
) -> Resident:
    plain = _slug(name)
    slug = plain[:_SLUG_ROOM]
    for number in itertools.count(2):
        if slug not in handles:
            break
        slug = f"{plain[: _SLUG_ROOM - len(str(number))]}{number}"
    handles.add(slug)
    x_handle = slug[:11] + "_old"
    while x_handle in handles:
        x_handle = f"{slug[:8]}{len(handles) % 1000}_old"
    handles.add(x_handle)
    return Resident(name, slug, circle, language, homes, x_handle, x_id)


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "".join(plain.split()).lower()


def _befriend_by_chance(chance: random.Random, community: Community) -> None:
    by_circle: dict[str, list[Resident]] = {}
    for each in community.everybody:
        by_circle.setdefault(each.circle, []).append(each)
    for each in community.everybody:
        near = [other for other in by_circle[each.circle] if chance.random() < _INSIDE]
        far = chance.sample(community.everybody, min(chance.randint(*_ACROSS), len(community.everybody)))
        community.befriend(each, [*near, *far])
        outside = {(0x0F << 32) + chance.randrange(_OUTSIDERS) * 7919 for _ in range(chance.randint(*_OUTSIDE))}
        each.follows += sorted(outside)
        chance.shuffle(each.follows)


def _take_list(star: Resident, community: Community, real: RealArchive) -> None:
    """Give the leading person the list of a real archive, and as friends those who happen to be in it."""
    listed = set(real.following)
    star.follows, star.archive = list(real.following), real.file
    star.friends = [other for other in community.everybody if other.x_id in listed and other is not star]
