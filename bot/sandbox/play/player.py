"""A person who is played: their accounts, what they can do, and what they have been told."""

import io
import re
from dataclasses import dataclass, field

from bot.sandbox.archive import write_archive
from bot.sandbox.bluesky.errors import DmRefused
from bot.sandbox.demo import said
from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.lines import Line
from bot.sandbox.demo.phrases import Phrase
from bot.sandbox.demo.stage import Stage
from bot.sandbox.mastodon.errors import ApiError
from bot.sandbox.play.feed import Feed, words_of
from bot.sandbox.x import XAccount
from handlers.texts import Texts
from storage.records import NetworkName


@dataclass(frozen=True, slots=True)
class XPosted:
    """A post on X, and where it stands."""

    text: str
    url: str


@dataclass(eq=False, repr=False)
class Player:
    """One person at the page. `texts` is their language; `problem` is what the last thing they did ran into."""

    resident: Resident
    texts: Texts
    feeds: dict[NetworkName, Feed]
    x: XAccount
    posted: list[XPosted] = field(default_factory=list)
    coming: list[Resident] = field(default_factory=list)
    problem: str = ""

    def line(self, network: NetworkName) -> Line:
        """Return the conversation with the bot on a network."""
        return self.feeds[network].line

    @property
    def lines(self) -> list[Line]:
        """Return the conversations with the bot."""
        return [feed.line for feed in self.feeds.values()]

    async def say(self, network: NetworkName, words: str, *, public: bool) -> None:
        """Write to the bot; what the network refuses becomes the problem."""
        try:
            await self.line(network).send(words, public=public)
            self.problem = ""
        except (ValueError, DmRefused, ApiError) as refusal:
            self.problem = self.texts.text("The network did not take that: {problem}", problem=refusal)

    def farewell(self) -> str | None:
        """Return the farewell post that the bot gave last, until it is posted."""
        messages = sorted((each for line in self.lines for each in line.received), key=lambda effect: effect.at)
        done = {code for post in self.posted for code in said.CODE.findall(post.text)}
        for effect in reversed(messages):
            for paragraph in re.split(r"\n\s*\n", words_of(effect)):
                code = said.CODE.search(paragraph)
                if code is not None and code[0] not in done:
                    return paragraph.strip()
        return None

    def post_farewell(self) -> None:
        """Post on X what the bot has written for it."""
        farewell = self.farewell()
        if farewell is not None:
            self.posted.append(XPosted(farewell, self.x.post(farewell, lang=self.texts.language)))

    def times_heard(self, *phrases: Phrase) -> int:
        """Count the bot's messages with one of these phrases, on either network."""
        received = (effect.text for line in self.lines for effect in line.received)
        return sum(any(phrase.find(text) is not None for phrase in phrases) for text in received)

    def link_code(self, line: Line) -> str | None:
        """Return the code that joins an account to the other one, if the other one was given it."""
        codes = [code for other in self.lines if other is not line for code in _codes(other)]
        return codes[-1] if codes else None

    def archive(self) -> bytes:
        """Return the archive that X would give out: every other of those who are followed follows back."""
        packed = io.BytesIO()
        resident = self.resident
        followers = [friend.x_id for friend in resident.friends[::2]]
        write_archive(
            packed,
            x_id=resident.x_id,
            screen_name=resident.x_handle,
            following=resident.follows,
            followers=followers,
        )
        return packed.getvalue()


def enter(stage: Stage, resident: Resident, texts: Texts) -> Player:
    """Seat somebody at the page who has their accounts."""
    feeds = {network: Feed(stage.line(resident, network)) for network in resident.homes}
    return Player(resident, texts, feeds, stage.x_accounts[resident.x_id])


def _codes(line: Line) -> list[str]:
    return [match[1] for effect in line.received if (match := said.LINK_CODE.search(effect.text)) is not None]
