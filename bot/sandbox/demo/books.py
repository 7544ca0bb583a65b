"""Count what happened: from what the networks received, and from what the people remember. Never from the bot's books.

A follow is expected where somebody consented and chose it, by the seeded graph; a newcomer is expected to be told to
everybody who had waited. What is expected and never came is lost, just as a message that nobody answered.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bot.sandbox.demo import said
from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.diary import Diary, Page
from bot.sandbox.demo.lines import Line
from bot.sandbox.demo.phrases import Phrase, number
from bot.sandbox.journal import Effect
from storage.records import NetworkName

_ADDRESSED: Final = re.compile(r"^(?:@[\w.-]+(?:@[\w.:-]+)?\s+)+")
_ENTRY: Final = re.compile(r"\s*\d+\. ")
# How the bot calls somebody: by their handle on Bluesky, or by the address of their page.
_NAMED: Final = re.compile(
    r"@([a-z0-9]+)\.(?:bsky\.social|test)\b|bsky\.app/profile/([a-z0-9]+)\.|https://[^/\s]+/@(\w+)"
)


@dataclass(slots=True)
class Told:
    """What one person was told in notices: how many newcomers, how often each by name, in how many messages."""

    notices: int = 0
    newcomers: int = 0
    named: Counter[str] = field(default_factory=Counter)
    parts: int = 0


@dataclass(slots=True)
class Losses:
    """What never came, each as a sentence."""

    answers: list[str] = field(default_factory=list)
    follows: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        """Return all of it."""
        return [*self.answers, *self.follows, *self.notices]


class Books:
    """The books of one story. `journals` are what the networks received; `by_hand` follows that people made themselves."""

    def __init__(self, journals: Mapping[NetworkName, Iterable[Effect]], lines: Iterable[Line], diary: Diary) -> None:
        self._journals: Final = {network: list(effects) for network, effects in journals.items()}
        self._lines: Final = list(lines)
        self._diary: Final = diary
        self._told = self._read_notices()

    def figures(self, seconds: float) -> dict[str, Any]:
        """Return the figures, under the names and in the order in which they are published."""
        pages = [page for _, page in self._diary.pages()]
        notices = sum(told.notices for told in self._told.values())
        spoken = sum(len(line.received) for line in self._lines)
        newcomers = sum(told.newcomers for told in self._told.values())
        return {
            "people": len({line.resident for line in self._lines if line.received}),
            "claims": {
                "proved": sum(page.claims for page in pages),
                "refused": sum(self._times(line, said.NOT_THE_AUTHOR) for line in self._lines),
                "contested": sum(self._times(line, said.FROZEN) for line in self._lines),
            },
            "links": sum(page.entries for page in pages),
            "contacts": sum(page.here for page in pages) + newcomers,
            "follows": {network.value: len(self._acts(network, "follow")) for network in NetworkName},
            "unfollows": sum(len(self._acts(network, "unfollow")) for network in NetworkName),
            "notices": notices,
            "replies": spoken - sum(told.parts for told in self._told.values()),
            "duplicates": len(self.duplicates()),
            "lost": len(self.losses().all),
            "seconds": round(seconds, 1),
        }

    # What came twice.

    def duplicates(self) -> list[str]:
        """Say everything that came twice: follows, newcomers in notices, answers."""
        return [*self._follows_twice(), *self._told_twice(), *self._said_twice()]

    def _follows_twice(self) -> Iterator[str]:
        for network, effects in self._journals.items():
            live: Counter[tuple[str, str | None]] = Counter()
            for effect in effects:
                pair = (effect.by, effect.to)
                if effect.kind == "unfollow":
                    live[pair] = 0
                elif effect.kind == "follow":
                    live[pair] += 1
                    if live[pair] > 1:
                        yield f"{effect.by} follows {effect.to} twice on {network}"

    def _told_twice(self) -> Iterator[str]:
        for resident, told in self._told.items():
            for name, times in told.named.items():
                yield from [f"{resident.name} was told twice that {name} has arrived"] * (times - 1)

    def _said_twice(self) -> Iterator[str]:
        for line in self._lines:
            times: Counter[tuple[str, str | None]] = Counter()
            for effect in line.received:
                times[_text(effect), effect.reply_to if effect.kind == "post" else None] += 1
            for (text, _), n in times.items():
                if n > 1:
                    reasons = [*(asked.phrases + asked.also for asked in line.asked), *line.pages]
                    more = n - max(1, sum(_may_answer(phrases, text) for phrases in reasons))
                    yield from [f"{line.resident.name} heard twice: {text[:80]}"] * more

    # What never came.

    def losses(self) -> Losses:
        """Say everything that was expected and never came."""
        return Losses(list(self._unanswered()), list(self._unfollowed()), list(self._untold()))

    def _unanswered(self) -> Iterator[str]:
        for line in self._lines:
            for asked in line.asked:
                if asked.phrases and line.finds(*asked.phrases, since=asked.mark) is None:
                    yield f"{line.resident.name} ({line.network}) got no answer to “{asked.text}”"

    def _unfollowed(self) -> Iterator[str]:
        lines = {(line.resident, line.network): line for line in self._lines}
        for network, effects in self._journals.items():
            followed = {(effect.by, effect.to) for effect in effects if effect.kind == "follow"}
            for one, page in self._diary.pages():
                for other in self._expected_follows(one, page, network):
                    if (lines[one, network].actor, lines[other, network].actor) not in followed:
                        yield f"{one.name} never came to follow {other.name} on {network}"

    def _expected_follows(self, one: Resident, page: Page, network: NetworkName) -> Iterator[Resident]:
        if network not in page.granted or page.left:
            return
        for other in page.listed:
            theirs = self._diary.of(other)
            known_since = theirs.known.get(network)
            if known_since is None or theirs.proved is None or theirs.left or other in self._diary.locked:
                continue
            if (one, other) in self._diary.apart:
                continue
            proved = theirs.proved
            chosen = any(max(proved.done, known_since) <= span.begun for span in page.chose)
            if chosen or (_by_itself(page, proved.begun, network) and known_since <= proved.done):
                yield other

    def _untold(self) -> Iterator[str]:
        for resident, page in self._diary.pages():
            if page.uploaded is None or page.silent or page.left:
                continue
            here = [self._diary.of(other) for other in page.listed]
            expected = sum(1 for theirs in here if theirs.proved and not theirs.left)
            missing = expected - page.here - self._told[resident].newcomers
            yield from [f"{resident.name} was never told of somebody who is here"] * missing

    # Reading.

    def _acts(self, network: NetworkName, kind: str) -> list[Effect]:
        return [effect for effect in self._journals.get(network, ()) if effect.kind == kind]

    @staticmethod
    def _times(line: Line, phrase: Phrase) -> int:
        return sum(1 for effect in line.received if phrase.find(effect.text))

    def _read_notices(self) -> dict[Resident, Told]:
        """Read the notices out of what everybody heard; a list that was split goes on in the next part."""
        told: dict[Resident, Told] = defaultdict(Told)
        for line in self._lines:
            within = False
            for effect in line.received:
                text = _text(effect)
                arrived = said.ARRIVED.find(text)
                if arrived is not None:
                    within = True
                    told[line.resident].notices += 1
                    told[line.resident].newcomers += number(arrived["n"])
                elif said.CONTACTS.find(text) or said.ALREADY_HERE.find(text):
                    within = False
                if within and (arrived is not None or _ENTRY.match(text)):
                    told[line.resident].parts += 1
                    names = {next(filter(None, match.groups())) for match in _NAMED.finditer(text)}
                    told[line.resident].named.update(names)
        return told


def _by_itself(page: Page, arrived: float, network: NetworkName) -> bool:
    """Tell whether somebody had auto on, a list and a consent before another arrived."""
    if page.auto_since is None or page.uploaded is None or page.silent:
        return False
    return arrived > max(page.auto_since, page.uploaded.done, page.granted[network])


def _may_answer(phrases: tuple[Phrase, ...], text: str) -> bool:
    return any(phrase.find(text) is not None for phrase in phrases)


def _text(effect: Effect) -> str:
    return _ADDRESSED.sub("", effect.text)
