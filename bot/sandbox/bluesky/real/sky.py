"""A real network, and the people on it."""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.sandbox.bluesky.chat import Chat, ChatMessage
from bot.sandbox.bluesky.errors import DmRefused
from bot.sandbox.bluesky.ids import Json, iso, split_uri
from bot.sandbox.bluesky.people import mention_facets, reply_refs
from bot.sandbox.bluesky.real.consent import AccountPages
from bot.sandbox.bluesky.real.mirror import Mirror
from bot.sandbox.bluesky.real.service import ChatService
from bot.sandbox.bluesky.records import BLOCK, DECLARATION, FOLLOW, POST, PROFILE
from bot.sandbox.bluesky.settings import CHAT_DID, Settings
from bot.sandbox.faults import Fault
from bot.sandbox.server import LoopbackServer

_TIMEOUT: Final = 60.0
_CREATED: Final = "com.atproto.repo.createRecord"
# What a chat method says no with; any other failure is the network's own.
_REFUSED: Final = 400


class RealSky:
    """The network whose addresses `python -m tests.real` gives: pds, plc, control, admin, bypass.

    What its PDS publishes is repeated in `world`; the stand-in's chat service answers behind the PDS.
    """

    def __init__(self, where: Mapping[str, Any]) -> None:
        self.url: str = where["pds"]
        self.plc_url: str = where["plc"]
        self.domain = "test"
        self.poll_seconds = 0.5  # a look takes the PDS and the AppView some twenty milliseconds
        settings = Settings(now=time.time, rate_limits=False)
        self.world = Mirror(settings)
        self.chat = Chat(self.world, settings)
        self.admin: Final = str(where["admin"])
        self._control: str = where["control"]
        self.http: Final = httpx.AsyncClient(
            timeout=_TIMEOUT,
            trust_env=False,
            cookies=None,
            # People act beside the limits and the faults; the bot does not.
            headers={"x-ratelimit-bypass": where["bypass"] or "", "user-agent": "somebody"},
        )
        self._service = LoopbackServer(ChatService(self.chat, self.world, self.plc_url, self.http).app)
        self._clients = LoopbackServer(Starlette(routes=[Route("/{path:path}", self._serve_client)]))
        self._documents: dict[str, Mapping[str, Any]] = {}
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._service.start()
        await self._clients.start()
        await self._ask("POST", "/chat", {"url": self._service.url})
        self._listening = asyncio.create_task(self._listen())
        self._listening.add_done_callback(self.world.end)
        await self.settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        await self.http.aclose()
        await self._service.stop()
        await self._clients.stop()

    async def open_account(self, name: str, *, password: str | None = None) -> "RealHands":
        """Open the account `name.test`."""
        handle, password = f"{name}.{self.domain}", password or f"pw-{name}-pw"
        body = {"handle": handle, "email": f"{name}@example.com", "password": password}
        answer = await self.http.post(f"{self.url}/xrpc/com.atproto.server.createAccount", json=body)
        if answer.status_code != 200:
            raise ValueError(f"{handle}: {answer.text}")
        hands = RealHands(self, answer.json()["did"], password, answer.json()["accessJwt"])
        await hands.put(PROFILE, {"displayName": name.title()})
        await self.world.until(lambda: self.world.find(handle))
        return hands

    async def open_crowd(self, size: int) -> list[str]:
        """Return the DIDs of so many accounts that the directory and the AppView know; made once, then the same."""
        dids: list[str] = (await self._ask("POST", "/crowd", {"size": size}))["dids"]
        return dids

    async def know_client(self, document: Mapping[str, Any]) -> None:
        """Have the document that describes an OAuth client be found under its client_id, an https address."""
        parts = urlsplit(document["client_id"])
        self._documents[parts.path] = document
        await self._ask("POST", "/elsewhere", {f"{parts.scheme}://{parts.netloc}": self._clients.url})

    async def settle(self) -> None:
        """Return when the AppView has indexed what was done so far, and the mirror repeats it."""
        seq = (await self._ask("GET", "/process"))["seq"]
        await self.world.until(lambda: self.world.seq >= seq)

    async def plan(self, fault: Fault) -> None:
        """Have a request to the PDS fail."""
        await self._ask(
            "POST",
            "/faults",
            {
                "path": fault.path,
                "kind": fault.kind,
                "status": fault.status,
                "headers": dict(fault.headers),
                "body": fault.body.decode(),
                "times": fault.times,
                "after": fault.after,
                "method": fault.method,
            },
        )

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        answer = await self.http.request(method, f"{self._control}{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    async def _listen(self) -> None:
        async with self.http.stream("GET", f"{self._control}/events", timeout=None) as events:
            async for line in events.aiter_lines():
                self.world.take_in(json.loads(line))

    async def _serve_client(self, request: Request) -> Response:
        document = self._documents.get(request.url.path)
        return JSONResponse(document) if document is not None else Response(status_code=404)


class RealHands:
    """The hands of somebody on the real network; each act returns when the firehose has told of it."""

    def __init__(self, sky: RealSky, did: str, password: str, token: str) -> None:
        self._sky = sky
        self.did = self.actor = did
        self.password = password
        self._token = token
        self._app_passwords: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<RealHands @{self.handle}>"

    @property
    def handle(self) -> str:
        """Return the handle of the moment."""
        return self._sky.world.accounts[self.did].handle

    @property
    def follows(self) -> set[str]:
        """Return the DIDs this person follows, as far as the firehose has told."""
        return set(self._sky.world.following.get(self.did, ()))

    async def add_app_password(self, *, chat: bool) -> str:
        """Make one more password, with or without access to the chat."""
        name = f"app {len(self._app_passwords)}"
        made = await self._post("com.atproto.server.createAppPassword", {"name": name, "privileged": chat})
        self._app_passwords[made["password"]] = name
        return str(made["password"])

    async def revoke_app_password(self, password: str) -> None:
        """Take a password back, and end what was begun with it."""
        await self._post("com.atproto.server.revokeAppPassword", {"name": self._app_passwords.pop(password)})

    # Posts.

    async def post(
        self,
        text: str,
        *,
        reply_to: str | None = None,
        langs: Sequence[str] | None = None,
        written_at: float | None = None,
    ) -> str:
        """Publish a post and return its address."""
        value: Json = {"text": text, "facets": mention_facets(self._sky.world, text)}
        if langs is not None:
            value["langs"] = list(langs)
        if reply_to is not None:
            value["reply"] = reply_refs(self._sky.world, reply_to)
        if written_at is not None:
            value["createdAt"] = iso(written_at)
        return await self._create(POST, value)

    async def delete(self, uri: str) -> None:
        """Delete one of this person's own records."""
        _, collection, rkey = split_uri(uri) or ("", "", "")
        await self._post("com.atproto.repo.deleteRecord", {"repo": self.did, "collection": collection, "rkey": rkey})
        await self._sky.world.until(lambda: self._sky.world.find_record(uri) is None)

    async def put(self, collection: str, value: Json) -> None:
        """Write the one record of a collection that has only one."""
        record = {"$type": collection, **value}
        body = {"repo": self.did, "collection": collection, "rkey": "self", "record": record}
        cid = (await self._post("com.atproto.repo.putRecord", body))["cid"]
        await self._sky.world.until(lambda: self._has(collection, cid))

    def _has(self, collection: str, cid: str) -> bool:
        account = self._sky.world.accounts.get(self.did)
        record = account.record(collection, "self") if account else None
        return record is not None and record.cid == cid

    async def _create(self, collection: str, value: Json) -> str:
        record = {"$type": collection, "createdAt": iso(time.time()), **value}
        made = await self._post(_CREATED, {"repo": self.did, "collection": collection, "record": record})
        uri = str(made["uri"])
        await self._sky.world.until(lambda: self._sky.world.find_record(uri))
        return uri

    # Direct messages.

    async def dm(self, other: str, text: str) -> str:
        """Send a direct message and return its id; DmRefused if the other does not take it."""
        opened = await self._chat("GET", "getConvoForMembers", params={"members": other})
        body = {"convoId": opened["convo"]["id"], "message": {"text": text}}
        return str((await self._chat("POST", "sendMessage", json=body))["id"])

    def received_dms(self, sender: str | None = None) -> list[ChatMessage]:
        """Return the direct messages that came in, oldest first."""
        received = self._sky.chat.received(self.did)
        return [message for message in received if sender in (None, message.sender)]

    async def allow_incoming(self, whom: str) -> None:
        """Say from whom direct messages are taken."""
        await self.put(DECLARATION, {"allowIncoming": whom})

    async def _chat(self, verb: str, method: str, **content: Any) -> Json:
        headers = {"authorization": f"Bearer {self._token}", "atproto-proxy": f"{CHAT_DID}#bsky_chat"}
        url = f"{self._sky.url}/xrpc/chat.bsky.convo.{method}"
        answer = await self._sky.http.request(verb, url, headers=headers, **content)
        if answer.status_code == _REFUSED:
            raise DmRefused(answer.json()["error"], answer.json()["message"])
        answer.raise_for_status()
        read: Json = answer.json()
        return read

    # The graph.

    async def follow(self, other: str) -> str:
        """Follow a DID and return the record's address."""
        return await self._create(FOLLOW, {"subject": other})

    async def unfollow(self, other: str) -> None:
        """Take back every follow of a DID."""
        for uri in list(self._sky.world.follows.get((self.did, other), ())):
            await self.delete(uri)

    async def block(self, other: str) -> None:
        """Block a DID."""
        await self._create(BLOCK, {"subject": other})

    async def unblock(self, other: str) -> None:
        """Take back every block of a DID."""
        for uri in list(self._sky.world.blocks.get((self.did, other), ())):
            await self.delete(uri)

    # The account.

    async def rename(self, name: str) -> None:
        """Take another name under the network's domain."""
        handle = f"{name}.{self._sky.domain}"
        await self._post("com.atproto.identity.updateHandle", {"handle": handle})
        await self._sky.world.until(lambda: self.handle == handle)

    async def deactivate(self) -> None:
        """Close the account for the time being."""
        await self._post("com.atproto.server.deactivateAccount", {})
        await self._until_status("deactivated")

    async def reactivate(self) -> None:
        """Open the account again."""
        await self._post("com.atproto.server.activateAccount")
        await self._until_status("active")

    async def take_down(self) -> None:
        """Have the moderators suspend the account."""
        body = {
            "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": self.did},
            "takedown": {"applied": True, "ref": "moderation"},
        }
        await self._post("com.atproto.admin.updateSubjectStatus", body, authorization=self._sky.admin)
        await self._until_status("takendown")

    async def _until_status(self, status: str) -> None:
        await self._sky.world.until(lambda: self._sky.world.accounts[self.did].status == status)

    # Consent.

    async def approve(self, authorize_url: str, *, allow: bool = True, scope: str | None = None) -> str:
        """Sign in at the consent page and say yes or no; return the address it leads to."""
        pages = AccountPages(self._sky.http, authorize_url)
        await pages.open()
        if not allow:
            return await pages.refuse()
        return await pages.consent(self.did, await pages.sign_in(self.handle, self.password), scope)

    async def withdraw_consents(self) -> None:
        """Take every consent back in the settings of the server."""
        pages = AccountPages(self._sky.http, f"{self._sky.url}/account")
        await pages.open()
        await pages.sign_in(self.handle, self.password, remember=True)
        await pages.end_sessions(self.did)

    async def _post(self, nsid: str, body: Json | None = None, *, authorization: str = "") -> Json:
        headers = {"authorization": authorization or f"Bearer {self._token}"}
        answer = await self._sky.http.post(f"{self._sky.url}/xrpc/{nsid}", json=body, headers=headers)
        if answer.status_code != 200:
            raise ValueError(f"{nsid}: {answer.status_code} {answer.text}")
        read: Json = answer.json() if answer.content else {}
        return read
