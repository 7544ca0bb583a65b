"""Hear, remember, handle: one transaction for some messages, in which everything they lead to is promised."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from bot.events import Events
from bot.networks import Incoming, Network
from bot.networks.text import clean
from bot.portions import Portion
from handlers import etiquette
from handlers.context import Speech
from handlers.etiquette import Answered, hush
from handlers.routing import Router
from handlers.texts import N_
from storage import accounts, messages
from storage.accounts import Met
from storage.database import patiently
from storage.keys import LostSecretError, new_code
from storage.messages import Failed, Heard
from storage.records import MessageState
from storage.trouble import is_trouble

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
        self._portion = Portion()

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
        new, left = 0, list(batch.messages)
        while left:
            some, left = left[: self._portion.size], left[self._portion.size :]
            with self._portion.taken(len(some)):
                new += await self._decide(some)
        if batch.cursor != self._cursor:
            async with self._events.database.transaction() as connection:
                await messages.move_cursor(connection, self._network.name, batch.cursor)
            self._cursor = batch.cursor
        return new

    async def _decide(self, heard: Sequence[Incoming]) -> int:
        """Decide messages together or, if anything gets in the way of one of them, each by itself."""
        if len(heard) > 1:
            try:
                return await self.handle(heard)
            except Exception as error:
                if is_trouble(error):
                    raise
        return sum([await self._decide_one(each, partial(self.handle, [each])) for each in heard])

    async def _decide_one(self, incoming: Incoming, handle: Callable[[], Awaitable[int]]) -> int:
        try:
            return await patiently(handle)
        except Exception as error:
            if is_trouble(error):
                raise  # it is not the message's fault, which is heard again when the database is well
            reference = new_code("RF")
            _log.exception("handler crashed", reference=reference, network=incoming.network, error=type(error).__name__)
            await self._keep(incoming, reference)
            return 1

    async def handle(self, heard: Sequence[Incoming]) -> int:
        """Decide messages in one transaction, in order; return how many were not known already."""
        async with self._events.database.transaction() as connection:
            new = await self._handle(connection, heard)
        self._events.on_promise()
        return new

    async def _handle(self, connection: "AsyncConnection", heard: Sequence[Incoming]) -> int:
        people = [each for each in heard if not each.by_bot]
        to, within = {each.actor for each in people}, {each.thread_key for each in people if each.public}
        answered = await etiquette.answered(connection, self._events.clock(), to, within)
        new = await self._remember(connection, heard)
        await self._meet(connection, [each for each in new.values() if not each.by_bot])
        for message_id, each in new.items():
            said = None if each.by_bot else await self._answer(connection, message_id, each, answered)
            if said is None:
                await messages.bury(connection, self._events.world.keys, message_id)
            else:  # at once: whoever is forgotten by a later one takes it along
                await self._events.promise_speeches(connection, said, prompt=True)
        return len(new)

    async def _answer(
        self, connection: "AsyncConnection", message_id: str, incoming: Incoming, answered: Answered
    ) -> list[Speech] | None:
        """Decide one message; return what is to be said, or None when it is too much to be looked at."""
        heard = replace(incoming, text=clean(incoming.text))
        context = await self._events.context(connection, message_id, incoming.actor, heard)
        cap = answered.cap_reached(context.settings, incoming.actor, incoming.thread_key, public=incoming.public)
        if cap is not None and not self._router.heeds_always(context):
            return None
        answered.count(incoming.actor, incoming.thread_key)
        await self._router.route(context)
        if cap is not None:
            hush(context, cap)
        return context.speeches

    async def retry(self, failed: Failed) -> bool:
        """Decide a message anew whose handler crashed; False when it is no longer kept, or its key is gone."""
        if failed.secret is None:
            return False
        try:
            incoming = msgspec.json.decode(self._events.world.keys.decrypt(failed.secret), type=Incoming)
        except LostSecretError:
            return False

        async def anew() -> int:
            async with self._events.database.transaction() as connection:
                known = await messages.forget_failed(connection, failed.id)
                return known and await self._handle(connection, [incoming])

        decided = await self._decide_one(incoming, anew)
        self._events.on_promise()
        return bool(decided)

    async def _keep(self, incoming: Incoming, reference: str) -> None:
        secret = self._events.world.keys.encrypt(msgspec.json.encode(asdict(incoming)).decode())
        async with self._events.database.transaction() as connection:
            await self._remember(connection, [incoming])
            message_id = _message_id(incoming)
            await messages.mark(connection, message_id, MessageState.FAILED, reference=reference, secret=secret)
            await self._meet(connection, [incoming])
            context = await self._events.context(connection, f"{message_id}:{reference}", incoming.actor, incoming)
            context.say(context.text(FAILURE, reference=reference))
            await self._events.promise_speeches(connection, context.speeches, prompt=True)
        self._events.on_promise()

    async def _remember(self, connection: "AsyncConnection", heard: Sequence[Incoming]) -> dict[str, Incoming]:
        """Return those that are new, by their ids."""
        by_id = {_message_id(each): each for each in heard}
        rows = [Heard(name, each.network, each.actor, each.thread_key) for name, each in by_id.items()]
        new = await messages.remember(connection, self._events.world.keys, rows, self._events.clock())
        return {name: each for name, each in by_id.items() if name in new}

    async def _meet(self, connection: "AsyncConnection", heard: Sequence[Incoming]) -> None:
        if not heard:
            return
        now = self._events.clock()
        await accounts.meet_all(connection, [Met(each.network, each.actor, each.handle) for each in heard], now)
        await accounts.hold(connection, *{each.actor for each in heard})
        threads: dict[str, str | None] = {}
        for each in heard:
            threads[each.actor] = threads.get(each.actor) if each.public else each.thread
        await accounts.heard_from(connection, threads, now)


def _message_id(incoming: Incoming) -> str:
    return f"{incoming.network}:{incoming.id}"
