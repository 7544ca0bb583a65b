"""The people of a story: what somebody does in their app, done in process."""

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from bot.sandbox.journal import Effect
from bot.sandbox.mastodon.accounts import Account, Draft, Visibility
from bot.sandbox.mastodon.errors import ApiError, not_found
from bot.sandbox.mastodon.oauth import FULL_SCOPE

if TYPE_CHECKING:
    from bot.sandbox.mastodon.sandbox import MastodonSandbox


@dataclass(frozen=True, slots=True)
class ReceivedDm:
    """A private mention: its plain text as it was written, the status's id, epoch seconds, the sender's actor URI.

    A `filtered` one waits in the notification requests, where its recipient does not see it come in.
    """

    id: str
    text: str
    sender: str
    at: float
    filtered: bool


class MastodonPerson:
    """One account and the hands on its keyboard.

    What a person does here happens at once, without HTTP and beside the rate limits; what the server would refuse
    raises ApiError.
    """

    def __init__(self, sandbox: "MastodonSandbox", account: Account) -> None:
        self._sandbox = sandbox
        self._world = sandbox.world
        self.account = account
        self.actor = account.uri
        self.acct = account.name
        self.password = account.password
        self.handle = f"@{account.name}@{account.domain}"
        self.token = self.token_for(FULL_SCOPE)

    def __repr__(self) -> str:
        return f"<MastodonPerson {self.handle}>"

    @property
    def id(self) -> str:
        """Return the account's number on this server."""
        return self._world.write_id(self.account.id)

    @property
    def follows(self) -> set[str]:
        """Return the actor URIs this person follows now."""
        return {other.uri for other in self.account.following}

    @property
    def requested(self) -> set[str]:
        """Return the actor URIs this person has asked to follow."""
        return {other.uri for other in self.account.requested}

    def token_for(self, scope: str) -> str:
        """Return a new access token of this person's with these scopes."""
        return self._sandbox.oauth.issue(self.account, tuple(scope.split())).value

    # Statuses.

    def post(
        self,
        text: str,
        *,
        visibility: Visibility = "public",
        reply_to: str | None = None,
        language: str | None = None,
    ) -> str:
        """Publish a status and return its id.

        An answer addresses the author of what it answers, as every app fills in, unless the text already does.
        """
        number = self._number(reply_to) if reply_to is not None else None
        if number is not None:
            author = self._world.status(number, self.account).author
            if author is not self.account and author not in self._world.mentioned(text):
                text = f"@{author.name} {text}"
        return self._world.write_id(self._world.publish(self.account, Draft(text, visibility, number, language)).id)

    def dm(self, other: "MastodonPerson", text: str, *, reply_to: str | None = None) -> str:
        """Send a private mention and return the status's id; the other's name is put first unless it is there."""
        if other.account not in self._world.mentioned(text):
            text = f"@{other.acct} {text}"
        return self.post(text, visibility="direct", reply_to=reply_to)

    def _number(self, status_id: str) -> int:
        number = self._world.read_id(status_id)
        if number is None:
            raise not_found()
        return number

    def delete(self, status_id: str) -> None:
        """Delete one of this person's statuses."""
        self._world.delete(self.account, self._number(status_id))

    def received_dms(self, from_: "MastodonPerson | None" = None, *, filtered: bool = False) -> list[ReceivedDm]:
        """Return the private mentions that this person saw come in, oldest first; or those that were held back."""
        return [
            ReceivedDm(
                self._world.write_id(entry.status.id),
                entry.status.text,
                entry.sender.uri,
                entry.created_at,
                entry.filtered,
            )
            for entry in self.account.received
            if entry.status is not None
            and entry.filtered is filtered
            and (from_ is None or entry.sender is from_.account)
        ]

    def replies_to(self, status_id: str) -> list[Effect]:
        """Return the answers to a status, by whomever, oldest first."""
        return list(self._sandbox.journal.replies.get(status_id, ()))

    def allow_private_mentions(self, allowed: bool) -> None:
        """Let strangers' private mentions through, or hold them back."""
        self.account.policy["for_private_mentions"] = "accept" if allowed else "filter"

    # The graph.

    def follow(self, other: "MastodonPerson") -> None:
        """Follow somebody, or ask to if the account is locked."""
        self._world.graph.follow(self.account, other.account)

    def unfollow(self, other: "MastodonPerson") -> None:
        """Stop following somebody."""
        self._world.graph.unfollow(self.account, other.account)

    def accept(self, other: "MastodonPerson") -> None:
        """Let somebody follow who asked to."""
        self._world.graph.accept(self.account, other.account)

    def block(self, other: "MastodonPerson") -> None:
        """Block somebody."""
        self._world.graph.block(self.account, other.account)

    def unblock(self, other: "MastodonPerson") -> None:
        """Take back a block."""
        self.account.blocking.discard(other.account)

    def suspend(self) -> None:
        """Have the moderators suspend this account."""
        self.account.suspended = True

    # Consent.

    def sign_in(self, session: str) -> None:
        """Be signed in in the browser with this session cookie: its consent page asks for no password."""
        self._sandbox.signed_in.add(session, self.account)

    async def approve(self, authorize_url: str, *, allow: bool = True) -> str:
        """Walk through the consent page as this person; return the address it leads to, or the code it shows.

        ApiError with the page's words if it cannot go on, or if there is no address to take a refusal to.
        """
        http = self._sandbox.http
        page = await http.get(authorize_url)
        form = _Page(page.text)
        if page.status_code != 200 or not form.action:
            raise ApiError(page.status_code, form.alert or page.text)
        fields = form.fields | {"username": self.handle, "password": self.password}
        fields["decision"] = "approve" if allow else "refuse"
        answer = await http.post(page.url.join(form.action), data=fields)
        if answer.status_code != 302:
            raise ApiError(answer.status_code, _Page(answer.text).alert or answer.text)
        location = answer.headers["location"]
        if not location.startswith("/"):
            return str(location)
        return _Page((await http.get(page.url.join(location))).text).code

    def withdraw_consents(self) -> None:
        """Take every consent back in the settings of the server, without a word to the app that had it."""
        for token in self._sandbox.oauth.tokens.values():
            if token.account is self.account and token.app is not None:
                token.revoked = True


class _Page(HTMLParser):
    """Read a page of the authorization server, as a browser would."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.alert = ""
        self.code = ""
        self.fields: dict[str, str] = {}
        self._in_alert = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_alert = values.get("role") == "alert"
        if tag == "form":
            self.action = values.get("action", "")
        elif tag == "input" and values.get("type") == "hidden":
            self.fields[values["name"]] = values.get("value", "")
        elif tag == "input" and values.get("class") == "oauth-code":
            self.code = values.get("value", "")

    def handle_data(self, data: str) -> None:
        self.alert += data.strip() if self._in_alert else ""
