"""The stage: both networks and X on loopback, a configuration, and the unmodified bot as a process of its own."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import httpx

from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.bluesky.sky import Hands, Sky, StandInSky
from bot.sandbox.demo.browser import new_client
from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.lines import Line, Listener, Person, Wire
from bot.sandbox.demo.process import BotProcess
from bot.sandbox.journal import WatchedJournal
from bot.sandbox.mastodon import MastodonSandbox
from bot.sandbox.mastodon.people import MastodonPerson
from bot.sandbox.x import XAccount, XSandbox
from storage.keys import Keys
from storage.records import NetworkName

T = TypeVar("T")

BOT_NAME: Final = "reflock"
_BOT_PASSWORD: Final = "demo-demo-demo-demo"  # noqa: S105  # opens an account that lives as long as the demo

_CONFIG: Final = """\
[bot]
worker = "demo"

[database]
url = "{database_url}"

[bluesky]
handle = "{handle}"
service_url = "{bluesky}"
plc_url = "{plc}"
poll_seconds = {poll_seconds}

[mastodon]
base_url = "{mastodon}"
poll_seconds = 0.5

[web]
public_url = "{public_url}"
port = {port}

[x]
syndication_url = "{x}"
oembed_url = "{x}"

# These networks set no limits of their own: what is shown is the story, not the waiting.
[pace]
bluesky_follows_an_hour = 1583
bluesky_follows_a_day = 11083
mastodon_follows_a_day = 380
follow_burst = 200
bluesky_messages_an_hour = 100000
mastodon_messages_an_hour = 100000
message_burst = 10000

[notices]
delay_seconds = {notice_delay}
tick_seconds = 0.25
silence_after = 1000

[guard]
allow_private = [{private}]

[log]
format = "json"
"""


@dataclass(eq=False)
class Stage:
    """Everything the story stands on. `started_at` is epoch seconds; `lines` are by resident and network."""

    folder: Path
    bluesky: Sky
    mastodon: MastodonSandbox
    x: XSandbox
    bots: dict[NetworkName, Person]
    wire: Wire
    bot: BotProcess
    public_url: str
    http: httpx.AsyncClient
    patience: float
    started_at: float
    lines: dict[tuple[Resident, NetworkName], Line] = field(default_factory=dict)
    x_accounts: dict[int, XAccount] = field(default_factory=dict)

    async def enter(self, resident: Resident, *, lead: bool = False) -> None:
        """Give somebody their accounts: on X, and wherever they live now."""
        if resident.x_id not in self.x_accounts:
            self.x_accounts[resident.x_id] = self.x.create_account(resident.x_handle, resident.x_id)
        for network in resident.homes:
            person: Person
            if network is NetworkName.BLUESKY:
                person = await self.bluesky.open_account(resident.slug)
            else:
                person = self.mastodon.create_account(resident.slug[:30])
            line = Line(resident, network, person, self.bots[network], self.journal(network), self.patience, lead)
            self.lines[resident, network] = line
            self.wire.connect(line)

    def line(self, resident: Resident, network: NetworkName | None = None) -> Line:
        """Return somebody's conversation on a network, or on the first where they live."""
        return self.lines[resident, network or resident.homes[0]]

    def bluesky_person(self, resident: Resident) -> Hands:
        """Return somebody's account on Bluesky."""
        person = self.lines[resident, NetworkName.BLUESKY].person
        assert not isinstance(person, MastodonPerson)  # noqa: S101  # lines are made so
        return person

    def mastodon_person(self, resident: Resident) -> MastodonPerson:
        """Return somebody's account on Mastodon."""
        person = self.lines[resident, NetworkName.MASTODON].person
        assert isinstance(person, MastodonPerson)  # noqa: S101  # lines are made so
        return person

    def journal(self, network: NetworkName) -> WatchedJournal:
        """Return what a network received."""
        return self.bluesky.world.journal if network is NetworkName.BLUESKY else self.mastodon.journal

    def addresses(self) -> dict[str, str]:
        """Return where everything is to be found."""
        return {
            "Bluesky (XRPC)": self.bluesky.url,
            "Mastodon": self.mastodon.url,
            "X's look-ups": self.x.url,
            "The bot's pages": self.public_url,
            "The bot's configuration": str(self.folder / "config.toml"),
            "The bot's log": str(self.bot.log),
        }

    def is_followed(self, line: Line, other: Resident) -> bool:
        """Tell whether an account follows somebody on its network now."""
        target = self.lines.get((other, line.network))
        return target is not None and target.actor in line.person.follows

    async def while_bot_lives(self, story: Awaitable[T]) -> T:
        """Play something; BotDied as soon as the bot ends by itself."""
        playing = asyncio.ensure_future(story)
        watching = asyncio.create_task(self.bot.died())
        try:
            await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                await watching
            return await playing
        finally:
            for task in (playing, watching):
                task.cancel()
            await asyncio.gather(playing, watching, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_stage(
    folder: Path,
    listener: Listener,
    *,
    bluesky: AbstractAsyncContextManager[Sky] | None = None,
    database_url: str | None,
    patience: float,
    started_at: float,
    notice_delay: float = 1.0,
) -> AsyncIterator[Stage]:
    """Open the networks, write the configuration and start the bot; `bluesky` takes the place of the stand-in."""
    async with contextlib.AsyncExitStack() as stack:
        sky = await stack.enter_async_context(bluesky or open_stand_in())
        mastodon = await stack.enter_async_context(MastodonSandbox(rate_limits=False))
        x = await stack.enter_async_context(XSandbox())
        on_bluesky = await sky.open_account(BOT_NAME, password=_BOT_PASSWORD)
        on_mastodon = mastodon.create_account("reflock", bot=True)
        # So the bot sets them itself when it starts; here people write to it while it does.
        await on_bluesky.allow_incoming("all")
        on_mastodon.allow_private_mentions(allowed=True)
        port = _free_port()
        public_url = f"http://127.0.0.1:{port}"
        hosts = {url.removeprefix("http://") for url in (sky.url, sky.plc_url, mastodon.url)}
        config = _CONFIG.format(
            database_url=database_url or f"sqlite:///{folder / 'reflock.sqlite3'}",
            handle=on_bluesky.handle,
            bluesky=sky.url,
            plc=sky.plc_url,
            poll_seconds=sky.poll_seconds,
            mastodon=mastodon.url,
            x=x.url,
            public_url=public_url,
            port=port,
            notice_delay=notice_delay,
            private=", ".join(f'"{host}"' for host in sorted(hosts)),
        )
        (folder / "config.toml").write_text(config, encoding="utf-8")
        _write_secrets(folder / ".env", on_mastodon.token)
        bots: dict[NetworkName, Person] = {NetworkName.BLUESKY: on_bluesky, NetworkName.MASTODON: on_mastodon}
        http = await stack.enter_async_context(new_client())
        wire = Wire({person.actor: network for network, person in bots.items()}, listener)
        for journal in (sky.world.journal, mastodon.journal):
            carrying = asyncio.create_task(wire.carry(journal))
            stack.callback(carrying.cancel)
        bot = BotProcess(folder)
        await bot.start()
        stack.push_async_callback(bot.stop)
        yield Stage(folder, sky, mastodon, x, bots, wire, bot, public_url, http, patience, started_at)


@contextlib.asynccontextmanager
async def open_stand_in() -> AsyncIterator[Sky]:
    """Open the stand-in of Bluesky, with handles as most people have them there."""
    async with BlueskySandbox(rate_limits=False) as sandbox:
        yield StandInSky(sandbox, domain="bsky.social")


def _write_secrets(path: Path, mastodon_token: str) -> None:
    pseudonym_key, grant_key = Keys.generate()
    path.touch(mode=0o600)
    path.write_text(
        f"REFLOCK_PSEUDONYM_KEY={pseudonym_key}\nREFLOCK_GRANT_KEYS={grant_key}\n"
        f"REFLOCK_BLUESKY_APP_PASSWORD={_BOT_PASSWORD}\nREFLOCK_MASTODON_ACCESS_TOKEN={mastodon_token}\n",
        encoding="utf-8",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
