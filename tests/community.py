"""A stage for stories about contacts: people with proved pasts and lists, a real database, and networks that answer."""

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import batches, choices, contacts, contests, follows, imports, notices, self_service, stats
from handlers.archive import Lists
from handlers.context import Context, Settings, Speech, World
from handlers.registry import Registry
from handlers.routing import Router
from handlers.texts import Catalogue
from storage import accounts, deliveries, grants, lanes, tables
from storage import claims as claim_rows
from storage.budgets import Allowance
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.records import (
    Delivery,
    DeliveryKind,
    DeliveryState,
    Evidence,
    GrantState,
    NetworkName,
    Person,
)
from tests.conftest import OwnClock

ALICE: Final = "alice.bsky.social"
BOB: Final = "bob.bsky.social"
CAROL: Final = "carol@piaille.fr"
DAVE: Final = "dave.bsky.social"
BLUESKY, MASTODON = NetworkName.BLUESKY, NetworkName.MASTODON

_HOUR: Final = 3_600_000
Outcome = tuple[str, str | None]  # what a network answers to a follow: state, and a uri or a reason


async def _unknown(ctx: Context, words: str, nearest: str | None) -> str:
    return f"unknown: {words}"


ROUTER: Final = Router(
    [
        imports.import_,
        contacts.contacts,
        follows.follow,
        choices.skip,
        choices.restore,
        follows.auto,
        follows.undo,
        choices.why,
        notices.notify,
        notices.quiet,
        notices.discoverable,
        self_service.stop,
        self_service.resume,
        stats.stats,
    ],
    follows.ANSWERS,
    [],
    _unknown,
)


@dataclass(frozen=True)
class Said:
    id: str
    network: NetworkName
    text: str
    thread: str
    public: bool = False
    languages: tuple[str, ...] = ()


@dataclass
class Community:
    """Everybody is known by a handle: with an @ inside it is of Mastodon, else of Bluesky."""

    database: Database
    clock: OwnClock
    world: World
    catalogue: Catalogue = field(default_factory=Catalogue)
    followed: list[tuple[str, str]] = field(default_factory=list)
    unfollowed: list[tuple[str, str]] = field(default_factory=list)
    notices: list[Speech] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def sends(self, handle: str, text: str) -> str:
        """Let somebody write by DM, and return what they are answered."""
        message = Said(f"m{next(self._numbers)}", actor_of(handle)[0], text, thread=f"thread of {handle}")
        async with self.event(handle, message.id) as ctx:
            await accounts.heard_from(ctx.connection, {ctx.account.id: message.thread}, self.clock())
            ctx.heard = message
            await ROUTER.route(ctx)
        return "\n".join(each.text for each in ctx.speeches if not each.notice)

    async def joins(self, handle: str, x_handle: str, x_id: int | None, evidence: Evidence = Evidence.POST) -> int:
        """Let somebody prove who they were on X; return the person."""
        async with self.event(handle) as ctx:
            claim = await claim_rows.declare(ctx.connection, self.world.keys, ctx.person.id, x_handle, self.clock())
            outcome = await claim_rows.raise_evidence(
                ctx.connection,
                self.world.keys,
                claim,
                x_id=x_id,
                x_handle=x_handle,
                evidence=evidence,
                now=self.clock(),
            )
            await contests.settle(ctx, outcome)
            return ctx.person.id

    async def uploads(self, handle: str, following: list[int], followers: list[int] | None = None, **more: Any) -> str:
        """Let somebody upload their lists; return the answer."""
        async with self.event(handle) as ctx:
            answer = await imports.received(
                ctx,
                imports.keyed(
                    self.world.keys,
                    Lists(
                        following=np.array(following, np.uint64),
                        followers=None if followers is None else np.array(followers, np.uint64),
                        **more,
                    ),
                ),
            )
            return answer.full

    async def consents(self, handle: str) -> str | None:
        """Let somebody allow us to follow as this account; return what follows from it."""
        async with self.event(handle) as ctx:
            await grants.keep(
                ctx.connection,
                self.world.keys,
                person_id=ctx.person.id,
                account_id=ctx.account.id,
                network=ctx.account.network,
                issuer="https://example",
                scope="follow",
                secret="{}",
                now=self.clock(),
            )
            return await follows.consented(ctx)

    async def loses_consent(self, handle: str) -> None:
        async with self.event(handle) as ctx:
            for each in await grants.active(ctx.connection, ctx.person.id):
                await grants.set_state(ctx.connection, each, GrantState.LOST)

    async def also(self, handle: str, other: str) -> None:
        """Let somebody have a second account."""
        async with self.event(handle) as ctx:
            network, actor = actor_of(other)
            account, _ = await accounts.meet(ctx.connection, network, actor, other, self.clock())
            await ctx.connection.execute(
                sa.update(tables.account).where(tables.account.c.id == account.id).values(person_id=ctx.person.id)
            )

    async def person(self, handle: str) -> Person:
        async with self.event(handle) as ctx:
            return ctx.person

    async def changes(self, handle: str, **values: Any) -> None:
        async with self.event(handle) as ctx:
            await accounts.change(ctx.connection, ctx.person.id, **values)

    async def announce(self, limit: int = 500) -> int:
        """Work off all arrivals, and tell those whose turn it is; return how many persons were looked at."""
        while True:
            async with self.database.transaction() as connection:
                waiting = await notices.who_waits(connection, limit)
                if waiting is None:
                    break
                await notices.note(connection, self.world, waiting, self.clock())
        async with self.database.transaction() as connection:
            due = await notices.due_persons(connection, self.clock(), 100)
            voices = await accounts.voices_of(connection, due)
        async with self.database.transaction() as connection:
            contexts = [await self._context(connection, f"n{next(self._numbers)}", actor) for actor in voices.values()]
            await notices.newcomers(contexts)
            for ctx in contexts:
                await self._promise_notices(ctx)
        return len(voices)

    async def checks_notices(self, handle: str) -> list[str | None]:
        """Let the notices that somebody is about to get be checked a last time; return why they may not be sent."""
        async with self.database.transaction() as connection:
            lane = lanes.say_lane(*actor_of(handle))
            reasons = []
            while taken := await deliveries.take(connection, lane, self.clock(), 1):
                why_not = await batches.may_not(connection, self.world, taken, self.clock())
                reasons.append(why_not.get(taken[0].id))
                state = DeliveryState.DONE if reasons[-1] is None else DeliveryState.CANCELLED
                await deliveries.settle(connection, taken[0], state, self.clock(), reason=reasons[-1])
            return reasons

    def told(self, handle: str) -> list[str]:
        """Return what somebody was told unasked, and forget it."""
        actor = actor_of(handle)[1]
        told = [each.text for each in self.notices if each.account.id == actor]
        self.notices = [each for each in self.notices if each.account.id != actor]
        return told

    async def perform(
        self,
        answer: Callable[[str], Outcome] = lambda _target: ("done", "at://follow"),
        *,
        turns: int = 1_000,
        at_once: int = 1,
    ) -> None:
        """Perform what was promised on people's behalf, as far as it may still be, and as the network answers."""
        for _ in range(turns):
            async with self.database.transaction() as connection:
                row = (await connection.execute(self._next_act())).first()
                if row is None:
                    return
                taken = await deliveries.take(connection, row.lane, self.clock(), at_once)
                why_not = await batches.may_not(connection, self.world, taken, self.clock())
                for each in taken:
                    if (reason := why_not.get(each.id)) is None:
                        await self._settle(connection, each, answer)
                    else:
                        await deliveries.settle(connection, each, DeliveryState.CANCELLED, self.clock(), reason=reason)
                await self._progress(connection, taken)

    async def finish(self, delivery: Delivery) -> None:
        """Let a follow that was under way come through."""
        async with self.database.transaction() as connection:
            await self._settle(connection, delivery, lambda _target: ("done", "at://late"))
            await self._progress(connection, [delivery])

    async def _progress(self, connection: AsyncConnection, settled: list[Delivery]) -> None:
        ctx = await self._context(connection, f"d{settled[-1].id}", str(settled[-1].account_id))
        assert settled[-1].batch_id is not None
        await batches.batch_progress(ctx, settled[-1].batch_id, [each.id for each in settled])
        await self._promise_notices(ctx)

    async def _settle(self, connection: AsyncConnection, delivery: Delivery, answer: Callable[[str], Outcome]) -> None:
        actor = json.loads(delivery.payload)["actor"]
        into = self.followed if delivery.kind is DeliveryKind.FOLLOW else self.unfollowed
        state, detail = answer(actor)
        if state == "refused":
            await deliveries.settle(connection, delivery, DeliveryState.REFUSED, self.clock(), reason=detail)
            return
        into.append((str(delivery.account_id), actor))
        await deliveries.settle(connection, delivery, DeliveryState.DONE, self.clock(), result=detail, reason=state)

    def _next_act(self) -> Any:
        row = tables.delivery
        return (
            sa.select(row.c.lane)
            .where(row.c.state == "promised", row.c.kind.in_(["follow", "unfollow"]), row.c.due_at <= self.clock())
            .order_by(row.c.rank, row.c.id)
            .limit(1)
        )

    async def _promise_notices(self, ctx: Context) -> None:
        """Promise notices as the bot does; what is known already is not said again."""
        for each in ctx.speeches:
            promise = Promise(
                kind=DeliveryKind.NOTICE,
                key=f"{each.key}:0",
                lane=lanes.say_lane(each.account.network, each.account.id),
                person_id=each.account.person_id,
                account_id=each.account.id,
                network=each.account.network,
            )
            if await deliveries.promise(ctx.connection, [promise], self.clock()):
                self.notices.append(each)

    @asynccontextmanager
    async def event(self, handle: str, about: str | None = None) -> AsyncIterator[Context]:
        """Open a transaction about somebody."""
        async with self.database.transaction() as connection:
            network, actor = actor_of(handle)
            await accounts.meet(connection, network, actor, handle, self.clock())
            ctx = await self._context(connection, about or f"e{next(self._numbers)}", actor)
            yield ctx
            self.notices += [each for each in ctx.speeches if each.notice]

    async def _context(self, connection: AsyncConnection, about: str, actor: str) -> Context:
        account = await accounts.get(connection, actor)
        assert account is not None
        person = await accounts.get_person(connection, account.person_id)
        return Context(
            connection, self.world, self.clock(), about, person, account, self.catalogue.texts(person.language)
        )


def community(database: Database, clock: OwnClock, keys: Keys, **settings: Any) -> Community:
    values: dict[str, Any] = {
        "public_url": "https://reflock.example",
        "bots": {BLUESKY: "reflock.example", MASTODON: "reflock@bots.example"},
        "follow": {each: (Allowance(300, _HOUR, 6),) for each in NetworkName},
        **settings,
    }
    return Community(database, clock, World(keys, Settings(**values), Registry()))


@pytest.fixture
def town(database: Database, clock: OwnClock, keys: Keys) -> Community:
    return community(database, clock, keys)


async def later(town: Community, seconds: float = 61) -> list[str]:
    """Let so much time go by, and return all that Alice has been told by then."""
    await town.announce()
    town.clock.pass_seconds(seconds)
    await town.announce()
    return town.told(ALICE)


def actor_of(handle: str) -> tuple[NetworkName, str]:
    name, _, host = handle.partition("@")
    if host:
        return MASTODON, f"https://{host}/users/{name}"
    return BLUESKY, f"did:plc:{name.partition('.')[0]}"
