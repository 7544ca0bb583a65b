"""The nouns: frozen records, their states, and the transitions that are allowed.

Times are integers, epoch milliseconds. An Account's id is a DID (Bluesky) or an actor URI (fediverse); its handle is
only a label. A contact is another registered Person.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final


class NetworkName(StrEnum):
    """A network on which Reflock lives."""

    BLUESKY = "bluesky"
    MASTODON = "mastodon"


class Cadence(StrEnum):
    """How often a person is told of newcomers."""

    NOW = "now"
    DAILY = "daily"
    WEEKLY = "weekly"
    OFF = "off"


class Discoverable(StrEnum):
    """Who is told that a person is here."""

    EVERYONE = "everyone"
    MUTUALS = "mutuals"
    OFF = "off"


class Evidence(IntEnum):
    """How sure it is that an X account was a person's; the higher wins a contest.

    Only POST and above is announced to others and followed automatically.
    """

    DECLARED = 0
    ARCHIVE = 1
    POST = 2
    OAUTH = 3
    OPERATOR = 4


class ClaimState(StrEnum):
    """Where a claim stands."""

    PENDING = "pending"  # a code was given, no proof yet
    HELD = "held"  # it stands, with its evidence
    CONTESTED = "contested"  # two persons hold equal evidence: frozen until it is decided
    WITHDRAWN = "withdrawn"  # taken back, outbid by higher evidence, or refused by an operator


class Direction(StrEnum):
    """Which of a person's lists on X."""

    FOLLOWING = "following"
    FOLLOWERS = "followers"


class Choice(StrEnum):
    """What a person decided about a contact."""

    FOLLOW = "follow"
    SKIP = "skip"


class DeliveryKind(StrEnum):
    """What a delivery does when it is performed."""

    REPLY = "reply"  # an answer to a message
    NOTICE = "notice"  # a word nobody asked for just now: consent and stop are checked again
    POST = "post"  # a public answer in a thread
    FOLLOW = "follow"
    UNFOLLOW = "unfollow"
    LOOKUP = "lookup"  # look up a post on X
    CONSENT = "consent"  # begin or finish a consent with an authorization server
    REVOKE = "revoke"  # end a grant at its issuer


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PROMISED = "promised"
    LEASED = "leased"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"


UNDONE: Final = (DeliveryState.PROMISED, DeliveryState.LEASED)
"""What is still to be done."""


class GrantState(StrEnum):
    """Where a consent stands."""

    ACTIVE = "active"
    LOST = "lost"  # the issuer ended it; the person is told
    ENDED = "ended"  # we ended it


class MessageState(StrEnum):
    """What became of a message that was heard."""

    HANDLED = "handled"
    IGNORED = "ignored"  # of a bot, of ourselves, over a cap, or of somebody who said stop
    FAILED = "failed"  # a handler crashed; the reference is in the log too


TRANSITIONS: Final[Mapping[StrEnum, frozenset[StrEnum]]] = {
    ClaimState.PENDING: frozenset({ClaimState.HELD, ClaimState.CONTESTED, ClaimState.WITHDRAWN}),
    ClaimState.HELD: frozenset({ClaimState.CONTESTED, ClaimState.WITHDRAWN}),
    ClaimState.CONTESTED: frozenset({ClaimState.HELD, ClaimState.WITHDRAWN}),
    ClaimState.WITHDRAWN: frozenset({ClaimState.PENDING, ClaimState.HELD, ClaimState.CONTESTED}),
    DeliveryState.PROMISED: frozenset({DeliveryState.LEASED, DeliveryState.CANCELLED}),
    DeliveryState.LEASED: frozenset(
        {DeliveryState.PROMISED, DeliveryState.DONE, DeliveryState.REFUSED, DeliveryState.CANCELLED}
    ),
    DeliveryState.DONE: frozenset(),
    DeliveryState.REFUSED: frozenset(),
    DeliveryState.CANCELLED: frozenset(),
    GrantState.ACTIVE: frozenset({GrantState.LOST, GrantState.ENDED}),
    GrantState.LOST: frozenset({GrantState.ACTIVE, GrantState.ENDED}),
    GrantState.ENDED: frozenset({GrantState.ACTIVE}),
}

for _kind in (ClaimState, DeliveryState, GrantState):
    if missing := set(_kind) - set(TRANSITIONS):
        raise TypeError(f"{_kind.__name__} has states without declared transitions: {sorted(missing)}")
    if any(not isinstance(to, _kind) for state in _kind for to in TRANSITIONS[state]):
        raise TypeError(f"{_kind.__name__} has a transition to a state of another kind.")


def check_transition(old: StrEnum, new: StrEnum) -> None:
    """Refuse a transition that is not declared; staying is always allowed."""
    if new is not old and new not in TRANSITIONS[old]:
        raise ValueError(f"{type(old).__name__} cannot go from {old} to {new}.")


@dataclass(frozen=True, slots=True)
class Person:
    """Accounts that belong together, and what their owner chose.

    `language` is None until chosen or guessed. `quiet_from` and `quiet_to` are hours of the day in UTC.
    `notice_due_at` is when newcomers are next looked for; `seen_seq` the last arrival already looked at.
    """

    id: int
    language: str | None
    language_chosen: bool
    cadence: Cadence
    quiet_from: int | None
    quiet_to: int | None
    discoverable: Discoverable
    auto: bool
    stopped: bool
    notice_due_at: int | None
    seen_seq: int
    unanswered: int
    created_at: int
    last_heard_at: int


@dataclass(frozen=True, slots=True)
class Account:
    """One account on one network. `thread` is the adapter's own reference to the conversation by DM."""

    id: str
    network: NetworkName
    handle: str
    person_id: int
    thread: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A person's word that an X account was theirs, with the best evidence so far.

    `x_id` is None until an archive, a post or a sign-in named it. `version` grows with every change, in the order of
    the commits, over all claims.
    """

    id: int
    person_id: int
    x_handle: str
    x_id: int | None
    evidence: Evidence
    state: ClaimState
    version: int
    arrival_seq: int | None
    created_at: int
    held_at: int | None


@dataclass(frozen=True, slots=True)
class Upload:
    """One packed list of X keys; the keys themselves are read by `storage.links` alone."""

    slot: int
    person_id: int
    source: str
    direction: Direction
    n: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A claim became held, with evidence POST or above, and discoverable. `next_slot` is how far it was worked off."""

    seq: int
    claim_id: int
    person_id: int
    at: int
    next_slot: int
    done: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """A consent to follow on somebody's behalf; `secret` is encrypted."""

    id: int
    person_id: int
    account_id: str
    network: NetworkName
    issuer: str
    scope: str
    secret: bytes
    state: GrantState
    created_at: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """An effect that was promised.

    `key` is the idempotency key; `lane` the queue in which order holds; `account_id` whom it is said to or for whom
    it acts; `attempts` counts leases, so more than one means that an earlier outcome may be unknown.
    """

    id: int
    key: str
    kind: DeliveryKind
    lane: str
    network: NetworkName | None
    person_id: int | None
    account_id: str | None
    contact_id: int | None
    rank: int
    payload: str
    state: DeliveryState
    due_at: int
    attempts: int
    first_at: int | None
    batch_id: int | None
    created_at: int
    settled_at: int | None
    result: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """What the bot asked an account last and still waits for; `data` is JSON of the handler that asked."""

    account_id: str
    kind: str
    data: str
    expires_at: int
