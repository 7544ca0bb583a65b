"""Run a Reflock, or a part of one beside others on the same database, until it is told to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from enum import StrEnum
from typing import Any, Final

import structlog

from bot.app import App, open_app
from bot.config import ConfigError, Loaded, parse
from bot.inbox import Inbox
from bot.loops import Wake, forever, listen, perform
from bot.networks import Network
from bot.networks.errors import Unavailable
from bot.outage import Outage
from bot.schedule import make_schedule
from bot.standing_in import stand_in
from storage.bell import hear_bell
from storage.database import Database, Only
from storage.engines import DatabaseError
from storage.records import NetworkName

_log = structlog.get_logger()

# Whoever stands by to listen looks so often whether nobody does: within ten seconds the next one has taken over.
_STAND_BY_SECONDS: Final = 3.0


class Role(StrEnum):
    """What a process does: all of it, or one part, beside other processes on the same PostgreSQL database."""

    ALL = "all"
    LISTEN = "listen"
    WORK = "work"
    WEB = "web"

    @property
    def listens(self) -> bool:
        """Tell whether it hears the networks and decides what was heard."""
        return self in (Role.ALL, Role.LISTEN)

    @property
    def works(self) -> bool:
        """Tell whether it keeps promises and does what the clock says."""
        return self in (Role.ALL, Role.WORK)

    @property
    def serves(self) -> bool:
        """Tell whether it serves the pages."""
        return self in (Role.ALL, Role.WEB)


def named(loaded: Loaded, worker: str) -> Loaded:
    """Return the configuration of a process of this name; ConfigError when that can be none."""
    bot = parse({"bot": {**loaded.config.bot.model_dump(), "worker": worker}}, "--worker").bot
    return loaded.model_copy(update={"config": loaded.config.model_copy(update={"bot": bot})})


async def run_app(loaded: Loaded, role: Role = Role.ALL, worker: str | None = None) -> None:
    """Run until SIGINT or SIGTERM: listen, keep promises, tick, and serve the pages, or what the role is of it.

    What is being performed then is finished, and nothing more begun.
    """
    if worker is not None:
        loaded = named(loaded, worker)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        with _beginning(stop):
            app = await stack.enter_async_context(open_app(loaded, log_in=role is not Role.WEB))
            database, outage = app.events.database, app.events.outage
            if database.is_sqlite and role is not Role.ALL:
                raise ConfigError("Several processes need PostgreSQL: with SQLite, leave --role away.")
            name = loaded.config.bot.worker
            if not database.is_sqlite:  # where there may be others
                structlog.contextvars.bind_contextvars(worker=name)
            alone_as = name if role.works else f"{name} {role}"
            alone = await stack.enter_async_context(database.alone(alone_as))
            # Until all is finished, for others take us for dead without it, and do again what we are at.
            await stack.enter_async_context(_doing([_stay_alone(database, alone, alone_as, outage)]))
            stack.push_async_callback(app.outbox.stop)
            wake = Wake()
            app.events.on_promise = wake.ring
            facts: dict[str, object] = {"role": role.value, "networks": sorted(each.value for each in app.networks)}
            if role.works:
                facts["lanes_recovered"] = await app.outbox.recover()
            if role.serves:
                facts["pages"] = await _serve(app, stack)
        if stop.is_set():
            return
        parts: list[Coroutine[Any, Any, None]] = []  # made only now that they are to run
        if role.listens:
            parts += [
                _listen_alone(database, inbox, app.networks[name], _poll_seconds(loaded, name), outage)
                for name, inbox in app.inboxes.items()
            ]
        if role.works:
            parts.append(perform(app.outbox, wake, app.events.clock, outage))
            if not database.is_sqlite:
                parts += [_hear_bell(database, wake, outage), stand_in(database, name, wake.ring, outage)]
            schedule = make_schedule(app.events, app.announcing, loaded)
            schedule.start()
            stack.callback(schedule.shutdown, wait=False)
        async with _doing(parts):
            _log.info("running", **facts)
            await stop.wait()
        _log.info("stopping")


@contextmanager
def _beginning(stop: asyncio.Event) -> Iterator[None]:
    """Go no further in the block when told to stop: a log-in, or another process, may take long.

    From then on whoever tells it to stop only sets the event.
    """
    task = asyncio.current_task()
    beginning = True

    def told() -> None:
        if beginning and task is not None and not stop.is_set():
            task.cancel()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told)
    try:
        yield
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        _log.info("stopping", why="told to before it ran")
    finally:
        beginning = False


async def _serve(app: App, stack: AsyncExitStack) -> str:
    """Serve the pages, and return where."""
    from bot.web.app import web
    from bot.web.serving import Server

    config = app.loaded.config.web
    try:
        server = Server(host=config.host, port=config.port)
    except OSError as error:
        raise ConfigError(f"[web] host and port cannot be listened on: {error.strerror}.") from None
    server.app = web(app.events, app.consents, app.loaded)
    await stack.enter_async_context(server)
    return server.url


async def _listen_alone(
    database: Database, inbox: Inbox, network: Network, poll_seconds: float, outage: Outage
) -> None:
    """Listen to one network as the only process that does; stand by while another one does."""
    standing_by = False

    async def turn() -> None:
        nonlocal standing_by
        async with database.only_one(f"listening to {network.name} as {network.handle}") as only:
            if only:
                standing_by = False
                _log.info("listening", network=network.name.value)
                inbox.begin()
                await _first_of(listen(inbox, network, poll_seconds, outage), only.lost())
                raise Unavailable("another process may be listening now", retry_in=_STAND_BY_SECONDS)
            if not standing_by:
                standing_by = True
                _log.info("standing by", network=network.name.value, why="another process listens")
        await asyncio.sleep(_STAND_BY_SECONDS)

    await forever(f"listening to {network.name}", turn, outage)


async def _stay_alone(database: Database, alone: Only, name: str, outage: Outage) -> None:
    """Take the name anew whenever its connection was lost, or others would take us for dead and do our work again."""
    what = "holding its name"

    async def turn() -> None:
        try:
            async with database.alone(name) as again:
                _log.info("holds its name again")
                outage.passed(what)
                await again.lost()
        except (
            DatabaseError
        ) as error:  # the server has not yet given our former connection up, or it is another process
            raise Unavailable(str(error)) from None
        raise Unavailable("its connection was lost", retry_in=0)

    if not database.is_sqlite:
        await alone.lost()
        await forever(what, turn, outage)


async def _hear_bell(database: Database, wake: Wake, outage: Outage) -> None:
    """Wake up whenever another process promised something."""
    what = "hearing the bell"

    def heard() -> None:
        wake.ring()
        outage.passed(what)

    await forever(what, lambda: hear_bell(database, heard), outage)


async def _first_of(*parts: Coroutine[Any, Any, None]) -> None:
    """Do several things until the first of them has ended."""
    async with _doing(parts) as tasks:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


@asynccontextmanager
async def _doing(parts: Iterable[Coroutine[Any, Any, None]]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Do several things at once, as long as the block takes."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _poll_seconds(loaded: Loaded, name: NetworkName) -> float:
    section = loaded.config.bluesky if name is NetworkName.BLUESKY else loaded.config.mastodon
    return section.poll_seconds
