"""Remember which status a request with an Idempotency-Key made."""

from collections.abc import Callable

from bot.sandbox.mastodon.accounts import Account, Status

# `app/services/post_status_service.rb` keeps a key for an hour, and each account's keys apart.
KEPT_SECONDS = 3600


class Idempotency:
    """The keys of the last hour; `honoured` is False on the servers that ignore them."""

    def __init__(self, now: Callable[[], float], *, honoured: bool) -> None:
        self._now = now
        self.honoured = honoured
        self._kept: dict[tuple[int, str], tuple[float, Status]] = {}

    def find(self, account: Account, key: str) -> Status | None:
        """Return what this key has already published, if it is still remembered."""
        until, status = self._kept.get((account.id, key), (0.0, None))
        alive = status is not None and not status.deleted and self._now() < until
        return status if key and self.honoured and alive else None

    def keep(self, account: Account, key: str, status: Status) -> None:
        """Remember what a key published."""
        if key:
            self._kept[account.id, key] = (self._now() + KEPT_SECONDS, status)
