"""Who follows, asks to follow and blocks whom."""

import itertools
from collections.abc import Callable

from bot.sandbox.journal import Effect, Journal
from bot.sandbox.mastodon.accounts import Account, NotificationKind
from bot.sandbox.mastodon.errors import invalid, not_allowed, not_found

# `app/validators/follow_limit_validator.rb`: so many, then as many as 1.1 times one's followers.
FOLLOW_LIMIT = 7500
FOLLOWERS_FACTOR = 1.1

Notify = Callable[[NotificationKind, Account, Account], None]


class Graph:
    """Change the relations between accounts; `notify` takes kind, recipient and sender."""

    def __init__(self, now: Callable[[], float], journal: Journal, notify: Notify) -> None:
        self._now = now
        self._journal = journal
        self._notify = notify
        self._numbers = itertools.count(1)

    def check_follow(self, source: Account, target: Account) -> bool:
        """Tell whether following would change anything; ApiError 403, 404 or 422 if it may not be."""
        if target.suspended:
            raise not_found()
        if source is target or source in target.blocking or target in source.blocking:
            raise not_allowed()
        if target in source.following or target in source.requested:
            return False
        limit = max(FOLLOW_LIMIT, round(len(source.followers) * FOLLOWERS_FACTOR))
        if len(source.following) >= limit:
            raise invalid(f"You cannot follow more than {limit} people")
        return True

    def follow(self, source: Account, target: Account) -> None:
        """Follow somebody, or ask to if the account is locked; twice changes nothing."""
        if not self.check_follow(source, target):
            return
        if target.locked:
            source.requested[target] = target.requests[source] = next(self._numbers)
            self._notify("follow_request", target, source)
        else:
            self._connect(source, target)

    def _connect(self, source: Account, target: Account) -> None:
        number = next(self._numbers)
        source.following[target] = target.followers[source] = number
        self._notify("follow", target, source)
        self._journal.add(Effect("follow", source.uri, target.uri, "", f"{source.uri}#follows/{number}", self._now()))

    def unfollow(self, source: Account, target: Account) -> None:
        """Take back a follow, or the wish to."""
        source.requested.pop(target, None)
        target.requests.pop(source, None)
        number = source.following.pop(target, None)
        target.followers.pop(source, None)
        if number is not None:
            uri = f"{source.uri}#follows/{number}/undo"
            self._journal.add(Effect("unfollow", source.uri, target.uri, "", uri, self._now()))

    def accept(self, target: Account, source: Account) -> None:
        """Let somebody follow who asked to; ApiError 404 if they did not."""
        if target.requests.pop(source, None) is None:
            raise not_found()
        source.requested.pop(target, None)
        self._connect(source, target)

    def block(self, source: Account, target: Account) -> None:
        """Block somebody; both stop following each other, which is the work of neither's app and not journalled."""
        source.blocking.add(target)
        for one, other in ((source, target), (target, source)):
            one.following.pop(other, None)
            one.followers.pop(other, None)
            one.requested.pop(other, None)
            one.requests.pop(other, None)
