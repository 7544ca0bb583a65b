"""Who there is to play with: people who are here already, people who are still to come, and whoever sits at the page."""

import itertools
import random
import unicodedata
from collections.abc import Iterable
from typing import Final

from bot.sandbox.demo import said
from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.names import FIRST, LAST
from bot.sandbox.demo.stage import Stage
from storage.records import NetworkName

# How many of the people somebody followed are here already at most, and how many are still to come.
_HERE: Final = 12
_TO_COME: Final = 6
# How many more they followed of whom nobody here has heard, and the room their X ids are drawn from.
_OUTSIDE: Final = 200
_SNOWFLAKES: Final = (7 * 10**17, 17 * 10**17)
# What a slug leaves room for: the rest of an X handle of 15 characters, a name on Mastodon of 30.
_X_ROOM: Final = 11
_NAME_ROOM: Final = 24
_NAMELESS: Final = "guest"
_BOT: Final = "reflock"


class Cast:
    """Everybody on the stage, and how more people join."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chance = random.Random()  # noqa: S311  # a game, not a secret
        self._here: set[Resident] = set()
        self._players: set[Resident] = set()

    async def take_part(self, name: str, homes: tuple[NetworkName, ...], language: str) -> Resident:
        """Give somebody at the page their accounts, and an old X account that followed people of the community."""
        player = await self._join(name, homes, language)
        self._players.add(player)
        here, to_come = self._known(homes), await self._absent(homes)
        player.friends = [*here, *to_come]
        outside = [self._chance.randint(*_SNOWFLAKES) for _ in range(_OUTSIDE)]
        player.follows = [*(friend.x_id for friend in player.friends), *outside]
        self._chance.shuffle(player.follows)
        return player

    def is_here(self, resident: Resident) -> bool:
        """Tell whether somebody has proved to the bot who they were."""
        if resident not in self._here:
            lines = (self._stage.line(resident, network) for network in resident.homes)
            proofs = (found for line in lines if (found := line.finds(said.PROVED)) is not None)
            if any(resident.x_handle in proof.fields["x"] for proof in proofs):
                self._here.add(resident)
        return resident in self._here

    def next_to_come(self, player: Resident, coming: Iterable[Resident]) -> Resident | None:
        """Return the next whom somebody followed, and who is neither here nor on the way."""
        under_way = set(coming)
        return next((each for each in player.friends if each not in under_way and not self.is_here(each)), None)

    def _known(self, homes: Iterable[NetworkName]) -> list[Resident]:
        here = [each for each in self._neighbours(homes) if self.is_here(each)]
        return self._chance.sample(here, min(_HERE, len(here)))

    async def _absent(self, homes: tuple[NetworkName, ...]) -> list[Resident]:
        """Return people who have not written to the bot yet; where the community has too few, more are made."""
        absent = [
            each
            for each in self._neighbours(homes)
            if each not in self._players and not any(self._stage.line(each, home).asked for home in each.homes)
        ]
        found = self._chance.sample(absent, min(_TO_COME, len(absent)))
        choices: list[tuple[NetworkName, ...]] = [*((home,) for home in homes), homes]
        for _ in range(_TO_COME - len(found)):
            name = f"{self._chance.choice(FIRST)} {self._chance.choice(LAST)}"
            found.append(await self._join(name, self._chance.choice(choices), "en"))
        return found

    def _neighbours(self, homes: Iterable[NetworkName]) -> list[Resident]:
        """Return everybody who lives on one of these networks, each once."""
        everybody = dict.fromkeys(resident for resident, _ in self._stage.lines)
        return [each for each in everybody if not set(homes).isdisjoint(each.homes)]

    async def _join(self, name: str, homes: tuple[NetworkName, ...], language: str) -> Resident:
        slug, x_handle = self._free_names(name)
        x_id = self._chance.randint(*_SNOWFLAKES)
        resident = Resident(name, slug, "", language, homes, x_handle, x_id)
        await self._stage.enter(resident)
        return resident

    def _free_names(self, name: str) -> tuple[str, str]:
        """Make a name for either network, and an old handle on X, that nobody has."""
        residents = {resident for resident, _ in self._stage.lines}
        slugs, x_handles = {_BOT, *(each.slug for each in residents)}, {each.x_handle for each in residents}
        stem = _slug(name)
        for number in itertools.count(1):
            tail = "" if number == 1 else str(number)
            slug = stem[: _NAME_ROOM - len(tail)] + tail
            x_handle = f"{stem[: _X_ROOM - len(tail)]}{tail}_old"
            if slug not in slugs and x_handle not in x_handles:
                break
        return slug, x_handle


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return "".join(letter for letter in plain if letter.isalnum()) or _NAMELESS
