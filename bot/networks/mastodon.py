"""Mastodon, and any server with its API: mentions and private mentions by notifications, follows by users' consents."""

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import structlog

from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Incoming, Say
from bot.networks.errors import BLOCKED, GONE, LOGIN_REFUSED, NetworkError, Refused, Unavailable, for_later
from bot.networks.mastodon_actors import Actors
from bot.networks.mastodon_follows import MastodonFollows
from bot.networks.mastodon_pages import SMALLEST_PAGE, id_of, is_older
from bot.networks.mastodon_place import Place
from bot.networks.mastodon_said import ours_below, said_already
from bot.networks.mastodon_statuses import (
    Ourselves,
    Thread,
    addressed,
    answer_visibility,
    domain_of,
    fits,
    read_mention,
)
from bot.networks.oauth_mastodon import MastodonTokens
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks.guard import GuardedClient
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_stream import NewsStream
    from bot.networks.oauth_mastodon import MastodonOauth

_log = structlog.get_logger()

ACCEPT: Final = "accept"
# What is older than this when the bot is new is no longer waiting for an answer.
_FIRST_LOOK_MS: Final = 3 * 86_400_000
_STATUSES: Final = "/api/v1/statuses"
_MENTIONS: Final = 80  # the most that Mastodon gives; Hollo gives one page only
_KNOWN_THREADS: Final = 10_000
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
        self._actors = Actors(guard)
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
        try:
            account = await self._ear.call("credentials", lambda sdk: sdk.account_verify_credentials())
        except Refused as refusal:  # with whatever status: the one thing it can refuse here is the token
            raise Refused(LOGIN_REFUSED, refusal.detail) from refusal
        try:
            number, name = str(account["id"]), str(account["username"]).partition("@")[0]
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
        for version in ("v2", "v1"):
            with contextlib.suppress(NetworkError):
                instance = await line.read(f"/api/{version}/instance")
                break
        domain = await self._actors.our_domain(line, number, f"{name}@{urlsplit(self._base_url).netloc}")
        usual = Ourselves(number, name, domain or domain_of(instance, self._base_url))
        try:
            limits = instance["configuration"]["statuses"]
            most = int(limits["max_characters"])
            link = int(limits.get("characters_reserved_per_url") or usual.link_characters)
        except _MALFORMED:
            _log.info("the server tells no limits; taking the usual ones", network=self.name)
            return usual
        # Since 4.3 Mastodon says that it is one; it alone counts links and names short, whatever others announce.
        counts_all = "mastodon" not in (instance.get("api_versions") or {})
        return Ourselves(number, name, usual.domain, most, link, counts_all)

    async def _introduce_ourselves(self, line: "MastodonClient", account: Any) -> None:
        if not account.get("bot"):
            labelled = await mark_as_bot(line)
            _log.info(
                "labelled our profile as a bot" if labelled else "the server has no label for bots", network=self.name
            )
        try:
            if await private_mentions(line) != ACCEPT:
                await accept_private_mentions(line)
                _log.info("opened our private mentions to everybody", network=self.name)
        except NetworkError as error:
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
        """Return the mentions since the cursor."""
        ear, _, us = self._running()
        self._news.clear()
        place = Place.read(cursor)
        if place.is_beginning:
            return await self._first_look(ear, us)
        entries = await self._newer(ear, place)
        new = [entry for number, entry in entries.items() if number not in place.recent]
        read = [await self._read(ear, us, entry) for entry in reversed(new)]
        heard = [message for message in read if message is not None]
        return Batch(heard, place.after(list(entries), self._clock()).write())

    async def _newer(self, ear: "MastodonClient", place: Place) -> dict[str, Any]:
        """Return the mentions above the settled one by their ids, newest first, page by page downwards.

        Upwards it would be by `min_id`, which some servers take for `since_id`: then a gap of pages is never seen. And
        `since_id` is not known everywhere, so the settled one is looked for.
        """
        entries: dict[str, Any] = {}
        oldest: str | None = None
        while page := await self._page(ear, since_id=place.settled, max_id=oldest):
            known = len(entries)
            for entry in page:
                if id_of(entry) == place.settled:
                    return entries
                entries.setdefault(id_of(entry), entry)
            if len(entries) == known or len(page) < SMALLEST_PAGE:
                break
            oldest = id_of(page[-1])
        return entries

    async def _first_look(self, ear: "MastodonClient", us: Ourselves) -> Batch:
        """Begin with what nobody has answered yet."""
        heard: list[Incoming] = []
        seen: list[str] = []
        settled: str | None = None
        horizon = self._clock() - _FIRST_LOOK_MS
        while settled is None and (page := await self._page(ear, max_id=seen[-1] if seen else None)):
            for entry in page:
                if id_of(entry) in seen:
                    continue
                message = await self._read(ear, us, entry)
                if message is not None and message.at >= horizon and not await self._answered(ear, us, entry):
                    heard.append(message)
            known = len(seen)
            seen += [number for number in map(id_of, page) if number not in seen]
            if is_older(page[-1], horizon):
                settled = seen.pop()
            elif (
                len(page) < SMALLEST_PAGE or len(seen) == known
            ):  # some give the first page again, whatever they are asked
                break
        return Batch(heard[::-1], Place(settled).after(seen, self._clock()).write())

    async def _page(self, ear: "MastodonClient", **bounds: str | None) -> list[Any]:
        page = await ear.call(
            "notifications", lambda sdk: sdk.notifications(types=["mention"], limit=_MENTIONS, **bounds)
        )
        # An entry without an id cannot be paged by; nothing else is asked of one here.
        return [entry for entry in page if id_of(entry)] if isinstance(page, list) else []

    async def _read(self, ear: "MastodonClient", us: Ourselves, entry: Any) -> Incoming | None:
        try:
            if entry["type"] != "mention":
                return None
            status = entry["status"]
            return read_mention(
                entry, us, await self._root(ear, status), await self._actors.of(ear, us, status["account"])
            )
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
        return any(
            str(reply.get("in_reply_to_id")) == str(status["id"]) for reply in await ours_below(ear, us, status["id"])
        )

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
        if say.again and (said := await said_already(mouth, us, say, thread, text)):
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
        body = {"status": text, "visibility": visibility, "language": say.language}
        if thread is not None:
            body |= {"in_reply_to_id": thread.status} | ({"spoiler_text": thread.spoiler} if thread.spoiler else {})
        # As JSON: of the form that the SDK sends Hollo makes an empty status for everybody.
        status = await mouth.send("statuses", "POST", _STATUSES, json=body, headers={"idempotency-key": key})
        if visibility == "direct" and isinstance(status, dict) and status.get("visibility") in ("public", "unlisted"):
            with contextlib.suppress(NetworkError):
                await mouth.send("deletes", "DELETE", f"{_STATUSES}/{status.get('id')}")
            raise Refused("invalid", "The server showed everybody what was for one person; it is deleted again.")
        return status

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
        # Not by the search for accounts alone: GoToSocial's wants an @ before the name, snac's finds nobody.
        query = {"q": acct, "type": "accounts", "resolve": "true", "limit": "5"}
        found = await mouth.read("/api/v2/search", **query)
        accounts = found.get("accounts") if isinstance(found, dict) else None
        for account in accounts if isinstance(accounts, list) else []:
            with contextlib.suppress(*_MALFORMED):
                named = us.full(str(account["acct"])).lower() == acct.lower()
                if named and (account.get("uri") or say.actor) == say.actor and not account.get("suspended"):
                    return str(account["id"])
        raise Refused(GONE, f"There is no account {acct} to be found.")

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


async def mark_as_bot(line: "MastodonClient") -> bool:
    """Say in our profile that we are a bot; False where the server takes no notice."""
    try:
        # The SDK writes 1 for true, which Hollo does not understand.
        path = "/api/v1/accounts/update_credentials"
        account = await line.send("credentials", "PATCH", path, data={"bot": "true"})
    except Refused as refusal:
        if refusal.reason == LOGIN_REFUSED:
            raise
        return False
    return isinstance(account, dict) and bool(account.get("bot"))


async def private_mentions(line: "MastodonClient") -> str:
    """Return what our server does with strangers' private mentions: accept, filter or drop (Mastodon, since 4.3)."""
    policy = await line.call("policy", lambda sdk: sdk.notifications_policy())
    try:
        return str(policy["for_private_mentions"])
    except _MALFORMED as error:
        raise Unavailable("The server's notification policy says nothing of private mentions.") from error


async def accept_private_mentions(line: "MastodonClient") -> None:
    """Have strangers' private mentions let through."""
    await line.call("policy", lambda sdk: sdk.update_notifications_policy(for_private_mentions=ACCEPT))


def _told(refusal: Refused) -> Refused:
    """Return a refusal in the port's words."""
    return Refused({"not_found": GONE, "forbidden": BLOCKED}.get(refusal.reason, refusal.reason), refusal.detail)
