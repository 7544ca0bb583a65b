"""Mastodon, and any server with its API: mentions and private mentions by notifications, follows by users' consents."""

import asyncio
import contextlib
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Incoming, Say
from bot.networks.errors import BLOCKED, GONE, LOGIN_REFUSED, NetworkError, Refused, Unavailable, for_later
from bot.networks.mastodon_follows import MastodonFollows
from bot.networks.mastodon_statuses import (
    Ourselves,
    Thread,
    addressed,
    answer_visibility,
    domain_of,
    epoch_ms,
    fits,
    read_mention,
    says,
)
from bot.networks.oauth_mastodon import MastodonTokens
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks.guard import GuardedClient
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_stream import NewsStream
    from bot.networks.oauth_mastodon import MastodonOauth

_log = structlog.get_logger()

_PAGE: Final = 40  # the most that every version gives
# What is older than this when the bot is new is no longer waiting for an answer.
_FIRST_LOOK_MS: Final = 3 * 86_400_000
_CLOCK_SLACK_MS: Final = 5_000
_KNOWN_THREADS: Final = 10_000
_LOOK_BACK_PAGES: Final = 10
_MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError)


class MastodonNetwork:
    """The port on a Mastodon-API server. `clock` gives epoch milliseconds; `poll_seconds` is the longest pause."""

    name = NetworkName.MASTODON

    def __init__(
        self,
        *,
        base_url: str,
        access_token: str,
        guard: "GuardedClient",
        oauth: "MastodonOauth",
        clock: Callable[[], int],
        poll_seconds: float,
        streaming: bool = True,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._access_token = access_token
        self._oauth = oauth
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._streaming = streaming
        self._follows = MastodonFollows(guard, clock)
        self._us: Ourselves | None = None
        # One line to hear and one to speak: a slow answer on the one does not hold up the other.
        self._ear: MastodonClient | None = None
        self._mouth: MastodonClient | None = None
        self._stream: NewsStream | None = None
        self._news = asyncio.Event()
        # The first status of the thread a status belongs to.
        self._roots: OrderedDict[str, str] = OrderedDict()

    @property
    def handle(self) -> str:
        """Return the bot's full name, "@name@server"; empty before `start`."""
        return f"@{self._us.acct}" if self._us is not None else ""

    async def start(self) -> None:
        """Find out who we are and what the server allows; let strangers' messages in, and be known as a bot."""
        from bot.networks.mastodon_client import MastodonClient

        await self.close()
        self._ear = MastodonClient(self._base_url, self._access_token, self._clock, name="hears")
        self._mouth = MastodonClient(self._base_url, self._access_token, self._clock, name="speaks")
        account = await self._ear.call("credentials", lambda sdk: sdk.account_verify_credentials())
        try:
            number, name = str(account["id"]), str(account["username"])
        except _MALFORMED as error:
            raise Unavailable("The server does not say who we are.") from error
        self._us = await self._learn(self._ear, number, name)
        await self._introduce_ourselves(self._ear, account)
        if self._streaming:
            self._listen()

    async def close(self) -> None:
        """Give connections and threads back."""
        if self._stream is not None:
            self._stream.close()
        for line in (self._ear, self._mouth):
            if line is not None:
                line.close()
        self._stream = self._ear = self._mouth = None

    async def _learn(self, line: "MastodonClient", number: str, name: str) -> Ourselves:
        """Read the server's limits; a server that does not tell them (404, 401, 503) gets Mastodon's."""
        instance: Any = None
        for ask in (lambda sdk: sdk.instance_v2(), lambda sdk: sdk.instance_v1()):
            with contextlib.suppress(NetworkError):
                instance = await line.call("instance", ask)
                break
        usual = Ourselves(number, name, domain_of(instance, self._base_url))
        try:
            limits = instance["configuration"]["statuses"]
            most = int(limits["max_characters"])
            link = int(limits.get("characters_reserved_per_url") or usual.link_characters)
        except _MALFORMED:
            _log.info("the server tells no limits; taking the usual ones", network=self.name)
            return usual
        return Ourselves(number, name, usual.domain, most, link)

    async def _introduce_ourselves(self, line: "MastodonClient", account: Any) -> None:
        if not account.get("bot"):
            await line.call("credentials", lambda sdk: sdk.account_update_credentials(bot=True))
            _log.info("labelled our profile as a bot", network=self.name)
        try:
            policy = await line.call("policy", lambda sdk: sdk.notifications_policy())
            if policy.get("for_private_mentions") != "accept":
                await line.call("policy", lambda sdk: sdk.update_notifications_policy(for_private_mentions="accept"))
                _log.info("opened our private mentions to everybody", network=self.name)
        except (NetworkError, AttributeError) as error:
            if isinstance(error, Refused) and error.reason == LOGIN_REFUSED:
                raise
            # Before Mastodon 4.3, and elsewhere, there is no such filter.
            _log.info("the server has no notification policy", network=self.name, why=str(error))

    def _listen(self) -> None:
        from bot.networks.mastodon_stream import NewsStream

        loop = asyncio.get_running_loop()

        def on_news() -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(self._news.set)

        self._stream = NewsStream(self._base_url, self._access_token, on_news)
        self._stream.keep_running()

    # Hearing.

    async def hear(self, cursor: str | None) -> Batch:
        """Return the mentions since the cursor, page by page upwards, so that nothing between pages is lost."""
        ear, _, us = self._running()
        self._news.clear()
        last = json.loads(cursor)["notified"] if cursor is not None else None
        if last is None:
            return await self._first_look(ear, us)
        heard: list[Incoming] = []
        while True:
            page = await self._page(ear, min_id=last)
            if not page:
                return Batch(heard, _cursor(last))
            for entry in reversed(page):
                message = await self._read(ear, us, entry)
                if message is not None:
                    heard.append(message)
            newest = _id(page[0])
            if newest == last:
                return Batch(heard, _cursor(last))
            last = newest

    async def _first_look(self, ear: "MastodonClient", us: Ourselves) -> Batch:
        """Begin with what nobody has answered yet."""
        heard: list[Incoming] = []
        newest: str | None = None
        oldest: str | None = None
        horizon = self._clock() - _FIRST_LOOK_MS
        while page := await self._page(ear, max_id=oldest):
            newest = newest or _id(page[0])
            oldest = _id(page[-1])
            for entry in page:
                message = await self._read(ear, us, entry)
                if message is not None and message.at >= horizon and not await self._answered(ear, us, entry):
                    heard.append(message)
            if len(page) < _PAGE or _older(page[-1], horizon):
                break
        return Batch(heard[::-1], _cursor(newest))

    async def _page(self, ear: "MastodonClient", **bounds: str | None) -> list[Any]:
        page = await ear.call("notifications", lambda sdk: sdk.notifications(types=["mention"], limit=_PAGE, **bounds))
        # An entry without an id cannot be paged by; nothing else is asked of one here.
        return [entry for entry in page if _id(entry)] if isinstance(page, list) else []

    async def _read(self, ear: "MastodonClient", us: Ourselves, entry: Any) -> Incoming | None:
        try:
            if entry["type"] != "mention":
                return None
            return read_mention(entry, us, await self._root(ear, entry["status"]))
        except _MALFORMED as error:
            _log.warning("malformed notification skipped", network=self.name, error=repr(error))
            return None

    async def _root(self, ear: "MastodonClient", status: Any) -> str:
        """Return the id of the thread's first status, as far as our server knows it."""
        own, parent = str(status["id"]), status.get("in_reply_to_id")
        if own not in self._roots:
            root = self._roots.get(str(parent)) if parent else own
            if root is None:
                root = str(parent)
                # A thread that cannot be seen just now must not keep its last message from being heard.
                with contextlib.suppress(NetworkError, *_MALFORMED, IndexError):
                    context = await ear.call("contexts", lambda sdk: sdk.status_context(own))
                    root = str(context["ancestors"][0]["id"])
            self._put_root(own, root)
        return self._roots[own]

    def _put_root(self, status: str, root: str) -> None:
        self._roots[status] = root
        while len(self._roots) > _KNOWN_THREADS:
            self._roots.popitem(last=False)

    async def _answered(self, ear: "MastodonClient", us: Ourselves, entry: Any) -> bool:
        """Tell whether we answered a status in an earlier life, of which only the network itself remembers."""
        status = entry["status"]
        if not status.get("replies_count", 1):
            return False
        return any(
            str(reply.get("in_reply_to_id")) == str(status["id"]) for reply in await self._ours(ear, us, status["id"])
        )

    async def _ours(self, line: "MastodonClient", us: Ourselves, status: Any) -> list[Any]:
        """Return our own statuses below a status; none when it is gone."""
        try:
            context = await line.call("contexts", lambda sdk: sdk.status_context(status))
            return [one for one in context["descendants"] if str(one["account"]["id"]) == us.id]
        except (Refused, *_MALFORMED):
            return []

    async def wait(self, seconds: float) -> None:
        """Wait until the stream has something, or it is time to look anyway."""
        if self._stream is not None:
            self._stream.keep_running()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, self._poll_seconds)):
                await self._news.wait()

    # Speaking.

    async def say(self, say: Say) -> str:
        """Answer a thread in public, or write to one account alone; nobody else is ever addressed.

        While the server does not take our token, it is Unavailable: that refuses nobody anything.
        """
        _, mouth, us = self._running()
        try:
            return await self._say(mouth, us, say)
        except Refused as refusal:
            raise for_later(refusal) from refusal

    async def _say(self, mouth: "MastodonClient", us: Ourselves, say: Say) -> str:
        thread = Thread.read(say.thread)
        if say.public and thread is None:
            raise Refused(GONE, "There is no public thread to answer.")
        visibility = answer_visibility(thread.visibility) if say.public and thread is not None else "direct"
        if not say.public:
            await self._check_reachable(mouth, us, say, thread)
        text = addressed(say.text, say.handle, us)
        if say.again and (said := await self._said_already(mouth, us, say, thread, text)):
            return said
        try:
            status = await self._post(mouth, say, text, visibility, thread)
        except Refused as refusal:
            if refusal.reason == "not_found" and thread is not None and not say.public:
                # The message we answer is gone; its writer need not be.
                status = await self._post(mouth, say, text, visibility, None)
            else:
                raise _told(refusal) from refusal
        try:
            number, uri = str(status["id"]), str(status.get("uri") or status["id"])
        except _MALFORMED as error:
            raise Unavailable("The server took a status without naming it.") from error
        if thread is not None:
            self._put_root(number, self._roots.get(thread.status, thread.status))
        return uri

    async def _post(self, mouth: "MastodonClient", say: Say, text: str, visibility: str, thread: Thread | None) -> Any:
        key = hashlib.sha256(f"{say.key} {thread is None}".encode()).hexdigest()
        return await mouth.call(
            "statuses",
            lambda sdk: sdk.status_post(
                text,
                in_reply_to_id=thread.status if thread is not None else None,
                visibility=visibility,
                spoiler_text=(thread.spoiler or None) if thread is not None else None,
                language=say.language,
                idempotency_key=key,
            ),
        )

    async def _check_reachable(self, mouth: "MastodonClient", us: Ourselves, say: Say, thread: Thread | None) -> None:
        """Refuse before anything is said when nobody would get it: the server itself swallows it without a word."""
        try:
            number = thread.account if thread is not None else await self._number_of(mouth, us, say)
            relations = await mouth.call("relationships", lambda sdk: sdk.account_relationships([number]))
        except Refused as refusal:
            raise _told(refusal) from refusal
        relation = relations[0] if isinstance(relations, list) and relations else None
        if relation is None:
            raise Refused(GONE, "The server does not know this account any more.")
        if relation.get("blocked_by"):
            raise Refused(BLOCKED)

    async def _number_of(self, mouth: "MastodonClient", us: Ourselves, say: Say) -> str:
        """Find an account that we have no conversation with on our server."""
        acct = say.handle.lstrip("@")
        found = await mouth.call("searches", lambda sdk: sdk.account_search(acct, limit=5, resolve=True))
        for account in found if isinstance(found, list) else []:
            with contextlib.suppress(*_MALFORMED):
                named = us.full(str(account["acct"])).lower() == acct.lower()
                if named and account.get("uri", say.actor) == say.actor and not account.get("suspended"):
                    return str(account["id"])
        raise Refused(GONE, f"There is no account {acct} to be found.")

    async def _said_already(
        self, mouth: "MastodonClient", us: Ourselves, say: Say, thread: Thread | None, text: str
    ) -> str | None:
        """Look for what an earlier attempt may have said: not every server honours the idempotency key, none for long."""
        since = say.first_at - _CLOCK_SLACK_MS
        below = await self._ours(mouth, us, thread.status) if thread is not None else []
        for status in [*below, *await self._our_latest(mouth, us, since)]:
            with contextlib.suppress(*_MALFORMED):
                if epoch_ms(status["created_at"]) >= since and says(status, text):
                    return str(status.get("uri") or status["id"])
        return None

    async def _our_latest(self, mouth: "MastodonClient", us: Ourselves, since: int) -> list[Any]:
        found: list[Any] = []
        oldest: str | None = None
        for _ in range(_LOOK_BACK_PAGES):
            bounds = {"max_id": oldest, "limit": _PAGE, "exclude_reblogs": True}
            page = await mouth.call("own statuses", partial(_statuses_of, us.id, bounds))
            found += page
            if len(page) < _PAGE or _older(page[-1], since):
                break
            oldest = _id(page[-1])
        return found

    def fits(self, text: str, *, public: bool) -> bool:  # noqa: ARG002  # a private mention is a status like any other
        """Tell whether a text, with its reader's name before it, keeps to the server's limit."""
        return fits(text, self._us or Ourselves("", "", ""))

    # Acting for somebody.

    async def follow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Follow on behalf of the grant's owner; PartlyDone when some of it could not be done now."""
        return await self._follows.follow(grant, orders)

    async def unfollow(self, grant: GrantInUse, orders: Sequence[FollowOrder]) -> list[FollowOutcome]:
        """Take back follows; PartlyDone when some of it could not be done now."""
        return await self._follows.unfollow(grant, orders)

    async def revoke(self, secret: str) -> None:
        """End a grant at its issuer; a grant that has ended already is fine."""
        await self._oauth.revoke(MastodonTokens.from_json(secret))

    def _running(self) -> tuple["MastodonClient", "MastodonClient", Ourselves]:
        if self._ear is None or self._mouth is None or self._us is None:
            raise RuntimeError("Start the network before it is used.")
        return self._ear, self._mouth, self._us


def _cursor(last: str | None) -> str:
    return json.dumps({"notified": last})


def _statuses_of(number: str, bounds: dict[str, Any], sdk: Any) -> Any:
    return sdk.account_statuses(number, **bounds)


def _id(entry: Any) -> str:
    return str(entry.get("id") or "") if isinstance(entry, dict) else ""


def _older(entry: Any, moment: int) -> bool:
    """Tell whether an entry is from before a moment; a malformed one is not."""
    try:
        return epoch_ms(entry["created_at"]) < moment
    except _MALFORMED:
        return False


def _told(refusal: Refused) -> Refused:
    """Return a refusal in the port's words."""
    return Refused({"not_found": GONE, "forbidden": BLOCKED}.get(refusal.reason, refusal.reason), refusal.detail)
