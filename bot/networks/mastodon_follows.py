"""Follow and cease to follow on any Mastodon-API server, with a user's own consent.

The server is one that a user named, so it is asked by the guarded client, by plain HTTP.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bot.networks import FollowOrder, FollowOutcome, GrantInUse
from bot.networks.errors import BLOCKED, GONE, GRANT_LOST, NetworkError, PartlyDone, Refused, Unavailable
from bot.networks.mastodon_refusals import TOKEN_ENDED, is_about_scopes
from bot.networks.oauth_mastodon import MastodonTokens
from bot.networks.ratelimits import AnnouncedLimits, RateLimited

if TYPE_CHECKING:
    from bot.networks.guard import GuardedClient, GuardedResponse
    from bot.networks.webfinger import WebFinger

Json = dict[str, Any]

_KNOWN_IDS: Final = 20_000
# How servers answer a search for what they cannot make sense of.
_NOT_FOUND: Final = frozenset({400, 404, 422})


class MastodonFollows:
    """Follows on users' servers. `clock` gives epoch milliseconds."""

    def __init__(self, guard: "GuardedClient", clock: Callable[[], int], webfinger: "WebFinger") -> None:
        self._guard = guard
        self._webfinger = webfinger
        self._limits = AnnouncedLimits(clock)
        # (server, actor) -> the number under which the server knows the actor; it never changes.
        self._ids: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Resolve, look how things stand, follow: one order after the other."""
        return await self._one_by_one(grant, orders, self._follow)

    async def unfollow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Take back what `follow` did; what is undone already is fine."""
        return await self._one_by_one(grant, orders, self._unfollow)

    async def _one_by_one(self, grant: GrantInUse, orders: Sequence[FollowOrder], act: Any) -> list[FollowOutcome]:
        try:
            tokens = MastodonTokens.from_json(grant.secret)
        except ValueError as error:
            raise Refused(GRANT_LOST, "The kept consent cannot be read.") from error
        done: list[FollowOutcome] = []
        for order in orders:
            try:
                done.append(await act(tokens, order))
            except NetworkError as error:
                if done:
                    raise PartlyDone(done, error) from error
                raise
        return done

    async def _follow(self, tokens: MastodonTokens, order: FollowOrder) -> FollowOutcome:
        if order.actor == tokens.actor:
            return FollowOutcome("refused", reason="invalid")
        with _nothing_begun():
            number = await self._resolve(tokens, order)
            relation = None if number is None else await self._relationship(tokens, number)
        if number is None:
            return FollowOutcome("refused", reason=GONE)
        if relation is None:
            self._ids.pop((tokens.base_url, order.actor), None)
            return FollowOutcome("refused", reason=GONE)
        if any(relation.get(name) for name in ("blocked_by", "blocking", "domain_blocking")):
            return FollowOutcome("refused", reason=BLOCKED)
        if order.in_doubt and (relation.get("following") or relation.get("requested")):
            return FollowOutcome("unclear")  # nothing on Mastodon tells by whom, or when
        # The earlier attempt found it otherwise, or it would not have asked for it: so it was ours that came through.
        ours = number if order.again else None
        if relation.get("following"):
            return FollowOutcome("done", ours) if ours else FollowOutcome("already")
        if relation.get("requested"):
            return FollowOutcome("requested", ours)
        response = await self._ask(tokens, "POST", f"/api/v1/accounts/{number}/follow", "follows")
        if not response.ok:
            return FollowOutcome("refused", reason={403: BLOCKED, 404: GONE}.get(response.status, "invalid"))
        answer = response.json_object()
        # A locked account agrees later; and a far one may, for a moment, be neither followed nor asked.
        return FollowOutcome("done" if answer.get("following") else "requested", number)

    async def _unfollow(self, tokens: MastodonTokens, order: FollowOrder) -> FollowOutcome:
        if order.uri is None or not _is_id(order.uri):
            return FollowOutcome("already")
        response = await self._ask(tokens, "POST", f"/api/v1/accounts/{order.uri}/unfollow", "follows")
        if response.ok:
            response.json_object()  # half an answer confirms nothing
        elif response.status != 404:  # who is gone is not followed either
            return FollowOutcome("refused", reason="invalid")
        return FollowOutcome("done", order.uri)

    async def _resolve(self, tokens: MastodonTokens, order: FollowOrder) -> str | None:
        """Return the account's number on the user's server; None when the server cannot find exactly this account."""
        known = self._ids.get((tokens.base_url, order.actor))
        if known is not None:
            return known
        # The name first, as people do; the URI when the name has changed, or belongs to somebody else by now.
        for query in (order.handle.lstrip("@"), order.actor):
            params = {"q": query, "type": "accounts", "resolve": "true", "limit": "5"}
            response = await self._ask(tokens, "GET", "/api/v2/search", "searches", params)
            if not response.ok and response.status not in _NOT_FOUND:
                raise Unavailable(f"{tokens.server} answered a search with {response.status}.")
            found = response.json_object().get("accounts") if response.ok else None
            for account in found if isinstance(found, list) else ():
                number = str(account.get("id", "")) if isinstance(account, dict) else ""
                if _is_id(number) and _is(account, order, tokens) and not await self._is_another(account, order):
                    self._remember((tokens.base_url, order.actor), number)
                    return number
        return None

    async def _is_another(self, account: Json, order: FollowOrder) -> bool:
        """Tell whether a name that was found belongs to somebody else by now, where the account tells no URI."""
        if account.get("uri"):
            return False
        with suppress(NetworkError):
            return await self._webfinger.actor_of(order.handle.lstrip("@"), order.actor) not in (None, order.actor)
        return False

    def _remember(self, key: tuple[str, str], number: str) -> None:
        self._ids[key] = number
        while len(self._ids) > _KNOWN_IDS:
            self._ids.popitem(last=False)

    async def _relationship(self, tokens: MastodonTokens, number: str) -> Json | None:
        path = "/api/v1/accounts/relationships"
        response = await self._ask(tokens, "GET", path, "relationships", {"id[]": number})
        found = response.json()
        if not response.ok or not isinstance(found, list):
            raise Unavailable(f"{tokens.server} does not say how two accounts stand to each other.")
        return next((one for one in found if isinstance(one, dict) and str(one.get("id")) == number), None)

    async def _ask(
        self, tokens: MastodonTokens, method: str, path: str, allowance: str, params: dict[str, str] | None = None
    ) -> "GuardedResponse":
        """Ask the user's server; what ends the whole grant or may be better later is raised."""
        name = f"{allowance} of {tokens.actor}"
        with _nothing_begun():
            self._limits.check(name)
        headers = {"authorization": f"Bearer {tokens.access}"}
        response = await self._guard.request(method, f"{tokens.base_url}{path}", headers=headers, params=params)
        self._limits.remember(name, response.headers)
        if response.status == 429:
            with _nothing_begun():
                retry_in = self._limits.retry_in(response.headers)
                raise RateLimited(f"{tokens.server}: the rate limit is reached.", retry_in)
        if response.status >= 500:
            raise Unavailable(f"{tokens.server} answered {response.status}.", response.retry_in())
        if response.status == 401:
            raise Refused(GRANT_LOST, f"{tokens.server} no longer takes the consent.")
        if response.status == 403 and is_about_scopes(response.content.decode(errors="replace")):
            raise Refused(GRANT_LOST, f"The consent on {tokens.server} does not cover this.")
        if response.status in (400, 422) and not await self._is_taken(tokens):
            raise Refused(GRANT_LOST, f"{tokens.server} no longer takes the consent.")
        return response

    async def _is_taken(self, tokens: MastodonTokens) -> bool:
        """Tell whether the server still takes the consent."""
        url = f"{tokens.base_url}/api/v1/accounts/verify_credentials"
        response = await self._guard.request("GET", url, headers={"authorization": f"Bearer {tokens.access}"})
        return response.status not in TOKEN_ENDED


@contextmanager
def _nothing_begun() -> Iterator[None]:
    """Say of trouble met within that nobody was followed, nor ceased to be followed, by it."""
    try:
        yield
    except Unavailable as error:
        error.begun = False
        raise


def _is_id(text: str) -> bool:
    """Tell whether this may stand in a path as an account's number: some servers have ULIDs or UUIDs."""
    return re.fullmatch(r"[0-9A-Za-z_-]+", text) is not None


def _is(account: Json, order: FollowOrder, tokens: MastodonTokens) -> bool:
    """Tell whether a found account is the one that was meant: by its URI, or by its name where it tells none."""
    uri = account.get("uri")
    if isinstance(uri, str) and uri:
        return uri == order.actor
    acct, handle = str(account.get("acct", "")).lower(), order.handle.lstrip("@").lower()
    if "@" in acct:
        return acct == handle
    name, _, domain = handle.partition("@")
    # An account of the user's own server, which may be named by another host than the one that serves it.
    at_home = domain == tokens.server.lower() or urlsplit(order.actor).netloc == urlsplit(tokens.base_url).netloc
    return acct == name and at_home
