"""Lease what is due, perform it, settle it: no transaction is open while the network is asked."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from bot.events import Events
from bot.networks.errors import Refused, Unavailable
from storage import budgets, deliveries
from storage.budgets import Allowance
from storage.records import Delivery, DeliveryKind, DeliveryState

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_log = structlog.get_logger()

_FIRST_PAUSE: Final = 2_000
_LONGEST_PAUSE: Final = 3_600_000
_GIVE_UP_AFTER: Final = 3 * 86_400_000

Settle = Callable[["AsyncConnection"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Performed:
    """What came of some deliveries: how to write it down, and whether the lane has to wait."""

    settle: Settle
    unavailable: Unavailable | None = None


class Performer:
    """How one kind of delivery is performed. Subclasses name the budget it draws on and the size of its batches."""

    batch: int = 1

    def budget(self, _first: Delivery, /) -> tuple[str, tuple[Allowance, ...]] | None:
        """Name the budget that these deliveries draw on, if any."""
        return None

    async def may_still(self, _connection: "AsyncConnection", _delivery: Delivery, /) -> str | None:
        """Check consent again, at the moment of performing; return why not, or None."""
        return None

    async def perform(self, due: list[Delivery]) -> Performed:
        """Do it, outside of any transaction. Unavailable and Refused may be raised for all of them."""
        raise NotImplementedError

    async def refused(self, connection: "AsyncConnection", delivery: Delivery, reason: str) -> None:
        """Do what follows from a refusal, in the transaction that settles it."""


class Outbox:
    """The promises of an installation, as one worker keeps them.

    Each leased lane is worked off by a task of its own, so that a slow server holds up nobody else's messages.
    """

    def __init__(
        self,
        events: Events,
        performers: Mapping[DeliveryKind, Performer],
        *,
        worker: str,
        lease_ms: int,
        lanes: int = 8,
    ) -> None:
        self._events = events
        self._performers = performers
        self._worker: Final = worker
        self._lease_ms: Final = lease_ms
        self._lanes: Final = lanes
        self._running: set[asyncio.Task[None]] = set()

    async def recover(self) -> int:
        """Give back what this worker held when it last ended; return how many lanes that were."""
        async with self._events.database.transaction() as connection:
            return await deliveries.release_worker(connection, self._worker)

    async def turn(self) -> int:
        """Lease as many lanes as can be worked on, and see at least one through; return how many were leased."""
        free = self._lanes - len(self._running)
        leased: list[str] = []
        if free:
            async with self._events.database.transaction() as connection:
                leased = await deliveries.lease(connection, self._worker, self._events.clock(), self._lease_ms, free)
            for name in leased:
                task = asyncio.create_task(self._work_off(name), name=f"lane {name}")
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        if self._running:
            done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return len(leased)

    async def drain(self) -> None:
        """Wait for what is being performed."""
        if self._running:
            await asyncio.gather(*self._running)

    async def next_due(self) -> int | None:
        """Return when something is due next."""
        async with self._events.database.reading() as connection:
            return await deliveries.next_due(connection)

    async def _work_off(self, lane: str) -> None:
        settle: Settle | None = None
        while True:
            async with self._events.database.transaction() as connection:
                if settle is not None:
                    await settle(connection)
                due = await self._take(connection, lane)
            if settle is not None:
                self._events.on_promise()
            if not due:
                return
            settle = await self._perform(lane, due)

    async def _take(self, connection: "AsyncConnection", lane: str) -> list[Delivery]:
        """Take what may be performed now, or give the lane back and return nothing."""
        now = self._events.clock()
        if not await deliveries.renew(connection, lane, self._worker, now + self._lease_ms):
            return []
        while due := await deliveries.take(connection, lane, now, 1):
            performer = self._performers[due[0].kind]
            if performer.batch > 1:
                due += await deliveries.take_more(connection, due[0], now, performer.batch - 1)
            allowed = await self._still_allowed(connection, performer, due, now)
            if not allowed:
                continue
            granted, again_at = await self._within_budget(connection, performer, allowed, now)
            if granted:
                await deliveries.postpone(connection, allowed[granted:], now, performed=False)
                return allowed[:granted]
            await deliveries.postpone(connection, allowed, now, performed=False)
            await deliveries.release(connection, lane, self._worker, not_before=again_at)
            return []
        await deliveries.release(connection, lane, self._worker)
        return []

    async def _still_allowed(
        self, connection: "AsyncConnection", performer: Performer, due: list[Delivery], now: int
    ) -> list[Delivery]:
        allowed = []
        for each in due:
            reason = await performer.may_still(connection, each)
            if reason is None:
                allowed.append(each)
            else:
                await deliveries.settle(connection, each, DeliveryState.CANCELLED, now, reason=reason)
        return allowed

    async def _within_budget(
        self, connection: "AsyncConnection", performer: Performer, due: list[Delivery], now: int
    ) -> tuple[int, int]:
        drawn = performer.budget(due[0])
        if drawn is None:
            return len(due), now
        return await budgets.take(connection, *drawn, len(due), now)

    async def _perform(self, lane: str, due: list[Delivery]) -> Settle:
        """Perform, and return what has to be written down about it, whatever happened."""
        performer = self._performers[due[0].kind]
        try:
            performed = await performer.perform(due)
        except Refused as refusal:
            return self._settle_refused(performer, due, refusal.reason)
        except Unavailable as unavailable:
            return self._put_back(performer, lane, due, unavailable)
        except Exception as error:  # noqa: BLE001  # a mistake of ours must not cost the promise
            _log.exception("delivery crashed", delivery=due[0].id, kind=due[0].kind, error=type(error).__name__)
            return self._put_back(performer, lane, due, Unavailable("internal error"))
        if performed.unavailable is None:
            return performed.settle
        return self._put_back(performer, lane, [], performed.unavailable, after=performed.settle)

    def _settle_refused(self, performer: Performer, due: list[Delivery], reason: str) -> Settle:
        async def settle(connection: "AsyncConnection") -> None:
            for each in due:
                await deliveries.settle(connection, each, DeliveryState.REFUSED, self._events.clock(), reason=reason)
                await performer.refused(connection, each, reason)

        return settle

    def _put_back(
        self,
        performer: Performer,
        lane: str,
        due: list[Delivery],
        unavailable: Unavailable,
        after: Settle | None = None,
    ) -> Settle:
        async def settle(connection: "AsyncConnection") -> None:
            now = self._events.clock()
            if after is not None:
                await after(connection)
            for each in due:
                if each.first_at is not None and now - each.first_at > _GIVE_UP_AFTER:
                    await deliveries.settle(connection, each, DeliveryState.REFUSED, now, reason="unreachable")
                    await performer.refused(connection, each, "unreachable")
                else:
                    await deliveries.postpone(connection, [each], each.due_at, performed=True)
            pause = self._pause(await deliveries.failures(connection, lane), unavailable.retry_in)
            _log.warning("unavailable", lane=lane.partition(":")[0], pause_ms=pause, why=str(unavailable))
            await deliveries.release(connection, lane, self._worker, not_before=now + pause, failed=True)

        return settle

    @staticmethod
    def _pause(failures: int, retry_in: float | None) -> int:
        """Wait as long as the network said, or exponentially longer, with jitter so that not all come back at once."""
        if retry_in is not None:
            return int(retry_in * 1000) + random.randrange(250)  # noqa: S311  # spreads load, guards nothing
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 12))
        return int(longest // 2 + random.randrange(longest // 2))  # noqa: S311  # spreads load, guards nothing
