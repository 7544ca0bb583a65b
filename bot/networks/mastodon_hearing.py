"""Hear on a Mastodon-API server: mentions and private mentions, by notifications."""

import asyncio
from collections.abc import Callable, Container, Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from bot.networks import Batch, Incoming
from bot.networks.mastodon_actors import UntoldError
from bot.networks.mastodon_own import answered_by_us
from bot.networks.mastodon_pages import down_to, id_of, is_older
from bot.networks.mastodon_place import Place
from bot.networks.mastodon_statuses import MALFORMED, Ourselves, read_mention
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks.mastodon_actors import Actors
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_threads import Threads

_log = structlog.get_logger()

# What is older than this when the bot is new is no longer waiting for an answer.
_FIRST_LOOK_MS: Final = 3 * 86_400_000
_NOTIFICATIONS: Final = "/api/v1/notifications"
_TELLING_SECONDS: Final = 15.0
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
        answered = await answered_by_us(self._line, self._us, horizon)
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
        deadline = asyncio.get_running_loop().time() + _TELLING_SECONDS
        reading = (self._read_in_time(entry, deadline) for entry in entries)
        read = await asyncio.gather(*reading, return_exceptions=True)
        for told in read:
            if isinstance(told, BaseException):  # it is our own server that does not answer
                raise told
        untold = [id_of(entry) for entry, told in zip(entries, read, strict=True) if told is _UNTOLD]
        return [told for told in read if isinstance(told, Incoming)], untold

    async def _read_in_time(self, entry: Any, deadline: float) -> "Incoming | _Untold | None":
        try:
            async with asyncio.timeout_at(deadline):
                return await self._read(entry)
        except (TimeoutError, UntoldError) as error:
            _log.info("not heard yet", network=NetworkName.MASTODON, why=str(error) or "it takes too long")
            return _UNTOLD

    async def _read(self, entry: Any) -> Incoming | None:
        try:
            if entry["type"] != "mention":
                return None
            status = entry["status"]
            root = await self._threads.root(self._line, status)
            return read_mention(entry, self._us, root, await self._actors.of(self._line, self._us, status["account"]))
        except MALFORMED as error:
            _log.warning("malformed notification skipped", network=NetworkName.MASTODON, error=repr(error))
            return None


def _is_waiting(entry: Any, answered: Container[str]) -> bool:
    try:
        return str(entry["status"]["id"]) not in answered
    except MALFORMED:
        return True  # for an answer that it is no message
