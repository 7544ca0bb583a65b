"""app.bsky: profiles, the follow graph, notifications and threads."""

from itertools import islice

from bot.sandbox.bluesky import views
from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.ids import Json, is_did, iso, parse_iso, record_uri, split_uri
from bot.sandbox.bluesky.records import POST
from bot.sandbox.bluesky.world import Account, Record, is_handle
from bot.sandbox.bluesky.xrpc import Method, PdsCall


def _actor(call: PdsCall, name: str = "actor") -> Account:
    account = call.sandbox.world.find(call.text(name))
    if account is None:
        raise XrpcError("InvalidRequest", "Profile not found")
    if account.status == "deactivated":
        raise XrpcError("AccountDeactivated", "Account is deactivated")
    if account.status != "active":
        raise XrpcError("AccountTakedown", "Account has been suspended")
    return account


def _get_profile(call: PdsCall) -> Json:
    return views.profile(call.sandbox.world, _actor(call), call.account, "detailed")


def _get_profiles(call: PdsCall) -> Json:
    world = call.sandbox.world
    found = [world.find(actor) for actor in call.many("actors", 25)]
    shown = [account for account in found if account is not None and account.status == "active"]
    return {"profiles": [views.profile(world, account, call.account, "detailed") for account in shown]}


def _get_preferences(call: PdsCall) -> Json:
    return {"preferences": call.me.preferences}


def _put_preferences(call: PdsCall) -> None:
    call.me.preferences[:] = call.body.get("preferences", [])


def _get_relationships(call: PdsCall) -> Json:
    world = call.sandbox.world
    others = call.many("others", 30)
    name = call.text("actor")
    for asked in (name, *others):
        if not is_did(asked) and not is_handle(asked):
            raise XrpcError("InvalidRequest", f"{asked!r} is neither a DID nor a handle")
    account = world.find(name)
    actor = account.did if account is not None else name if name.startswith("did:") else None
    shown: list[Json] = []
    for other in others:
        # Any DID is taken for somebody's, known or not, and no handle is looked up.
        if actor is None or not other.startswith("did:"):
            shown.append({"$type": "app.bsky.graph.defs#notFoundActor", "actor": other, "notFound": True})
        else:
            shown.append(views.relationship(world, actor, other))
    return {"relationships": shown, **({"actor": actor} if actor else {})}


def _get_follows(call: PdsCall) -> Json:
    subject = _actor(call)
    return _edges(call, subject, "follows", call.sandbox.world.following.get(subject.did, {}))


def _get_followers(call: PdsCall) -> Json:
    subject = _actor(call)
    return _edges(call, subject, "followers", call.sandbox.world.followers.get(subject.did, {}))


def _edges(call: PdsCall, subject: Account, name: str, dids: dict[str, None]) -> Json:
    """Show one page of a list of accounts, the latest first; the cursor counts those already shown."""
    world = call.sandbox.world
    limit, start = call.number("limit", 50, 1, 100), call.number("cursor", 0, 0, len(dids))
    page = [world.accounts.get(did) for did in islice(reversed(dids), start, start + limit)]
    shown = [account for account in page if account is not None and account.status == "active"]
    view: Json = {
        "subject": views.profile(world, subject, call.account, "view"),
        name: [views.profile(world, account, call.account, "view") for account in shown],
    }
    return view | {"cursor": str(start + limit)} if start + limit < len(dids) else view


def _list_notifications(call: PdsCall) -> Json:
    world, me = call.sandbox.world, call.me
    limit, reasons = call.number("limit", 50, 1, 100), set(call.many("reasons", 50))
    if me.seen_at is None:
        # As on the real AppView the first look counts as having seen all that was there.
        me.seen_at = int(call.sandbox.now() * 1000)
    index = call.number("cursor", len(me.notifications), 0, len(me.notifications))
    found: list[Json] = []
    while index > 0 and len(found) < limit:
        index -= 1
        item = me.notifications[index]
        author = world.accounts[item.record.author]
        hidden = not item.record.alive or author.status != "active" or world.blocked(me.did, author.did)
        if not hidden and (not reasons or item.reason in reasons):
            found.append(views.notification(world, me, item))
    view: Json = {"notifications": found, "priority": False, "seenAt": iso(me.seen_at / 1000)}
    return view | {"cursor": str(index)} if index > 0 else view


def _update_seen(call: PdsCall) -> None:
    seen_at = parse_iso(call.body.get("seenAt"))
    if seen_at is None:
        raise XrpcError("InvalidRequest", "Input/seenAt must be a valid datetime")
    call.me.seen_at = round(seen_at * 1000)


def _unread_count(call: PdsCall) -> Json:
    seen_at = call.me.seen_at or 0
    count = 0
    for item in reversed(call.me.notifications):
        if item.at <= seen_at:
            break
        count += item.record.alive
    return {"count": count}


def _find_post(call: PdsCall, uri: str) -> Record | None:
    """Return a post by its address, which may name the author by handle."""
    authority, _, rest = uri.removeprefix("at://").partition("/")
    account = call.sandbox.world.find(authority)
    collection, _, rkey = rest.partition("/")
    if account is None or account.status != "active" or collection != POST:
        return None
    return account.record(POST, rkey)


def _get_posts(call: PdsCall) -> Json:
    found = [_find_post(call, uri) for uri in call.many("uris", 25)]
    return {"posts": [views.post(call.sandbox.world, post, call.account) for post in found if post is not None]}


def _get_post_thread(call: PdsCall) -> Json:
    uri = call.text("uri")
    depth, height = call.number("depth", 6, 0, 1000), call.number("parentHeight", 80, 0, 1000)
    record = _find_post(call, uri)
    if record is None:
        shown = record_uri(*parts) if (parts := split_uri(uri)) else uri
        raise XrpcError("NotFound", f"Post not found: {shown}")
    return {"thread": views.thread(call.sandbox.world, record, call.account, depth, height)}


METHODS = {
    "app.bsky.actor.getProfile": Method("GET", "public", _get_profile),
    "app.bsky.actor.getProfiles": Method("GET", "public", _get_profiles),
    "app.bsky.actor.getPreferences": Method("GET", "user", _get_preferences),
    "app.bsky.actor.putPreferences": Method("POST", "user", _put_preferences),
    "app.bsky.graph.getRelationships": Method("GET", "public", _get_relationships),
    "app.bsky.graph.getFollows": Method("GET", "public", _get_follows),
    "app.bsky.graph.getFollowers": Method("GET", "public", _get_followers),
    "app.bsky.notification.listNotifications": Method("GET", "user", _list_notifications),
    "app.bsky.notification.updateSeen": Method("POST", "user", _update_seen),
    "app.bsky.notification.getUnreadCount": Method("GET", "user", _unread_count),
    "app.bsky.feed.getPosts": Method("GET", "public", _get_posts),
    "app.bsky.feed.getPostThread": Method("GET", "public", _get_post_thread),
}
