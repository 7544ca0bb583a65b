"""Everything a small Bluesky holds: accounts, their records, and the indexes an AppView keeps of them."""

import bisect
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.ids import Json, TidClock, cid_of, did_for, iso, parse_iso, record_uri, split_uri
from bot.sandbox.bluesky.records import BLOCK, DECLARATION, FOLLOW, MENTION, POST, PROFILE, check_key, check_record
from bot.sandbox.bluesky.settings import Settings
from bot.sandbox.journal import Effect, WatchedJournal

AccountStatus = Literal["active", "deactivated", "suspended", "takendown"]
Action = Literal["create", "update", "delete"]
_HANDLE = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# The AppView tells the authors of this many posts above a reply (REPLY_NOTIF_DEPTH in its post indexer).
_REPLY_NOTIFICATION_DEPTH = 5


@dataclass(eq=False, slots=True)
class Record:
    """One record in somebody's repository."""

    uri: str
    cid: str
    author: str
    collection: str
    rkey: str
    value: Json
    indexed_at: float
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Write:
    """One change of a repository that was asked for; an empty `rkey` lets the server choose."""

    action: Action
    collection: str
    rkey: str = ""
    value: Json | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """Something another did that concerns an account; `at` is epoch milliseconds."""

    reason: str
    record: Record
    at: int
    subject: str | None = None


@dataclass(eq=False, slots=True)
class Account:
    """One account with its repository; `passwords` maps each password to whether it may use the chat."""

    did: str
    handle: str
    created_at: float
    passwords: dict[str, bool]
    status: AccountStatus = "active"
    repo: dict[str, dict[str, Record]] = field(default_factory=dict)
    notifications: list[Notification] = field(default_factory=list)
    seen_at: int | None = None
    preferences: list[Json] = field(default_factory=list)

    def record(self, collection: str, rkey: str) -> Record | None:
        """Return one record, or nothing."""
        return self.repo.get(collection, {}).get(rkey)

    @property
    def allow_incoming(self) -> str:
        """From whom this account takes direct messages: all, none or following (the default)."""
        record = self.record(DECLARATION, "self")
        return str(record.value["allowIncoming"]) if record else "following"


class World:
    """The accounts, the graph and the posts; every change goes through `commit`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tids = TidClock(settings.now)
        self.journal = WatchedJournal()
        self.accounts: dict[str, Account] = {}
        self._handles: dict[str, str] = {}
        # (who, whom) -> record URIs, oldest first: more than one is a duplicate.
        self.follows: dict[tuple[str, str], list[str]] = {}
        self.blocks: dict[tuple[str, str], list[str]] = {}
        self.following: dict[str, dict[str, None]] = defaultdict(dict)
        self.followers: dict[str, dict[str, None]] = defaultdict(dict)
        self.children: dict[str, list[Record]] = defaultdict(list)

    # Accounts.

    def create_account(self, handle: str, password: str, *, chat: bool) -> Account:
        """Open an account; ValueError for a handle that is malformed or taken."""
        handle = self._free_handle(handle)
        did = did_for(f"{handle} {len(self.accounts)}")
        account = Account(did, handle, self._settings.now(), {password: chat})
        self.accounts[did] = account
        self._handles[handle] = did
        return account

    def rename(self, account: Account, handle: str) -> None:
        """Give an account another handle; the old one is free again."""
        handle = self._free_handle(handle)
        del self._handles[account.handle]
        account.handle = handle
        self._handles[handle] = account.did

    def _free_handle(self, handle: str) -> str:
        handle = handle.lower()
        if not is_handle(handle):
            raise ValueError(f"{handle!r} is no handle: use a domain name such as alice.test.")
        if handle in self._handles:
            raise ValueError(f"The handle {handle!r} is taken.")
        return handle

    def find(self, identifier: str) -> Account | None:
        """Return the account with this DID or handle."""
        return self.accounts.get(self._handles.get(identifier.lower().removeprefix("@"), identifier))

    def blocked(self, one: str, other: str) -> bool:
        """Tell whether either of two accounts blocks the other."""
        return (one, other) in self.blocks or (other, one) in self.blocks

    # Records.

    def find_record(self, uri: str) -> Record | None:
        """Return the living record at an address."""
        parts = split_uri(uri)
        account = self.accounts.get(parts[0]) if parts else None
        return account.record(parts[1], parts[2]) if account and parts else None

    def commit(self, account: Account, writes: Iterable[Write]) -> list[tuple[Record, str]]:
        """Carry out all the writes or none; return each record with its validation status.

        A key that exists (create) or does not (update, delete) is a 500 as on the real PDS.
        """
        staged: dict[tuple[str, str], bool] = {}
        checked: list[tuple[Write, str]] = []
        for write in writes:
            rkey = write.rkey or self.tids.next()
            check_key(write.collection, rkey)
            status = check_record(write.collection, write.value) if write.action != "delete" else "unknown"
            key = (write.collection, rkey)
            exists = staged.get(key, account.record(*key) is not None)
            if exists == (write.action == "create"):
                raise XrpcError("InternalServerError", "Internal Server Error", status=500)
            staged[key] = write.action != "delete"
            checked.append((Write(write.action, write.collection, rkey, write.value), status))
        return [(self._apply(account, write), status) for write, status in checked]

    def replaced_by(self, account: Account, write: Write) -> list[Write]:
        """Return the deletions that go before a record made by itself: a PDS keeps one follow or block of a subject.

        Only com.atproto.repo.createRecord sees to that; applyWrites makes as many as it is told to.
        """
        edges = {FOLLOW: self.follows, BLOCK: self.blocks}.get(write.collection, {})
        subject = write.value.get("subject") if isinstance(write.value, dict) else None
        there = edges.get((account.did, subject), ()) if isinstance(subject, str) else ()
        return [Write("delete", write.collection, uri.rpartition("/")[2]) for uri in there]

    def _apply(self, account: Account, write: Write) -> Record:
        collection = account.repo.setdefault(write.collection, {})
        old = collection.pop(write.rkey, None)
        if old is not None:
            old.alive = False
            self._unindex(old, gone=write.action == "delete")
        if write.value is None:
            if old is None:
                raise LookupError("commit() lets no delete through without its record")
            return old
        uri = record_uri(account.did, write.collection, write.rkey)
        now = self._settings.now()
        record = Record(uri, cid_of(write.value), account.did, write.collection, write.rkey, write.value, now)
        collection[write.rkey] = record
        self._index(record, new=old is None)
        return record

    def _index(self, record: Record, *, new: bool) -> None:
        if record.collection == FOLLOW:
            self._index_follow(record, record.value["subject"])
        elif record.collection == BLOCK:
            self.blocks.setdefault((record.author, record.value["subject"]), []).append(record.uri)
        elif record.collection == POST:
            self._index_post(record, new=new)

    def _unindex(self, record: Record, *, gone: bool) -> None:
        subject = record.value.get("subject")
        if record.collection == FOLLOW and isinstance(subject, str):
            self._unindex_follow(record, subject, gone=gone)
        elif record.collection == BLOCK and isinstance(subject, str):
            _drop(self.blocks, (record.author, subject), record.uri)
        elif record.collection == POST:
            parent = reply_parent(record)
            if parent is not None:
                self.children[parent].remove(record)

    def _index_follow(self, record: Record, subject: str) -> None:
        uris = self.follows.setdefault((record.author, subject), [])
        uris.append(record.uri)
        self.following[record.author][subject] = None
        self.followers[subject][record.author] = None
        if len(uris) == 1:
            self._notify(subject, "follow", record)
        self.journal.add(Effect("follow", record.author, subject, "", record.uri, record.indexed_at))

    def _unindex_follow(self, record: Record, subject: str, *, gone: bool) -> None:
        if _drop(self.follows, (record.author, subject), record.uri):
            return
        del self.following[record.author][subject]
        del self.followers[subject][record.author]
        if gone:
            now = self._settings.now()
            self.journal.add(Effect("unfollow", record.author, subject, "", record.uri, now))

    def _index_post(self, record: Record, *, new: bool) -> None:
        parent = reply_parent(record)
        if parent is not None:
            self.children[parent].append(record)
        if not new:
            return
        told = {record.author}
        mentioned = mentions(record.value)
        for did in mentioned:
            self._notify_once(told, did, "mention", record, None)
        ancestor = parent
        for _ in range(_REPLY_NOTIFICATION_DEPTH):
            above = self.find_record(ancestor) if ancestor else None
            if above is None:
                break
            self._notify_once(told, above.author, "reply", record, above.uri)
            ancestor = reply_parent(above)
        parts = split_uri(parent)
        to = parts[0] if parts else next(iter(mentioned), None)
        text = record.value["text"]
        self.journal.add(Effect("post", record.author, to, text, record.uri, record.indexed_at, reply_to=parent))

    def _notify_once(self, told: set[str], did: str, reason: str, record: Record, subject: str | None) -> None:
        if did not in told:
            told.add(did)
            self._notify(did, reason, record, subject)

    def _notify(self, did: str, reason: str, record: Record, subject: str | None = None) -> None:
        owner = self.accounts.get(did)
        if owner is not None and not self.blocked(did, record.author):
            # An AppView sorts them by what the writer's app took for the time, unless that lies in the future.
            at = int(1000 * min(self._settings.now(), parse_iso(record.value.get("createdAt")) or math.inf))
            bisect.insort(owner.notifications, Notification(reason, record, at, subject), key=lambda told: told.at)

    # What the stories count.

    def duplicate_follows(self) -> int:
        """Count the follow records beyond the first for the same pair of accounts."""
        return sum(len(uris) - 1 for uris in self.follows.values())

    def set_declaration(self, account: Account, allow_incoming: str) -> None:
        """Write the record that says from whom an account takes direct messages."""
        self._put_self(account, DECLARATION, {"allowIncoming": allow_incoming})

    def set_profile(self, account: Account, *, bot: bool) -> None:
        """Write a profile record, with the self-label `bot` if it is one."""
        value: Json = {"displayName": account.handle.split(".")[0].title(), "createdAt": iso(account.created_at)}
        if bot:
            value["labels"] = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "bot"}]}
        self._put_self(account, PROFILE, value)

    def _put_self(self, account: Account, collection: str, value: Json) -> None:
        action: Action = "update" if account.record(collection, "self") else "create"
        self.commit(account, [Write(action, collection, "self", {"$type": collection, **value})])


def is_handle(text: str) -> bool:
    """Tell whether the text is a well-formed handle."""
    return _HANDLE.fullmatch(text.lower()) is not None


def reply_parent(record: Record) -> str | None:
    """Return the address of the post that a post answers."""
    reply = record.value.get("reply")
    return str(reply["parent"]["uri"]) if isinstance(reply, dict) else None


def mentions(value: Json) -> list[str]:
    """Return the DIDs that a post's facets mention, in order, each once."""
    found: dict[str, None] = {}
    for facet in value.get("facets") or ():
        for feature in facet["features"]:
            if feature.get("$type") == MENTION and isinstance(feature.get("did"), str):
                found[feature["did"]] = None
    return list(found)


def _drop(edges: dict[tuple[str, str], list[str]], pair: tuple[str, str], uri: str) -> bool:
    """Remove one record from an edge; tell whether the edge still stands."""
    uris = edges[pair]
    uris.remove(uri)
    if not uris:
        del edges[pair]
    return bool(uris)
