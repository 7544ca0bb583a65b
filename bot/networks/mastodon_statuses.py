"""Read statuses as messages, and compose answers; pure functions on the API's JSON."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from bot.networks import Incoming
from bot.networks.text import defuse, html_to_text, mastodon_length
from storage.records import NetworkName

Json = dict[str, Any]

# What comes of reading JSON that is not what it should be.
MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError)

# Besides the text an answer begins with "@name ": a name has at most 30 letters on Mastodon.
_ADDRESS_LENGTH: Final = 32
# Where the server in it counts too, it has seldom more than another 60.
_FULL_ADDRESS_LENGTH: Final = 96
_SERVER_OF_MENTION: Final = re.compile(r"(@[\w.-]+)@[\w.:-]+")
_WHITE: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Thread:
    """What an answer needs to know of the status it answers."""

    status: str
    account: str
    visibility: str
    spoiler: str = ""

    def write(self) -> str:
        """Return the port's `thread`."""
        kept = {"status": self.status, "account": self.account, "visibility": self.visibility}
        return json.dumps(kept | ({"spoiler": self.spoiler} if self.spoiler else {}))

    @classmethod
    def read(cls, text: str | None) -> "Thread | None":
        """Read what `write` gave; None for none."""
        return cls(**json.loads(text)) if text else None


@dataclass(frozen=True, slots=True)
class Ourselves:
    """Who we are on our server, and what it allows; `counts_all` where links and names count with every letter."""

    id: str
    name: str
    domain: str
    most_characters: int = 500
    link_characters: int = 23
    counts_all: bool = False

    @property
    def acct(self) -> str:
        """Return our full name."""
        return f"{self.name}@{self.domain}"

    def full(self, acct: str) -> str:
        """Return an account's full name: a local one is told without its server."""
        name, _, domain = acct.partition("@")
        return f"{name}@{domain.lower() or self.domain}"


def read_mention(notification: Any, us: Ourselves, thread_key: str, actor: str) -> Incoming | None:
    """Read the notification of a mention; None when it is none; KeyError, TypeError, ValueError when it is malformed."""
    if notification["type"] != "mention":
        return None
    status = notification["status"]
    account = status["account"]
    if str(account["id"]) == us.id:
        return None
    thread = Thread(
        str(status["id"]), str(account["id"]), str(status["visibility"]), str(status.get("spoiler_text") or "")
    )
    language = status.get("language")
    return Incoming(
        id=str(status.get("uri") or f"{us.domain}/{status['id']}"),
        network=NetworkName.MASTODON,
        actor=actor,
        handle=f"@{us.full(str(account['acct']))}",
        text=_text(status),
        public=thread.visibility != "direct",
        thread=thread.write(),
        thread_key=thread_key,
        at=epoch_ms(status["created_at"]),
        languages=(str(language),) if language else (),
        by_bot=bool(account.get("bot")),
    )


def _text(status: Json) -> str:
    """Return what was written. Remote people keep their server; local ones, and words such as @name on X, have none."""
    mentions = {
        str(one["url"]): str(one["acct"])
        for one in status.get("mentions") or []
        if isinstance(one, dict) and "@" in str(one.get("acct")) and one.get("url")
    }
    return html_to_text(str(status["content"]), mentions)


def epoch_ms(value: Any) -> int:
    """Read a time, as the SDK gives it (a datetime) or as the server wrote it; TypeError or ValueError otherwise."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def addressed(text: str, handle: str, us: Ourselves) -> str:
    """Return the text of a status to exactly one person: whoever is named with an @ would get it too."""
    acct = handle.lstrip("@")
    return f"@{acct} {defuse(text, {acct, us.acct})}"


def answer_visibility(asked: str) -> str:
    """Return how to answer in public: off the public timelines, and never wider than the question."""
    return "unlisted" if asked in ("public", "unlisted") else "direct"


def fits(text: str, us: Ourselves) -> bool:
    """Tell whether a text, with the address before it, may be one status."""
    harmless = defuse(text, set())
    if us.counts_all:
        return len(harmless) + _FULL_ADDRESS_LENGTH <= us.most_characters
    # Servers that count links otherwise than the usual 23 are few; they count them longer.
    links = len(re.findall(r"https?://", harmless)) * max(0, us.link_characters - 23)
    return mastodon_length(harmless) + links + _ADDRESS_LENGTH <= us.most_characters


def says(status: Any, text: str) -> bool:
    """Tell whether a status says this, whatever its server made of spaces and of the servers in names."""
    return _bare(html_to_text(str(status["content"]))) == _bare(text)


def names(status: Any, handle: str, us: Ourselves) -> bool:
    """Tell whether a status addresses an account, which its text alone may call by the half of its name."""
    mentioned = {us.full(str(one["acct"])).lower() for one in status.get("mentions") or []}
    return not mentioned or handle.lstrip("@").lower() in mentioned


def _bare(text: str) -> str:
    return _WHITE.sub("", _SERVER_OF_MENTION.sub(r"\1", text)).casefold()


def domain_of(instance: Any, base_url: str) -> str:
    """Return the server's name as it stands in handles, which may be another than its address."""
    named = (instance.get("domain") or instance.get("uri")) if isinstance(instance, dict) else None
    name = str(named or "").removeprefix("https://").removeprefix("http://").strip("/")
    return (name or urlsplit(base_url).netloc).lower()
