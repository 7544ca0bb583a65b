"""How an AppView shows accounts, posts and notifications (app.bsky.*.defs)."""

from typing import Literal

from bot.sandbox.bluesky.ids import Json, iso
from bot.sandbox.bluesky.records import DECLARATION, POST, PROFILE
from bot.sandbox.bluesky.world import Account, Notification, Record, World, reply_parent

Detail = Literal["basic", "view", "detailed"]


def profile(world: World, account: Account, viewer: Account | None = None, detail: Detail = "basic") -> Json:
    """Show an account as profileViewBasic, profileView or profileViewDetailed."""
    view: Json = {"did": account.did, "handle": account.handle, "createdAt": iso(account.created_at)}
    record = account.record(PROFILE, "self")
    if record is not None:
        view["displayName"] = record.value.get("displayName", "")
        view["labels"] = self_labels(record)
        if detail != "basic":
            view["description"] = record.value.get("description", "")
            view["indexedAt"] = iso(record.indexed_at)
    if account.record(DECLARATION, "self") is not None:
        view["associated"] = {"chat": {"allowIncoming": account.allow_incoming}}
    if viewer is not None:
        view["viewer"] = viewer_state(world, account, viewer)
    if detail == "detailed":
        view["followersCount"] = len(world.followers.get(account.did, ()))
        view["followsCount"] = len(world.following.get(account.did, ()))
        view["postsCount"] = len(account.repo.get(POST, ()))
    return view


def self_labels(record: Record) -> list[Json]:
    """Show the labels that a record gives itself."""
    values = (record.value.get("labels") or {}).get("values", [])
    stamp = iso(record.indexed_at)
    return [
        {"src": record.author, "uri": record.uri, "cid": record.cid, "val": label["val"], "cts": stamp}
        for label in values
    ]


def viewer_state(world: World, account: Account, viewer: Account) -> Json:
    """Show what stands between an account and the one who looks."""
    state: Json = {"muted": False, "blockedBy": (account.did, viewer.did) in world.blocks}
    edges = {
        "blocking": world.blocks.get((viewer.did, account.did)),
        "following": world.follows.get((viewer.did, account.did)),
        "followedBy": world.follows.get((account.did, viewer.did)),
    }
    return state | {name: uris[0] for name, uris in edges.items() if uris}


def relationship(world: World, actor: str, other: str) -> Json:
    """Show how an account stands to another (app.bsky.graph.defs#relationship)."""
    view: Json = {"$type": "app.bsky.graph.defs#relationship", "did": other}
    edges = {
        "following": world.follows.get((actor, other)),
        "followedBy": world.follows.get((other, actor)),
        "blocking": world.blocks.get((actor, other)),
        "blockedBy": world.blocks.get((other, actor)),
    }
    return view | {name: uris[0] for name, uris in edges.items() if uris}


def post(world: World, record: Record, viewer: Account | None) -> Json:
    """Show a post (app.bsky.feed.defs#postView)."""
    return {
        "$type": "app.bsky.feed.defs#postView",
        "uri": record.uri,
        "cid": record.cid,
        "author": profile(world, world.accounts[record.author], viewer),
        "record": record.value,
        "replyCount": len(world.children.get(record.uri, ())),
        "repostCount": 0,
        "likeCount": 0,
        "quoteCount": 0,
        "indexedAt": iso(record.indexed_at),
        "labels": [],
    }


def thread(world: World, record: Record, viewer: Account | None, depth: int, height: int) -> Json:
    """Show a post with what it answers (`height` levels) and its answers (`depth` levels)."""
    if viewer is not None and world.blocked(viewer.did, record.author):
        author = {"did": record.author, "viewer": viewer_state(world, world.accounts[record.author], viewer)}
        kind = "app.bsky.feed.defs#blockedPost"
        return {"$type": kind, "uri": record.uri, "blocked": True, "author": author}
    view: Json = {"$type": "app.bsky.feed.defs#threadViewPost", "post": post(world, record, viewer)}
    parent_uri = reply_parent(record)
    if height > 0 and parent_uri is not None:
        parent = world.find_record(parent_uri)
        view["parent"] = thread(world, parent, viewer, 0, height - 1) if parent else not_found_post(parent_uri)
    if depth > 0:
        answers = world.children.get(record.uri, ())
        view["replies"] = [thread(world, answer, viewer, depth - 1, 0) for answer in answers]
    return view


def not_found_post(uri: str) -> Json:
    """Show that there is no such post any more."""
    return {"$type": "app.bsky.feed.defs#notFoundPost", "uri": uri, "notFound": True}


def notification(world: World, owner: Account, item: Notification) -> Json:
    """Show a notification; it counts as read once the owner has seen everything up to its time."""
    view: Json = {
        "uri": item.record.uri,
        "cid": item.record.cid,
        "author": profile(world, world.accounts[item.record.author], owner, "view"),
        "reason": item.reason,
        "record": item.record.value,
        "isRead": owner.seen_at is not None and item.at <= owner.seen_at,
        "indexedAt": iso(item.at / 1000),
        "labels": [],
    }
    if item.subject is not None:
        view["reasonSubject"] = item.subject
    return view
