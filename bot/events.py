"""Decide events: one transaction, one context, and what is said in it promised with everything else."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from bot.networks.text import split
from bot.outage import Outage
from handlers.context import Context, Heard, Speech, World
from handlers.texts import Catalogue
from storage import accounts, deliveries, lanes
from storage.database import Database, patiently
from storage.deliveries import Promise
from storage.records import Account, DeliveryKind, NetworkName, Person

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from bot.networks import Network

Clock = Callable[[], int]
Decided = TypeVar("Decided")


class Events:
    """The one way from something that happened to a handler and back: used by inbox, outbox, ticks and the web.

    `clock` returns epoch milliseconds. `on_promise` is called after a commit that may have promised something.
    """

    def __init__(
        self,
        database: Database,
        world: World,
        catalogue: Catalogue,
        networks: Mapping[NetworkName, "Network"],
        clock: Clock,
    ) -> None:
        self.database: Final = database
        self.world: Final = world
        self.catalogue: Final = catalogue
        self.networks: Final = networks
        self.clock: Final = clock
        self.outage: Final = Outage(database.address, database.url, clock)
        self.on_promise: Callable[[], None] = _nothing

    @asynccontextmanager
    async def event(self, about: str, account_id: str) -> AsyncIterator[Context]:
        """Open a transaction and a context for something that concerns an account; LookupError when it is gone.

        What handlers say in it is promised when the block ends, and everything is committed together.
        """
        async with self.database.transaction() as connection:
            await accounts.hold(connection, account_id)
            context = await self.context(connection, about, account_id)
            yield context
            await self.promise_speeches(context.connection, context.speeches)
        self.on_promise()

    async def decide(self, about: str, account_id: str, handle: Callable[[Context], Awaitable[Decided]]) -> Decided:
        """Have an `event` handled, and handled anew when its transaction was ended for another one's sake."""

        async def once() -> Decided:
            async with self.event(about, account_id) as context:
                return await handle(context)

        return await patiently(once)

    async def decide_together(
        self, accounts_about: Mapping[str, str], handle: Callable[[Sequence[Context]], Awaitable[None]]
    ) -> None:
        """Have an event of each of several accounts handled, in one transaction: all of them, or on any mistake none.

        Accounts that are gone are left out, and of several of one person, which they may have become, all but the first.
        """

        async def once() -> None:
            async with self.database.transaction() as connection:
                await accounts.hold(connection, *accounts_about)
                contexts = await self._contexts(connection, accounts_about)
                await handle(contexts)
                await self.promise_speeches(connection, [each for context in contexts for each in context.speeches])
            self.on_promise()

        await patiently(once)

    async def _contexts(self, connection: "AsyncConnection", accounts_about: Mapping[str, str]) -> list[Context]:
        found = await accounts.with_persons(connection, accounts_about)
        contexts: dict[int, Context] = {}
        for account_id, about in accounts_about.items():
            if account_id in found and (person_id := found[account_id][1].id) not in contexts:
                contexts[person_id] = self._context(connection, about, *found[account_id])
        return list(contexts.values())

    async def context(
        self, connection: "AsyncConnection", about: str, account_id: str, heard: Heard | None = None
    ) -> Context:
        """Make a context on a transaction that is already open."""
        found = await accounts.with_person(connection, account_id)
        if found is None:
            raise LookupError(f"There is no account {account_id}.")
        return self._context(connection, about, *found, heard)

    def _context(
        self, connection: "AsyncConnection", about: str, account: Account, person: Person, heard: Heard | None = None
    ) -> Context:
        return Context(
            connection=connection,
            world=self.world,
            now=self.clock(),
            about=about,
            person=person,
            account=account,
            texts=self.catalogue.texts(person.language),
            heard=heard,
        )

    async def promise_speeches(
        self, connection: "AsyncConnection", speeches: list[Speech], *, prompt: bool = False
    ) -> None:
        """Promise what was said, in pieces that the network takes, in order, within its reader's lane.

        `prompt` says that it answers a message heard just now: then it is said even to those who want silence.
        """
        now = self.clock()
        promises = []
        for speech in speeches:
            network = self.networks.get(speech.account.network)
            if network is None:  # an account of a network that is switched off: nobody could deliver it
                continue
            fits = _fits(network, public=speech.public)
            for part, text in enumerate(split(speech.text, fits)):
                promises.append(_promise(speech, part, text, prompt=prompt))
        await deliveries.promise(connection, promises, now)


def _promise(speech: Speech, part: int, text: str, *, prompt: bool) -> Promise:
    kind = DeliveryKind.NOTICE if speech.notice else DeliveryKind.POST if speech.public else DeliveryKind.REPLY
    return Promise(
        kind=kind,
        key=f"{speech.key}:{part}",
        lane=lanes.say_lane(speech.account.network, speech.account.id),
        payload={
            "actor": speech.account.id,
            "handle": speech.account.handle,
            "text": text,
            "language": speech.language,
            "thread": speech.thread,
            "public": speech.public,
            "prompt": prompt,
            "ack": part == 0 and speech.acknowledge,
        },
        network=speech.account.network,
        person_id=speech.account.person_id,
        account_id=speech.account.id,
        due_at=speech.due_at,
    )


def _fits(network: "Network", *, public: bool) -> Callable[[str], bool]:
    return lambda text: network.fits(text, public=public)


def _nothing() -> None:
    """Wake nobody."""
