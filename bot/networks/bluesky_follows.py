"""Follow and cease to follow on Bluesky, with a user's own consent: look first, then write in batches."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bot.networks import FollowOrder, FollowOutcome, GrantInUse
from bot.networks.bluesky_records import FOLLOW, iso, rkey_of
from bot.networks.errors import BLOCKED, GONE, GRANT_LOST, NetworkError, PartlyDone, Refused, Unavailable, for_later
from bot.networks.oauth_atproto import AtprotoTokens
from bot.networks.ratelimits import AnnouncedLimits, RateLimited

if TYPE_CHECKING:
    from bot.networks.bluesky_client import BlueskyClient
    from bot.networks.oauth_atproto import AtprotoOauth, PdsResponse

Json = dict[str, Any]

NO_WEB_ADDRESS: Final = "Consents on Bluesky need the web address they were given under: set [web] public_url again."

_WRITES_A_CALL: Final = 200  # com.atproto.repo.applyWrites
_CREATE: Final = "com.atproto.repo.applyWrites#create"
_DELETE: Final = "com.atproto.repo.applyWrites#delete"
# What a PDS counts for each (https://docs.bsky.app/docs/advanced-guides/rate-limits).
_POINTS: Final = {_CREATE: 3, _DELETE: 1}
_RELATIONSHIPS_A_CALL: Final = 30  # app.bsky.graph.getRelationships
_PROFILES_A_CALL: Final = 25  # app.bsky.actor.getProfiles
_DID: Final = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]*[A-Za-z0-9._-]")  # https://atproto.com/specs/did
_CLOSED_SECONDS: Final = 86_400.0
_BLOCKS: Final = ("blocking", "blockedBy", "blockingByList", "blockedByList")


class BlueskyFollows:
    """Follow records in users' repositories. `clock` gives epoch milliseconds.

    Who follows or blocks whom is public: the bot asks it by itself, so the consent need cover no more than the records.
    """

    def __init__(self, line: "BlueskyClient", oauth: "AtprotoOauth | None", clock: Callable[[], int]) -> None:
        self._line = line
        self._oauth = oauth
        self._clock = clock
        self._limits = AnnouncedLimits(clock)

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Make the records that are not there yet, up to 200 in one call."""
        return await self._in_batches(grant, orders, partial(self._follow_batch, set()))

    async def unfollow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Delete the records that `follow` made; one that is gone already is fine."""
        return await self._in_batches(grant, orders, self._unfollow_batch)

    async def _in_batches(self, grant: GrantInUse, orders: Sequence[FollowOrder], act: Any) -> list[FollowOutcome]:
        if self._oauth is None:
            raise Unavailable(NO_WEB_ADDRESS)
        consent = _Consent(grant, self._oauth, self._clock, self._limits)
        done: list[FollowOutcome] = []
        for start in range(0, len(orders), _WRITES_A_CALL):
            batch = orders[start : start + _WRITES_A_CALL]
            outcomes: dict[str, FollowOutcome] = {}
            try:
                await consent.freshen()
                await act(consent, batch, outcomes)
            except NetworkError as error:
                cause = for_later(error)
                for order in batch:
                    if order.key not in outcomes:
                        break
                    done.append(outcomes[order.key])
                raise PartlyDone(done, cause) if done else cause from error
            done += [outcomes[order.key] for order in batch]
        return done

    # Following.

    async def _follow_batch(
        self,
        followed: set[str],
        consent: "_Consent",
        orders: Sequence[FollowOrder],
        outcomes: dict[str, FollowOutcome],
    ) -> None:
        """Follow a batch; `followed` are those followed before in this call, of whom no index need know yet."""
        relations = await self._relations(consent.did, [order.actor for order in orders])
        for order in orders:
            if outcome := await self._so_already(consent, order, relations.get(order.actor)):
                outcomes[order.key] = outcome
        _note_followed(followed, orders, outcomes)
        firsts: dict[str, FollowOrder] = {}
        for order in orders:
            if order.key not in outcomes and order.actor in followed:
                outcomes[order.key] = FollowOutcome("already")
            elif order.key not in outcomes:
                firsts.setdefault(order.actor, order)
        there = await self._active(list(firsts))
        for actor, order in firsts.items():
            if actor not in there:
                outcomes[order.key] = FollowOutcome("refused", reason=GONE)
        await self._create(consent, [order for actor, order in firsts.items() if actor in there], outcomes)
        _note_followed(followed, orders, outcomes)
        for order in orders:
            if order.key not in outcomes:  # a second order about one account
                first = outcomes[firsts[order.actor].key]
                outcomes[order.key] = FollowOutcome("already") if first.state == "done" else first

    async def _so_already(self, consent: "_Consent", order: FollowOrder, relation: Json | None) -> FollowOutcome | None:
        """Return what needs no writing any more, or must not be written."""
        if relation is None:
            return FollowOutcome("refused", reason=GONE)
        following = relation.get("following")
        if isinstance(following, str) and rkey_of(following) == order.key:
            return FollowOutcome("done", following)
        if order.again and await consent.has(order.key, order.actor):
            return FollowOutcome("done", consent.uri(order.key))
        if following:
            return FollowOutcome("already")
        if any(relation.get(name) for name in _BLOCKS):
            return FollowOutcome("refused", reason=BLOCKED)
        return None

    async def _relations(self, did: str, others: list[str]) -> dict[str, Json]:
        """Return how an account stands to others; those unknown to the network are left out."""
        found: dict[str, Json] = {}
        others = [other for other in others if _DID.fullmatch(other)]  # one that is malformed would cost all the answer
        for start in range(0, len(others), _RELATIONSHIPS_A_CALL):
            query = {"actor": did, "others": others[start : start + _RELATIONSHIPS_A_CALL]}
            answer = await self._line.query("app.bsky.graph.getRelationships", query)
            for relation in answer.get("relationships") or []:
                if isinstance(relation, dict) and isinstance(relation.get("did"), str):
                    found[relation["did"]] = relation
        return found

    async def _active(self, dids: list[str]) -> set[str]:
        """Return which accounts are open: one that was closed or taken down is not shown."""
        found: set[str] = set()
        for start in range(0, len(dids), _PROFILES_A_CALL):
            query = {"actors": dids[start : start + _PROFILES_A_CALL]}
            answer = await self._line.query("app.bsky.actor.getProfiles", query)
            found |= {str(profile.get("did")) for profile in answer.get("profiles") or [] if isinstance(profile, dict)}
        return found

    async def _create(
        self, consent: "_Consent", orders: Sequence[FollowOrder], outcomes: dict[str, FollowOutcome]
    ) -> None:
        """Write the records, all in one call; if one of them is refused, halve until it stands alone."""
        if not orders:
            return
        created_at = iso(self._clock())
        writes = [
            {
                "$type": _CREATE,
                "collection": FOLLOW,
                "rkey": order.key,
                "value": {"$type": FOLLOW, "subject": order.actor, "createdAt": created_at},
            }
            for order in orders
        ]
        try:
            await consent.write(writes)
        except _WriteRefused as refusal:
            if len(orders) == 1:
                key = orders[0].key
                # Some servers name a record that exists already so, instead of answering 500.
                there = await consent.has(key, orders[0].actor)
                uri = consent.uri(key)
                outcomes[key] = FollowOutcome("done", uri) if there else FollowOutcome("refused", reason=refusal.reason)
                return
            half = len(orders) // 2
            await self._create(consent, orders[:half], outcomes)
            await self._create(consent, orders[half:], outcomes)
        else:
            for order in orders:
                outcomes[order.key] = FollowOutcome("done", consent.uri(order.key))

    # Ceasing to follow.

    async def _unfollow_batch(
        self, consent: "_Consent", orders: Sequence[FollowOrder], outcomes: dict[str, FollowOutcome]
    ) -> None:
        ours = [order for order in orders if order.uri == consent.uri(rkey_of(order.uri or ""))]
        for order in orders:
            if order not in ours:
                outcomes[order.key] = FollowOutcome("already")
        fresh = [order for order in ours if not order.again]
        if fresh and await self._delete_at_once(consent, fresh):
            outcomes.update({order.key: FollowOutcome("done", order.uri) for order in fresh})
        for order in ours:
            if order.key not in outcomes:
                await consent.delete(rkey_of(order.uri or ""))
                outcomes[order.key] = FollowOutcome("done", order.uri)

    async def _delete_at_once(self, consent: "_Consent", orders: Sequence[FollowOrder]) -> bool:
        """Delete all or none; False when the server refuses, because its owner has deleted one of them already.

        A PDS answers that with 500, so the deletions are then made one by one, in which nothing can be missing.
        """
        writes = [{"$type": _DELETE, "collection": FOLLOW, "rkey": rkey_of(order.uri or "")} for order in orders]
        try:
            await consent.write(writes)
        except (_WriteRefused, _ServerFailed):
            return False
        return True


def _note_followed(followed: set[str], orders: Sequence[FollowOrder], outcomes: dict[str, FollowOutcome]) -> None:
    followed.update(order.actor for order in orders if order.key in outcomes and outcomes[order.key].state != "refused")


class _WriteRefused(Refused):
    """The server refuses what was to be written, whoever asks."""


class _ServerFailed(Unavailable):
    """The server answered 5xx."""


class _Consent:
    """A user's consent in use: tokens are renewed, and the new ones kept, before they are used."""

    def __init__(
        self, grant: GrantInUse, oauth: "AtprotoOauth", clock: Callable[[], int], limits: AnnouncedLimits
    ) -> None:
        self._grant = grant
        self._oauth = oauth
        self._clock = clock
        self._limits = limits
        try:
            self._tokens = AtprotoTokens.from_json(grant.secret)
        except ValueError as error:
            raise Refused(GRANT_LOST, "The kept consent cannot be read.") from error
        self.did: Final = self._tokens.did

    def uri(self, rkey: str) -> str:
        """Return the address of a follow record in the owner's repository."""
        return f"at://{self.did}/{FOLLOW}/{rkey}"

    async def freshen(self) -> None:
        """Renew tokens that are about to expire."""
        if self._tokens.stale(self._clock() / 1000):
            await self._renew()

    async def _renew(self) -> None:
        self._tokens = await self._oauth.refresh(self._tokens)
        self._grant.secret = self._tokens.to_json()
        await self._grant.save(self._grant.secret)

    async def has(self, rkey: str, subject: str) -> bool:
        """Tell whether a follow record stands in the repository itself (the network's index may lag behind)."""
        query = [("repo", self.did), ("collection", FOLLOW), ("rkey", rkey)]
        response = await self._ask("GET", "com.atproto.repo.getRecord", params=query)
        if response.status == 200 and isinstance(response.json, dict):
            value = response.json.get("value")
            return isinstance(value, dict) and value.get("subject") == subject
        name, message = _said(response)
        if name == "RecordNotFound" or "Could not locate record" in message:
            return False
        failure = self._failure(response)
        if isinstance(failure, _WriteRefused):  # a key that no record can have names none
            return False
        raise failure

    async def write(self, writes: list[Json]) -> None:
        """Make several changes, all or none."""
        self._limits.check(self.did, sum(_POINTS[write["$type"]] for write in writes))
        body = {"repo": self.did, "writes": writes}
        response = await self._ask("POST", "com.atproto.repo.applyWrites", json=body)
        self._limits.remember(self.did, response.headers)
        if not _took(response):
            raise self._failure(response)

    async def delete(self, rkey: str) -> None:
        """Delete one record; com.atproto.repo.deleteRecord succeeds when there is none."""
        self._limits.check(self.did)
        body = {"repo": self.did, "collection": FOLLOW, "rkey": rkey}
        response = await self._ask("POST", "com.atproto.repo.deleteRecord", json=body)
        self._limits.remember(self.did, response.headers)
        if not _took(response):
            raise self._failure(response)

    async def _ask(self, method: str, nsid: str, **content: Any) -> "PdsResponse":
        response = await self._oauth.pds_request(self._tokens, method, nsid, **content)
        if response.token_refused:
            await self._renew()
            response = await self._oauth.pds_request(self._tokens, method, nsid, **content)
        return response

    def _failure(self, response: "PdsResponse") -> NetworkError:
        name, message = _said(response)
        if response.status == 429:
            return RateLimited("The allowance of this account is used.", self._limits.retry_in(response.headers))
        if response.status >= 500 or response.status < 400:
            return _ServerFailed(f"The user's server answered {response.status} {name}")
        if name == "AccountDeactivated":  # by its owner, who may come back and find the consent still in force
            return Unavailable("The account is closed for the time being.", _CLOSED_SECONDS)
        if response.status in (401, 403):
            return Refused(GRANT_LOST, message or name)
        return _WriteRefused("invalid", message or name)


def _took(response: "PdsResponse") -> bool:
    """Tell whether a write is confirmed: half an answer is none, but older servers answer with nothing at all."""
    empty = response.headers.get("content-length", "0") == "0"
    return response.status == 200 and (empty or isinstance(response.json, dict))


def _said(response: "PdsResponse") -> tuple[str, str]:
    body = response.json if isinstance(response.json, dict) else {}
    return str(body.get("error") or ""), str(body.get("message") or "")
