"""Accounts, relationships and search."""

from collections.abc import Mapping

from bot.sandbox.mastodon import limits
from bot.sandbox.mastodon.accounts import Account, Json
from bot.sandbox.mastodon.api import Call, Method, unauthorized
from bot.sandbox.mastodon.errors import ApiError, not_found
from bot.sandbox.mastodon.paging import page


def _verify(call: Call) -> Json:
    return call.sandbox.views.credentials(call.me)


def _update(call: Call) -> Json:
    me = call.me
    if call.sandbox.quirks.bot_label:
        me.bot = call.flag("bot", default=me.bot)
    me.locked = call.flag("locked", default=me.locked)
    me.display_name = call.text("display_name") or me.display_name
    me.note = call.text("note") or me.note
    me.language = call.text("source[language]") or me.language
    return call.sandbox.views.credentials(me)


def _named(call: Call) -> Account:
    """Return the account whose number is in the path; a suspended one is gone."""
    account = call.sandbox.world.account(call.path_id())
    if account.suspended:
        raise not_found()
    return account


def _show(call: Call) -> Json:
    return call.sandbox.views.account(_named(call))


def _lookup(call: Call) -> Json:
    account = call.sandbox.world.find_acct(call.text("acct") or "")
    if account is None or account.suspended:
        raise not_found()
    return call.sandbox.views.account(account)


def _relationships(call: Call) -> list[Json]:
    world = call.sandbox.world
    numbers = (world.read_id(value) for value in dict.fromkeys(call.many("id")))
    accounts = (world.accounts.get(number) for number in numbers if number is not None)
    suspended_too = call.flag("with_suspended", default=False)
    return [
        call.sandbox.views.relationship(call.me, account)
        for account in accounts
        if account is not None and (suspended_too or not account.suspended)
    ]


def _follow(call: Call) -> Json:
    me, other = call.me, call.sandbox.world.account(call.path_id())
    before = call.sandbox.views.relationship(me, other)
    if call.sandbox.world.graph.check_follow(me, other):
        call.count(limits.FOLLOWS, me)
        call.sandbox.world.graph.follow(me, other)
    return before if call.sandbox.quirks.late_follows else call.sandbox.views.relationship(me, other)


def _unfollow(call: Call) -> Json:
    other = _named(call)
    call.sandbox.world.graph.unfollow(call.me, other)
    return call.sandbox.views.relationship(call.me, other)


def _following(call: Call) -> list[Json]:
    return _people(call, _named(call).following)


def _followers(call: Call) -> list[Json]:
    return _people(call, _named(call).followers)


def _people(call: Call, edges: Mapping[Account, int]) -> list[Json]:
    """Page through follows: their numbers, not the accounts', are the cursor."""
    found = page(call, list(edges.items()), lambda edge: edge[1], lambda edge: not edge[0].suspended, 40, 80)
    return [call.sandbox.views.account(account) for account, _number in found]


def _statuses(call: Call) -> list[Json]:
    world, no_replies = call.sandbox.world, call.flag("exclude_replies", default=False)
    private_too = not call.sandbox.quirks.private_at_home
    found = page(
        call,
        _named(call).statuses,
        lambda status: status.id,
        lambda status: (
            world.visible(status, call.viewer)
            and not (no_replies and status.in_reply_to)
            and (private_too or status.visibility != "direct")
        ),
        20,
        40,
    )
    return [call.sandbox.views.status(status) for status in found]


def _search(call: Call) -> Json:
    """Search accounts; with `resolve` an address is looked up, which needs a user."""
    if (call.flag("resolve", default=False) or call.number("offset")) and call.viewer is None:
        raise unauthorized("Search queries that resolve remote resources are not supported without authentication")
    if not (call.text("q") or "").strip():
        raise ApiError(400, "param is missing or the value is empty: q")
    wanted = call.text("type") in (None, "accounts")
    return {"accounts": _found(call) if wanted else [], "statuses": [], "hashtags": []}


def _account_search(call: Call) -> list[Json]:
    return _found(call) if call.sandbox.quirks.account_search else []


def _found(call: Call) -> list[Json]:
    """Find an account by the whole of its address or URI: this server indexes no parts of names."""
    if call.number("offset"):
        return []
    query, world = (call.text("q") or "").strip(), call.sandbox.world
    account = world.find_uri(query) if "://" in query else world.find_acct(query)
    if account is None or account.suspended:
        return []
    if call.flag("following", default=False) and account not in call.me.following:
        return []
    return [call.sandbox.views.account(account)]


_ACCOUNTS = ("read", "read:accounts")
_FOLLOWS = ("follow", "write", "write:follows")
_PATH = "/api/v1/accounts"

METHODS = (
    Method("GET", f"{_PATH}/verify_credentials", "user", ("read", "read:accounts", "profile"), _verify),
    Method("PATCH", f"{_PATH}/update_credentials", "user", ("write", "write:accounts"), _update),
    Method("GET", f"{_PATH}/lookup", "optional", _ACCOUNTS, _lookup),
    Method("GET", f"{_PATH}/relationships", "user", ("read", "read:follows"), _relationships),
    Method("GET", f"{_PATH}/search", "user", _ACCOUNTS, _account_search),
    Method("GET", f"{_PATH}/{{id}}", "optional", _ACCOUNTS, _show),
    Method("GET", f"{_PATH}/{{id}}/following", "optional", _ACCOUNTS, _following),
    Method("GET", f"{_PATH}/{{id}}/followers", "optional", _ACCOUNTS, _followers),
    Method("GET", f"{_PATH}/{{id}}/statuses", "optional", ("read", "read:statuses"), _statuses),
    Method("POST", f"{_PATH}/{{id}}/follow", "user", _FOLLOWS, _follow),
    Method("POST", f"{_PATH}/{{id}}/unfollow", "user", _FOLLOWS, _unfollow),
    Method("GET", "/api/v2/search", "optional", ("read", "read:search"), _search),
)
