"""What every scene is given: the stage, the people, their moves, and a way to say that something came true."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from bot.sandbox.demo.community import Community, Lead, Resident
from bot.sandbox.demo.lines import Line, StepFailed
from bot.sandbox.demo.moves import Moves
from bot.sandbox.demo.screen import Screen
from bot.sandbox.demo.stage import Stage
from storage.records import NetworkName

_BLUESKY: Final = (NetworkName.BLUESKY,)
_MASTODON: Final = (NetworkName.MASTODON,)
_BOTH: Final = (NetworkName.BLUESKY, NetworkName.MASTODON)

STAR: Final = "Camille"
LEADS: Final = (
    Lead("Camille Moreau", _BLUESKY, "fr"),
    Lead("Amir Haddad", _MASTODON, "en"),
    Lead("Noor Jansen", _BOTH, "en"),
    Lead("Paul Lemaire", _BLUESKY, "fr"),
    Lead("Ludo Ricci", _MASTODON, "en"),
    Lead("Boris Novak", _MASTODON, "en"),
    Lead("Viktor Keller", _BLUESKY, "en"),
    Lead("Ada Okafor", _BLUESKY, "en"),
    Lead("Ben Okafor", _MASTODON, "en"),
    Lead("Greta Lindqvist", _BLUESKY, "en"),
    Lead("Iris Fontaine", _BOTH, "fr"),
    Lead("Tomas Silva", _BOTH, "en"),
)
# Whom the leading people followed on X, whatever chance gave them besides.
_FRIENDSHIPS: Final = {
    "Camille": ("Noor", "Paul", "Amir", "Iris", "Tomas", "Greta"),
    "Amir": ("Noor", "Camille", "Ludo", "Boris", "Iris", "Tomas"),
    "Noor": ("Camille", "Amir", "Paul", "Iris"),
    "Paul": ("Noor", "Camille"),
    "Greta": ("Noor", "Camille"),
    "Iris": ("Camille", "Amir", "Noor"),
    "Tomas": ("Noor", "Paul"),
}


@dataclass(frozen=True)
class Play:
    """One performance."""

    stage: Stage
    community: Community
    moves: Moves
    screen: Screen

    def lead(self, name: str) -> Resident:
        """Return one of the leading people."""
        return self.community.leads[name]

    def line(self, name: str, network: NetworkName | None = None) -> Line:
        """Return a leading person's conversation, on the network where they talk to the bot first."""
        return self.stage.line(self.lead(name), network)

    def true(self, condition: object, words: str) -> None:
        """Say that something came true; StepFailed when it did not."""
        if not condition:
            raise StepFailed(f"This did not come true: {words}")
        self.screen.true(words)

    async def until(self, predicate: Callable[[], object], words: str) -> None:
        """Wait until the networks have received what makes something true; StepFailed when they never do."""
        try:
            async with asyncio.timeout(self.stage.patience):
                while not predicate():
                    await self.stage.wire.moment()
        except TimeoutError:
            raise StepFailed(f"This never came true: {words}") from None
        self.screen.true(words)


async def all_of(*parts: Coroutine[None, None, object]) -> None:
    """Play several parts at once; the first failure ends all of them and is raised as it is."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def befriend_leads(community: Community) -> None:
    """Have the leading people follow each other as the story needs it."""
    for name, friends in _FRIENDSHIPS.items():
        community.befriend(community.leads[name], [community.leads[friend] for friend in friends])
