"""Hear on a Mastodon-API server: mentions and private mentions, by notifications."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from bot.networks import Batch, Incoming
from bot.networks.mastodon_actors import UntoldError
from bot.networks.mastodon_own import answered_by_us
from bot.networks.mastodon_pages import down_to, id_of, is_older, moment_of
from bot.networks.mastodon_place import Place
from bot.networks.mastodon_statuses import MALFORMED, Ourselves, read_mention
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks.mastodon_actors import Actors
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_threads import Threads

Answer = TypeVar("Answer")

_log = structlog.get_logger()

# What is older than this when the bot is new is no longer waiting for an answer.
_FIRST_LOOK_MS: Final = 3 * 86_400_000
_NOTIFICATIONS: Final = "/api/v1/notifications"
_TELLING_SECONDS: Final = 15.0
_THREAD_SECONDS: Final = 5.0
_PAGE: Final = 80  # the most that Mastodon gives, since 4.1 (https://docs.joinmastodon.org/methods/notifications/#get)


class _Untold(Enum):
    """That it cannot be told yet who wrote something."""

    UNTOLD = "untold"


_UNTOLD: Final = _Untold.UNTOLD


class Hearing:
    """Our ears on a server. `clock` gives epoch milliseconds."""

    def __init__(
        self, line: "MastodonClient", us: Ourselves, actors: "Actors", threads: "Threads", clock: Callable[[], int]
    ) -> None:
        self._line = line
        self._us = us
        self._actors = actors
        self._threads = threads
        self._clock = clock

    async def hear(self, cursor: str | None) -> Batch:
        """Return the mentions since the cursor.

        Upwards it would be by `min_id`, which some servers take for `since_id`: then a gap of pages is never seen. And
        `since_id` is not known everywhere, so the settled one is looked for.
        """
        place = Place.read(cursor)
        if place.is_beginning:
            return await self._first_look()
        entries, _ = await down_to(partial(self._page, place.settled), _PAGE, place.is_below)
        new = [each for each in reversed(entries) if id_of(each) not in place.recent or id_of(each) in place.waiting]
        heard, untold = await self._read_all(new)
        return Batch(heard, place.after(entries, self._clock(), untold).write())

    async def _first_look(self) -> Batch:
        """Begin with what nobody has answered yet."""
        horizon = self._clock() - _FIRST_LOOK_MS
        entries, end = await down_to(partial(self._page, None), _PAGE, lambda entry: is_older(entry, horizon))
        # Nothing that we answered is older than the oldest of what was said.
        since = (moment_of(entries[-1]) or horizon) if entries else None
        answered = await answered_by_us(self._line, self._us, since) if since is not None else frozenset()
        heard, untold = await self._read_all([each for each in reversed(entries) if _is_waiting(each, answered)])
        return Batch(heard, (Place.at(end) if end else Place()).after(entries, self._clock(), untold).write())

    async def _page(self, settled: str | None, oldest: str | None, size: int) -> Any:
        query = {"types[]": "mention", "limit": str(size), "since_id": settled, "max_id": oldest}
        params = {name: value for name, value in query.items() if value is not None}
        # Not by the SDK, which makes an object of every field: those of a minute, read at every look, took half our time.
        return await self._line.send("notifications", "GET", _NOTIFICATIONS, params=params)

    async def _read_all(self, entries: Sequence[Any]) -> tuple[list[Incoming], list[str]]:
        """Return the messages in notifications, and the ids of those whose writer nobody can tell just now.

        All are asked about at once, and for so long at most: one silent server holds up nobody else's words.
        """
        now = asyncio.get_running_loop().time()
        writers = await self._for_each(self._writer_in_time, entries, now + _TELLING_SECONDS)
        told = [(entry, writer) for entry, writer in zip(entries, writers, strict=True) if isinstance(writer, str)]
        now = asyncio.get_running_loop().time()
        roots = await self._for_each(self._root_in_time, [entry for entry, _ in told], now + _THREAD_SECONDS)
        messages = [self._read(entry, actor, root) for (entry, actor), root in zip(told, roots, strict=True)]
        untold = [id_of(entry) for entry, writer in zip(entries, writers, strict=True) if writer is _UNTOLD]
        return [message for message in messages if message is not None], untold

    @staticmethod
    async def _for_each(
        ask: Callable[[Any, float], Awaitable[Answer]], entries: Sequence[Any], deadline: float
    ) -> list[Answer]:
        found = await asyncio.gather(*(ask(entry, deadline) for entry in entries), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):  # it is our own server that does not answer
                raise one
        return [one for one in found if not isinstance(one, BaseException)]

    async def _writer_in_time(self, entry: Any, deadline: float) -> "str | _Untold | None":
        try:
            if entry["type"] != "mention":
                return None
            async with asyncio.timeout_at(deadline):
                return await self._actors.of(self._line, self._us, entry["status"]["account"])
        except (TimeoutError, UntoldError) as error:
            _log.info("not heard yet", network=NetworkName.MASTODON, why=str(error) or "it takes too long")
            return _UNTOLD
        except MALFORMED as error:
            _skip(error)
            return None

    async def _root_in_time(self, entry: Any, deadline: float) -> str | None:
        """Return where a thread begins, or the next best: that is not worth to keep anybody waiting for."""
        status = entry["status"]
        try:
            async with asyncio.timeout_at(deadline):
                return await self._threads.root(self._line, status)
        except TimeoutError:
            return str(status.get("in_reply_to_id"))
        except MALFORMED as error:
            _skip(error)
            return None

    def _read(self, entry: Any, actor: str, root: str | None) -> Incoming | None:
        try:
            return read_mention(entry, self._us, root, actor) if root is not None else None
        except MALFORMED as error:
            _skip(error)
            return None


def _skip(error: Exception) -> None:
    _log.warning("malformed notification skipped", network=NetworkName.MASTODON, error=repr(error))


def _is_waiting(entry: Any, answered: Container[str]) -> bool:
    try:
        return str(entry["status"]["id"]) not in answered
    except MALFORMED:
        return True  # for an answer that it is no message
