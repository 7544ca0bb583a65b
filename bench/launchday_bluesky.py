"""Bluesky on the launch day: the product's own adapter, over a line to a chat service in this process.

Hearing and speaking are `bot.networks.bluesky` and `bot.networks.bluesky_chat` as they are: what they ask, and when, how they
look for what they may have said, and what they do about a 429. The service answers as the sandbox's does, of which it is the
part that is asked here, with the sandbox's limits; it remembers in files. Only follows are imitated, with neither a DPoP proof
nor the repositories of thousands.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from bench.launchday_networks import Server, Weather
from bench.launchday_notes import unnamed_file
from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Say
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.bluesky_chat import BlueskyChat
from bot.networks.bluesky_records import iso
from bot.networks.errors import Refused, Unavailable
from bot.networks.ratelimits import AnnouncedLimits, RateLimited
from bot.sandbox.bluesky import limits
from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.settings import Settings
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks.bluesky_client import BlueskyClient
    from bot.networks.bluesky_follows import BlueskyFollows
    from bot.networks.sessions import SessionStore

Json = dict[str, Any]

_BOT: Final = "did:plc:reflock"
_HANDLE: Final = "reflock.example"
_LOG_PAGE: Final = 100
_DEFS: Final = "chat.bsky.convo.defs"


def convo_with(did: str) -> str:
    """Name the bot's conversation with somebody."""
    return did.removeprefix("did:plc:")


class BlueskyServer(Server):
    """The bot's PDS with the chat service behind it."""

    name = NetworkName.BLUESKY

    def __init__(self, weather: Weather, heard: Callable[[Say], None]) -> None:
        super().__init__(weather, heard)
        self._file = unnamed_file()
        self._file.execute(
            "CREATE TABLE convo (id TEXT PRIMARY KEY, did TEXT, handle TEXT, request INTEGER, unread INTEGER, rev INTEGER)"
        )
        self._file.execute("CREATE INDEX latest ON convo (rev)")
        # The log; what nobody said is another event.
        self._file.execute(
            "CREATE TABLE entry (rev INTEGER PRIMARY KEY, kind TEXT, convo TEXT, sender TEXT, text TEXT, at INTEGER)"
        )
        self._file.execute("CREATE INDEX message ON entry (convo, rev) WHERE sender IS NOT NULL")
        self._rev = 0
        self._heard_until = 0
        now = weather.loop.epoch_ms
        self._limits = limits.RateLimits(Settings(now=lambda: now() / 1000, rate_limits=True))
        self._announced = AnnouncedLimits(now)
        self._methods: dict[str, Callable[[Mapping[str, Any]], Json]] = {
            "app.bsky.notification.listNotifications": lambda _: {"notifications": []},
            "chat.bsky.convo.getLog": self._get_log,
            "chat.bsky.convo.listConvos": self._list_convos,
            "chat.bsky.convo.getConvo": lambda asked: {"convo": self._convo(asked["convoId"])},
            "chat.bsky.convo.getConvoForMembers": self._get_convo_for_members,
            "chat.bsky.convo.getMessages": self._get_messages,
            "chat.bsky.convo.sendMessage": self._send,
            "chat.bsky.convo.sendMessageBatch": lambda asked: {"items": [self._send(each) for each in asked["items"]]},
            "chat.bsky.convo.acceptConvo": self._accept,
        }

    def connect(self) -> "Bluesky":
        """Connect a bot."""
        return Bluesky(self)

    # What people do.

    def knows(self, did: str, handle: str) -> None:
        """Have had a conversation with somebody before the day."""
        self._begin(did, handle, request=False)

    def write(self, actor: str, handle: str, text: str) -> str:
        """Take somebody's message to the bot; return the id under which the bot will know it."""
        self._begin(actor, handle, request=True)
        convo_id = convo_with(actor)
        rev = self._log("logCreateMessage", convo_id, actor, text)
        self._file.execute("UPDATE convo SET rev = ?, unread = unread + 1 WHERE id = ?", (rev, convo_id))
        return f"{convo_id}/{rev}"

    def decided(self, cursor: int) -> None:
        """Know up to where in the log the bot has decided all."""
        self._heard_until = cursor

    def waiting(self) -> set[str]:
        """Return the messages that nobody has heard for sure."""
        unheard = "SELECT convo, rev FROM entry WHERE rev > ? AND sender <> ?"
        return {f"{convo_id}/{rev}" for convo_id, rev in self._file.execute(unheard, (self._heard_until, _BOT))}

    # The limits.

    def count_request(self) -> dict[str, str]:
        """Count a request of the bot's; return the headers that tell of it, RateLimited when there were too many."""
        return self._consume("requests", _BOT, limits.REQUEST_RULES, 1)

    def count_follows(self, whose: str, n: int) -> None:
        """Count follows against what an account may write; RateLimited when it is too much."""
        self._consume("repo-write", whose, limits.WRITE_RULES, n * limits.WRITE_POINTS["create"])

    def _consume(self, name: str, whose: str, rules: tuple[limits.Rule, ...], points: int) -> dict[str, str]:
        try:
            return self._limits.consume(name, whose, rules, points)
        except XrpcError as error:
            self.refused_429 += 1
            raise RateLimited("429, deserved", self._announced.retry_in(error.headers or {})) from None

    # The service.

    def answer(self, nsid: str, asked: Mapping[str, Any]) -> Json:
        """Do what a request asks for."""
        return self._methods[nsid](asked)

    def _get_log(self, asked: Mapping[str, Any]) -> Json:
        """Return what happened after the cursor; without one the log starts now."""
        cursor = asked.get("cursor")
        if cursor is None:
            return {"logs": [], "cursor": f"{self._rev}"}
        found = self._file.execute(
            "SELECT rev, kind, convo, sender, text, at FROM entry WHERE rev > ? ORDER BY rev LIMIT ?",
            (int(cursor), _LOG_PAGE),
        ).fetchall()
        logs = []
        for rev, kind, convo_id, sender, text, at in found:
            entry: Json = {"$type": f"{_DEFS}#{kind}", "rev": f"{rev}", "convoId": convo_id}
            if sender is not None:
                entry["message"] = _message(rev, sender, text, at)
            logs.append(entry)
        return {"logs": logs, "cursor": f"{found[-1][0]}" if found else cursor}

    def _list_convos(self, asked: Mapping[str, Any]) -> Json:
        """List conversations, those first in which was written last."""
        wanted, limit = ["rev < ?"], asked["limit"]
        if asked.get("readState") == "unread":
            wanted.append("unread > 0")
        if "status" in asked:
            wanted.append("request" if asked["status"] == "request" else "NOT request")
        found = self._file.execute(
            f"SELECT * FROM convo WHERE {' AND '.join(wanted)} ORDER BY rev DESC LIMIT ?",
            (int(asked.get("cursor", sys.maxsize)), limit),
        ).fetchall()
        page: Json = {"convos": [_convo(*each) for each in found]}
        return page | {"cursor": f"{found[-1][-1]}"} if len(found) == limit else page

    def _convo(self, convo_id: str) -> Json:
        row = self._file.execute("SELECT * FROM convo WHERE id = ?", (convo_id,)).fetchone()
        if row is None:
            raise Refused("InvalidConvo", "Convo not found")
        return _convo(*row)

    def _get_convo_for_members(self, asked: Mapping[str, Any]) -> Json:
        (did,) = asked["members"]
        self._begin(did, "handle.invalid", request=False)
        return {"convo": self._convo(convo_with(did))}

    def _get_messages(self, asked: Mapping[str, Any]) -> Json:
        limit = asked["limit"]
        found = self._file.execute(
            "SELECT rev, sender, text, at FROM entry WHERE convo = ? AND rev < ? AND sender IS NOT NULL "
            "ORDER BY rev DESC LIMIT ?",
            (asked["convoId"], int(asked.get("cursor", sys.maxsize)), limit),
        ).fetchall()
        page: Json = {"messages": [_message(*each) for each in found]}
        return page | {"cursor": f"{found[-1][0]}"} if len(found) == limit else page

    def _send(self, item: Mapping[str, Any]) -> Json:
        convo_id, text = item["convoId"], item["message"]["text"]
        reader = self._file.execute("SELECT did FROM convo WHERE id = ?", (convo_id,)).fetchone()
        if reader is None:
            raise Refused("InvalidConvo", "Convo not found")
        rev = self._log("logCreateMessage", convo_id, _BOT, text)
        self._file.execute("UPDATE convo SET rev = ?, request = FALSE WHERE id = ?", (rev, convo_id))
        self.read(reader[0], text)
        return _message(rev, _BOT, text, self.weather.loop.epoch_ms())

    def _accept(self, asked: Mapping[str, Any]) -> Json:
        convo_id = asked["convoId"]
        accepted = self._file.execute("UPDATE convo SET request = FALSE WHERE id = ? AND request", (convo_id,)).rowcount
        return {"rev": f"{self._log('logAcceptConvo', convo_id)}"} if accepted else {}

    def _begin(self, did: str, handle: str, *, request: bool) -> None:
        """Begin a conversation, unless there is one."""
        convo_id = convo_with(did)
        begun = "INSERT OR IGNORE INTO convo VALUES (?, ?, ?, ?, 0, ?)"
        if self._file.execute(begun, (convo_id, did, handle, request, self._rev + 1)).rowcount:
            self._log("logBeginConvo", convo_id)

    def _log(self, kind: str, convo_id: str, sender: str | None = None, text: str | None = None) -> int:
        self._rev += 1
        entry = (self._rev, kind, convo_id, sender, text, self.weather.loop.epoch_ms())
        self._file.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", entry)
        return self._rev


def _message(rev: int, sender: str, text: str, at: int) -> Json:
    return {
        "$type": f"{_DEFS}#messageView",
        "id": f"{rev}",
        "rev": f"{rev}",
        "text": text,
        "sender": {"did": sender},
        "sentAt": iso(at),
    }


def _convo(convo_id: str, did: str, handle: str, request: int, unread: int, rev: int) -> Json:
    return {
        "$type": f"{_DEFS}#convoView",
        "id": convo_id,
        "rev": f"{rev}",
        "members": [{"did": _BOT, "handle": _HANDLE}, {"did": did, "handle": handle}],
        "muted": False,
        "status": "request" if request else "accepted",
        "unreadCount": unread,
        "kind": {"$type": f"{_DEFS}#directConvo"},
    }


class _Line:
    """What `BlueskyClient` is to the adapter, in the weather of the day, and without HTTP and a session."""

    did = _BOT
    handle = _HANDLE

    def __init__(self, server: BlueskyServer) -> None:
        self._server = server
        self._limits = AnnouncedLimits(server.weather.loop.epoch_ms)

    async def query(self, nsid: str, params: Mapping[str, Any] | None = None) -> Json:
        """Call a method that only reads."""
        try:
            return await self._call(nsid, params or {})
        except Unavailable as problem:
            problem.begun = False
            raise

    async def procedure(self, nsid: str, body: Mapping[str, Any]) -> Json:
        """Call a method that writes."""
        return await self._call(nsid, body)

    async def _call(self, nsid: str, asked: Mapping[str, Any]) -> Json:
        """Ask within the announced limits."""
        self._limits.check(nsid)
        self._limits.remember(nsid, self._server.count_request())
        answer: Json = await self._server.weather.ask(NetworkName.BLUESKY, partial(self._server.answer, nsid, asked))
        return answer


class _Follows:
    """Follows all at once, at the people's own servers."""

    def __init__(self, server: BlueskyServer) -> None:
        self._server = server
        self._ask = partial(server.weather.ask, NetworkName.BLUESKY)

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Look at the account and whom it follows already, and follow."""
        me = grant.account_id
        await self._ask()
        await self._ask()
        self._server.count_follows(me, len(orders))
        return list(await self._ask(lambda: [self._server.follow(me, each) for each in orders]))

    async def unfollow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Take follows back, one after the other."""
        return [await self._ask(partial(self._server.unfollow, grant.account_id, each)) for each in orders]


class Bluesky(BlueskyNetwork):
    """The product's port, running from the beginning; it need not log in."""

    def __init__(self, server: BlueskyServer) -> None:
        clock = server.weather.loop.epoch_ms
        super().__init__(
            service_url="https://pds.example",
            handle=_HANDLE,
            app_password="",
            oauth=None,
            sessions=cast("SessionStore", None),
            clock=clock,
            poll_seconds=math.inf,  # the loop that listens says how long
        )
        self._server = server
        self._line = cast("BlueskyClient", _Line(server))
        self._chat = BlueskyChat(self._line, clock)
        self._follows = cast("BlueskyFollows", _Follows(server))

    async def hear(self, cursor: str | None) -> Batch:
        """Hear as the product does; what comes before a cursor that it was given has been decided."""
        if cursor is not None:
            self._server.decided(int(json.loads(cursor)["chat"] or 0))
        return await super().hear(cursor)

    async def say(self, say: Say) -> str:
        """Speak as the product does; the readers are told for what to look."""
        self._server.expect(say)
        return await super().say(say)

    async def revoke(self, _secret: str) -> None:
        """End a consent."""
        await self._server.weather.ask(NetworkName.BLUESKY)
