"""Speak on a Mastodon-API server: every word is a status, and whom it names and how it is shown decides who reads it."""

import contextlib
import hashlib
from typing import TYPE_CHECKING, Any, Final

import structlog

from bot.networks.errors import BLOCKED, EXPOSED, GONE, NetworkError, NotAsked, Refused, Unavailable, for_later
from bot.networks.mastodon_said import said_already
from bot.networks.mastodon_statuses import MALFORMED, Ourselves, Thread, addressed, answer_visibility
from storage.records import NetworkName

if TYPE_CHECKING:
    from bot.networks import Say
    from bot.networks.mastodon_client import MastodonClient
    from bot.networks.mastodon_threads import Threads

_log = structlog.get_logger()

_STATUSES: Final = "/api/v1/statuses"


class Speaking:
    """Our mouth on a server."""

    def __init__(self, line: "MastodonClient", us: Ourselves, threads: "Threads") -> None:
        self._line = line
        self._us = us
        self._threads = threads

    async def say(self, say: "Say") -> str:
        """Answer a thread in public, or write to one account alone; nobody else is ever addressed.

        While the server does not take our token, it is Unavailable: that refuses nobody anything.
        """
        try:
            return await self._say(say)
        except Refused as refusal:
            raise for_later(refusal) from refusal

    async def _say(self, say: "Say") -> str:
        thread = Thread.read(say.thread)
        if say.public and thread is None:
            raise NotAsked(GONE, "There is no public thread to answer.")
        visibility = answer_visibility(thread.visibility) if say.public and thread is not None else "direct"
        if not say.public:
            await self._check_reachable(say, thread)
        text = addressed(say.text, say.handle, self._us)
        if say.again and (said := await said_already(self._line, self._us, say, thread, text, visibility)):
            return said
        try:
            status = await self._post(say, text, visibility, thread)
        except Refused as refusal:
            if refusal.reason == "not_found" and thread is not None and not say.public:
                # The message we answer is gone; its writer need not be.
                status = await self._post(say, text, visibility, None)
            else:
                raise _told(refusal) from refusal
        try:
            number, uri, shown_as = str(status["id"]), str(status.get("uri") or status["id"]), status.get("visibility")
        except MALFORMED as error:
            raise Unavailable("The server took a status without naming it.") from error
        if shown_as != visibility:
            await self._take_back(number, visibility, shown_as)
        if thread is not None:
            self._threads.add(number, thread.status)
        return uri

    async def _post(self, say: "Say", text: str, visibility: str, thread: Thread | None) -> Any:
        key = hashlib.sha256(f"{say.key} {thread is None}".encode()).hexdigest()
        body = {"status": text, "visibility": visibility, "language": say.language}
        if thread is not None:
            body |= {"in_reply_to_id": thread.status} | ({"spoiler_text": thread.spoiler} if thread.spoiler else {})
        # As JSON: of the form that the SDK sends Hollo makes an empty status for everybody.
        return await self._line.send("statuses", "POST", _STATUSES, json=body, headers={"idempotency-key": key})

    async def _take_back(self, number: str, asked: str, shown_as: Any) -> None:
        """Delete a status that others see than we asked for, and refuse: another attempt would fare no better."""
        outcome = "it is deleted again"
        try:
            await self._line.send("deletes", "DELETE", f"{_STATUSES}/{number}")
        except NetworkError as error:
            if not isinstance(error, Refused) or error.reason != "not_found":
                outcome = f"it could not be deleted ({error})"
        what = f"The server shows as {shown_as} what was to be {asked}; {outcome}."
        _log.error(what, network=NetworkName.MASTODON, status=number)
        raise Refused(EXPOSED if asked == "direct" else "invalid", what)

    async def _check_reachable(self, say: "Say", thread: Thread | None) -> None:
        """Refuse before anything is said when nobody would get it: the server itself swallows it without a word."""
        try:
            number = thread.account if thread is not None else await self._number_of(say)
            relations = await self._line.call("relationships", lambda sdk: sdk.account_relationships([number]))
        except Refused as refusal:
            raise _told(refusal) from refusal
        relation = relations[0] if isinstance(relations, list) and relations else None
        if relation is None:
            raise Refused(GONE, "The server does not know this account any more.")
        if relation.get("blocked_by"):
            raise Refused(BLOCKED)

    async def _number_of(self, say: "Say") -> str:
        """Find an account that we have no conversation with on our server."""
        acct = say.handle.lstrip("@")
        # Not by the search for accounts alone: GoToSocial's wants an @ before the name, snac's finds nobody.
        query = {"q": acct, "type": "accounts", "resolve": "true", "limit": "5"}
        found = await self._line.read("/api/v2/search", **query)
        accounts = found.get("accounts") if isinstance(found, dict) else None
        for account in accounts if isinstance(accounts, list) else []:
            with contextlib.suppress(*MALFORMED):
                named = self._us.full(str(account["acct"])).lower() == acct.lower()
                if named and (account.get("uri") or say.actor) == say.actor and not account.get("suspended"):
                    return str(account["id"])
        raise Refused(GONE, f"There is no account {acct} to be found.")


def _told(refusal: Refused) -> Refused:
    """Return a refusal in the port's words."""
    return Refused({"not_found": GONE, "forbidden": BLOCKED}.get(refusal.reason, refusal.reason), refusal.detail)
