"""A real Mastodon-API server on which people act, by its API alone."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlsplit

import httpx
import pytest

from bot.networks.markup import html_to_text
from bot.sandbox.mastodon import ApiError
from bot.sandbox.mastodon.accounts import Visibility
from tests.contract.consent_page import walk_through
from tests.contract.town import Follows, Received, TownHands

if TYPE_CHECKING:
    from bot.sandbox.faults import Fault

Json = dict[str, Any]

OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
_PAUSE_SECONDS = 0.2


def not_tried(why: str) -> NoReturn:
    """End a test whose precondition a real server cannot offer, and say why."""
    pytest.skip(f"not tried here: {why}")


class RealHands:
    """The hands of somebody on a real server, by its API."""

    def __init__(self, town: "RealTown", token: str, login: tuple[str, str] | None) -> None:
        self._town = town
        self.token = token
        self._login = login

    id: str
    name: str
    handle: str
    actor: str

    async def arrive(self) -> None:
        """Learn who this is, and undo what earlier tests left."""
        account = await self.ask("GET", "/api/v1/accounts/verify_credentials")
        self.id, self.name = str(account["id"]), str(account["username"]).partition("@")[0]
        # Some servers tell the name's other half of everybody but oneself.
        acct = str((await self.ask("GET", f"/api/v1/accounts/{self.id}"))["acct"])
        self.handle = f"@{acct}" if "@" in acct else f"@{acct}@{self._town.domain}"
        self.actor = account.get("uri") or await self._town.actor_of(self.handle)

    async def begin_anew(self, others: Sequence["RealHands"]) -> None:
        """Be related to nobody, and take private mentions from everybody."""
        query = [("id[]", other.id) for other in others]
        for relation in await self.ask("GET", "/api/v1/accounts/relationships", params=query):
            path = f"/api/v1/accounts/{relation['id']}"
            if relation.get("blocking"):
                await self.ask("POST", f"{path}/unblock")
            if relation.get("following") or relation.get("requested"):
                await self.ask("POST", f"{path}/unfollow")
        await self._town.http.patch(
            "/api/v2/notifications/policy",
            data={"for_private_mentions": "accept"},
            headers=self._headers,
        )

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def ask(self, method: str, path: str, **content: Any) -> Any:
        """Ask the API; ApiError for what it refuses."""
        response = await self._town.http.request(method, path, headers=self._headers, **content)
        if not response.is_success:
            raise ApiError(response.status_code, response.text)
        return response.json() if response.content else {}

    async def post(self, text: str, *, visibility: Visibility = "public", reply_to: str | None = None) -> str:
        """Publish a status."""
        form = {"status": text, "visibility": visibility} | ({"in_reply_to_id": reply_to} if reply_to else {})
        return str((await self.ask("POST", "/api/v1/statuses", json=form))["id"])

    async def delete(self, status: str) -> None:
        """Delete one of one's own statuses."""
        await self.ask("DELETE", f"/api/v1/statuses/{status}")

    async def received(self, sender: TownHands, text: str) -> list[Received]:
        """Return what somebody wrote to this account."""
        entries = await self.ask("GET", "/api/v1/notifications", params={"types[]": "mention", "limit": "40"})
        statuses = [one["status"] for one in reversed(entries) if str(one["account"]["id"]) == sender.id]
        return [found for found in map(self._as_seen, statuses) if text in found.text]

    def _as_seen(self, status: Json) -> Received:
        parent = status["in_reply_to_id"]
        return Received(
            str(status["id"]),
            html_to_text(status["content"]),
            status["visibility"],
            str(parent) if parent else None,
            # snac names nobody beside the text.
            frozenset(one["username"].partition("@")[0] for one in status["mentions"])
            or frozenset(re.findall(r"(?<!\w)@(\w+)", html_to_text(status["content"]))),
        )

    async def follow(self, other: TownHands) -> None:
        """Follow somebody, or ask to."""
        await self.ask("POST", f"/api/v1/accounts/{other.id}/follow")

    async def unfollow(self, other: TownHands) -> None:
        """Cease to follow somebody."""
        await self.ask("POST", f"/api/v1/accounts/{other.id}/unfollow")

    async def accept(self, other: TownHands) -> None:
        """Let somebody follow who asked to."""
        await self.ask("POST", f"/api/v1/follow_requests/{other.id}/authorize")

    async def follows(self, other: TownHands) -> Follows:
        """Tell whether this account follows another."""
        (relation,) = await self.ask("GET", "/api/v1/accounts/relationships", params={"id[]": other.id})
        return "yes" if relation["following"] else "asked" if relation["requested"] else "no"

    async def block(self, other: TownHands) -> None:
        """Block somebody."""
        await self.ask("POST", f"/api/v1/accounts/{other.id}/block")

    async def lock(self, locked: bool) -> None:
        """Have follows be asked for, or not."""
        form = {"locked": "true" if locked else "false"}
        account = await self.ask("PATCH", "/api/v1/accounts/update_credentials", data=form)
        if account.get("locked") is not locked:
            not_tried("the server does not let an account be locked and unlocked by its API")

    async def token_for(self, scope: str) -> str:
        """Return one more token, as any app gets it."""
        client = {"client_name": "Contract", "redirect_uris": OUT_OF_BAND, "scopes": "read write follow"}
        app = (await self._town.http.post("/api/v1/apps", data=client)).json()
        query = {
            "response_type": "code",
            "client_id": app["client_id"],
            "redirect_uri": OUT_OF_BAND,
            "scope": scope,
        }
        code = await self.approve(str(httpx.URL(f"{self._town.url}/oauth/authorize", params=query)))
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": OUT_OF_BAND, "scope": scope}
        form |= {"client_id": app["client_id"], "client_secret": app["client_secret"]}
        answer = (await self._town.http.post("/oauth/token", data=form)).json()
        if set(str(answer["scope"]).split()) != set(scope.split()):
            not_tried("the server gives wider tokens than it is asked for")
        return str(answer["access_token"])

    async def approve(self, authorize_url: str, *, allow: bool = True) -> str:
        """Walk through the consent page, where a login for it was named."""
        if self._login is None:
            not_tried(f"no login of {self.name} at the server's pages was named (MASTODON_…_LOGIN, …_PASSWORD)")
        if not allow:
            not_tried("every server's consent page says no in its own way")
        return await walk_through(authorize_url, *self._login)


class RealTown:
    """Whatever server MASTODON_URL names, with the accounts whose tokens the environment holds."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.patience = 45.0
        self.url = environment["MASTODON_URL"].rstrip("/")
        self.domain = urlsplit(self.url).netloc
        once = httpx.Limits(max_keepalive_connections=0)  # some servers close a connection without a word
        self.http = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30, limits=once)
        self.flock, self.alice, self.bob = (self._hands(environment, who) for who in ("BOT", "ALICE", "BOB"))
        self._fourth = self._hands(environment, "CAROL") if "MASTODON_CAROL_TOKEN" in environment else None

    def _hands(self, environment: Mapping[str, str], who: str) -> RealHands:
        login, password = (environment.get(f"MASTODON_{who}_{what}") for what in ("LOGIN", "PASSWORD"))
        return RealHands(self, environment[f"MASTODON_{who}_TOKEN"], (login, password) if login and password else None)

    async def __aenter__(self) -> Self:
        for version in ("v2", "v1"):
            answer = await self.http.get(
                f"/api/{version}/instance", headers={"authorization": f"Bearer {self.alice.token}"}
            )
            if answer.is_success:
                told = answer.json()
                named = str(told.get("account_domain") or told.get("domain") or told.get("uri") or self.domain)
                self.domain = named.rpartition("//")[2].strip("/")
                break
        people = [one for one in (self.flock, self.alice, self.bob, self._fourth) if one is not None]
        for one in people:
            await one.arrive()
        self.domain = self.alice.handle.rpartition("@")[2]
        for one in people:
            await one.begin_anew([other for other in people if other is not one])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def actor_of(self, handle: str) -> str:
        """Return the actor URI that WebFinger gives for an account."""
        query = {"resource": f"acct:{handle.removeprefix('@')}"}
        links = (await self.http.get("/.well-known/webfinger", params=query)).json()["links"]
        return str(next(link["href"] for link in links if link["rel"] == "self"))

    async def carol(self) -> RealHands:
        """Return one account more."""
        if self._fourth is None:
            not_tried("MASTODON_CAROL_TOKEN names no fourth account")
        return self._fourth

    async def until(self, true: Callable[[], Awaitable[bool]]) -> None:
        """Ask again and again until it is true."""
        async with asyncio.timeout(self.patience):
            while not await true():  # noqa: ASYNC110  # a server tells nobody when it has shown everything
                await asyncio.sleep(_PAUSE_SECONDS)

    def plan(self, fault: "Fault") -> None:
        """Say that a real server fails when it pleases."""
        not_tried(f"a real server is not made to fail ({fault.kind} at {fault.path})")
