"""Direct messages on Bluesky: hear them from the log, answer in their conversation."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from bot.networks import Incoming, Say
from bot.networks.bluesky_breaker import Breaker
from bot.networks.bluesky_records import epoch_ms, facets_of_links, is_bot, plain_text
from bot.networks.clocks import SLACK_AHEAD_MS
from bot.networks.errors import BLOCKED, DM_CLOSED, GONE, LOGIN_REFUSED, NetworkError, Refused, Unavailable
from bot.networks.mailbag import Mailbag
from bot.networks.ratelimits import RateLimited
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks.bluesky_client import BlueskyClient

Json = dict[str, Any]
Item = TypeVar("Item")
Answer = TypeVar("Answer")

_log = structlog.get_logger()

_CREATED: Final = "chat.bsky.convo.defs#logCreateMessage"
_MESSAGE: Final = "chat.bsky.convo.defs#messageView"
_GROUP: Final = "groupConvo"
_PAGE: Final = 100  # the most that getMessages, listConvos give
MOST_AT_ONCE: Final = 100  # chat.bsky.convo.sendMessageBatch, items maxLength
# Of 3,000 requests in 5 minutes (docs.bsky.app, rate limits) those that send together are two fifths at most then.
APART_SECONDS: Final = 0.25
_ENOUGH: Final = 500  # entries of the log, to be answered before more are fetched
_FEW: Final = 20  # are no full page of the log, whose size is not published: what may follow is for the next look
_SIDE_BY_SIDE: Final = 10  # requests that do not wait for one another
_RECEIPTS: Final = 2_000
_LONGEST_SECONDS: Final = 60.0  # for messages that others wait behind; each part of an answer has a limit of its own
_KNOWN_CONVOS: Final = 10_000
_KNOWN_FOR_MS: Final = 600_000  # handles and labels change; who talks to us for longer is looked at again

# The chat service's error names (chat.bsky.convo.getConvoForMembers, sendMessage).
_REFUSALS: Final = {
    "MessagesDisabled": DM_CLOSED,
    "NotFollowedBySender": DM_CLOSED,
    "ConvoLocked": DM_CLOSED,
    "BlockedActor": BLOCKED,
    "BlockedSubject": BLOCKED,
    "AccountSuspended": GONE,
    "RecipientNotFound": GONE,
    "InvalidConvo": GONE,
}
# Its sentences, from servers that answer InvalidRequest for all of these.
_REFUSING_WORDS: Final = {
    "disabled incoming messages": DM_CLOSED,
    "requires incoming messages": DM_CLOSED,
    "block between": BLOCKED,
    "suspended": GONE,
}


@dataclass(slots=True)
class _Convo:
    """What is known of a conversation; `handle` is that of the one who is not us, None where there are more."""

    id: str
    handle: str | None
    by_bot: bool
    request: bool
    known_at: int


class BlueskyChat:
    """The bot's conversations. `clock` gives epoch milliseconds."""

    def __init__(self, client: "BlueskyClient", clock: Callable[[], int]) -> None:
        self._client = client
        self._clock = clock
        self._breaker = Breaker(clock)
        self._convos: OrderedDict[str, _Convo] = OrderedDict()
        self._convo_of: OrderedDict[str, str] = OrderedDict()
        self._mailbag = Mailbag(self._carry, at_most=MOST_AT_ONCE, apart=APART_SECONDS)
        self._receipts: OrderedDict[str, None] = OrderedDict()

    async def check_access(self) -> None:
        """Find out at the start whether the app password opens the chat; Refused says what to do."""
        try:
            await self._call(self._client.query("chat.bsky.convo.listConvos", {"limit": 1}))
        except Refused as refusal:
            detail = (
                f"The app password does not open direct messages ({refusal.detail or refusal.reason}). Make a new one "
                "and tick the box that allows access to them."
            )
            raise Refused(refusal.reason, detail) from refusal
        except Unavailable as problem:
            _log.warning("chat cannot be asked yet", network="bluesky", why=str(problem))

    # Hearing.

    async def hear(self, cursor: str | None) -> tuple[list[Incoming], str | None]:
        """Return the messages since the cursor, and the next one; None begins with what is unanswered."""
        if self._breaker.pauses:
            return [], cursor
        if cursor is None:
            # The log begins with the first look at it; only then may the older messages be read.
            log = await self._call(self._client.query("chat.bsky.convo.getLog"))
            return [message async for message in self._unanswered()], _next(log, None)
        entries: list[Any] = []
        while True:
            log = await self._call(self._client.query("chat.bsky.convo.getLog", {"cursor": cursor}))
            page = log.get("logs") or []
            entries += page
            before, cursor = cursor, _next(log, cursor)
            if len(page) < _FEW or cursor == before or len(entries) >= _ENOUGH:
                return await self._written(entries), cursor

    async def _unanswered(self) -> AsyncIterator[Incoming]:
        seen: set[str] = set()
        for status in ("request", "accepted"):
            query: Json = {"limit": _PAGE, "readState": "unread", "status": status}
            while True:
                page = await self._call(self._client.query("chat.bsky.convo.listConvos", query))
                for view in page.get("convos") or []:
                    convo = self._take_in(view)
                    if convo is not None and convo.handle is not None and convo.id not in seen:
                        seen.add(convo.id)
                        for message in await self._since_our_last(convo):
                            yield message
                if not page.get("cursor") or not page.get("convos"):
                    break
                query["cursor"] = page["cursor"]

    async def _since_our_last(self, convo: _Convo) -> list[Incoming]:
        heard: list[Incoming] = []
        async for view in self._messages(convo.id):
            if _sender(view) == self._client.did:
                break
            message = self._read(convo, view)
            if message is not None:
                heard.append(message)
        if heard:
            await self._accept(convo)
        return heard[::-1]

    async def _written(self, entries: Collection[Any]) -> list[Incoming]:
        """Return the messages of a part of the log, where they are for us."""
        views = list(self._created(entries))
        await self._learn({convo_id for convo_id, _ in views})
        heard: list[Incoming] = []
        requests: dict[str, _Convo] = {}
        for convo_id, view in views:
            convo = self._convos.get(convo_id)
            message = self._read(convo, view) if convo is not None else None
            if convo is not None and message is not None:
                heard.append(message)
                if convo.request:
                    requests[convo.id] = convo
        await _side_by_side(self._accept, list(requests.values()))
        return heard

    def _created(self, entries: Collection[Any]) -> Iterator[tuple[str, Json]]:
        """Find what others wrote, with its conversation."""
        for entry in entries:
            try:
                if entry["$type"] == _CREATED and _sender(entry["message"]) not in (None, self._client.did):
                    yield str(entry["convoId"]), entry["message"]
            except (KeyError, TypeError) as error:
                _log.warning("malformed log entry skipped", network="bluesky", error=repr(error))

    def _read(self, convo: _Convo, view: Json) -> Incoming | None:
        """Read one message; nothing for what was deleted, is no text, or is malformed."""
        try:
            if convo.handle is None or view.get("$type", _MESSAGE) != _MESSAGE or not view["text"]:
                return None
            return Incoming(
                id=f"{convo.id}/{view['id']}",
                network=NetworkName.BLUESKY,
                actor=str(view["sender"]["did"]),
                handle=convo.handle,
                text=plain_text(view),
                public=False,
                thread=json.dumps({"convo": convo.id}),
                thread_key=convo.id,
                at=epoch_ms(view["sentAt"]),
                by_bot=convo.by_bot,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            _log.warning("malformed message skipped", network="bluesky", error=repr(error))
            return None

    def _is_known(self, convo_id: str) -> bool:
        known = self._convos.get(convo_id)
        return known is not None and self._clock() - known.known_at < _KNOWN_FOR_MS

    async def _learn(self, convo_ids: Collection[str]) -> None:
        """Look up what is not known of some conversations.

        As long as they are many, together: those written in last are listed first. What is left is asked for one by one.
        """
        unknown = {each for each in convo_ids if not self._is_known(each)}
        query: Json = {"limit": _PAGE}
        few = 1
        for _ in range(len(unknown)):  # it takes no more requests than to ask for each
            if len(unknown) <= few:
                break
            try:
                page = await self._call(self._client.query("chat.bsky.convo.listConvos", query))
            except Refused as refusal:
                _log.info("conversations cannot be listed", network="bluesky", why=refusal.reason)
                break
            views = page.get("convos") or []
            unknown.difference_update(convo.id for view in views if (convo := self._take_in(view)) is not None)
            if not views or page.get("cursor") in (None, query.get("cursor")):
                break
            query["cursor"], few = page["cursor"], _SIDE_BY_SIDE
        await _side_by_side(self._ask_for, unknown)

    async def _ask_for(self, convo_id: str) -> None:
        """Look up one conversation; what was known of it is so no more when it cannot be read."""
        try:
            answer = await self._call(self._client.query("chat.bsky.convo.getConvo", {"convoId": convo_id}))
        except Refused as refusal:
            _log.info("conversation cannot be read", network="bluesky", why=refusal.reason)
            self._convos.pop(convo_id, None)
            return
        self._take_in(answer.get("convo"))

    def _take_in(self, view: Any) -> _Convo | None:
        """Keep what is told of a conversation, also of a group's, which is not ours to answer; nothing if malformed."""
        try:
            others = [member for member in view["members"] if member["did"] != self._client.did]
            kind = view.get("kind") or {}
            of_two = len(others) == 1 and not str(kind.get("$type", "")).endswith(_GROUP)
            handle, by_bot = (str(others[0]["handle"]), is_bot(others[0])) if of_two else (None, False)
            convo = _Convo(str(view["id"]), handle, by_bot, view.get("status") == "request", self._clock())
            if of_two:
                _put(self._convo_of, str(others[0]["did"]), convo.id)
        except (KeyError, TypeError, AttributeError) as error:
            _log.warning("malformed conversation skipped", network="bluesky", error=repr(error))
            return None
        _put(self._convos, convo.id, convo)
        return convo

    async def _accept(self, convo: _Convo) -> None:
        """Take a conversation out of the requests; an answer does so too, so a failure can wait."""
        if not convo.request:
            return
        try:
            await self._call(self._client.procedure("chat.bsky.convo.acceptConvo", {"convoId": convo.id}))
            convo.request = False
        except (Refused, Unavailable) as problem:
            _log.info("request not accepted yet", network="bluesky", why=str(problem))

    async def _messages(self, convo_id: str) -> AsyncIterator[Json]:
        """Give a conversation's messages, the latest first."""
        query: Json = {"convoId": convo_id, "limit": _PAGE}
        while True:
            page = await self._call(self._client.query("chat.bsky.convo.getMessages", query))
            for view in page.get("messages") or []:
                yield view
            if not page.get("cursor") or not page.get("messages"):
                return
            query["cursor"] = page["cursor"]

    # Speaking.

    async def send(self, say: Say) -> str:
        """Bring a message to its reader; Refused with DM_CLOSED, BLOCKED or GONE when the service does not let it."""
        self._breaker.check()
        convo_id = _convo_in(say.thread)
        try:
            if convo_id is not None:
                try:
                    return await self._send_to(convo_id, say)
                except Refused as refusal:
                    if refusal.reason != "InvalidConvo":
                        raise
                    self._convo_of.pop(say.actor, None)
            return await self._send_to(await self._convo_with(say.actor), say)
        except Refused as refusal:
            raise Refused(_reason(refusal), refusal.detail) from refusal

    async def _convo_with(self, did: str) -> str:
        known = self._convo_of.get(did)
        if known is None:
            answer = await self._call(self._client.query("chat.bsky.convo.getConvoForMembers", {"members": [did]}))
            try:
                known = str(answer["convo"]["id"])
            except (KeyError, TypeError) as error:
                raise Unavailable("The chat service opened a conversation without naming it.") from error
            _put(self._convo_of, did, known)
        return known

    async def _send_to(self, convo_id: str, say: Say) -> str:
        if say.again and (sent := await self._sent_already(convo_id, say.text, say.first_at, ())):
            return sent
        message: Json = {"text": say.text}
        if facets := facets_of_links(say.text):
            message["facets"] = facets
        return await self._mailbag.put({"convoId": convo_id, "message": message})

    async def _carry(self, items: list[Json]) -> list[str | NetworkError]:
        """Send messages, and keep in mind under which names they were taken."""
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                outcomes = await self._post(items)
        except TimeoutError:
            raise Unavailable("The chat service does not come to an end.") from None
        for outcome in outcomes:
            if isinstance(outcome, str):
                _put(self._receipts, outcome, None, _RECEIPTS)
        return outcomes

    async def _post(self, items: list[Json]) -> list[str | NetworkError]:
        """Send messages in one request; it counts as one against the 3,000 in 5 minutes (docs.bsky.app, rate limits)."""
        self._breaker.check()
        begun_at = self._clock()
        if len(items) == 1:
            return [await self._post_one(items[0])]
        try:
            answer = await self._call(self._client.procedure("chat.bsky.convo.sendMessageBatch", {"items": items}))
        except Refused as refusal:
            if refusal.reason == LOGIN_REFUSED:
                raise
            # It is not told which of them was refused, nor whether those before it were sent.
            return await _side_by_side(lambda item: self._post_alone(item, begun_at), items)
        self._breaker.sent()
        sent = answer.get("items")
        views = sent if isinstance(sent, list) and len(sent) == len(items) else [None] * len(items)
        return [_receipt(item, view) for item, view in zip(items, views, strict=True)]

    async def _post_one(self, item: Json) -> str | NetworkError:
        try:
            view = await self._call(self._client.procedure("chat.bsky.convo.sendMessage", item))
        except (Refused, Unavailable) as problem:
            return problem
        self._breaker.sent()
        return _receipt(item, view)

    async def _post_alone(self, item: Json, begun_at: int) -> str | NetworkError:
        """Send a message that may have been sent with others."""
        try:
            self._breaker.check()
            sent = await self._sent_already(item["convoId"], item["message"]["text"], begun_at, self._receipts)
            outcome = sent or await self._post_one(item)
        except (Refused, Unavailable) as problem:
            outcome = problem
        if isinstance(outcome, Unavailable):
            outcome.begun = True  # by the request for all of them
        return outcome

    async def _sent_already(self, convo_id: str, text: str, first_at: int, others: Container[str]) -> str | None:
        """Look for what an earlier attempt may have sent: the service knows no idempotency key.

        What is named among `others` was another message with the same text.
        """
        async for view in self._messages(convo_id):
            try:
                if epoch_ms(view["sentAt"]) < first_at - SLACK_AHEAD_MS:
                    return None
                if _sender(view) == self._client.did and view["text"] == text:
                    sent = f"{convo_id}/{view['id']}"
                    if sent not in others:
                        return sent
            except (KeyError, TypeError, ValueError):
                continue  # a deleted or malformed message is not the one we look for
        return None

    async def _call(self, call: Any) -> Json:
        try:
            answer: Json = await call
        except RateLimited as problem:
            self._breaker.refused(problem.retry_in)
            raise
        return answer


async def _side_by_side(ask: Callable[[Item], Awaitable[Answer]], about: Iterable[Item]) -> list[Answer]:
    """Ask about each, some at a time; return the answers in their order."""
    items, answers = list(about), list[Answer]()
    for start in range(0, len(items), _SIDE_BY_SIDE):
        answers += await asyncio.gather(*(ask(each) for each in items[start : start + _SIDE_BY_SIDE]))
    return answers


def _next(log: Json, cursor: str | None) -> str | None:
    following = log.get("cursor")
    return following if isinstance(following, str) and following else cursor


def _sender(view: Any) -> str | None:
    sender = view.get("sender") if isinstance(view, dict) else None
    return sender.get("did") if isinstance(sender, dict) else None


def _receipt(item: Json, view: Any) -> str | NetworkError:
    """Name a message that was sent as the log will name it."""
    name = view.get("id") if isinstance(view, dict) else None
    if isinstance(name, str) and name:
        return f"{item['convoId']}/{name}"
    return Unavailable("The chat service took a message without naming it.")


def _convo_in(thread: str | None) -> str | None:
    convo = json.loads(thread).get("convo") if thread else None
    return convo if isinstance(convo, str) else None


def _reason(refusal: Refused) -> str:
    """Translate the service's refusal into the port's words."""
    if refusal.reason in _REFUSALS:
        return _REFUSALS[refusal.reason]
    said = refusal.detail.lower()
    return next((reason for words, reason in _REFUSING_WORDS.items() if words in said), refusal.reason)


def _put(known: "OrderedDict[str, Any]", key: str, value: object, at_most: int = _KNOWN_CONVOS) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > at_most:
        known.popitem(last=False)
