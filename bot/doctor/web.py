"""See whether browsers and Bluesky's servers reach the pages, and find this Reflock there."""

from typing import Final
from urllib.parse import urlsplit

from bot.doctor import Check, Finding, ok, unchecked, wrong
from bot.doctor.installation import LOOPBACK, Installation, local_pages
from bot.networks.dpop import jwk_of_pem, thumbprint
from bot.networks.errors import NetworkError
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.oauth_atproto import AtprotoOauth

_ADDRESS: Final = "Web address"
_KEY: Final = "Client key"
_PAGES: Final = "Pages from outside"
_NEW_KEY: Final = "Make one with: reflock init --directory new, then copy its line from new/.env."
_HEALTH: Final = "/healthz"
_NO_ADDRESS: Final = "not needed: [web] public_url is empty"


class WebChecks:
    """The checks of one web address."""

    def __init__(self, here: Installation) -> None:
        self._here = here
        self._url = here.loaded.config.web.public_url
        self._pem = here.loaded.secrets.client_key.get_secret_value()
        self._is_https = urlsplit(self._url).scheme == "https"

    def checks(self) -> list[Check]:
        """Return the checks."""
        return [
            Check(_ADDRESS, self.address),
            Check(_KEY, self.key, (_ADDRESS,)),
            Check(_PAGES, self.pages, (_ADDRESS,)),
            Check(
                "OAuth metadata",
                self.metadata,
                (_ADDRESS, _KEY, _PAGES),
                "Does the reverse proxy lead every path to the bot?",
            ),
        ]

    async def address(self) -> Finding:
        """See whether the address can be one."""
        if not self._url:
            return ok("none: there are no pages; lists are typed by DM, and only Mastodon-API servers can be connected")
        if self._is_https:
            return ok(self._url)
        if urlsplit(self._url).hostname in LOOPBACK:
            return ok(f"{self._url}, for development on this machine only")
        return wrong(
            f"{self._url} is not https", "Put a reverse proxy with TLS before it, and write its https address."
        )

    async def key(self) -> Finding:
        """See whether the key that signs for the confidential client can be used."""
        if not self._is_https:
            return ok("not needed without an https address")
        if not self._pem:
            return wrong("REFLOCK_CLIENT_KEY is not set, and without it nobody on Bluesky can consent", _NEW_KEY)
        try:
            return ok(f"REFLOCK_CLIENT_KEY can be used; servers know it as {thumbprint(jwk_of_pem(self._pem))}")
        except ValueError as error:
            return wrong(f"REFLOCK_CLIENT_KEY: {error}", _NEW_KEY)

    async def pages(self) -> Finding:
        """Ask for the running bot under its public address, as far as that can be told from this machine."""
        if not self._url:
            return ok(_NO_ADDRESS)
        status, seen = await self._healthy(self._url)
        if status == 200:
            return ok(f"the bot answers at {self._url}, as seen from this machine")
        if status is not None:
            return wrong(f"the bot at {self._url} says that {seen}", "See what is said of the database.")
        local = local_pages(self._here.loaded.config)
        if not local or (await self._healthy(local))[0] is None:
            return unchecked(
                f"the bot is not running here, so that nobody can tell (seen at {self._url}: {seen}); start it with "
                "reflock run, then check again"
            )
        return wrong(
            f"the bot answers at {local}, but not at {self._url}: {seen}",
            f"Does its name lead to this machine, has the certificate not expired, and does the proxy lead to {local}?",
        )

    async def _healthy(self, url: str) -> tuple[int | None, str]:
        """Return the status and the words of a running bot; None, and what else was seen, where there is none."""
        try:
            answer = await self._here.guard.request("GET", f"{url}{_HEALTH}")
            words = answer.json_object().get("status")
        except NetworkError as error:
            return None, str(error)
        if answer.status not in (200, 503) or not isinstance(words, str):
            return None, f"an answer {answer.status} that is not the bot's"
        return answer.status, words

    async def metadata(self) -> Finding:
        """Compare the document by which Bluesky's servers know us with the one that we would serve."""
        if not self._url:
            return ok(_NO_ADDRESS)
        if not self._is_https:
            return ok("not needed: the development client is described by its address alone")
        config = self._here.loaded.config
        identities = IdentityResolver(
            self._here.guard, plc_url=config.bluesky.plc_url, resolver_url=config.bluesky.service_url
        )
        ours = AtprotoOauth(
            self._here.guard,
            identities,
            public_url=self._url,
            clock=lambda: self._here.clock() / 1000,
            signing_key=self._pem,
        )
        # Servers follow no redirect here, and read nothing but JSON.
        answer = await self._here.guard.request("GET", ours.client_id, redirects=False)
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if answer.status != 200 or kind != "application/json":
            return wrong(
                f"{ours.client_id} answers {answer.status} {kind}",
                "The reverse proxy must lead this path to the bot, without sending anybody on.",
            )
        served, meant = answer.json_object(), ours.client_metadata()
        if differing := sorted(name for name in served | meant if served.get(name) != meant.get(name)):
            return wrong(
                f"{ours.client_id} describes another client than this configuration: {', '.join(differing)}",
                "Start the bot anew, so that it takes this configuration; or does the proxy lead to another bot?",
            )
        return ok(f"{ours.client_id} describes this client")
