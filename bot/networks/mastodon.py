"""Mastodon, and any server with its API: mentions and private mentions by notifications, follows by users' consents."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import structlog

from bot.networks import Batch, FollowOrder, FollowOutcome, GrantInUse, Say
from bot.networks.errors import LOGIN_REFUSED, NetworkError, Refused, Unavailable
from bot.networks.mastodon_actors import Actors
from bot.networks.mastodon_follows import MastodonFollows
from bot.networks.mastodon_hearing import Hearing
from bot.networks.mastodon_speaking import Speaking
from bot.networks.mastodon_statuses import MALFORMED, Ourselves, domain_of, fits
from bot.networks.mastodon_threads import Threads
from bot.networks.oauth_mastodon import MastodonTokens
from bot.networks.webfinger import WebFinger
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks.guard import GuardedClient
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_stream import NewsStream
    from bot.networks.oauth_mastodon import MastodonOauth

_log = structlog.get_logger()

ACCEPT: Final = "accept"


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
        webfinger = WebFinger(guard, clock)
        self._follows = MastodonFollows(guard, clock, webfinger)
        self._us: Ourselves | None = None
        # One line to hear and one to speak: a slow answer on the one does not hold up the other.
        self._ear: MastodonClient | None = None
        self._mouth: MastodonClient | None = None
        self._stream: NewsStream | None = None
        self._news = asyncio.Event()
        self._actors = Actors(webfinger)
        self._threads = Threads()
        self._hearing: Hearing | None = None
        self._speaking: Speaking | None = None

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
        except MALFORMED as error:
            raise Unavailable("The server does not say who we are.") from error
        self._us = await self._learn(self._ear, number, name)
        await self._introduce_ourselves(self._ear, account)
        self._hearing = Hearing(self._ear, self._us, self._actors, self._threads, self._clock)
        self._speaking = Speaking(self._mouth, self._us, self._threads)
        if self._streaming:
            self._listen()

    async def close(self) -> None:
        """Give connections and threads back."""
        if self._stream is not None:
            self._stream.close()
        for line in (self._ear, self._mouth):
            if line is not None:
                line.close()
        self._stream = self._ear = self._mouth = self._hearing = self._speaking = None

    async def _learn(self, line: "MastodonClient", number: str, name: str) -> Ourselves:
        """Read the server's limits; a server that does not tell them (404, 401, 503) gets Mastodon's."""
        instance: Any = None
        with contextlib.suppress(NetworkError):
            instance = await line.instance()
        domain = await self._actors.our_domain(line, number, f"{name}@{urlsplit(self._base_url).netloc}")
        usual = Ourselves(number, name, domain or domain_of(instance, self._base_url))
        try:
            limits = instance["configuration"]["statuses"]
            most = int(limits["max_characters"])
            link = int(limits.get("characters_reserved_per_url") or usual.link_characters)
        except MALFORMED:
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
        hearing, _ = self._running()
        self._news.clear()
        return await hearing.hear(cursor)

    async def wait(self, seconds: float) -> None:
        """Wait until the stream has something, or it is time to look anyway."""
        if self._stream is not None:
            self._stream.keep_running()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, self._poll_seconds)):
                await self._news.wait()

    # Speaking.

    async def say(self, say: Say) -> str:
        """Answer a thread in public, or write to one account alone."""
        _, speaking = self._running()
        return await speaking.say(say)

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

    def _running(self) -> tuple[Hearing, Speaking]:
        if self._hearing is None or self._speaking is None:
            raise RuntimeError("Start the network before it is used.")
        return self._hearing, self._speaking


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
    except MALFORMED as error:
        raise Unavailable("The server's notification policy says nothing of private mentions.") from error


async def accept_private_mentions(line: "MastodonClient") -> None:
    """Have strangers' private mentions let through."""
    await line.call("policy", lambda sdk: sdk.update_notifications_policy(for_private_mentions=ACCEPT))
