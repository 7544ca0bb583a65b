"""Read config.toml and the secrets beside it into frozen models; nothing is read when this file is imported.

Secrets stand in the environment or in a file named .env next to config.toml, never in config.toml. Durations in the
configuration carry their unit in the key's name.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from bot.config_values import Address, Handle, Site
from handlers.context import Settings
from storage.budgets import Allowance
from storage.records import NetworkName

_SQLITE: Final = "sqlite:///"
_HOUR: Final = 3_600_000
_DAY: Final = 86_400_000

# What pydantic says of a value's kind, in the words of somebody who writes TOML.
_KINDS: Final[Mapping[str, str]] = {
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text in quotes",
    "model_type": "must be a section of its own, in square brackets",
}

_LOST_KEY: Final = (
    "{name} is not set. A new installation makes it with: reflock init. To see what one looks like beside files that "
    "exist: reflock init --directory new"
)


class ConfigError(Exception):
    """The configuration cannot be used; the text says what is wrong and what to do, a line for each thing."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BotSection(_Section):
    """The process itself."""

    worker: str = Field(
        "reflock-1",
        min_length=1,
        max_length=64,
        description="The name of this process; no two that share a database may have the same.",
    )
    lease_seconds: int = Field(
        60, ge=5, le=3600, description="How long work stays reserved for a process that has died without a word."
    )


class DatabaseSection(_Section):
    """Where everything is remembered."""

    url: str = Field(
        "sqlite:///var/reflock.sqlite3",
        description="SQLite in one file (a relative path is seen from this file's folder), or "
        "postgresql://user@host/name. A URL with a password belongs into the environment instead: "
        "REFLOCK_DATABASE_URL.",
    )


class BlueskySection(_Section):
    """The bot's account on Bluesky."""

    enabled: bool = Field(True, description="Whether the bot lives on Bluesky.")  # noqa: FBT003  # a default
    handle: Handle = Field("", description="The bot's own handle there, as in reflock.example.org.")
    service_url: Address = Field("https://bsky.social", description="The address of the bot's PDS.")
    plc_url: Address = Field("https://plc.directory", description="The directory in which did:plc is looked up.")
    chat_did: str = Field("did:web:api.bsky.chat", description="The service that carries direct messages.")
    poll_seconds: float = Field(
        3,
        gt=0,
        le=3600,
        description="How often to ask for news. Bluesky allows 3,000 requests in 5 minutes per address.",
    )


class MastodonSection(_Section):
    """The bot's account on a Mastodon-API server."""

    enabled: bool = Field(True, description="Whether the bot lives in the fediverse.")  # noqa: FBT003  # a default
    base_url: Address = Field("", description="The address of the bot's server, as in https://mastodon.example.")
    poll_seconds: float = Field(
        15,
        gt=0,
        le=3600,
        description="How often to ask for news beside the stream. Mastodon allows 300 requests in 5 minutes.",
    )
    streaming: bool = Field(
        True,  # noqa: FBT003  # a default
        description="Whether to hear by streaming too; servers without it are polled.",
    )


class WebSection(_Section):
    """The small pages behind one-time links."""

    public_url: Site = Field(
        "",
        description="The https address under which people reach the pages, without a path. Empty: no pages; lists are "
        "typed by DM, and only Mastodon-API servers can be connected.",
    )
    host: str = Field("127.0.0.1", description="The address to listen on; a reverse proxy with TLS stands before it.")
    port: int = Field(8080, ge=0, le=65535, description="The port to listen on.")
    visit_hours: int = Field(
        12, ge=1, le=168, description="How long the browser that opened a one-time link is known on the pages."
    )
    upload_megabytes: int = Field(
        64, ge=1, le=4096, description="The largest upload; lists alone are a few megabytes, whole archives far more."
    )


class XSection(_Section):
    """Where a post on X is looked up."""

    syndication_url: Address = Field(
        "https://cdn.syndication.twimg.com", description="Answers with the author's numeric id; not documented by X."
    )
    oembed_url: Address = Field(
        "https://publish.x.com",
        description="Answers with the author's handle only; asked when the other does not answer.",
    )


class PaceSection(_Section):
    """How fast Reflock acts: below the networks' limits, with room left for people's own activity."""

    # The last twentieth of what servers announce is never used (bot/networks/ratelimits.py): at most the rest.
    bluesky_follows_an_hour: int = Field(
        300,
        ge=1,
        le=1583,
        description="Follows for one account. Bluesky allows 5,000 points an hour, a follow is 3 (docs.bsky.app, rate "
        "limits); bulk following gets people flagged long before.",
    )
    bluesky_follows_a_day: int = Field(
        3000, ge=1, le=11083, description="The same for a day: 35,000 points (docs.bsky.app, rate limits)."
    )
    mastodon_follows_a_day: int = Field(
        300,
        ge=1,
        le=380,
        description="Follows for one account. Mastodon allows 400 in 24 hours (app/lib/rate_limiter.rb).",
    )
    follow_burst: int = Field(6, ge=1, le=200, description="How many follows may be made at once.")
    bluesky_messages_an_hour: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="What the bot says there. For chat Bluesky publishes no limit: when it says no, the bot pauses. Of "
        "requests one address has 36,000 an hour (docs.bsky.app, rate limits); messages due together share one.",
    )
    mastodon_messages_an_hour: int = Field(
        95,
        ge=1,
        le=100_000,
        description="What the bot says there. Mastodon allows 300 statuses in 3 hours, DMs among them; for more, a bot "
        "needs a server of its own whose limits are raised.",
    )
    message_burst: int = Field(20, ge=1, le=10_000, description="How many messages may be sent at once.")


class ConversationSection(_Section):
    """How Reflock talks."""

    claim_code_days: int = Field(7, ge=1, le=30, description="How long the code in a farewell post works.")
    link_minutes: int = Field(60, ge=5, le=1440, description="How long a one-time link works.")
    question_minutes: int = Field(15, ge=1, le=1440, description="How long the bot waits for an answer to a question.")
    contacts_a_page: int = Field(10, ge=1, le=50, description="How many contacts one message lists.")
    typed_handles: int = Field(200, ge=1, le=5000, description="How many handles one `import @a @b` may name.")
    replies_per_thread: int = Field(
        5, ge=1, le=10_000, description="How often the bot answers in one public thread in 24 hours."
    )
    replies_per_day: int = Field(
        200, ge=1, le=1_000_000, description="How often the bot answers one account in 24 hours."
    )


class NoticesSection(_Section):
    """How newcomers are announced."""

    delay_seconds: float = Field(
        60, ge=0, le=86_400, description="How long to gather newcomers for one notice when it is `now`."
    )
    tick_seconds: float = Field(5, gt=0, le=3600, description="How often to look whose notice is due.")
    silence_after: int = Field(
        5, ge=1, le=1000, description="After so many notices without a word back, the bot writes less often."
    )
    opens_at: str = Field(
        "",
        description="The opening day: until then Reflock only collects, as in 2027-01-20T18:00:00+01:00. Empty: open.",
    )


class PrivacySection(_Section):
    """How long things are kept."""

    keep_days: int = Field(
        30, ge=1, le=36_500, description="Which messages were heard and what was said (not: the texts)."
    )
    keep_failed_days: int = Field(
        90, ge=1, le=36_500, description="Messages whose handler crashed, encrypted, for the operator."
    )
    keep_unclaimed_days: int = Field(
        90, ge=1, le=36_500, description="People who said hello and never claimed anything."
    )
    wipe_minutes: int = Field(
        60, ge=1, le=1440, description="Within which time forgotten bytes leave the disk (SQLite)."
    )


class GuardSection(_Section):
    """Where the guarded client may go besides public addresses."""

    allow_private: frozenset[str] = Field(
        frozenset(), description='Private "host:port" that may be reached, also by http. For development only.'
    )


class LogSection(_Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error.")
    format: Literal["console", "json"] = Field("console", description="console for people, json for machines.")


class Config(_Section):
    """All of config.toml."""

    bot: BotSection = BotSection()
    database: DatabaseSection = DatabaseSection()
    bluesky: BlueskySection = BlueskySection()
    mastodon: MastodonSection = MastodonSection()
    web: WebSection = WebSection()
    x: XSection = XSection()
    pace: PaceSection = PaceSection()
    conversation: ConversationSection = ConversationSection()
    notices: NoticesSection = NoticesSection()
    privacy: PrivacySection = PrivacySection()
    guard: GuardSection = GuardSection()
    log: LogSection = LogSection()


class Secrets(BaseModel):
    """What opens doors. The names in the environment are these in capitals, with REFLOCK_ before them."""

    model_config = ConfigDict(frozen=True)

    pseudonym_key: SecretStr = SecretStr("")
    grant_keys: SecretStr = SecretStr("")
    bluesky_app_password: SecretStr = SecretStr("")
    mastodon_access_token: SecretStr = SecretStr("")
    client_key: SecretStr = SecretStr("")
    database_url: SecretStr = SecretStr("")


class Loaded(BaseModel):
    """A configuration, complete enough to run."""

    model_config = ConfigDict(frozen=True)

    config: Config
    secrets: Secrets
    folder: Path = Path()

    @property
    def database_url(self) -> str:
        """Return the database's URL; the one in the environment wins, because it may hold a password."""
        return self.from_folder(self.secrets.database_url.get_secret_value() or self.config.database.url)

    def from_folder(self, url: str) -> str:
        """Return a database's URL with a relative path of SQLite seen from the folder of config.toml.

        So every command, from wherever it is given, means the same file.
        """
        path = url.removeprefix(_SQLITE)
        return url if path in (url, "") or path.startswith("/") else f"{_SQLITE}{self.folder.absolute() / path}"

    def networks(self) -> tuple[NetworkName, ...]:
        """Return the networks that are switched on."""
        enabled = {
            NetworkName.BLUESKY: self.config.bluesky.enabled,
            NetworkName.MASTODON: self.config.mastodon.enabled,
        }
        return tuple(name for name, on in enabled.items() if on)

    def check_complete(self) -> None:
        """Refuse a configuration with which the bot could not run; one line for each thing that is missing."""
        if missing := [what for is_missing, what in self._missing() if is_missing]:
            raise ConfigError("\n".join(missing))

    def _missing(self) -> list[tuple[bool, str]]:
        bluesky, mastodon, secrets = self.config.bluesky, self.config.mastodon, self.secrets
        return [
            (
                not self.networks(),
                "Both networks are switched off. Set [bluesky] enabled or [mastodon] enabled to true.",
            ),
            (bluesky.enabled and not bluesky.handle, "[bluesky] handle is empty. Write the bot's handle there."),
            (
                bluesky.enabled and not secrets.bluesky_app_password.get_secret_value(),
                "REFLOCK_BLUESKY_APP_PASSWORD is not set. Make an app password with access to direct messages.",
            ),
            (
                mastodon.enabled and not mastodon.base_url,
                "[mastodon] base_url is empty. Write the server's https address.",
            ),
            (
                mastodon.enabled and not secrets.mastodon_access_token.get_secret_value(),
                "REFLOCK_MASTODON_ACCESS_TOKEN is not set. Create an application in the bot account's settings.",
            ),
            (not secrets.pseudonym_key.get_secret_value(), _LOST_KEY.format(name="REFLOCK_PSEUDONYM_KEY")),
            (not secrets.grant_keys.get_secret_value(), _LOST_KEY.format(name="REFLOCK_GRANT_KEYS")),
        ]

    def allowances(self, network: NetworkName) -> tuple[Allowance, ...]:
        """Return how fast Reflock may follow on behalf of one account."""
        pace = self.config.pace
        if network is NetworkName.BLUESKY:
            return (
                _allowance(pace.bluesky_follows_an_hour, _HOUR, pace.follow_burst),
                _allowance(pace.bluesky_follows_a_day, _DAY, pace.follow_burst),
            )
        return (_allowance(pace.mastodon_follows_a_day, _DAY, pace.follow_burst),)

    def messages(self, network: NetworkName) -> tuple[Allowance, ...]:
        """Return how fast the bot itself may speak."""
        pace = self.config.pace
        an_hour = {
            NetworkName.BLUESKY: pace.bluesky_messages_an_hour,
            NetworkName.MASTODON: pace.mastodon_messages_an_hour,
        }[network]
        return (_allowance(an_hour, _HOUR, pace.message_burst),)

    def settings(self, bots: Mapping[NetworkName, str]) -> Settings:
        """Return what handlers need to know of the configuration; `bots` are our own handles."""
        from datetime import datetime

        talk, notices = self.config.conversation, self.config.notices
        return Settings(
            public_url=self.config.web.public_url or None,
            bots=bots,
            follow={network: self.allowances(network) for network in self.networks()},
            notice_delay=int(notices.delay_seconds * 1000),
            code_lifetime=talk.claim_code_days * _DAY,
            link_lifetime=talk.link_minutes * 60_000,
            question_lifetime=talk.question_minutes * 60_000,
            opens_at=int(datetime.fromisoformat(notices.opens_at).timestamp() * 1000) if notices.opens_at else None,
            silence_after=notices.silence_after,
            contacts_a_page=talk.contacts_a_page,
            typed_handles=talk.typed_handles,
            replies_per_thread=talk.replies_per_thread,
            replies_per_day=talk.replies_per_day,
        )


def _allowance(n: int, period: int, burst: int) -> Allowance:
    return Allowance(n=n, period=period, burst=min(burst, max(1, n // 2)))


def load(path: Path, environment: Mapping[str, str] | None = None) -> Loaded:
    """Read config.toml and the secrets of the environment and of the .env file beside it; raise ConfigError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"There is no {path}. Make one with: reflock init") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    beside = _beside(path.parent / ".env")
    return Loaded(
        config=parse(table, str(path)), secrets=_secrets({**beside, **(environment or os.environ)}), folder=path.parent
    )


def _beside(path: Path) -> dict[str, str]:
    """Read the .env file, where there is one."""
    from dotenv import dotenv_values

    try:
        text = path.read_text(encoding="utf-8")  # by ourselves: what is no file dotenv takes for none, without a word
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{path} cannot be read: {why}. It must be a text file that this user may read. If it is anything else, move "
            "it away, and make a new one with: reflock init"
        ) from None
    return {name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None}


def parse(table: Mapping[str, Any], source: str) -> Config:
    """Check a table read from TOML; unknown keys are errors."""
    try:
        config = Config.model_validate(table)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{source}: {each}" for each in _problems(error))) from None
    if config.notices.opens_at:
        from datetime import UTC, datetime

        try:
            moment = datetime.fromisoformat(config.notices.opens_at)
            moment.astimezone(UTC)
        except (ValueError, OverflowError):  # no moment, or one beyond the calendar
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ConfigError(
                f"{source}: [notices] opens_at is not a moment with a time zone, as in 2027-01-20T18:00:00+01:00."
            )
    return config


def _secrets(environment: Mapping[str, str]) -> Secrets:
    return Secrets(
        **{
            name: SecretStr(environment[f"REFLOCK_{name.upper()}"].strip())
            for name in Secrets.model_fields
            if environment.get(f"REFLOCK_{name.upper()}")
        }
    )


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        place = [str(part) for part in problem["loc"]]
        where = f"[{place[0]}] {'.'.join(place[1:])}".strip() if place else "the file"
        if problem["type"] == "extra_forbidden":
            yield f"{where} is not a key that Reflock knows. See config.example.toml for those it does."
            continue
        what, _, _ = problem["msg"].removeprefix("Value error, ").partition(", unable to")
        yield f"{where}: {_KINDS.get(problem['type'], what.replace('Input should be', 'must be'))}."
