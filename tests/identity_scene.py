"""A stage for stories about identity: people write by DM or mention, a real database remembers, answers are read."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import claims, hello, linking, self_service
from handlers.claims import LookedUp
from handlers.context import Context, Settings, Speech, World
from handlers.registry import Registry
from handlers.routing import Router
from handlers.texts import Catalogue
from storage import accounts
from storage import claims as claim_rows
from storage.database import Database
from storage.keys import Keys
from storage.records import Account, Claim, NetworkName, Person
from tests.conftest import OwnClock

ROUTER: Final = Router(
    [
        hello.start,
        hello.guide,
        claims.claim,
        claims.unclaim,
        linking.link,
        self_service.status,
        self_service.lang,
        hello.exit_,
        claims.report,
        self_service.stop,
        self_service.resume,
        self_service.cancel,
        hello.help_,
    ],
    claims.ANSWERS,
    [*claims.PATTERNS, *linking.PATTERNS],
    hello.unknown,
)
ALICE: Final = "alice.bsky.social"
BOB: Final = "bob.bsky.social"
CAROL: Final = "carol@piaille.fr"
BOTS: Final = {NetworkName.BLUESKY: "reflock.example", NetworkName.MASTODON: "reflock@bots.example"}


@dataclass(frozen=True)
class Said:
    id: str
    network: NetworkName
    text: str
    public: bool
    thread: str
    languages: tuple[str, ...] = ()


@dataclass
class Scene:
    """Everybody is known by a handle: with an @ inside it is of Mastodon, else of Bluesky."""

    database: Database
    clock: OwnClock
    world: World
    catalogue: Catalogue
    heard: list[Speech] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def sends(self, handle: str, text: str, *, public: bool = False, languages: tuple[str, ...] = ()) -> str:
        """Let somebody write, and return what they are answered."""
        network, actor = _actor(handle)
        message = Said(f"m{next(self._numbers)}", network, text, public, f"thread of {handle}", languages)
        async with self.database.transaction() as connection:
            account, person = await accounts.meet(connection, network, actor, handle, self.clock())
            await accounts.heard_from(connection, {account.id: None if public else message.thread}, self.clock())
            context = self._context(connection, message.id, person, account)
            context.heard = message
            await ROUTER.route(context)
        return self._answer(context)

    async def looks_up(self, handle: str, post: LookedUp | None, problem: str | None = None) -> str:
        """Bring the result of a look-up back to whoever sent the link, and return what they are answered."""
        async with self.event(handle) as context:
            said = await claims.looked_up(context, post, problem)
            if said:
                context.say(said)
        return self._answer(context)

    async def uploads(self, handle: str, x_id: int, x_handle: str) -> str:
        """Let somebody upload an archive that names an X account, and return what is said about that."""
        async with self.event(handle) as context:
            context.say(await claims.evidence_from_archive(context, x_id, x_handle))
        return self._answer(context)

    async def proves(self, handle: str, x_handle: str, x_id: int | None) -> str:
        """Claim, post and send the link; return the answer to the proof."""
        post = await self.posts(handle, x_handle)
        return await self.looks_up(handle, LookedUp(x_handle, x_id, post))

    async def posts(self, handle: str, x_handle: str) -> str:
        """Claim, and return the farewell post that came in answer."""
        return (await self.sends(handle, f"claim {x_handle}")).split("\n\n")[1]

    async def claims_of(self, handle: str) -> list[Claim]:
        async with self.database.reading() as connection:
            account = await accounts.get(connection, _actor(handle)[1])
            assert account is not None
            return await claim_rows.of_person(connection, account.person_id)

    async def claim_of(self, handle: str) -> Claim:
        (claim,) = await self.claims_of(handle)
        return claim

    async def person(self, handle: str) -> Person:
        async with self.database.reading() as connection:
            account = await accounts.get(connection, _actor(handle)[1])
            assert account is not None
            return await accounts.get_person(connection, account.person_id)

    def told(self, handle: str) -> list[str]:
        """Return what somebody was told unasked, and forget it."""
        actor = _actor(handle)[1]
        told = [each.text for each in self.heard if each.notice and each.account.id == actor]
        self.heard = [each for each in self.heard if not (each.notice and each.account.id == actor)]
        return told

    @asynccontextmanager
    async def event(self, handle: str) -> AsyncIterator[Context]:
        """Open a transaction about somebody, without a message of theirs."""
        async with self.database.transaction() as connection:
            network, actor = _actor(handle)
            account, person = await accounts.meet(connection, network, actor, handle, self.clock())
            yield self._context(connection, f"e{next(self._numbers)}", person, account)

    def _context(self, connection: AsyncConnection, about: str, person: Person, account: Account) -> Context:
        return Context(
            connection=connection,
            world=self.world,
            now=self.clock(),
            about=about,
            person=person,
            account=account,
            texts=self.catalogue.texts(person.language),
        )

    def _answer(self, context: Context) -> str:
        self.heard += context.speeches
        return "\n".join(each.text for each in context.speeches if not each.notice)


def scene(database: Database, clock: OwnClock, keys: Keys, *, public_url: str | None = None) -> Scene:
    settings = Settings(public_url=public_url, bots=BOTS, follow={})
    return Scene(database, clock, World(keys, settings, Registry()), Catalogue())


def _actor(handle: str) -> tuple[NetworkName, str]:
    name, _, host = handle.partition("@")
    if host:
        return NetworkName.MASTODON, f"https://{host}/users/{name}"
    return NetworkName.BLUESKY, f"did:plc:{name.partition('.')[0]}"
