"""How a network says no.

NetworkError
├── Unavailable   not now: the same request may succeed later
├── Refused       no: the same request will be refused again until somebody changes something
│   └── NotAsked  no, and we know it without the network
└── PartlyDone    some of several orders came through before one of the above ended the rest
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bot.networks import FollowOutcome

# The reasons that others act upon; an adapter may use further words, which are then told as they are.
DM_CLOSED: Final = "dm_closed"
BLOCKED: Final = "blocked"
GONE: Final = "gone"
GRANT_LOST: Final = "grant_lost"
CONSENT_REFUSED: Final = "consent_refused"
CONSENT_EXPIRED: Final = "consent_expired"
LOGIN_REFUSED: Final = "login_refused"
EXPOSED: Final = "exposed"  # what was for one reader was shown to others

# Whoever is locked out tries again so much later: Bluesky allows 300 log-ins a day (docs.bsky.app, rate limits).
_LOCKED_OUT_SECONDS: Final = 300.0


class NetworkError(Exception):
    """The base of both answers."""


class Unavailable(NetworkError):
    """The network cannot do it now; `retry_in` is in seconds, None when the network named no time.

    `begun` is False where certainly nothing was asked for that would change anything, so that no outcome is unknown. One
    request may have been about several acts: it is `noted` as one failure.
    """

    begun = True
    noted = False

    def __init__(self, message: str, retry_in: float | None = None) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class Refused(NetworkError):
    """The network will not do it; `reason` is a stable word, `detail` what the server said."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class NotAsked(Refused):
    """It cannot be done, whatever the network would say: it was not asked, and has answered nothing."""


class PartlyDone(NetworkError):
    """Of several orders the first ones have their outcome; `cause` (Unavailable or Refused) ended the rest.

    `outcomes` belongs to the first `len(outcomes)` orders and is never empty.
    """

    def __init__(self, outcomes: Sequence["FollowOutcome"], cause: NetworkError) -> None:
        super().__init__(f"{len(outcomes)} done, then: {cause}")
        self.outcomes = list(outcomes)
        self.cause = cause


def for_later(error: NetworkError) -> NetworkError:
    """Return an error as it concerns a promise: that the bot itself is locked out refuses nobody anything, it delays."""
    if isinstance(error, Refused) and error.reason == LOGIN_REFUSED:
        return Unavailable(f"The bot cannot log in: {error.detail}", _LOCKED_OUT_SECONDS)
    return error
