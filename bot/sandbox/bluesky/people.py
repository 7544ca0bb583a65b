"""The people of a story: what somebody does in their app, done in process."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from bot.sandbox.bluesky.chat import ChatMessage
from bot.sandbox.bluesky.errors import DmRefused, XrpcError
from bot.sandbox.bluesky.ids import Json, iso
from bot.sandbox.bluesky.records import BLOCK, FOLLOW, MENTION, POST
from bot.sandbox.bluesky.world import Account, Record, World, Write
from bot.sandbox.journal import Effect

if TYPE_CHECKING:
    from bot.sandbox.bluesky.sandbox import BlueskySandbox

_AT_HANDLE = re.compile(r"(?<![\w@.])@((?:[A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*)")


class BlueskyPerson:
    """One account and the hands on its keyboard.

    What a person does here happens at once, without HTTP and beside the rate limits; what would be refused raises
    ValueError (a bad post), LookupError (nothing there) or DmRefused.
    """

    def __init__(self, sandbox: "BlueskySandbox", account: Account, password: str) -> None:
        self._sandbox = sandbox
        self._account = account
        self.did = account.did
        self.actor = account.did
        self.password = password

    def __repr__(self) -> str:
        return f"<BlueskyPerson @{self.handle}>"

    @property
    def handle(self) -> str:
        """Return the handle of the moment."""
        return self._account.handle

    @property
    def follows(self) -> set[str]:
        """Return the DIDs this person follows now."""
        return set(self._sandbox.world.following.get(self.did, ()))

    @property
    def allow_incoming(self) -> str:
        """From whom direct messages are taken: all, none or following."""
        return self._account.allow_incoming

    @allow_incoming.setter
    def allow_incoming(self, value: str) -> None:
        self._sandbox.world.set_declaration(self._account, value)

    def add_app_password(self, *, chat: bool = False) -> str:
        """Make one more password, with or without access to the chat."""
        password = f"app-{len(self._account.passwords)}-{self.did[-4:]}"
        self._account.passwords[password] = chat
        return password

    def revoke_app_password(self, password: str) -> None:
        """Take a password back, and end the sessions that were begun with it."""
        del self._account.passwords[password]
        self._sandbox.sessions.end_all(self.did, password)

    # Posts.

    def post(
        self,
        text: str,
        mention: Sequence["BlueskyPerson"] = (),
        reply_to: str | None = None,
        langs: Sequence[str] | None = None,
        written_at: float | None = None,
    ) -> str:
        """Publish a post and return its address.

        Every `@handle` of an existing account becomes a mention; those of `mention` who are not in the text are put
        before it. `written_at` is what the app takes for the time, if not the present.
        """
        absent = [other for other in mention if f"@{other.handle}" not in text]
        text = " ".join([*(f"@{other.handle}" for other in absent), text])
        value: Json = {
            "text": text,
            "createdAt": iso(self._sandbox.now() if written_at is None else written_at),
            "facets": mention_facets(self._sandbox.world, text),
        }
        if langs is not None:
            value["langs"] = list(langs)
        if reply_to is not None:
            value["reply"] = reply_refs(self._sandbox.world, reply_to)
        return self._write(Write("create", POST, value=value)).uri

    def replies_to(self, uri: str) -> list[Effect]:
        """Return the answers to a post, by whomever, oldest first."""
        return list(self._sandbox.journal.replies.get(uri, ()))

    def delete(self, uri: str) -> None:
        """Delete one of this person's own records."""
        record = self._sandbox.world.find_record(uri)
        if record is None or record.author != self.did:
            raise LookupError(f"@{self.handle} has no record {uri}.")
        self._write(Write("delete", record.collection, record.rkey))

    def _write(self, write: Write) -> Record:
        world = self._sandbox.world
        replaced = world.replaced_by(self._account, write) if write.action == "create" else []
        try:
            return world.commit(self._account, [*replaced, write])[-1][0]
        except XrpcError as error:
            raise ValueError(error.message) from error

    # Direct messages.

    def dm(self, other: "BlueskyPerson", text: str) -> str:
        """Send a direct message and return its id; DmRefused if the other does not take it."""
        chat = self._sandbox.chat
        try:
            return chat.send(self._account, chat.open(self._account, other.did), text).id
        except XrpcError as error:
            raise DmRefused(error.name, error.message) from error

    def received_dms(self, from_: "BlueskyPerson | None" = None) -> list[ChatMessage]:
        """Return the direct messages that came in, oldest first."""
        received = self._sandbox.chat.received(self.did)
        return [message for message in received if from_ is None or message.sender == from_.did]

    def accept(self, other: "BlueskyPerson") -> None:
        """Accept the other's message request."""
        convo = self._sandbox.chat.between(self._account, other.did)
        if convo is None:
            raise LookupError(f"@{other.handle} has not written to @{self.handle}.")
        self._sandbox.chat.accept(self._account, convo)

    # The graph.

    def follow(self, other: "BlueskyPerson") -> str:
        """Follow somebody and return the record's address; an earlier record is replaced, as by a real PDS."""
        return self._write(self._edge(FOLLOW, other)).uri

    def unfollow(self, other: "BlueskyPerson") -> None:
        """Take back every follow of somebody."""
        for uri in list(self._sandbox.world.follows.get((self.did, other.did), ())):
            self.delete(uri)

    def block(self, other: "BlueskyPerson") -> str:
        """Block somebody and return the record's address."""
        return self._write(self._edge(BLOCK, other)).uri

    def unblock(self, other: "BlueskyPerson") -> None:
        """Take back every block of somebody."""
        for uri in list(self._sandbox.world.blocks.get((self.did, other.did), ())):
            self.delete(uri)

    def _edge(self, collection: str, other: "BlueskyPerson") -> Write:
        return Write("create", collection, value={"subject": other.did, "createdAt": iso(self._sandbox.now())})

    # The account.

    def rename(self, new_handle: str) -> None:
        """Change the handle; the DID stays."""
        self._sandbox.world.rename(self._account, new_handle)

    def deactivate(self) -> None:
        """Close the account for the time being."""
        self._account.status = "deactivated"

    def reactivate(self) -> None:
        """Open the account again."""
        self._account.status = "active"

    def take_down(self) -> None:
        """Have the moderators suspend the account, which ends whatever its owner had begun or allowed."""
        self._account.status = "takendown"
        self._sandbox.sessions.end_all(self.did)
        self._sandbox.oauth.end_sessions(self.did)

    # Consent.

    def sign_in(self, session: str) -> None:
        """Be signed in in the browser with this session cookie: its consent page asks for no password."""
        self._sandbox.signed_in.add(session, self._account)

    async def approve(self, authorize_url: str, *, allow: bool = True, scope: str | None = None) -> str:
        """Walk through the consent page as this person; return the address it leads to.

        `scope` grants only these of the scopes asked for. ValueError with the page's words if it cannot go on.
        """
        http = self._sandbox.http
        page = await http.get(authorize_url)
        form = _Form(page.text)
        if page.status_code != 200 or not form.action:
            raise ValueError(f"The consent page says: {form.alert or page.text}")
        fields: dict[str, str | list[str]] = {**form.fields, "identifier": self.handle, "password": self.password}
        fields["scope"] = scope.split() if scope is not None else form.scopes
        fields["decision"] = "approve" if allow else "refuse"
        answer = await http.post(page.url.join(form.action), data=fields)
        if answer.status_code != 303:
            raise ValueError(f"The consent page says: {_Form(answer.text).alert or answer.text}")
        return answer.headers["location"]

    def withdraw_consents(self) -> None:
        """Take every consent back in the settings of the server, without a word to the app that had it."""
        self._sandbox.oauth.end_sessions(self.did)


def mention_facets(world: World, text: str) -> list[Json]:
    """Return a mention for every `@handle` of an account in a text."""
    facets: list[Json] = []
    for match in _AT_HANDLE.finditer(text):
        account = world.find(match[1])
        if account is not None:
            start = len(text[: match.start()].encode())
            index = {"byteStart": start, "byteEnd": start + len(match[0].encode())}
            facets.append({"index": index, "features": [{"$type": MENTION, "did": account.did}]})
    return facets


def reply_refs(world: World, uri: str) -> Json:
    """Return what a post says of the post that it answers; LookupError if there is none."""
    parent = world.find_record(uri)
    if parent is None:
        raise LookupError(f"There is no post {uri} to answer.")
    ref = {"uri": parent.uri, "cid": parent.cid}
    root = (parent.value.get("reply") or {}).get("root", ref)
    return {"root": root, "parent": ref}


class _Form(HTMLParser):
    """Read the one form of a page, as a browser would."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.alert = ""
        self.fields: dict[str, str] = {}
        self.scopes: list[str] = []
        self._in_alert = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_alert = values.get("role") == "alert"
        if tag == "form":
            self.action = values.get("action", "")
        elif tag == "input" and values.get("type") == "hidden":
            self.fields[values["name"]] = values.get("value", "")
        elif tag == "input" and values.get("name") == "scope":
            self.scopes.append(values["value"])

    def handle_data(self, data: str) -> None:
        self.alert += data.strip() if self._in_alert else ""
