"""Notifications, and the policy that holds some of them back."""

from bisect import bisect_left

from bot.sandbox.mastodon.accounts import POLICY_ACTIONS, Json, Notification
from bot.sandbox.mastodon.api import Call, Method
from bot.sandbox.mastodon.errors import ApiError, invalid, not_found
from bot.sandbox.mastodon.paging import page


def _list(call: Call) -> list[Json]:
    types, excluded = set(call.many("types")), set(call.many("exclude_types"))
    filtered_too = call.flag("include_filtered", default=False)
    sender = call.id("account_id")

    def keep(entry: Notification) -> bool:
        if entry.sender.suspended or (entry.filtered and not filtered_too):
            return False
        if sender is not None and entry.sender.id != sender:
            return False
        return (not types or entry.kind in types) and entry.kind not in excluded

    shown = call.sandbox.world.shown_to(call.me)
    found = page(call, shown, lambda entry: entry.id, keep, 40, call.sandbox.quirks.page)
    return [call.sandbox.views.notification(entry) for entry in found]


def _show(call: Call) -> Json:
    number = call.path_id()
    entries = call.me.notifications
    at = bisect_left(entries, number, key=lambda entry: entry.id)
    if at == len(entries) or entries[at].id != number:
        raise not_found()
    return call.sandbox.views.notification(entries[at])


def _policy(call: Call) -> Json:
    if not call.sandbox.quirks.notification_policy:
        raise ApiError(404, "Not Found")
    return call.sandbox.views.policy(call.me)


def _set_policy(call: Call) -> Json:
    _policy(call)
    for name in call.me.policy:
        action = call.text(name)
        if action is None:
            continue
        if action not in POLICY_ACTIONS:
            raise invalid(f"{name.replace('_', ' ').capitalize()} is not included in the list")
        call.me.policy[name] = action
    return call.sandbox.views.policy(call.me)


_READ = ("read", "read:notifications")
_WRITE = ("write", "write:notifications")

METHODS = (
    Method("GET", "/api/v1/notifications", "user", _READ, _list),
    Method("GET", "/api/v2/notifications/policy", "user", _READ, _policy),
    Method("PATCH", "/api/v2/notifications/policy", "user", _WRITE, _set_policy),
    Method("PUT", "/api/v2/notifications/policy", "user", _WRITE, _set_policy),
    Method("GET", "/api/v1/notifications/{id}", "user", _READ, _show),
)
