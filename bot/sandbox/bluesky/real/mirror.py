"""A world that repeats what a real network's firehose tells of its own."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from bot.sandbox.bluesky.ids import Json
from bot.sandbox.bluesky.settings import Settings
from bot.sandbox.bluesky.world import Account, AccountStatus, Action, World, Write

# How long an event may take from the server to here before something is wrong.
_PATIENCE: Final = 30.0


class Mirror(World):
    """The accounts, records and edges of a real network. `seq` is the last event that is in it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.seq = 0
        self._ended: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def take_in(self, event: Json) -> None:
        """Repeat one event of the firehose."""
        account = self._account(event["did"])
        kind = event["event"]
        if kind == "identity" and event["handle"]:
            self._handles.pop(account.handle, None)
            account.handle = event["handle"]
            self._handles[account.handle] = account.did
        elif kind == "account":
            account.status = "active" if event["active"] else cast("AccountStatus", event["status"])
        elif kind in ("create", "update", "delete"):
            self._repeat(account, kind, event)
        self.seq = max(self.seq, event["seq"])
        self._changed.set()
        self._changed = asyncio.Event()

    def _account(self, did: str) -> Account:
        if did not in self.accounts:
            self.accounts[did] = Account(did, "handle.invalid", self._settings.now(), {})
        return self.accounts[did]

    def _repeat(self, account: Account, action: Action, event: Json) -> None:
        write = Write(action, event["collection"], event["rkey"], event["value"])
        if action == "delete" and account.record(write.collection, write.rkey) is None:
            return
        self._apply(account, write).cid = event["cid"]

    def end(self, listening: asyncio.Task[None]) -> None:
        """Note that nobody listens to the firehose any more, and wake those who wait for it."""
        self._ended = listening
        self._changed.set()

    async def until(self, predicate: Callable[[], object]) -> None:
        """Return when the firehose has told what makes something true; TimeoutError when it never does."""
        async with asyncio.timeout(_PATIENCE):
            while not predicate():
                if self._ended is not None:
                    self._ended.result()
                    raise EOFError("The firehose has ended.")
                await self._changed.wait()
