"""One process of the bot on the launch day, from its start until it is killed; the next one goes on with its database.

Its parts are the real ones, turned by the bot's own loops; only the ticks are driven from here, because APScheduler
looks at the real clock.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

import httpx
import sqlalchemy as sa

from bot.announcing import Announcing
from bot.asking import LookingUp
from bot.config import Loaded
from bot.events import Events
from bot.inbox import Inbox
from bot.loops import Wake, listen, perform
from bot.networks import Network
from bot.outbox import Outbox
from bot.performing import Acting, Revoking, Speaking
from bot.proof import PostLookup
from bot.schedule import Ticks
from handlers import router
from handlers.context import Context, World
from handlers.registry import Registry
from handlers.texts import Catalogue
from storage.database import Database
from storage.keys import Keys
from storage.records import DeliveryKind, NetworkName

_BATCH: Final = 25
_CATALOGUE: Final = Catalogue()


class Killed(Exception):
    """This process is no more: it writes nothing."""


class Life:
    """A whole Reflock beside its networks."""

    def __init__(
        self,
        url: str,
        loaded: Loaded,
        keys: Keys,
        networks: Mapping[NetworkName, Network],
        clock: Callable[[], int],
        x: httpx.AsyncBaseTransport,
    ) -> None:
        self.dead = False
        self.database = Database(url)
        engine = self.database._writer.sync_engine  # noqa: SLF001  # whose writes end with the process
        sa.event.listen(engine, "commit", self._still_alive)
        settings = loaded.settings({name: network.handle for name, network in networks.items()})
        self.events = Events(self.database, World(keys, settings, Registry()), _CATALOGUE, networks, clock)
        speaking = Speaking(self.events, {name: loaded.messages(name) for name in networks})
        acting = Acting(self.events, {name: loaded.allowances(name) for name in networks}, _BATCH)
        self.outbox = Outbox(
            self.events,
            {
                DeliveryKind.REPLY: speaking,
                DeliveryKind.POST: speaking,
                DeliveryKind.NOTICE: speaking,
                DeliveryKind.FOLLOW: acting,
                DeliveryKind.UNFOLLOW: acting,
                DeliveryKind.LOOKUP: LookingUp(self.events, PostLookup(httpx.AsyncClient(transport=x))),
                DeliveryKind.REVOKE: Revoking(self.events),
            },
            worker="bench",
            lease_ms=loaded.config.bot.lease_seconds * 1000,
        )
        self._networks = networks
        self._loaded = loaded
        self._tasks: list[asyncio.Task[None]] = []

    def _still_alive(self, *_: object) -> None:
        if self.dead:
            raise Killed

    async def begin(self) -> None:
        """Start as the process does, and run its loops."""
        wake = Wake()
        self.events.on_promise = wake.ring
        await self.outbox.recover()
        ticks = Ticks(self.events, Announcing(self.events), self._loaded)
        config = self._loaded.config
        notices, privacy = config.notices, config.privacy
        poll_seconds = {
            NetworkName.BLUESKY: config.bluesky.poll_seconds,
            NetworkName.MASTODON: config.mastodon.poll_seconds,
        }
        parts = [
            *(
                listen(Inbox(self.events, router, network), network, poll_seconds[name], self.events.outage)
                for name, network in self._networks.items()
            ),
            perform(self.outbox, wake, self.events.clock, self.events.outage),
            self._every(notices.tick_seconds, ticks.newcomers),
            self._every(10, ticks.index),
            self._every(60 * privacy.wipe_minutes, ticks.wipe),
            self._every(3_600, ticks.census),
            self._every(86_400, ticks.retention),
            self._every(86_400, ticks.purge),
        ]
        self._tasks = [asyncio.create_task(part) for part in parts]

    async def _every(self, seconds: float, tick: Callable[[], Awaitable[None]]) -> None:
        """Tick, one at a time; as in the schedule, ticks that were missed are one."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(seconds - loop.time() % seconds)
            await tick()

    async def decide(self, about: str, account_id: str, handle: Callable[[Context], Awaitable[None]]) -> None:
        """Have something handled that did not come by message, as the web does."""
        await self.events.decide(about, account_id, handle)

    async def kill(self, spared: Collection[asyncio.Task[Any]]) -> None:
        """End at once: nothing that was not committed is written any more, and everything of ours stops."""
        self.dead = True
        while mine := asyncio.all_tasks() - set(spared) - {asyncio.current_task()}:
            for task in mine:
                task.cancel()
            await asyncio.wait(mine)
        await self.database.close()
