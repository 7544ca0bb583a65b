"""The people's side of the conversations: what they sent, what reached them, and how long they wait.

Nobody sends a message twice because no answer came: what the bot loses stays lost, and is counted.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from bot.sandbox.bluesky.sky import Hands
from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.phrases import Phrase
from bot.sandbox.journal import Effect, WatchedJournal
from bot.sandbox.mastodon.people import MastodonPerson
from storage.records import NetworkName

Person = Hands | MastodonPerson


class StepFailed(Exception):
    """A step of the story did not come true; the text says which."""


class Listener(Protocol):
    """Who is shown what is said, as it is said."""

    def said(self, line: "Line", effect: Effect, *, by_bot: bool) -> None:
        """Take in one message."""


@dataclass(slots=True)
class Asked:
    """One message that somebody sent: `mark` is how much they had heard by then, `phrases` what would answer it.

    `also` is what else is said because of it, later.
    """

    text: str
    at: float
    uri: str
    public: bool
    mark: int
    phrases: tuple[Phrase, ...]
    also: tuple[Phrase, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """What the bot said in answer, in all its parts."""

    text: str
    phrase: Phrase
    fields: dict[str, str]


@dataclass(eq=False)
class Line:
    """The conversation of one account with the bot, as its owner remembers it."""

    resident: Resident
    network: NetworkName
    person: Person
    bot: Person
    journal: WatchedJournal
    patience: float
    lead: bool = False
    received: list[Effect] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    # What is said by DM because of something done on a page, once for each time.
    pages: list[tuple[Phrase, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._news = asyncio.Event()

    @property
    def actor(self) -> str:
        """Return the account's id."""
        return self.person.actor

    def hear(self, effect: Effect) -> None:
        """Take in a message of the bot's."""
        self.received.append(effect)
        self._news.set()
        self._news = asyncio.Event()

    async def send(self, text: str, *phrases: Phrase, public: bool = False, also: tuple[Phrase, ...] = ()) -> Asked:
        """Write to the bot, by DM or by a public mention, expecting one of these answers."""
        mark, at = len(self.received), time.time()
        uri = await (self._publish(text) if public else self._dm(text))
        asked = Asked(text, at, uri, public, mark, phrases, also)
        self.asked.append(asked)
        return asked

    async def ask(self, text: str, *phrases: Phrase, public: bool = False, also: tuple[Phrase, ...] = ()) -> Said:
        """Write to the bot, and wait for one of these answers; StepFailed when none comes."""
        asked = await self.send(text, *phrases, public=public, also=also)
        return await self.answer(asked)

    async def answer(self, asked: Asked) -> Said:
        """Wait for the answer to a message."""
        return await self.hears(*asked.phrases, since=asked.mark, why=f"after “{asked.text}”")

    async def hears(self, *phrases: Phrase, since: int = 0, why: str = "") -> Said:
        """Wait until the bot has said one of these things; StepFailed when it does not."""
        return await self.until(
            lambda: self.finds(*phrases, since=since),
            f"{' or '.join(map(str, phrases))} {why}".strip(),
        )

    async def until(self, predicate: Callable[[], Said | None], what: str) -> Said:
        """Wait for something to be said; `what` names it when it is not."""
        try:
            async with asyncio.timeout(self.patience):
                while (said := predicate()) is None:
                    await self._news.wait()
        except TimeoutError:
            raise StepFailed(f"{self.resident.name} ({self.network}) never heard {what}") from None
        return said

    def finds(self, *phrases: Phrase, since: int = 0) -> Said | None:
        """Look for one of these things in what was said since a mark."""
        text = self.text_since(since)
        for phrase in phrases:
            if (fields := phrase.find(text)) is not None:
                return Said(text, phrase, fields)
        return None

    def text_since(self, mark: int) -> str:
        """Return all that the bot said since a mark, one message after the other."""
        return "\n\n".join(effect.text for effect in self.received[mark:])

    async def _publish(self, text: str) -> str:
        if isinstance(self.person, MastodonPerson) and isinstance(self.bot, MastodonPerson):
            return self.person.post(f"@{self.bot.acct} {text}", language=self.resident.language)
        if isinstance(self.person, MastodonPerson) or isinstance(self.bot, MastodonPerson):
            raise TypeError("An account talks to the bot's account on its own network.")
        return await self.person.post(f"@{self.bot.handle} {text}", langs=[self.resident.language])

    async def _dm(self, text: str) -> str:
        if isinstance(self.person, MastodonPerson) and isinstance(self.bot, MastodonPerson):
            return self.person.dm(self.bot, text)
        if isinstance(self.person, MastodonPerson) or isinstance(self.bot, MastodonPerson):
            raise TypeError("An account talks to the bot's account on its own network.")
        return await self.person.dm(self.bot.did, text)


class Wire:
    """Bring what the networks received to the people it is for, in the order in which it came true."""

    def __init__(self, bots: dict[str, NetworkName], listener: Listener) -> None:
        self._bots: Final = bots
        self._listener: Final = listener
        self.lines: Final[dict[str, Line]] = {}
        self._follows = asyncio.Event()

    def connect(self, line: Line) -> None:
        """Have a line's account hear what is said to it."""
        self.lines[line.actor] = line

    async def carry(self, journal: WatchedJournal) -> None:
        """Work for as long as the network is up."""
        done = 0
        while True:
            while done < len(journal.effects):
                self._deliver(journal.effects[done])
                done += 1
            self._follows.set()
            self._follows = asyncio.Event()
            await journal.entry()

    async def moment(self) -> None:
        """Return when something more has come true on either network."""
        await self._follows.wait()

    def _deliver(self, effect: Effect) -> None:
        if effect.kind not in ("dm", "post"):
            return
        by_bot = effect.by in self._bots
        line = self.lines.get((effect.to if by_bot else effect.by) or "")
        if line is None or (not by_bot and effect.to not in self._bots):
            return
        self._listener.said(line, effect, by_bot=by_bot)
        if by_bot:
            line.hear(effect)
