"""What the stand-in of Mastodon remembers: accounts, statuses and notifications."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Json = dict[str, Any]
Visibility = Literal["public", "unlisted", "private", "direct"]
VISIBILITIES: tuple[Visibility, ...] = ("public", "unlisted", "private", "direct")
NotificationKind = Literal["mention", "follow", "follow_request"]
POLICY_ACTIONS = ("accept", "filter", "drop")


def default_policy() -> dict[str, str]:
    """Return whose notifications are held back at first: strangers' private mentions, since Mastodon 4.3."""
    return {
        "for_not_following": "accept",
        "for_not_followers": "accept",
        "for_new_accounts": "accept",
        "for_private_mentions": "filter",
        "for_limited_accounts": "filter",
    }


@dataclass(eq=False, slots=True)
class Account:
    """One account, `name@domain`; `following`, `requested` and their mirrors map accounts to the number of the follow."""

    id: int
    name: str
    domain: str
    uri: str
    url: str
    password: str
    created_at: float
    locked: bool = False
    bot: bool = False
    suspended: bool = False
    display_name: str = ""
    note: str = ""
    language: str = "en"
    policy: dict[str, str] = field(default_factory=default_policy)
    following: "dict[Account, int]" = field(default_factory=dict)
    followers: "dict[Account, int]" = field(default_factory=dict)
    requested: "dict[Account, int]" = field(default_factory=dict)
    requests: "dict[Account, int]" = field(default_factory=dict)
    blocking: "set[Account]" = field(default_factory=set)
    statuses: "list[Status]" = field(default_factory=list)
    notifications: "list[Notification]" = field(default_factory=list)
    received: "list[Notification]" = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Status:
    """One status; `mentions` are the local people it names, in order."""

    id: int
    author: Account
    text: str
    content: str
    visibility: Visibility
    mentions: list[Account]
    language: str
    spoiler_text: str
    created_at: float
    in_reply_to: "Status | None" = None
    replies: "list[Status]" = field(default_factory=list)
    notified: "list[Notification]" = field(default_factory=list)
    deleted: bool = False


@dataclass(eq=False, slots=True)
class Notification:
    """One entry of somebody's notifications; `filtered` ones wait in the notification requests."""

    id: int
    kind: NotificationKind
    recipient: Account
    sender: Account
    created_at: float
    status: Status | None = None
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A status that somebody wants to publish."""

    text: str
    visibility: Visibility = "public"
    reply_to: int | None = None
    language: str | None = None
    spoiler_text: str = ""


def iso(at: float) -> str:
    """Return epoch seconds as Mastodon writes times."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
