"""Lease what is due, perform it, settle it: no transaction is open while the network is asked."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from bot.events import Events
from bot.lines import AFTER_OTHERS, Line, WorkedLine
from bot.networks.errors import NotAsked, Refused, Unavailable
from bot.performer import Performed, Performer, Settle
from storage import accounts, bell, budgets, deliveries, lanes
from storage.database import patiently
from storage.lanes import ASKING, Among, Lease
from storage.records import Delivery, DeliveryKind, DeliveryState

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_log = structlog.get_logger()

# What a worker does, as the log calls it.
KEEPING: Final = "keeping promises"
_FIRST_PAUSE: Final = 2_000
_LONGEST_PAUSE: Final = 3_600_000
_GIVE_UP_AFTER: Final = 3 * 86_400_000
# Whoever stops waits so long for what is being leased, then for what is being written down; the next start recovers it.
_DATABASE_SECONDS: Final = 4.0
# So much later, and up to twice as much, is written down what could not be.
_TRIED_AGAIN_SECONDS: Final = 0.5
# So many are dropped in one transaction at most, for which others may not write.
_DROPPED_AT_ONCE: Final = 50


@dataclass(frozen=True, slots=True)
class _Taken:
    """What is to be performed next, and when that was drawn on its budget.

    It is None when there will be something to do because of what was written down, and nothing to perform. Something may
    also come of what was `called_off`.
    """

    due: list[Delivery] | None
    drawn_at: int = 0
    called_off: bool = False
    leased_until: int = 0


class _OurMistake(Unavailable):
    """It was us, and no server."""


class Outbox:
    """The promises of an installation, as one worker keeps them.

    Each leased lane is worked off by a task of its own, so that a slow server holds up nobody else's messages. Every
    line has so many `lanes`: strangers' servers, or one network, however slow, never silence us elsewhere.
    """

    def __init__(
        self,
        events: Events,
        performers: Mapping[DeliveryKind, Performer],
        *,
        worker: str,
        lease_ms: int,
        lanes: int = 32,
    ) -> None:
        self._events = events
        self._performers = performers
        self._worker: Final = worker
        self._lease_ms: Final = lease_ms
        shared = {line.lanes: line for performer in performers.values() for line in performer.lines}
        self._lines: Final = [WorkedLine(line, lanes) for line in (*shared.values(), Line(ASKING))]
        self._beginning: asyncio.Task[tuple[int, int | None]] | None = None
        # The lanes of which something is just being written down, each with a token of that.
        self._writing: dict[asyncio.Task[Any] | None, object] = {}
        self._stopping = False

    async def recover(self) -> int:
        """Give back what this worker held when it last ended; return how many lanes that were."""
        async with self._events.database.transaction() as connection:
            return await lanes.release_worker(connection, self._worker)

    async def begin(self) -> tuple[int, int | None]:
        """Begin with as many lanes as can be worked on; return how many those are, and when to look again.

        Whatever else lets something be begun rings the bell: a promise, or a lane that is through.
        """
        # Whoever is told to stop just now does not cancel it: what is leased by a COMMIT under way is begun too.
        self._beginning = asyncio.create_task(self._begin(), name="beginning")
        return await asyncio.shield(self._beginning)

    async def _begin(self) -> tuple[int, int | None]:
        leased: dict[WorkedLine, list[Lease]] = {line: [] for line in self._lines}
        async with self._events.database.transaction() as connection:
            due_at = await self._lease(connection, self._events.clock(), leased)
        for line, leases in leased.items():
            for lease in leases:
                task = asyncio.create_task(self._work_off(line, lease), name=f"lane {lease.lane}")
                line.begin(task)
                task.add_done_callback(partial(self._ended, line))
        return sum(map(len, leased.values())), due_at

    async def _lease(
        self, connection: "AsyncConnection", now: int, leased: Mapping[WorkedLine, list[Lease]]
    ) -> int | None:
        """Lease of each line what is most urgent, and no more than there is room for: nothing is begun in vain."""
        times: list[int] = []
        emptied: list[Among] = []
        for line, among, due_at in await self._waiting(connection):
            if due_at > now:
                times.append(due_at)
                continue
            room, again_at = await line.room(connection, among, now)
            got: list[Lease] = []
            if (limit := room - len(leased[line])) > 0:
                got = await lanes.lease(connection, self._worker, now, self._lease_ms, limit, among)
                leased[line].extend(got)
            if len(got) < limit:
                emptied.append(among)
            elif again_at > now:
                times.append(again_at)
            else:
                line.hold_up()
        times += [at for at in await lanes.next_due(connection, emptied) if at is not None]
        return min(times, default=None)

    async def _waiting(self, connection: "AsyncConnection") -> list[tuple[WorkedLine, Among, int]]:
        """Return when something is next due of each urgency in the lines in which there is a place."""
        groups = [(line, among) for line in self._lines for among in line.waiting()]
        due = await lanes.next_due(connection, [among for _, among in groups])
        return [(*group, due_at) for group, due_at in zip(groups, due, strict=True) if due_at is not None]

    def _ended(self, line: WorkedLine, task: asyncio.Task[bool]) -> None:
        """Let go of a lane; one that stumbled costs the others nothing, and its lease ends by itself."""
        waited_for = line.places <= 0
        line.end(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            if not self._events.outage.met(KEEPING, error):
                _log.error("lane crashed", error=type(error).__name__, exc_info=error)
        elif not waited_for and not task.cancelled() and not task.result():
            return
        self._events.on_promise()

    def _tasks(self) -> set[asyncio.Task[bool]]:
        return set().union(*(line.tasks for line in self._lines))

    async def drain(self) -> None:
        """Wait until every leased lane is worked off."""
        if self._beginning is not None:
            await asyncio.wait({self._beginning})
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    async def stop(self) -> None:
        """Finish what is being performed, begin with nothing more, and give the lanes back."""
        self._stopping = True
        if self._beginning is not None:
            await asyncio.wait({self._beginning}, timeout=_DATABASE_SECONDS)
            self._beginning.cancel()
        while tasks := self._tasks():
            writing = self._writing.copy()
            await asyncio.wait(tasks, timeout=_DATABASE_SECONDS)
            for each in tasks:
                if each in writing and self._writing.get(each) is writing[each]:
                    each.cancel()

    async def _work_off(self, line: WorkedLine, lease: Lease) -> bool:
        """Perform what is due in a leased lane, one act after the other, until nothing is, or the lease is lost.

        Tell whether something may be to be done because of it: in this lane, or what was promised with the acts.
        """
        promised = False
        try:
            taken = await self._step(line, lease)
        finally:
            if line.drawn():
                self._events.on_promise()
        while act := taken.due:
            performed = replace(await self._while_leased(line, lease, act, taken.leased_until), drawn_at=taken.drawn_at)
            promised = promised or not performed.promises_nothing
            try:
                taken = await self._step(line, lease, act[0], performed)
            except Exception as error:
                if self._events.outage.met(KEEPING, error):
                    raise  # by whoever was told to stop: what came of it is found out at the next start
                _log.exception("not settled", delivery=act[0].id, kind=act[0].kind, error=type(error).__name__)
                taken = await self._step(line, lease, act[0], _failed(act))
        return taken.due is None or promised

    def _seen_by(self, line: WorkedLine, performed: Performed) -> Performed:
        """Let a line know whether its server answers, and what could not be done know whether that is about all."""
        problem = performed.unavailable
        if problem is None:
            if not performed.untried and line.answered():
                self._events.on_promise()
        elif not isinstance(problem, _OurMistake) and line.failed(self._events.clock(), problem):
            return replace(performed, about_all=True)
        return performed

    async def _step(
        self, line: WorkedLine, lease: Lease, first: Delivery | None = None, performed: Performed | None = None
    ) -> "_Taken":
        """Write down what came of the last act, and take the next.

        A deadlock must not make us act again, nor a database that is in trouble: it is tried until it answers.
        """
        again = False
        async with self._written_down():
            while True:
                try:
                    async with line.steps:
                        taken = await patiently(partial(self._step_once, lease, first, performed, again=again))
                    break
                except Exception as error:
                    if self._stopping or not self._events.outage.met(KEEPING, error):
                        raise
                again = True
                await asyncio.sleep(_TRIED_AGAIN_SECONDS * (1 + random.random()))  # noqa: S311  # spreads load, guards nothing
        # A lane that goes on says so itself; one that is through says it when it ends.
        if taken.due and (taken.called_off or (performed is not None and not performed.promises_nothing)):
            self._events.on_promise()
        return taken

    @asynccontextmanager
    async def _written_down(self) -> AsyncIterator[None]:
        """Let whoever stops know that it is the database that this lane waits for."""
        lane = asyncio.current_task()
        self._writing[lane] = object()
        try:
            yield
        finally:
            del self._writing[lane]

    async def _step_once(
        self, lease: Lease, first: Delivery | None, performed: Performed | None, *, again: bool
    ) -> "_Taken":
        """Do so in one transaction, and only while we hold the lane.

        Whoever holds it after us performs the act again, and looks first: what we know of it by then is out of date. If it
        is done `again`, nobody knows whether it was committed before.
        """
        async with self._events.database.transaction() as connection:
            # The person before the lane, as whoever promises something to them does.
            await accounts.hold(connection, lanes.account_of(lease.lane))
            until = self._events.clock() + self._lease_ms
            if not await lanes.renew(connection, lease, until):
                return _Taken(None)
            if first is not None and performed is not None and not (again and await _is_settled(connection, first)):
                await performed.settle(connection)
                # What a server was asked in vain may count there: Bluesky counts requests before it looks at them, and
                # Mastodon what was done though its answer was lost. What never left us counts nowhere, so that a server
                # that nobody could reach finds the whole allowance when it is well again.
                await self._give_back(
                    connection, self._performers[first.kind], first, performed.untried, performed.drawn_at
                )
                if performed.unavailable is not None:
                    await self._back_off(connection, lease, first.kind, performed, performed.unavailable)
                    return _Taken(None)
            return replace(await self._take(connection, lease), leased_until=until)

    async def _while_leased(self, line: WorkedLine, lease: Lease, due: list[Delivery], until: int) -> Performed:
        """Perform, and prolong the lease for as long as it takes: a slow server must not cost us the lane.

        Who has lost it all the same ceases to act, whoever has it by then acts.
        """
        loop = asyncio.get_running_loop()
        # From when it was leased, not from now: the COMMIT may have been long under way.
        seconds, left = self._lease_ms / 1000, (until - self._events.clock()) / 1000
        if left <= 0:
            return _unsettled()
        act = asyncio.create_task(self._perform(due), name=f"lane {lease.lane}")
        # A callback, and no task: in a process that was frozen it comes before the act can go on.
        ends = loop.call_later(min(left, seconds), act.cancel)
        try:
            while not (await asyncio.wait({act}, timeout=seconds / 3))[0]:
                began_at = loop.time()
                try:
                    async with self._events.database.transaction() as connection:
                        held = await lanes.renew(connection, lease, self._events.clock() + self._lease_ms)
                except Exception as error:
                    if not self._events.outage.met(KEEPING, error):
                        raise
                    continue
                if not held:
                    break
                ends.cancel()
                ends = loop.call_at(began_at + seconds, act.cancel)
            return self._seen_by(line, act.result()) if act.done() and not act.cancelled() else _unsettled()
        finally:
            ends.cancel()
            act.cancel()

    async def _take(self, connection: "AsyncConnection", lease: Lease) -> "_Taken":
        """Take what may be performed now, or give the lane back."""
        now, dropped = self._events.clock(), 0
        while not self._stopping and dropped < _DROPPED_AT_ONCE:
            due = await deliveries.take(connection, lease.lane, now, 1)
            if not due:
                break
            performer = self._performers[due[0].kind]
            if not await self._still_allowed(connection, performer, due, now):
                dropped += 1
                continue
            if granted := await self._within_budget(connection, performer, due[0], now):
                # Only as many as there is room for are looked at: a batch for each of thousands would be too much.
                more = await deliveries.take_more(connection, due[0], now, granted - 1) if granted > 1 else []
                due += await self._still_allowed(connection, performer, more, now)
                await self._give_back(connection, performer, due[0], granted - len(due), now)
                return _Taken(due, now, called_off=dropped > 0 or len(due) <= len(more))
            await deliveries.postpone(connection, due, due[0].due_at, performed=False)
            # In a line it keeps its place: nobody in it is begun before there is room. But not for the sake of an answer
            # that waits longer: then it would be begun again and again.
            keeps_place = performer.lines and deliveries.is_urgent(due[0])
            again_at = None if keeps_place else await self._room_at(connection, performer, due[0], now)
            await lanes.release(connection, lease, not_before=again_at)
            return _Taken(None, called_off=dropped > 0)
        left = await lanes.release(connection, lease)
        if self._stopping and left is not None:
            await bell.ring(connection)  # for the others, who take it over
        return _Taken([] if left is None and not dropped else None, called_off=dropped > 0)

    async def _still_allowed(
        self, connection: "AsyncConnection", performer: Performer, due: list[Delivery], now: int
    ) -> list[Delivery]:
        reasons = await performer.may_not(connection, due) if due else {}
        for each in due:
            if (reason := reasons.get(each.id)) is not None:
                await deliveries.settle(connection, each, DeliveryState.CANCELLED, now, reason=reason)
                await performer.cancelled(connection, each)
        return [each for each in due if each.id not in reasons]

    async def _within_budget(
        self, connection: "AsyncConnection", performer: Performer, first: Delivery, now: int
    ) -> int:
        """Draw what may be done at once on the budget; return how many may be done."""
        drawn, most = performer.budget(first), performer.at_once(first)
        if drawn is None:
            return most
        return (await budgets.take(connection, *drawn, most, now))[0]

    async def _room_at(
        self, connection: "AsyncConnection", performer: Performer, first: Delivery, now: int
    ) -> int | None:
        """Return when the budget has room for all that wait in the lane, or for as many as may be done at once.

        At the even pace that ends as early as if each were done as soon as there is room for it alone.
        """
        drawn = performer.budget(first)
        if drawn is None:
            return None
        waiting = await deliveries.count_due(connection, first, now, performer.batch)
        return await budgets.room_at(connection, *drawn, waiting, now)

    async def _give_back(
        self, connection: "AsyncConnection", performer: Performer, first: Delivery, unused: int, drawn_at: int
    ) -> None:
        drawn = performer.budget(first) if unused else None
        if drawn is not None:
            await budgets.give_back(connection, *drawn, unused, drawn_at, self._events.clock())

    async def _perform(self, due: list[Delivery]) -> Performed:
        """Perform, and return what has to be written down about it, whatever happened."""
        performer = self._performers[due[0].kind]
        try:
            return await performer.perform(due)
        except Refused as refusal:
            untried = len(due) if isinstance(refusal, NotAsked) else 0
            return Performed(self._settle_refused(performer, due, refusal.reason), untried=untried)
        except Unavailable as unavailable:
            return Performed(_nothing, unavailable, due, 0 if unavailable.begun else len(due))
        except Exception as error:  # noqa: BLE001  # a mistake of ours must not cost the promise
            if not self._events.outage.met(KEEPING, error):
                _log.exception("delivery crashed", delivery=due[0].id, kind=due[0].kind, error=type(error).__name__)
            return _failed(due)

    def _settle_refused(self, performer: Performer, due: Sequence[Delivery], reason: str) -> Settle:
        async def settle(connection: "AsyncConnection") -> None:
            for each in due:
                await deliveries.settle(connection, each, DeliveryState.REFUSED, self._events.clock(), reason=reason)
            for each in due:
                await performer.refused(connection, each, reason)

        return settle

    async def _back_off(
        self,
        connection: "AsyncConnection",
        lease: Lease,
        kind: DeliveryKind,
        performed: Performed,
        unavailable: Unavailable,
    ) -> None:
        """Put deliveries back and let their lane wait; after days of trying, give them up."""
        now, performer, undone = self._events.clock(), self._performers[kind], performed.undone
        if performed.about_all and unavailable.retry_in is None:
            # It is waited for by the line: this lane only lets others try first.
            pause = AFTER_OTHERS + random.randrange(AFTER_OTHERS)  # noqa: S311  # spreads load, guards nothing
        else:
            pause = self._pause(await lanes.failures(connection, lease.lane), unavailable.retry_in)
        given_up = [each for each in undone if each.first_at is not None and now - each.first_at > _GIVE_UP_AFTER]
        await self._settle_refused(performer, given_up, "unreachable")(connection)
        waiting = [each for each in undone if each not in given_up]
        tried = undone[: len(undone) - performed.untried]
        # Of a server that fails it is known what was asked; of a mistake of ours, not how far we had come.
        put_back = partial(deliveries.postpone, connection, in_doubt=isinstance(unavailable, _OurMistake))
        if waiting and not performer.ordered and unavailable.retry_in is None:
            # It may be that only this one cannot be done: the others go first next time.
            first = waiting.pop(0)
            later = now + pause + self._pause(first.attempts, None)
            await put_back([first], later, performed=first in tried, asked=True)
        for each in waiting:
            await put_back([each], each.due_at, performed=each in tried, asked=each is undone[0])
        _log.warning("unavailable", lane=lease.lane.partition(":")[0], pause_ms=pause, why=str(unavailable))
        await lanes.release(connection, lease, not_before=now + pause, failed=not performed.about_all)

    @staticmethod
    def _pause(failures: int, retry_in: float | None) -> int:
        """Wait as long as the network said, or exponentially longer, with jitter so that not all come back at once."""
        if retry_in is not None:
            return int(retry_in * 1000) + random.randrange(250)  # noqa: S311  # spreads load, guards nothing
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 12))
        return int(longest // 2 + random.randrange(longest // 2))  # noqa: S311  # spreads load, guards nothing


def _failed(due: Sequence[Delivery]) -> Performed:
    """Treat a mistake of ours as if the network were unavailable: it comes again later."""
    return Performed(_nothing, _OurMistake("internal error"), due)


def _unsettled() -> Performed:
    """Write nothing down of what may have been done: whoever performs it next looks first."""
    return Performed(_nothing, promises_nothing=True)


async def _is_settled(connection: "AsyncConnection", act: Delivery) -> bool:
    """Tell whether what came of an act has been written down."""
    now = await deliveries.get(connection, act.id)
    return now is None or (now.state, now.attempts) != (DeliveryState.LEASED, act.attempts)


async def _nothing(_connection: "AsyncConnection") -> None:
    """Write nothing down."""
