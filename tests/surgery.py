"""A whole installation on servers of this machine, and the doctor's visits to it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import sqlalchemy as sa
from click.testing import CliRunner
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.app import epoch_ms, open_app
from bot.config import Loaded, load
from bot.doctor import Patience
from bot.doctor.command import Asked, consult
from bot.doctor.installation import Installation
from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.faults import FaultMiddleware, Faults
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.x import XSandbox
from bot.web.app import web
from bot.web.serving import Server
from storage.database import Database
from storage.keys import Keys

_NO_WORDS_OF_OURS: Final = {"REFLOCK_NONE_OF_OURS": "1"}  # an environment without secrets of ours
_PLENTY: Final = 2**40
LOGIN: Final = "com.atproto.server.createSession"
LOGOUT: Final = "com.atproto.server.deleteSession"


@dataclass(frozen=True)
class Consultation:
    """What the operator saw."""

    exit_code: int
    text: str

    def about(self, name: str) -> str:
        """Return the last line about something."""
        return [line for line in self.text.splitlines() if line[5:].startswith((f"{name}: ", f"{name} ("))][-1]

    @property
    def wrong(self) -> list[str]:
        """Return what is said to be wrong, in the order of the lines."""
        return [line[5:].partition(": ")[0] for line in self.text.splitlines() if line.startswith("FIX")]

    @property
    def not_checked(self) -> list[str]:
        return [line[5:].partition(": ")[0] for line in self.text.splitlines() if line.startswith("- ")]


class Requests:
    """Everything a server was asked that is more than a look."""

    def __init__(self, app: ASGIApp) -> None:
        assert isinstance(app, FaultMiddleware)
        self.changing: list[str] = []
        self._app, app.app = app.app, self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            self.changing.append(scope["path"].rpartition("/")[2])
        await self._app(scope, receive, send)


class OwnPatience(Patience):
    """Waits for ever, until a test says that the time of one check is over."""

    def __init__(self) -> None:
        super().__init__(7)
        self._limits: dict[str, asyncio.Timeout] = {}

    def limit(self, name: str) -> asyncio.Timeout:
        self._limits[name] = asyncio.timeout(None)
        return self._limits[name]

    def is_over(self, name: str) -> None:
        self._limits[name].reschedule(asyncio.get_running_loop().time())


class Hanging:
    """A server that takes one kind of request and never answers; then the time of a check is over."""

    def __init__(self, app: ASGIApp, path: str, patience: OwnPatience, check: str) -> None:
        assert isinstance(app, FaultMiddleware)
        self._app, app.app = app.app, self
        self._path, self._patience, self._check = path, patience, check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith(self._path):
            await self._app(scope, receive, send)
            return
        self._patience.is_over(self._check)
        while (await receive())["type"] != "http.disconnect":
            pass


@dataclass
class Surgery:
    """An installation in a folder, the servers it names, and the doctor's visits."""

    folder: Path
    sky: BlueskySandbox
    town: MastodonSandbox
    x: XSandbox
    bot: BlueskyPerson
    toot: MastodonPerson
    database_url: str
    secrets: dict[str, str]
    sections: dict[str, dict[str, object]]
    pages: Server
    file_system: str = "ext4"
    free: int = _PLENTY
    skew_seconds: int = 0
    ssl_context: ssl.SSLContext | None = None
    page_faults: Faults = field(default_factory=Faults)
    patience: OwnPatience = field(default_factory=OwnPatience)

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def sqlite_file(self) -> Path:
        return Path(self.database_url.removeprefix("sqlite:///"))

    def install(self) -> Loaded:
        """Write the installation's files, and read them."""
        lines = []
        for section, keys in self.sections.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        (self.folder / "config.toml").write_text("\n".join(lines))
        environment = "".join(f"{name}={json.dumps(value)}\n" for name, value in self.secrets.items())
        if not (self.folder / ".env").exists():
            (self.folder / ".env").touch(mode=0o600)
        (self.folder / ".env").write_text(environment)
        (self.folder / "mounts").write_text(f"none / overlay rw 0 0\nnone {self.folder} {self.file_system} rw 0 0\n")
        return load(self.folder / "config.toml", _NO_WORDS_OF_OURS)

    async def prepare(self) -> Loaded:
        """Install, and prepare the database as `reflock db upgrade` does."""
        database = Database(self.database_url)
        await database.upgrade()
        await database.close()
        return self.install()

    async def asks(
        self,
        *,
        answers: str = "",
        fix: bool = False,
        yes: bool = False,
        to_machine: bool = False,
        loaded: Loaded | None = None,
    ) -> Consultation:
        """Let the doctor come; `answers` is what the operator types."""
        loaded = loaded or self.install()
        exit_code = 0
        with CliRunner().isolation(input=answers) as (said, _, _):
            here = Installation(
                loaded,
                lambda: epoch_ms() + 1000 * self.skew_seconds,
                mounts=self.folder / "mounts",
                free=lambda _folder: self.free,
                ssl_context=self.ssl_context,
            )
            async with here:
                try:
                    await consult(here, Asked(fix=fix, yes=yes, json_output=to_machine), self.patience)
                except click.exceptions.Exit as end:
                    exit_code = end.exit_code
            text = said.getvalue().decode()
        assert not [name for name, secret in self.secrets.items() if secret and secret in text], "a secret was said"
        return Consultation(exit_code, text)

    @asynccontextmanager
    async def running_bot(self) -> AsyncIterator[None]:
        """Let the pages run, where the configuration says that they are."""
        async with open_app(await self.prepare(), log_in=False) as app:
            self.pages.app = FaultMiddleware(web(app.events, app.consents, app.loaded), self.page_faults)
            async with self.pages:
                yield

    async def database(self, act: Any) -> Any:
        """Do something with the database."""
        database = Database(self.database_url)
        try:
            async with database.transaction() as connection:
                return await act(connection)
        finally:
            await database.close()

    async def executes(self, *statements: str) -> None:
        async def act(connection: Any) -> None:
            for statement in statements:
                await connection.execute(sa.text(statement))

        await self.database(act)


@asynccontextmanager
async def open_surgery(folder: Path, database_url: str) -> AsyncIterator[Surgery]:
    """Give a complete installation with which nothing is wrong; its database is empty, and its pages do not run yet."""
    async with BlueskySandbox() as sky, MastodonSandbox() as town, XSandbox() as x:
        bot = sky.create_account("reflock.test", password="the bot's own password", bot=True)
        bot.allow_incoming = "all"
        toot = town.create_account("reflock", bot=True)
        toot.allow_private_mentions(allowed=True)
        pseudonym, grant = Keys.generate()
        pages = Server()
        yield Surgery(
            folder,
            sky,
            town,
            x,
            bot,
            toot,
            database_url,
            secrets={
                "REFLOCK_PSEUDONYM_KEY": pseudonym,
                "REFLOCK_GRANT_KEYS": grant,
                "REFLOCK_BLUESKY_APP_PASSWORD": bot.password,
                "REFLOCK_MASTODON_ACCESS_TOKEN": toot.token,
            },
            sections={
                "database": {"url": database_url},
                "bluesky": {"handle": bot.handle, "service_url": sky.url, "plc_url": sky.url},
                "mastodon": {"base_url": town.url},
                "web": {"public_url": pages.url, "port": pages.port},
                "x": {"syndication_url": x.url, "oembed_url": x.url},
            },
            pages=pages,
        )
        await pages.stop()
