"""Ask servers who their accounts are (RFC 7033), and believe of an account only what its own server says of it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bot.networks.errors import Refused, Unavailable
from bot.networks.patience import Patience

if TYPE_CHECKING:
    from bot.networks.guard import GuardedClient, GuardedResponse

PATH: Final = "/.well-known/webfinger"

# A server that does not answer such a question at once is slow or down, and others wait for it.
_SECONDS: Final = 5.0
_KNOWN: Final = 10_000
# Names are given away again.
_KNOWN_MS: Final = 3_600_000


async def ask(guard: "GuardedClient", base_url: str, acct: str) -> "GuardedResponse":
    """Return the answer for "alice@server", from wherever the server sends the question on to."""
    return await guard.request("GET", f"{base_url}{PATH}", params={"resource": f"acct:{acct}"})


class WebFinger:
    """What servers say of accounts, remembered; one that is silent is left alone for a while.

    `clock` gives epoch milliseconds.
    """

    def __init__(self, guard: "GuardedClient", clock: Callable[[], int]) -> None:
        self._guard = guard
        self._clock = clock
        self._actors: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._patience = Patience(clock)

    def known(self, acct: str) -> str | None:
        """Return the actor URI of "alice@server", if it was learnt not long ago."""
        actor, until = self._actors.get(acct.lower(), ("", 0))
        return actor if self._clock() < until else None

    def learn(self, acct: str, actor: str) -> str:
        """Remember an account's actor URI, and return it."""
        self._actors[acct.lower()] = (actor, self._clock() + _KNOWN_MS)
        while len(self._actors) > _KNOWN:
            self._actors.popitem(last=False)
        return actor

    async def actor_of(self, acct: str, page: str) -> str | None:
        """Return the actor URI of "alice@server", whose page is said to be somewhere; None if it is not to be had.

        The server in the name is asked, or else the page's: some communities are named by one host and served by
        another. Unavailable when none says it, and one did not answer.
        """
        if actor := self.known(acct):
            return actor
        silence: Unavailable | None = None
        for server in dict.fromkeys((_domain(acct), _host(page).lower())):
            try:
                actor = await self._named(server, acct)
                if actor and await self._is_its_own(actor, server, acct):
                    return self.learn(acct, actor)
            except Unavailable as error:
                silence = error
            except Refused:  # we do not go there
                continue
        if silence is not None:
            raise silence
        return None

    async def _is_its_own(self, actor: str, server: str, acct: str) -> bool:
        """Tell whether an actor's server says itself that the account is this actor: anybody can say so of anybody."""
        home = _host(actor)
        if not actor.startswith(f"{self._guard.base_url(home)}/"):
            return False
        # Not the answer that was had, even if it came from there: whoever was asked may have sent us on with another
        # question.
        return home.lower() == server or await self._named(home.lower(), acct) == actor

    async def _named(self, server: str, acct: str) -> str | None:
        """Return the actor URI that a server names for an account, which it has to call by the same name."""
        description = described(await self._ask(server, acct))
        # The server in the name may call its own account as it likes; any other one may know a namesake.
        if server != _domain(acct) and subject_in(description) != acct.lower():
            return None
        return actor_in(description)

    async def _ask(self, server: str, acct: str) -> "GuardedResponse":
        if self._patience.has_run_out(server):
            raise Unavailable(f"{server} did not answer a moment ago.")
        try:
            async with asyncio.timeout(_SECONDS):
                response = await ask(self._guard, self._guard.base_url(server), acct)
        except (Unavailable, TimeoutError) as error:
            self._patience.spend(server)
            raise Unavailable(f"{server} does not answer.") from error
        self._patience.restore(server)
        if response.status == 429 or response.status >= 500:
            raise Unavailable(f"{server} answered {response.status}.")
        return response


def described(response: "GuardedResponse") -> dict[str, Any]:
    """Return what was said of an account; nothing where the server knows none."""
    try:
        return response.json_object() if response.ok else {}
    except Unavailable:
        return {}


def actor_in(description: Any) -> str | None:
    """Return the actor URI that was named."""
    links = description.get("links") if isinstance(description, dict) else None
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and "json" in str(link.get("type")):
            return str(link.get("href") or "") or None
    return None


def subject_in(description: Any) -> str | None:
    """Return the name by which the account was called, "alice@server" in small letters."""
    subject = str(description.get("subject")).lower() if isinstance(description, dict) else ""
    return subject.removeprefix("acct:") if subject.startswith("acct:") and "@" in subject else None


def _domain(acct: str) -> str:
    return acct.rpartition("@")[2].lower()


def _host(url: str) -> str:
    """Return the host and port in an address; nothing for what is none."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
