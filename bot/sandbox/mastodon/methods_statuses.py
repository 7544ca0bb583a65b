"""Statuses: publish, read, delete."""

from bot.sandbox.mastodon import limits
from bot.sandbox.mastodon.accounts import VISIBILITIES, Draft, Json, Status
from bot.sandbox.mastodon.api import Call, Method
from bot.sandbox.mastodon.errors import ApiError, invalid
from bot.sandbox.mastodon.paging import page


def _publish(call: Call) -> Json:
    """Publish a status, or return the one that the same Idempotency-Key has published within the hour."""
    me, key = call.me, call.request.headers.get("idempotency-key", "")
    known = call.sandbox.idempotency.find(me, key)
    if known is not None:
        return call.sandbox.views.status(known)
    draft = _draft(call)
    call.sandbox.world.check(me, draft)
    call.count(limits.STATUSES, me)
    status = call.sandbox.world.publish(me, draft)
    call.sandbox.idempotency.keep(me, key, status)
    return call.sandbox.views.status(status)


def _draft(call: Call) -> Draft:
    as_json = call.request.headers.get("content-type", "").startswith("application/json")
    if call.sandbox.quirks.statuses_in_json and not as_json:
        return Draft("(nothing was understood)")
    visibility = call.text("visibility") or "public"
    if visibility not in VISIBILITIES:
        raise invalid("Visibility is not included in the list")
    reply_to = call.text("in_reply_to_id")
    parent = call.id("in_reply_to_id")
    if reply_to and parent is None:
        raise ApiError(404, "The post you are trying to reply to does not appear to exist.")
    return Draft(
        call.text("status") or "",
        visibility,
        parent,
        call.text("language"),
        call.text("spoiler_text") or "",
    )


def _show(call: Call) -> Json:
    return call.sandbox.views.status(call.sandbox.world.status(call.path_id(), call.viewer))


def _context(call: Call) -> Json:
    world, views = call.sandbox.world, call.sandbox.views
    status = world.status(call.path_id(), call.viewer)
    ancestors: list[Status] = []
    above = status.in_reply_to
    while above is not None:
        ancestors.append(above)
        above = above.in_reply_to
    descendants: list[Status] = []
    waiting = list(reversed(status.replies))
    while waiting:
        below = waiting.pop()
        descendants.append(below)
        waiting.extend(reversed(below.replies))
    return {
        "ancestors": [views.status(one) for one in reversed(ancestors) if world.visible(one, call.viewer)],
        "descendants": [views.status(one) for one in descendants if world.visible(one, call.viewer)],
    }


def _home(call: Call) -> list[Json]:
    """Show what oneself and those whom one follows have published; private mentions have no place there on Mastodon."""
    world, me = call.sandbox.world, call.me
    private_too = call.sandbox.quirks.private_at_home
    entries = sorted((status for one in (me, *me.following) for status in one.statuses), key=lambda status: status.id)
    found = page(
        call,
        entries,
        lambda status: status.id,
        lambda status: world.visible(status, me) and (private_too or status.visibility != "direct"),
        20,
        40,
    )
    return [call.sandbox.views.status(status) for status in found]


def _delete(call: Call) -> Json:
    status = call.sandbox.world.delete(call.me, call.path_id())
    return call.sandbox.views.status(status) | {"text": status.text}


_READ = ("read", "read:statuses")
_WRITE = ("write", "write:statuses")

METHODS = (
    Method("GET", "/api/v1/timelines/home", "user", _READ, _home),
    Method("POST", "/api/v1/statuses", "user", _WRITE, _publish),
    Method("GET", "/api/v1/statuses/{id}", "optional", _READ, _show),
    Method("GET", "/api/v1/statuses/{id}/context", "optional", _READ, _context),
    Method("DELETE", "/api/v1/statuses/{id}", "user", _WRITE, _delete),
)
