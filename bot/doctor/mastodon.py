"""See whether the Mastodon-API server lets the bot in, what its token may do, and what its account says."""

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from bot.doctor import Check, Finding, Mend, ok, unchecked, wrong
from bot.doctor.installation import Installation
from bot.networks.errors import LOGIN_REFUSED, NetworkError, Refused, Unavailable
from bot.networks.mastodon import ACCEPT, accept_private_mentions, mark_as_bot, private_mentions
from bot.networks.mastodon_client import MastodonClient
from bot.networks.mastodon_connection import FORBIDDEN
from bot.networks.mastodon_refusals import TOKEN_ENDED
from bot.networks.nodeinfo import software_of
from bot.networks.ratelimits import RateLimited

_SERVER: Final = "Mastodon server"
_LOGIN: Final = "Mastodon login"
# Everything bot/networks/mastodon*.py asks as the bot (https://docs.joinmastodon.org/api/oauth-scopes/).
_READS: Final = frozenset({"read:accounts", "read:follows", "read:notifications", "read:search", "read:statuses"})
_WRITES: Final = frozenset({"write:accounts", "write:notifications", "write:statuses"})
_MAKE_ANOTHER: Final = (
    "In the bot account's settings, under Development, make an application with the scopes read, write:accounts, "
    "write:notifications and write:statuses, and copy its access token to REFLOCK_MASTODON_ACCESS_TOKEN."
)
_WHO_WE_ARE: Final = "/api/v1/accounts/verify_credentials"
_MAY_NOT: Final = frozenset({LOGIN_REFUSED, FORBIDDEN})


class MastodonChecks:
    """The checks of one token."""

    def __init__(self, here: Installation) -> None:
        self._here = here
        self._section = here.loaded.config.mastodon
        self._token = here.loaded.secrets.mastodon_access_token.get_secret_value()
        self._account: Any = None

    def checks(self) -> list[Check]:
        """Return the checks."""
        unanswered = "Is the server up, and is [mastodon] base_url right?"
        return [
            Check(_SERVER, self.server, unanswered=unanswered),
            Check(_LOGIN, self.login, (_SERVER,), unanswered),
            Check("Mastodon scopes", self.scopes, (_LOGIN,), unanswered),
            Check("Mastodon bot flag", self.flag, (_LOGIN,), unanswered),
            Check("Mastodon private mentions", self.mentions, (_LOGIN,), unanswered),
            Check("Mastodon news", self.news, (_LOGIN,), unanswered),
        ]

    def _new_line(self) -> MastodonClient:
        """Return a line of its own for each check: on one they would queue up behind an answer that does not come."""
        line = MastodonClient(self._section.base_url, self._token, self._here.clock, name="doctor")
        self._here.stack.callback(line.close)
        return line

    async def server(self) -> Finding:
        """Learn whether it is one, and what software it is; NodeInfo names it, where there is one."""
        url = self._section.base_url
        if not url:
            return unchecked("[mastodon] base_url is missing")
        version = await self._version()
        if not version and not await self._asks_for_a_token():
            return wrong(
                f"{url} is no Mastodon-API server: what it answers under /api/v1 is none of that",
                "Is it up, and is [mastodon] base_url right? It is the address of the server itself, with nothing behind it.",
            )
        software = await self._named_software() or version
        return ok(f"{url} is {software}" if software else f"{url} answers, and does not say what software it is")

    async def _named_software(self) -> str:
        """Return what NodeInfo says; empty where there is none that can be read."""
        with contextlib.suppress(NetworkError):
            if software := await software_of(self._here.guard, self._section.base_url):
                return f"{software.name} {software.version}".strip()
        return ""

    async def _version(self) -> str:
        """Return which version of the API it says that it has; empty where it does not."""
        for path in ("/api/v2/instance", "/api/v1/instance"):
            with contextlib.suppress(NetworkError):
                answer = await self._here.guard.request("GET", f"{self._section.base_url}{path}")
                if answer.ok and (version := answer.json_object().get("version")):
                    return f"a server of version {version}"
        return ""

    async def _asks_for_a_token(self) -> bool:
        """Tell whether it refuses, as such servers do, to say who we are to somebody without a token.

        Pages refuse too, but in HTML.
        """
        answer = await self._here.guard.request("GET", f"{self._section.base_url}{_WHO_WE_ARE}")
        if answer.status == 429:
            raise RateLimited("The server's rate limit is reached.", answer.retry_in())
        if answer.status >= 500:
            raise Unavailable(f"{answer.url} answered {answer.status}.")
        with contextlib.suppress(Unavailable):
            return answer.status in TOKEN_ENDED and bool(answer.json_object())
        return False

    async def login(self) -> Finding:
        """See whose token it is."""
        if not self._section.base_url or not self._token:
            return unchecked("[mastodon] base_url or REFLOCK_MASTODON_ACCESS_TOKEN is missing")
        try:
            self._account = await self._credentials(self._new_line())
            name = str(self._account["username"])
        except Refused as refusal:
            return wrong(
                f"{self._section.base_url} does not take the access token: {refusal.detail or refusal.reason}",
                _MAKE_ANOTHER,
            )
        except (TypeError, LookupError) as error:
            raise Unavailable("The server does not say who we are.") from error
        return ok(f"@{name} on {self._section.base_url}")

    async def scopes(self) -> Finding:
        """See what the token may: reading is tried; of writing only what the server tells is known."""
        number = str(self._account["id"])
        accounts = "/api/v1/accounts"
        tried = {
            "read:notifications": ("/api/v1/notifications", {"types[]": "mention", "limit": "1"}),
            "read:follows": (f"{accounts}/relationships", {"id[]": number}),
            "read:statuses": (f"{accounts}/{number}/statuses", {"limit": "1"}),
            "read:accounts": (f"{accounts}/{number}", {}),
            "read:search": ("/api/v2/search", {"q": str(self._account["username"]), "type": "accounts", "limit": "1"}),
        }
        line = self._new_line()
        lacking = {scope for scope, (path, query) in tried.items() if await _may_not(line, path, query)}
        told = await _told_scopes(line)
        if told is not None:
            lacking |= {scope for scope in _READS | _WRITES if not _covered(scope, told)}
        if lacking:
            return wrong(f"the token does not cover {', '.join(sorted(lacking))}", _MAKE_ANOTHER)
        if told is None:
            return ok("the token may read all that is needed; this server does not tell whether it may write")
        return ok("the token may read and write all that is needed")

    async def flag(self) -> Finding:
        """See whether the profile says that we are a bot."""
        line = self._new_line()
        account = await self._credentials(line)
        if account.get("bot"):
            return ok("the profile says so")

        async def mark() -> None:
            if not await mark_as_bot(line):
                raise Refused("not kept", "the server keeps no such mark; say it in the profile's text")

        return wrong(
            "the profile does not say that this is a bot",
            "reflock run sets it when it starts; in the profile's settings: This is an automated account.",
            Mend(f"Mark @{account.get('username')} on {self._section.base_url} as a bot?", mark),
        )

    async def mentions(self) -> Finding:
        """See what becomes of strangers' private mentions."""
        line = self._new_line()
        try:
            policy = await private_mentions(line)
        except Refused as refusal:
            if refusal.reason in _MAY_NOT:
                return unchecked(f"the token may not read the notification policy ({refusal.detail})")
            return ok(
                "not needed: this server has no notification policy, which came with Mastodon 4.3. On an older Mastodon, "
                "see that the bot's preferences do not block direct messages from people it does not follow"
            )
        if policy == ACCEPT:
            return ok("everybody may write")
        return wrong(
            f"those of strangers are held back (for_private_mentions is {policy})",
            "reflock run lets them through when it starts; in the app: Notifications, filtered notifications.",
            Mend(
                f"Let everybody's private mentions through on {self._section.base_url}?",
                partial(accept_private_mentions, line),
            ),
        )

    async def news(self) -> Finding:
        """See how the bot hears that there is something new; nothing is wrong with polling alone."""
        polling = f"the server is asked every {self._section.poll_seconds:g} seconds"
        if not self._section.streaming:
            return ok(f"{polling}; [mastodon] streaming is off")
        address = await self._streaming_address()
        if not address:
            return ok(f"{polling}; it does not say that it streams")
        try:
            healthy = (await self._here.guard.request("GET", f"{address}/api/v1/streaming/health")).ok
        except NetworkError:
            healthy = False
        if not healthy:
            return ok(f"{polling}; it has no stream of server-sent events at {address}")
        return ok(f"streamed from {address}; beside it {polling}")

    async def _streaming_address(self) -> str:
        """Return where the server streams, as an address for HTTP; empty when it does not say."""
        with contextlib.suppress(NetworkError, LookupError, TypeError, AttributeError, ValueError):
            instance = await self._new_line().instance()
            urls = instance.get("urls") or instance["configuration"]["urls"]
            address = urlsplit(str(urls.get("streaming") or urls["streaming_api"]))
            return f"{address.scheme.replace('ws', 'http', 1)}://{address.netloc}"
        return ""

    async def _credentials(self, line: MastodonClient) -> Any:
        return await line.call("credentials", lambda sdk: sdk.account_verify_credentials())


async def _may_not(line: MastodonClient, path: str, query: Mapping[str, str]) -> bool:
    try:
        await line.read(path, **query)
    except Refused as refusal:
        return refusal.reason in _MAY_NOT
    return False


async def _told_scopes(line: MastodonClient) -> frozenset[str] | None:
    """Return the scopes of the application whose token it is: Mastodon tells them since 4.3."""
    try:
        application = await line.call("scopes", lambda sdk: sdk.app_verify_credentials())
    except Refused:
        return None
    scopes = application.get("scopes") if isinstance(application, dict) else None
    return frozenset(map(str, scopes)) if isinstance(scopes, list) and scopes else None


def _covered(scope: str, granted: frozenset[str]) -> bool:
    verb, _, what = scope.partition(":")
    return scope in granted or verb in granted or (what == "follows" and "follow" in granted)
