"""The accounts, statuses and notifications of one server; every change goes through here."""

import itertools
import re
from bisect import bisect_left
from collections.abc import Callable
from typing import Protocol

from bot.sandbox.journal import Effect, EffectKind, WatchedJournal
from bot.sandbox.mastodon.accounts import Account, Draft, Notification, NotificationKind, Status
from bot.sandbox.mastodon.errors import ApiError, invalid, not_found
from bot.sandbox.mastodon.graph import Graph
from bot.sandbox.mastodon.ids import read_id, write_id
from bot.sandbox.mastodon.quirks import Quirks
from bot.sandbox.mastodon.rendering import render
from bot.sandbox.mastodon.text import Mentioned, countable_length, entities

_NAME = re.compile(r"[a-z0-9_]+([a-z0-9_.-]+[a-z0-9_]+)?", re.IGNORECASE)
# How far up a thread the server looks for a private mention of the recipient's own (app/services/notify_service.rb).
_THREAD_DEPTH = 100


class Listener(Protocol):
    """Who is told of what came true, for the streams."""

    def notified(self, notification: Notification) -> None:
        """Hear of a notification that passed the filter."""

    def published(self, status: Status) -> None:
        """Hear of a new status."""

    def deleted(self, status: Status) -> None:
        """Hear of a status that is gone."""


class World:
    """Everything the server knows; refusals are ApiError."""

    def __init__(self, now: Callable[[], float], base_url: str, domain: str, quirks: Quirks) -> None:
        self._now = now
        self.base_url = base_url
        self._host = base_url.removeprefix("http://")
        self.domain = domain
        self.quirks = quirks
        self.journal = WatchedJournal()
        self.graph = Graph(now, self.journal, self._notify)
        self.listener: Listener | None = None
        self.accounts: dict[int, Account] = {}
        self._by_name: dict[tuple[str, str], Account] = {}
        self._by_uri: dict[str, Account] = {}
        self._statuses: dict[int, Status] = {}
        self._last_id = 0
        self._notification_ids = itertools.count(1)
        self._late: set[Notification] = set()

    def _new_id(self) -> int:
        """Return a number that grows with time: milliseconds and sixteen bits, as Mastodon's own."""
        self._last_id = max(self._last_id + 1, int(self._now() * 1000) << 16)
        return self._last_id

    def write_id(self, number: int) -> str:
        """Return a number as clients know it."""
        return write_id(number, self.quirks.ids)

    def read_id(self, text: str) -> int | None:
        """Return the number that clients know so; None for what cannot be one."""
        return read_id(text, self.quirks.ids)

    # Accounts.

    def create_account(self, name: str, password: str, domain: str | None = None) -> Account:
        """Open an account, of another name than the server's if it has several; ValueError for a malformed or taken one."""
        domain = domain or self.domain
        named = (name.lower(), domain.lower())
        if not _NAME.fullmatch(name) or len(name) > 30:
            raise ValueError(f"{name!r} is no name of a Mastodon account.")
        if named in self._by_name:
            raise ValueError(f"The name {name!r} is taken.")
        uri = self.base_url + self.quirks.actor_path.format(name=name, domain=domain)
        url = f"{self.base_url}/@{name}" + (f"@{domain}" if domain != self.domain else "")
        account = Account(self._new_id(), name, domain, uri, url, password, self._now())
        if not self.quirks.notification_policy:
            account.policy = dict.fromkeys(account.policy, "accept")
        self.accounts[account.id] = account
        self._by_name[named] = self._by_uri[uri] = self._by_uri[account.url] = account
        return account

    def find(self, name: str, domain: str = "") -> Account | None:
        """Return a local account by its name; any other domain is unknown here, and the host is as good as the domain."""
        named = (name.lower(), (domain or self.domain).lower())
        if named not in self._by_name and domain.lower() == self._host:
            named = (name.lower(), self.domain.lower())
        return self._by_name.get(named)

    def find_acct(self, acct: str) -> Account | None:
        """Return an account by `name`, `@name` or `name@domain`."""
        name, _, domain = acct.strip().removeprefix("@").partition("@")
        return self.find(name, domain)

    def find_uri(self, uri: str) -> Account | None:
        """Return an account by its actor URI or the address of its page."""
        return self._by_uri.get(uri)

    def account(self, number: int) -> Account:
        """Return an account by its number; ApiError 404."""
        found = self.accounts.get(number)
        if found is None:
            raise not_found()
        return found

    # Statuses.

    def status(self, number: int, viewer: Account | None) -> Status:
        """Return a status that somebody may see; ApiError 404."""
        found = self._statuses.get(number)
        if found is None or not self.visible(found, viewer):
            raise not_found()
        return found

    def visible(self, status: Status, viewer: Account | None) -> bool:
        """Tell whether somebody may see a status (app/policies/status_policy.rb)."""
        if status.deleted or status.author.suspended:
            return False
        if viewer is status.author or viewer in status.mentions:
            return True
        if status.visibility == "direct":
            return False
        if status.visibility == "private":
            return viewer is not None and viewer in status.author.followers
        return viewer not in status.author.blocking

    def check(self, author: Account, draft: Draft) -> Status | None:
        """Validate a draft and return the status that it answers."""
        if not draft.text.strip():
            raise invalid("Text can't be blank")
        most = self.quirks.max_characters
        length = len if self.quirks.counts_all else countable_length
        if length(draft.text) + length(draft.spoiler_text) > most:
            raise invalid(f"Text character limit of {most} exceeded")
        if draft.reply_to is None:
            return None
        parent = self._statuses.get(draft.reply_to)
        if parent is None and self.quirks.deleted_parents:
            return None
        if parent is None or not self.visible(parent, author):
            raise ApiError(404, "The post you are trying to reply to does not appear to exist.")
        return parent

    def mentioned(self, text: str) -> list[Account]:
        """Return the local people a text addresses, in order, each once."""
        found = (self.find(entity.value, entity.domain) for entity in entities(text) if entity.kind == "mention")
        return list(dict.fromkeys(account for account in found if account is not None and not account.suspended))

    def publish(self, author: Account, draft: Draft) -> Status:
        """Publish a status, tell whom it mentions, and write it down."""
        parent = self.check(author, draft)
        status = Status(
            id=self._new_id(),
            author=author,
            text=draft.text,
            content=render(draft.text, self._mentioned_as, self.base_url, self.quirks.html),
            visibility=draft.visibility,
            mentions=[account for account in self.mentioned(draft.text) if account not in author.blocking],
            language=draft.language or author.language,
            spoiler_text=draft.spoiler_text,
            created_at=self._now(),
            in_reply_to=parent,
        )
        self._statuses[status.id] = status
        author.statuses.append(status)
        if parent is not None:
            parent.replies.append(status)
        for account in status.mentions:
            self._notify("mention", account, author, status)
        if self.listener is not None:
            self.listener.published(status)
        self._write_down(status)
        return status

    def _mentioned_as(self, name: str, domain: str) -> Mentioned | None:
        account = self.find(name, domain)
        return Mentioned(account.name, account.url, account.domain) if account else None

    def _write_down(self, status: Status) -> None:
        """Journal a status: a private mention once per addressee it reached, any other once."""
        author, parent = status.author, status.in_reply_to
        own, reply_to = self.write_id(status.id), self.write_id(parent.id) if parent else None
        if status.visibility == "direct":
            reached = [one for one in status.mentions if one is not author and author not in one.blocking]
            addressees: list[Account | None] = [*reached]
        elif parent is not None and parent.author is not author:
            addressees = [parent.author]
        else:
            addressees = [next((one for one in status.mentions if one is not author), None)]
        kind: EffectKind = "dm" if status.visibility == "direct" else "post"
        for addressee in addressees:
            to = addressee.uri if addressee else None
            self.journal.add(Effect(kind, author.uri, to, status.text, own, status.created_at, reply_to))

    def delete(self, author: Account, number: int) -> Status:
        """Delete a status of one's own, and the notifications of it; ApiError 404."""
        status = self._statuses.get(number)
        if status is None or status.author is not author:
            raise not_found()
        status.deleted = True
        del self._statuses[number]
        author.statuses.remove(status)
        if status.in_reply_to is not None:
            status.in_reply_to.replies.remove(status)
        for notification in status.notified:
            entries = notification.recipient.notifications
            at = bisect_left(entries, notification.id, key=lambda entry: entry.id)
            if at < len(entries) and entries[at] is notification:
                del entries[at]
        if self.listener is not None:
            self.listener.deleted(status)
        return status

    # Notifications.

    def _notify(
        self, kind: NotificationKind, recipient: Account, sender: Account, status: Status | None = None
    ) -> None:
        if recipient is sender or sender in recipient.blocking or recipient.suspended:
            return
        action = self._action(recipient, sender, status)
        entry = Notification(
            next(self._notification_ids), kind, recipient, sender, self._now(), status, filtered=action == "filter"
        )
        if status is not None and status.visibility == "direct":
            recipient.received.append(entry)
        if action == "drop":
            entry.filtered = True
            return
        recipient.notifications.append(entry)
        if self.quirks.late_notifications and entry.id % 2:
            self._late.add(entry)
        if status is not None:
            status.notified.append(entry)
        if not entry.filtered and self.listener is not None:
            self.listener.notified(entry)

    def shown_to(self, recipient: Account) -> list[Notification]:
        """Return the notifications that a look finds, oldest first; late ones are found by the next."""
        late = {entry for entry in self._late if entry.recipient is recipient}
        self._late -= late
        most = self.quirks.newest_notifications
        newest = recipient.notifications if most is None else recipient.notifications[-most:]
        return [entry for entry in newest if entry not in late] if late else newest

    def _action(self, recipient: Account, sender: Account, status: Status | None) -> str:
        """Return what the recipient's policy does with it; only mentions are held back by it."""
        if status is None or sender in recipient.following:
            return "accept"
        applies = {"for_not_following": True, "for_not_followers": sender not in recipient.followers}
        applies["for_private_mentions"] = status.visibility == "direct" and not _answers(status, recipient)
        actions = {recipient.policy[name] for name, holds in applies.items() if holds}
        return "drop" if "drop" in actions else "filter" if "filter" in actions else "accept"


def _answers(status: Status, recipient: Account) -> bool:
    """Tell whether the recipient wrote to the sender privately further up in the thread."""
    above = status.in_reply_to
    for _ in range(_THREAD_DEPTH):
        if above is None:
            return False
        if above.author is recipient and above.visibility == "direct" and status.author in above.mentions:
            return True
        above = above.in_reply_to
    return False
