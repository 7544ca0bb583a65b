"""Bluesky: mentions and replies by notifications, direct messages by the chat's log, follows by users' own consents."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Incoming, Say
from bot.networks.bluesky_chat import BlueskyChat
from bot.networks.bluesky_follows import NO_WEB_ADDRESS, BlueskyFollows
from bot.networks.bluesky_records import (
    BOT_LABEL,
    DM_LIMITS,
    POST,
    POST_LIMITS,
    epoch_ms,
    facets_of_links,
    is_bot,
    iso,
    languages_of,
    mentions,
    plain_text,
    strong_ref,
    tid_for,
    within,
)
from bot.networks.errors import GONE, NotAsked, Refused, Unavailable, for_later
from bot.networks.oauth_atproto import AtprotoTokens
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks.bluesky_client import BlueskyClient
    from bot.networks.oauth_atproto import AtprotoOauth
    from bot.networks.sessions import SessionStore

Json = dict[str, Any]

_log = structlog.get_logger()

_PAGE: Final = 100  # the most that listNotifications gives
_POSTS_A_CALL: Final = 25  # the most that getPosts takes
# The AppView sorts notifications by what the writer's app took for the time, if that is earlier: one may come in below
# others that were seen before it. So this much is read again, and what is known is left out. See also `edge`.
_OVERLAP_MS: Final = 300_000
_SEEN_AT_MOST: Final = 5_000
# What is older than this when the bot is new is no longer waiting for an answer.
_FIRST_LOOK_MS: Final = 3 * 86_400_000
_BOT_LABELS: Final = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": BOT_LABEL}]}
_PROFILE: Final = "app.bsky.actor.profile"
_DECLARATION: Final = "chat.bsky.actor.declaration"
EVERYBODY: Final = "all"


@dataclass(frozen=True, slots=True)
class _Cursor:
    """How far we have heard: the latest notification's time, digests of those looked at lately, and the chat's cursor."""

    notified: int | None = None
    seen: tuple[str, ...] = ()
    chat: str | None = None

    @classmethod
    def read(cls, text: str | None) -> "_Cursor":
        if text is None:
            return cls()
        kept = json.loads(text)
        return cls(kept["notified"], tuple(kept["seen"]), kept["chat"])

    def write(self) -> str:
        return json.dumps({"notified": self.notified, "seen": self.seen, "chat": self.chat}, separators=(",", ":"))


class Introduction:
    """What the bot's account says of itself: that it is a bot, and who may begin to write to it."""

    def __init__(self, line: "BlueskyClient") -> None:
        self._line = line

    async def says_bot(self) -> bool:
        """Tell whether the profile is labelled as a bot's."""
        return is_bot({"labels": (await self._labels()).get("values")})

    async def say_bot(self) -> None:
        """Label the profile as a bot's; all else in it stays."""
        values = (await self._labels()).get("values")
        kept = [label for label in (values if isinstance(values, list) else []) if isinstance(label, dict)]
        merged = {**_BOT_LABELS, "values": [*kept, *_BOT_LABELS["values"]]}
        await self._put(_PROFILE, {**await self._record(_PROFILE), "labels": merged})

    async def who_may_write(self) -> str:
        """Return who may begin a conversation: all, following or none; following where nothing is declared."""
        return str((await self._record(_DECLARATION)).get("allowIncoming", "following"))

    async def let_everybody_write(self) -> None:
        """Declare that everybody may begin a conversation."""
        await self._put(_DECLARATION, {**await self._record(_DECLARATION), "allowIncoming": EVERYBODY})

    async def _labels(self) -> Json:
        labels = (await self._record(_PROFILE)).get("labels")
        return labels if isinstance(labels, dict) else {}

    async def _record(self, collection: str) -> Json:
        query = {"repo": self._line.did, "collection": collection, "rkey": "self"}
        try:
            value = (await self._line.query("com.atproto.repo.getRecord", query)).get("value")
        except Refused as refusal:
            if "RecordNotFound" in refusal.reason or "Could not locate record" in refusal.detail:
                return {}
            raise
        return value if isinstance(value, dict) else {}

    async def _put(self, collection: str, value: Json) -> None:
        record = {**value, "$type": collection}
        body = {"repo": self._line.did, "collection": collection, "rkey": "self", "record": record}
        await self._line.procedure("com.atproto.repo.putRecord", body)


class BlueskyNetwork:
    """The port on Bluesky. `clock` gives epoch milliseconds; `poll_seconds` is the longest pause between two looks.

    `oauth` is None where there is no web address, without which nobody can consent here.
    """

    name = NetworkName.BLUESKY

    def __init__(
        self,
        *,
        service_url: str,
        handle: str,
        app_password: str,
        chat_did: str = "did:web:api.bsky.chat",
        oauth: "AtprotoOauth | None",
        sessions: "SessionStore",
        clock: Callable[[], int],
        poll_seconds: float,
    ) -> None:
        self._service_url = service_url
        self._handle = handle
        self._app_password = app_password
        self._chat_did = chat_did
        self._oauth = oauth
        self._sessions = sessions
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._line: BlueskyClient | None = None
        self._chat: BlueskyChat | None = None
        self._follows: BlueskyFollows | None = None

    @property
    def handle(self) -> str:
        """Return the bot's handle, as the server knows it once we are logged in."""
        return self._line.handle if self._line is not None else self._handle

    async def start(self) -> None:
        """Log in (from the kept session where there is one), and see to it that strangers may write and see a bot."""
        from bot.networks.bluesky_client import BlueskyClient

        if self._line is not None:
            await self._line.close()
        self._line = BlueskyClient(
            service_url=self._service_url,
            handle=self._handle,
            app_password=self._app_password,
            chat_did=self._chat_did,
            sessions=self._sessions,
            clock=self._clock,
        )
        await self._line.start()
        self._chat = BlueskyChat(self._line, self._clock)
        self._follows = BlueskyFollows(self._line, self._oauth, self._clock)
        await self._introduce_ourselves(self._line)
        await self._chat.check_access()

    async def close(self) -> None:
        """Give the connections back."""
        if self._line is not None:
            await self._line.close()
            self._line = self._chat = self._follows = None

    async def _introduce_ourselves(self, line: "BlueskyClient") -> None:
        ourselves = Introduction(line)
        if not await ourselves.says_bot():
            await ourselves.say_bot()
            _log.info("labelled our profile as a bot", network=self.name)
        if await ourselves.who_may_write() != EVERYBODY:
            await ourselves.let_everybody_write()
            _log.info("opened our direct messages to everybody", network=self.name)

    # Hearing.

    async def hear(self, cursor: str | None) -> Batch:
        """Return mentions, replies to us, and direct messages since the cursor; one side's failure waits for no other.

        Unavailable is raised only when nothing at all was heard.
        """
        line, chat, _ = self._running()
        before = _Cursor.read(cursor)
        heard: list[Incoming] = []
        notified, seen, chat_cursor = before.notified, before.seen, before.chat
        read, written = await asyncio.gather(
            self._hear_posts(line, before), chat.hear(before.chat), return_exceptions=True
        )
        problems = [each for each in (read, written) if isinstance(each, BaseException)]
        for problem in problems:
            if not isinstance(problem, Unavailable):
                raise problem
        if not isinstance(read, BaseException):
            posts, notified, seen = read
            heard += posts
        if not isinstance(written, BaseException):
            messages, chat_cursor = written
            heard += messages
        if problems and not heard:
            raise problems[-1]
        for problem in problems:
            _log.warning("heard only in part", network=self.name, why=str(problem))
        heard.sort(key=lambda message: message.at)
        return Batch(heard, _Cursor(notified, seen, chat_cursor).write())

    async def _hear_posts(
        self, line: "BlueskyClient", before: _Cursor
    ) -> tuple[list[Incoming], int | None, tuple[str, ...]]:
        """Page back to what was seen before; whether something was *read* says nothing about that."""
        oldest = self._clock() - _FIRST_LOOK_MS
        floor = oldest if before.notified is None else before.notified - _OVERLAP_MS
        latest = before.notified if before.notified is not None else self._clock() - _OVERLAP_MS
        # Of the first page, which is fetched in any case, all is looked at: whose writer's clock is slow stands far down.
        edge = min(floor, oldest)
        known, near, found = set(before.seen), [], []
        first_page: list[str] = []
        query: Json = {"limit": _PAGE, "reasons": ["mention", "reply"]}
        more = True
        while more:
            page = await line.query("app.bsky.notification.listNotifications", query)
            items = page.get("notifications") or []
            for item in items:
                try:
                    at, digest = epoch_ms(item["indexedAt"]), _digest(str(item["uri"]))
                except (KeyError, TypeError, ValueError) as error:
                    _log.warning("malformed notification skipped", network=self.name, error=repr(error))
                    continue
                more = more and at >= floor
                if at < edge:
                    break
                latest = max(latest, min(at, self._clock()))  # a time to come must not hide what comes before it
                near.append((at, digest))
                message = self._read_post(line, item, at) if digest not in known else None
                if message is not None:
                    found.append(message)
            edge, first_page = floor, first_page or [digest for _, digest in near]
            more = more and bool(items) and page.get("cursor") not in (None, query.get("cursor"))
            query["cursor"] = page.get("cursor")
        seen = [*first_page, *(digest for at, digest in near if at >= latest - _OVERLAP_MS)]
        if before.notified is None:
            found = await self._without_answered(line, found)
        return found[::-1], latest, tuple(dict.fromkeys(seen))[:_SEEN_AT_MOST]

    def _read_post(self, line: "BlueskyClient", item: Json, at: int) -> Incoming | None:
        """Read one notification; nothing if it is not addressed to us, or malformed."""
        try:
            record, author = item["record"], item["author"]
            reply = record.get("reply") or {}
            answers_us = bool(reply) and str(reply["parent"]["uri"]).startswith(f"at://{line.did}/")
            if author["did"] == line.did or not (answers_us or mentions(record, line.did)):
                return None
            parent = strong_ref(item)
            root = strong_ref(reply["root"]) if reply else parent
            return Incoming(
                id=parent["uri"],
                network=self.name,
                actor=str(author["did"]),
                handle=str(author["handle"]),
                text=plain_text(record),
                public=True,
                thread=json.dumps({"root": root, "parent": parent}),
                thread_key=root["uri"],
                at=at,
                languages=languages_of(record),
                by_bot=is_bot(author),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("malformed post skipped", network=self.name, error=repr(error))
            return None

    async def _without_answered(self, line: "BlueskyClient", found: list[Incoming]) -> list[Incoming]:
        """Leave out what we answered in an earlier life, of which only the network itself remembers."""
        answered: set[str] = set()
        for start in range(0, len(found), _POSTS_A_CALL):
            uris = [message.id for message in found[start : start + _POSTS_A_CALL]]
            posts = (await line.query("app.bsky.feed.getPosts", {"uris": uris})).get("posts") or []
            for uri in [post.get("uri") for post in posts if isinstance(post, dict) and post.get("replyCount")]:
                try:
                    thread = await line.query(
                        "app.bsky.feed.getPostThread", {"uri": uri, "depth": 1, "parentHeight": 0}
                    )
                    replies = thread["thread"].get("replies") or []
                    if any(reply.get("post", {}).get("author", {}).get("did") == line.did for reply in replies):
                        answered.add(str(uri))
                except (Refused, KeyError, AttributeError):
                    continue  # a thread that cannot be seen was not answered
        return [message for message in found if message.id not in answered]

    async def wait(self, seconds: float) -> None:
        """Wait for the next look: Bluesky pushes nothing to us."""
        await asyncio.sleep(min(seconds, self._poll_seconds))

    # Speaking.

    async def say(self, say: Say) -> str:
        """Answer a thread in public, or write to an account by DM; while the login is refused, it is Unavailable."""
        line, chat, _ = self._running()
        try:
            return await (self._answer(line, say) if say.public else chat.send(say))
        except Refused as refusal:
            raise for_later(refusal) from refusal

    async def _answer(self, line: "BlueskyClient", say: Say) -> str:
        thread = json.loads(say.thread or "{}")
        if "parent" not in thread:
            raise NotAsked(GONE, "There is no public thread to answer.")
        record: Json = {
            "$type": POST,
            "text": say.text,
            # The same attempt again is the same record again: putting it changes nothing then.
            "createdAt": iso(say.first_at if say.again and say.first_at else self._clock()),
            "langs": [say.language],
            "reply": {"root": thread["root"], "parent": thread["parent"]},
        }
        if facets := facets_of_links(say.text):
            record["facets"] = facets
        body = {"repo": line.did, "collection": POST, "rkey": tid_for(say.key), "record": record}
        answer = await line.procedure("com.atproto.repo.putRecord", body)
        return str(answer.get("uri") or f"at://{line.did}/{POST}/{body['rkey']}")

    def fits(self, text: str, *, public: bool) -> bool:
        """Tell whether a text may be one post (300 graphemes) or one direct message (1000)."""
        return within(text, POST_LIMITS if public else DM_LIMITS)

    # Acting for somebody.

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Follow on behalf of the grant's owner; PartlyDone when some of it could not be done now."""
        return await self._running()[2].follow(grant, orders)

    async def unfollow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Delete the records that `follow` made; PartlyDone when some of it could not be done now."""
        return await self._running()[2].unfollow(grant, orders)

    async def revoke(self, secret: str) -> None:
        """End a grant at its issuer; a grant that has ended already is fine."""
        if self._oauth is None:
            raise Unavailable(NO_WEB_ADDRESS)
        await self._oauth.revoke(AtprotoTokens.from_json(secret))

    def _running(self) -> tuple["BlueskyClient", BlueskyChat, BlueskyFollows]:
        if self._line is None or self._chat is None or self._follows is None:
            raise RuntimeError("Start the network before it is used.")
        return self._line, self._chat, self._follows


def _digest(uri: str) -> str:
    """Return a short name for a post, for the cursor."""
    return hashlib.sha256(uri.encode()).hexdigest()[:12]
