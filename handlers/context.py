"""What a handler is given: the message, who sent it, one transaction, and a way to speak."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from handlers.texts import Texts
from storage.budgets import Allowance
from storage.keys import Keys
from storage.records import Account, NetworkName, Person

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from handlers.registry import Registry


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator configured, as far as decisions depend on it. Durations are in milliseconds.

    `public_url` is None where there is no web address. `bots` are our own handles. `follow` are the allowances for
    acting on behalf of one account. `opens_at` is the opening day of a campaign: until then Reflock only collects.
    """

    public_url: str | None
    bots: Mapping[NetworkName, str]
    follow: Mapping[NetworkName, tuple[Allowance, ...]]
    notice_delay: int = 60_000
    code_lifetime: int = 7 * 86_400_000
    link_lifetime: int = 3_600_000
    question_lifetime: int = 900_000
    opens_at: int | None = None
    silence_after: int = 5
    contacts_a_page: int = 10
    typed_handles: int = 200
    replies_per_thread: int = 5
    replies_per_day: int = 200


@dataclass(frozen=True, slots=True)
class World:
    """What lives as long as the process: keys, settings, and who is registered."""

    keys: Keys
    settings: Settings
    registry: "Registry"


class Heard(Protocol):
    """A message, as far as handlers look at it."""

    @property
    def id(self) -> str:
        """Return the message's id on its network."""

    @property
    def network(self) -> NetworkName:
        """Return the network it came by."""

    @property
    def text(self) -> str:
        """Return its plain text."""

    @property
    def public(self) -> bool:
        """Tell a mention from a DM."""

    @property
    def thread(self) -> str:
        """Return the adapter's reference for answers."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Return what the post declares of its language."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Something to say to an account: an answer, or a notice (then consent is checked again when it is sent).

    `key` is what makes it unique beside `about`, the event that led to it (a message's id, a delivery's key).
    `public` says it in the thread. With `acknowledge` the outcome of this DM is then told, without its content, in the
    public thread that asked for it: that it was sent, or why it could not be and what to do.
    """

    account: Account
    text: str
    language: str
    key: str
    notice: bool = False
    public: bool = False
    thread: str | None = None
    due_at: int | None = None
    acknowledge: bool = False


@dataclass(slots=True)
class Context:
    """One event being decided, inside one transaction.

    `heard` is None when no message led to it (a look-up's result, a tick, the web). `about` names the event; every
    key made here begins with it. Handlers read `person` as it was when the event came.
    """

    connection: "AsyncConnection"
    world: World
    now: int
    about: str
    person: Person
    account: Account
    texts: Texts
    heard: Heard | None = None
    speeches: list[Speech] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        """Return what the operator configured."""
        return self.world.settings

    def text(self, message: str, /, **values: object) -> str:
        """Say a message in the person's language, with its {fields} filled in."""
        return self.texts.text(message, **values)

    def plural(self, one: str, many: str, n: int, /, **values: object) -> str:
        """Say a message about n things in the person's language; {n} is the number."""
        return self.texts.plural(one, many, n, **values)

    def say(self, text: str, *, public: bool = False) -> None:
        """Answer the account this event is about, after what was said already."""
        self.speeches.append(
            Speech(
                account=self.account,
                text=text,
                language=self.texts.language,
                key=f"{self.about}:{len(self.speeches)}",
                public=public,
                thread=self.heard.thread if self.heard else self.account.thread,
                acknowledge=not public and self.heard is not None and self.heard.public and not self.speeches,
            )
        )

    def tell(self, account: Account, text: str, language: str, *, due_at: int | None = None) -> None:
        """Give another account a word it did not ask for just now."""
        self.speeches.append(
            Speech(
                account=account,
                text=text,
                language=language,
                key=f"{self.about}:{len(self.speeches)}",
                notice=True,
                thread=account.thread,
                due_at=due_at,
            )
        )

    def in_language(self, language: str | None) -> Texts:
        """Return the messages in somebody else's language."""
        return self.texts.catalogue.texts(language)


JsonObject = dict[str, Any]
