"""The chat service: direct conversations, who may write to whom, and each account's log of events."""

import bisect
from collections import defaultdict
from dataclasses import dataclass, field

from bot.sandbox.bluesky import views
from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.ids import Json, iso
from bot.sandbox.bluesky.records import check_facets, graphemes
from bot.sandbox.bluesky.settings import Settings
from bot.sandbox.bluesky.world import Account, World
from bot.sandbox.journal import Effect

# What the lexicon chat.bsky.convo.defs gives a messageInput: 1000 graphemes and 10000 bytes of UTF-8.
_DM_GRAPHEMES, _DM_BYTES = 1000, 10000
# How many events one getLog answer holds; the real number is not published.
_LOG_PAGE = 100


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One direct message: `sender` is a DID, `sent_at` epoch seconds."""

    id: str
    rev: str
    text: str
    sender: str
    sent_at: float
    facets: list[Json] | None = None

    def view(self) -> Json:
        """Show the message (chat.bsky.convo.defs#messageView)."""
        view: Json = {
            "$type": "chat.bsky.convo.defs#messageView",
            "id": self.id,
            "rev": self.rev,
            "text": self.text,
            "sender": {"did": self.sender},
            "sentAt": iso(self.sent_at),
        }
        return view | {"facets": self.facets} if self.facets else view


@dataclass(eq=False, slots=True)
class Convo:
    """A conversation of two; `accepted` holds those for whom it is no request."""

    id: str
    members: tuple[str, str]
    rev: str
    accepted: set[str]
    messages: list[ChatMessage] = field(default_factory=list)
    spoke: set[str] = field(default_factory=set)
    unread: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def other(self, did: str) -> str:
        """Return the other member."""
        return self.members[1] if self.members[0] == did else self.members[0]


class Chat:
    """Every conversation; a refusal is an XrpcError with the chat service's own name."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._convos: dict[str, Convo] = {}
        self._by_pair: dict[frozenset[str], Convo] = {}
        # Each account's conversations with messages, the latest at the end.
        self._shown: dict[str, dict[str, Convo]] = defaultdict(dict)
        self._logs: dict[str, list[tuple[str, Json]]] = defaultdict(list)
        self._received: dict[str, list[ChatMessage]] = defaultdict(list)
        self._last_rev = world.tids.next()

    # Finding.

    def convo(self, me: Account, convo_id: str) -> Convo:
        """Return one of my conversations; XrpcError InvalidConvo if there is none."""
        convo = self._convos.get(convo_id)
        if convo is None or me.did not in convo.members:
            raise XrpcError("InvalidConvo", "Convo not found")
        return convo

    def between(self, me: Account, other: str) -> Convo | None:
        """Return my conversation with another account, if there is one."""
        return self._by_pair.get(frozenset((me.did, other)))

    def open(self, me: Account, other: str) -> Convo:
        """Return my conversation with another account, begun if need be; XrpcError if I may not write to them."""
        convo = self.between(me, other)
        self.check(me, other, convo)
        if convo is None:
            rev = self._next_rev()
            convo = self._convos[rev] = Convo(rev, (me.did, other), rev, {me.did})
            self._by_pair[frozenset(convo.members)] = convo
        return convo

    def check(self, me: Account, other: str, convo: Convo | None) -> None:
        """Refuse what blocks, suspensions and the other's setting forbid; who answered once goes on being reachable."""
        them = self._world.accounts.get(other)
        if them is None or them.status == "deactivated":
            raise XrpcError("RecipientNotFound", "recipient does not exist")
        if me.status != "active" or them.status != "active":
            raise XrpcError("AccountSuspended", "Suspended accounts cannot participate in chat")
        if (other, me.did) in self._world.blocks:
            raise XrpcError("BlockedActor", "block between recipient and sender")
        if (me.did, other) in self._world.blocks:
            raise XrpcError("BlockedSubject", "block between recipient and sender")
        if convo is not None and other in convo.spoke:
            return
        if them.allow_incoming == "none":
            raise XrpcError("MessagesDisabled", "recipient has disabled incoming messages")
        if them.allow_incoming == "following" and (other, me.did) not in self._world.follows:
            reason = "recipient requires incoming messages to come from someone they follow"
            raise XrpcError("NotFollowedBySender", reason)

    def page(self, me: Account, *, status: str | None, unread: bool, limit: int, cursor: str | None) -> list[Convo]:
        """Return my conversations with messages, the latest first, older than the cursor."""
        found: list[Convo] = []
        for convo in reversed(self._shown[me.did].values()):
            wanted = status is None or status == self.status(convo, me.did)
            if wanted and (not unread or convo.unread[me.did]) and (cursor is None or convo.rev < cursor):
                found.append(convo)
            if len(found) == limit:
                break
        return found

    def log(self, me: Account, cursor: str | None) -> tuple[list[Json], str]:
        """Return what happened to me after the cursor, and the next cursor; without one the log starts now."""
        if not cursor:
            return [], self._last_rev
        entries = self._logs[me.did]
        start = bisect.bisect_right(entries, cursor, key=lambda entry: entry[0])
        page = entries[start : start + _LOG_PAGE]
        return [entry for _, entry in page], page[-1][0] if page else cursor

    def received(self, did: str) -> list[ChatMessage]:
        """Return the messages that others sent to an account, oldest first."""
        return self._received[did]

    # Doing.

    def send(self, me: Account, convo: Convo, text: str, facets: list[Json] | None = None) -> ChatMessage:
        """Send a message; XrpcError if it is too long or may not be sent."""
        if len(text.encode()) > _DM_BYTES:
            raise _invalid(f"must not be longer than {_DM_BYTES} characters")
        if graphemes(text) > _DM_GRAPHEMES:
            raise _invalid(f"must not be longer than {_DM_GRAPHEMES} graphemes")
        fault = check_facets(facets, text)
        if fault is not None:
            raise XrpcError("InvalidRequest", fault)
        other = convo.other(me.did)
        self.check(me, other, convo)
        if not convo.messages:
            self._begin(convo, me.did, other)
        rev = self._next_rev()
        message = ChatMessage(rev, rev, text, me.did, self._settings.now(), facets)
        convo.messages.append(message)
        convo.rev = rev
        convo.accepted.add(me.did)
        convo.spoke.add(me.did)
        convo.unread[other] += 1
        entry = {"$type": "chat.bsky.convo.defs#logCreateMessage", "rev": rev, "convoId": convo.id}
        for did in convo.members:
            self._logs[did].append((rev, entry | {"message": message.view()}))
            self._shown[did].pop(convo.id, None)
            self._shown[did][convo.id] = convo
        self._received[other].append(message)
        self._world.journal.add(Effect("dm", me.did, other, text, message.id, message.sent_at))
        return message

    def _begin(self, convo: Convo, me: str, other: str) -> None:
        if (other, me) in self._world.follows:
            convo.accepted.add(other)
        for did in convo.members:
            self._write_log(did, "logBeginConvo", convo)

    def accept(self, me: Account, convo: Convo) -> str | None:
        """Take a conversation out of the requests; return the revision, or nothing if it was no request."""
        if me.did in convo.accepted:
            return None
        convo.accepted.add(me.did)
        # Whoever accepts a request has agreed to be written to, whatever the setting says.
        convo.spoke.add(me.did)
        return self._write_log(me.did, "logAcceptConvo", convo)

    def read(self, me: Account, convo: Convo, message_id: str | None) -> None:
        """Mark a conversation as read, up to one message if it is named."""
        theirs = [message for message in convo.messages if message.sender != me.did]
        convo.unread[me.did] = sum(message.id > message_id for message in theirs) if message_id else 0
        if theirs:
            self._write_log(me.did, "logReadConvo", convo, message=theirs[-1].view())

    def _write_log(self, did: str, kind: str, convo: Convo, **more: Json) -> str:
        rev = self._next_rev()
        entry: Json = {"$type": f"chat.bsky.convo.defs#{kind}", "rev": rev, "convoId": convo.id, **more}
        self._logs[did].append((rev, entry))
        return rev

    def _next_rev(self) -> str:
        self._last_rev = self._world.tids.next()
        return self._last_rev

    # Showing.

    def status(self, convo: Convo, did: str) -> str:
        """Tell what a conversation is to one of its members: `request` or `accepted`."""
        return "accepted" if did in convo.accepted else "request"

    def view(self, convo: Convo, me: Account) -> Json:
        """Show a conversation to one of its members (chat.bsky.convo.defs#convoView)."""
        view: Json = {
            "$type": "chat.bsky.convo.defs#convoView",
            "id": convo.id,
            "rev": convo.rev,
            "members": [views.profile(self._world, self._world.accounts[did], me) for did in convo.members],
            "muted": False,
            "status": self.status(convo, me.did),
            "unreadCount": convo.unread[me.did],
            "kind": {"$type": "chat.bsky.convo.defs#directConvo"},
        }
        return view | {"lastMessage": convo.messages[-1].view()} if convo.messages else view


def _invalid(fault: str) -> XrpcError:
    return XrpcError("InvalidRequest", f"Input/message/text {fault}")
