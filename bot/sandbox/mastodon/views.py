"""The entities of Mastodon's API as JSON (https://docs.joinmastodon.org/entities/)."""

from bot.sandbox.mastodon.accounts import Account, Json, Notification, Status, iso
from bot.sandbox.mastodon.text import CHARACTERS_PER_URL
from bot.sandbox.mastodon.world import World

VERSION = "4.3.0"


class Views:
    """Show what the world holds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._quirks = world.quirks
        self._id = world.write_id

    def account(self, account: Account) -> Json:
        """Show an account; of a suspended one only that it is."""
        picture = f"{self._world.base_url}/avatars/original/missing.png"
        shown: Json = {
            "id": self._id(account.id),
            "username": account.name,
            "acct": self._acct(account),
            "display_name": "" if account.suspended else account.display_name,
            "locked": account.locked,
            "bot": account.bot,
            "discoverable": True,
            "indexable": False,
            "group": False,
            "created_at": iso(account.created_at // 86400 * 86400),
            "note": f"<p>{account.note}</p>" if account.note else "",
            "url": account.url,
            "uri": account.uri,
            "avatar": picture,
            "avatar_static": picture,
            "header": picture,
            "header_static": picture,
            "followers_count": len(account.followers),
            "following_count": len(account.following),
            "statuses_count": len(account.statuses),
            "last_status_at": iso(account.statuses[-1].created_at)[:10] if account.statuses else None,
            "hide_collections": None,
            "emojis": [],
            "fields": [],
        }
        if account.suspended:
            shown["suspended"] = True
        if not self._quirks.account_uri:
            del shown["uri"]
        return shown

    def _acct(self, account: Account) -> str:
        return f"{account.name}@{account.domain}" if self._quirks.full_acct else account.name

    def credentials(self, account: Account) -> Json:
        """Show an account to its owner."""
        source = {
            "privacy": "public",
            "sensitive": False,
            "language": account.language,
            "note": account.note,
            "fields": [],
            "follow_requests_count": len(account.requests),
            "hide_collections": None,
            "discoverable": True,
            "indexable": False,
        }
        role = {"id": "-99", "name": "", "permissions": "0", "color": "", "highlighted": False}
        return self.account(account) | {"acct": account.name, "source": source, "role": role}

    def relationship(self, me: Account, other: Account) -> Json:
        """Show what one account is to another."""
        following = other in me.following
        return {
            "id": self._id(other.id),
            "following": following,
            "showing_reblogs": following,
            "notifying": False,
            "languages": None,
            "followed_by": other in me.followers,
            "blocking": other in me.blocking,
            "blocked_by": me in other.blocking,
            "muting": False,
            "muting_notifications": False,
            "requested": other in me.requested,
            "requested_by": other in me.requests,
            "domain_blocking": False,
            "endorsed": False,
            "note": "",
        }

    def status(self, status: Status) -> Json:
        """Show a status."""
        author, parent = status.author, status.in_reply_to
        return {
            "id": self._id(status.id),
            "created_at": iso(status.created_at),
            "in_reply_to_id": self._id(parent.id) if parent and not parent.deleted else None,
            "in_reply_to_account_id": self._id(parent.author.id) if parent else None,
            "sensitive": bool(status.spoiler_text),
            "spoiler_text": status.spoiler_text,
            "visibility": status.visibility,
            "language": status.language if self._quirks.languages else None,
            "uri": f"{author.uri}/statuses/{self._id(status.id)}",
            "url": f"{author.url}/{self._id(status.id)}",
            "replies_count": len(status.replies),
            "reblogs_count": 0,
            "favourites_count": 0,
            "edited_at": None,
            "favourited": False,
            "reblogged": False,
            "muted": False,
            "bookmarked": False,
            "content": status.content,
            "filtered": [],
            "reblog": None,
            "account": self.account(author),
            "media_attachments": [],
            "mentions": [
                {"id": self._id(one.id), "username": one.name, "url": one.url, "acct": self._acct(one)}
                for one in status.mentions
            ],
            "tags": [],
            "emojis": [],
            "card": None,
            "poll": None,
        }

    def notification_id(self, entry: Notification) -> str:
        """Return the id by which a notification is known."""
        written = self._id(entry.id)
        return f"{iso(entry.created_at)}/{entry.kind}/{written}" if self._quirks.dated_notifications else written

    def notification(self, entry: Notification) -> Json:
        """Show a notification."""
        shown: Json = {
            "id": self.notification_id(entry),
            "type": entry.kind,
            "created_at": iso(entry.created_at),
            "group_key": f"ungrouped-{entry.id}",
            "account": self.account(entry.sender),
        }
        if entry.status is not None:
            shown["status"] = self.status(entry.status)
        if entry.filtered:
            shown["filtered"] = True
        return shown

    def policy(self, account: Account) -> Json:
        """Show whose notifications are held back, and how many are."""
        held = [entry for entry in account.notifications if entry.filtered]
        summary = {
            "pending_requests_count": len({entry.sender.id for entry in held}),
            "pending_notifications_count": len(held),
        }
        return {**account.policy, "summary": summary}

    def configuration(self) -> Json:
        """Show the limits that clients ask for."""
        return {
            "accounts": {"max_featured_tags": 10, "max_pinned_statuses": 5},
            "statuses": {
                "max_characters": self._quirks.max_characters,
                "max_media_attachments": 4,
                "characters_reserved_per_url": CHARACTERS_PER_URL,
            },
            "polls": {
                "max_options": 4,
                "max_characters_per_option": 50,
                "min_expiration": 300,
                "max_expiration": 2629746,
            },
        }
