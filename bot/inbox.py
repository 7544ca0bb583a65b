"""Hear, remember, handle: one transaction a message, in which everything it leads to is promised."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from bot.events import Events
from bot.networks import Incoming, Network
from bot.networks.text import clean
from handlers.etiquette import cap_reached, hush
from handlers.routing import Router
from handlers.texts import N_
from storage import accounts, messages
from storage.database import is_trouble, patiently
from storage.keys import LostSecretError, new_code
from storage.messages import Failed
from storage.records import Account, MessageState

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_log = structlog.get_logger()

FAILURE: Final = N_(
    "Something went wrong on my side, and I could not do what you asked. Your message is not lost: the operator can "
    "find it under the reference {reference}. You can also simply send it again."
)


class Inbox:
    """What one network says to us."""

    def __init__(self, events: Events, router: Router, network: Network) -> None:
        self._events = events
        self._router = router
        self._network = network
        self._cursor: str | None = None

    def begin(self) -> None:
        """Go on from where the database says: another process may have listened meanwhile."""
        self._cursor = None

    async def turn(self) -> int:
        """Hear once and decide everything that is new; return how many messages that were.

        The cursor moves only after the last message: after a crash in between, those already decided are heard
        again, and known by their ids.
        """
        if self._cursor is None:
            async with self._events.database.reading() as connection:
                self._cursor = await messages.read_cursor(connection, self._network.name)
        batch = await self._network.hear(self._cursor)
        new = 0
        for incoming in batch.messages:
            new += await self._decide(incoming, partial(self.handle, incoming))
        if batch.cursor != self._cursor:
            async with self._events.database.transaction() as connection:
                await messages.move_cursor(connection, self._network.name, batch.cursor)
            self._cursor = batch.cursor
        return new

    async def _decide(self, incoming: Incoming, handle: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await patiently(handle)
        except Exception as error:
            if is_trouble(error):
                raise  # it is not the message's fault, which is heard again when the database is well
            reference = new_code("RF")
            _log.exception("handler crashed", reference=reference, network=incoming.network, error=type(error).__name__)
            await self._keep(incoming, reference)
            return True

    async def handle(self, incoming: Incoming) -> bool:
        """Decide one message in one transaction; False when it was known already."""
        async with self._events.database.transaction() as connection:
            new = await self._handle(connection, incoming)
        self._events.on_promise()
        return new

    async def _handle(self, connection: "AsyncConnection", incoming: Incoming) -> bool:
        message_id, keys = _message_id(incoming), self._events.world.keys
        if not await self._remember(connection, incoming):
            return False
        if incoming.by_bot:
            await messages.bury(connection, keys, message_id)
            return True
        account = await self._meet(connection, incoming)
        heard = replace(incoming, text=clean(incoming.text))
        context = await self._events.context(connection, message_id, account.id, heard)
        cap = await cap_reached(context, incoming.thread_key, public=incoming.public)
        if cap is not None and not self._router.heeds_always(context):
            await messages.bury(connection, keys, message_id)
            return True
        await self._router.route(context)
        if cap is not None:
            hush(context, cap)
        await self._events.promise_speeches(connection, context.speeches, prompt=True)
        return True

    async def retry(self, failed: Failed) -> bool:
        """Decide a message anew whose handler crashed; False when it is no longer kept, or its key is gone."""
        if failed.secret is None:
            return False
        try:
            incoming = msgspec.json.decode(self._events.world.keys.decrypt(failed.secret), type=Incoming)
        except LostSecretError:
            return False

        async def anew() -> bool:
            async with self._events.database.transaction() as connection:
                known = await messages.forget_failed(connection, failed.id)
                return known and await self._handle(connection, incoming)

        decided = await self._decide(incoming, anew)
        self._events.on_promise()
        return decided

    async def _keep(self, incoming: Incoming, reference: str) -> None:
        text = incoming.text.encode("utf-8", "replace").decode()  # JSON may smuggle in halves of characters
        kept = asdict(replace(incoming, text=text))
        secret = self._events.world.keys.encrypt(msgspec.json.encode(kept).decode())
        async with self._events.database.transaction() as connection:
            await self._remember(connection, incoming)
            message_id = _message_id(incoming)
            await messages.mark(connection, message_id, MessageState.FAILED, reference=reference, secret=secret)
            account = await self._meet(connection, incoming)
            context = await self._events.context(connection, f"{message_id}:{reference}", account.id, incoming)
            context.say(context.text(FAILURE, reference=reference))
            await self._events.promise_speeches(connection, context.speeches, prompt=True)
        self._events.on_promise()

    async def _remember(self, connection: "AsyncConnection", incoming: Incoming) -> bool:
        return await messages.remember(
            connection,
            self._events.world.keys,
            _message_id(incoming),
            incoming.network,
            incoming.actor,
            incoming.thread_key,
            self._events.clock(),
        )

    async def _meet(self, connection: "AsyncConnection", incoming: Incoming) -> Account:
        now = self._events.clock()
        account, _ = await accounts.meet(connection, incoming.network, incoming.actor, incoming.handle, now)
        await accounts.hold(connection, account.id)
        await accounts.heard_from(connection, account, now, None if incoming.public else incoming.thread)
        return account


def _message_id(incoming: Incoming) -> str:
    return f"{incoming.network}:{incoming.id}"
