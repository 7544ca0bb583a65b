"""Let people in through one-time links, and know them again while their visit lasts.

Nobody has an account here: a one-time link is what somebody knows. Merely to open it spends nothing, because servers
fetch every link that is posted, to show a preview of it; the form on its page does, which a small script sends at once.
A link belongs to the browser that spent it, so an answer that was lost on the way costs nobody their link. From then on
a cookie that only we can read says whose visit it is, on every page, until it ends.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.web.pages import Pages
from handlers.context import Context
from handlers.names import plain_name
from handlers.texts import N_, Texts
from storage import accounts, codes, deliveries
from storage.codes import Code, Purpose
from storage.records import Account, Person

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_COOKIE: Final = "reflock-visit"
_WHERE: Final = "where"  # what `connect` was given to begin with: the only thing a link hands on to its page
_MOST_TYPED: Final = 300
_DAY: Final = 86_400_000
# What pages have the bot say to one person in a day; beyond that the page alone says it. A script could press a button
# without end, and what the bot may say in an hour is everybody's.
_SAID_A_DAY: Final = 30

USED: Final = N_("This link has been used already. Each works once: ask me for a new one.")
EXPIRED: Final = N_("This link has expired. Ask me for a new one.")
UNKNOWN: Final = N_("This is not a link of mine, or a newer one has taken its place. Ask me for a new one.")
OVER: Final = N_("Your visit here is over, or it began in another browser. For a new link, send me: contacts")

NO_COOKIES: Final = N_(
    "Your browser keeps no cookies of mine, and without them I cannot know you again on the next page. Allow cookies for "
    "this site, or open the link in another browser: it is not spent."
)

# Where the links lead, by what they were given out for.
PATHS: Final = {
    Purpose.IMPORT: "/import",
    Purpose.CONNECT: "/connect",
    Purpose.CONTACTS: "/contacts",
    Purpose.EXPORT: "/me",
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody whose visit goes on until `until` (epoch milliseconds); `account` is where they were given the link."""

    person: Person
    account: Account
    texts: Texts
    until: int


@dataclass(frozen=True, slots=True)
class _Closed:
    """A link that does not work (any more); `why` is a translatable sentence."""

    why: str


Page = Callable[[Request, Visitor], Awaitable[Response]]
Decided = TypeVar("Decided")


def _same(context: Context, visitor: Visitor) -> None:
    """Raise LookupError when the visitor was forgotten meanwhile and came again: as another person to us."""
    if context.person.id != visitor.person.id:
        raise LookupError("This visitor was forgotten.")


class Visitors:
    """The door of all personal pages. `lifetime` is how long a visit lasts, in milliseconds."""

    def __init__(self, pages: Pages, *, lifetime: int) -> None:
        self._pages = pages
        self._events = pages.events
        self._lifetime = lifetime

    def routes(self) -> list[Route]:
        """Return the routes of the one-time links."""
        links = [
            route
            for purpose in PATHS
            for route in (
                Route(f"/{purpose.value}/{{token}}", self._landing(purpose), methods=["GET"]),
                Route(f"/{purpose.value}/{{token}}", self._entering(purpose), methods=["POST"]),
            )
        ]
        return [*links, Route("/leave", self.only(self._leave), methods=["POST"])]

    def only(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Serve a page to visitors only; everybody else is told how to become one."""

        async def serve(request: Request) -> Response:
            visitor = await self.of(request)
            if visitor is None:
                return self._over(request)
            try:
                return await page(request, visitor)
            except LookupError:
                if await self.of(request) is not None:
                    raise
                return self._over(request)  # forgotten while the page was being made

        return serve

    def _over(self, request: Request) -> Response:
        """Say that there is no visit (any more), and how to begin one."""
        texts = self._pages.texts(request)
        values = {"title": texts.text(N_("This visit is over")), "lines": [texts.text(OVER)], "anew": True}
        return self._pages.page(request, "message.html", texts, values, status=403, has_form=False)

    async def of(self, request: Request) -> Visitor | None:
        """Return whose visit a browser's cookie tells of; None for nobody's, an ended one, and who was forgotten."""
        visit = self._read(request)
        if visit is None:
            return None
        person_id, account_id, until = visit
        if until <= self._events.clock():
            return None
        async with self._events.database.reading() as connection:
            account = await accounts.get(connection, account_id)
            self._events.outage.passed("pages")
            # Somebody who was forgotten and came again is another person to us.
            if account is None or account.person_id != person_id:
                return None
            person = await accounts.get_person(connection, account.person_id)
        texts = self._events.catalogue.texts(person.language) if person.language else self._pages.texts(request)
        return Visitor(person, account, texts, until)

    @asynccontextmanager
    async def looking(self, visitor: Visitor) -> AsyncIterator[Context]:
        """Give a context in which a visitor's page is read; nothing can be written or said in it."""
        async with self._events.database.reading() as connection:
            context = await self._events.context(connection, "page", visitor.account.id)
            _same(context, visitor)
            context.texts = visitor.texts
            yield context

    async def decide(self, visitor: Visitor, about: str, handle: Callable[[Context], Awaitable[Decided]]) -> Decided:
        """Have something decided that a visitor did on a page; `about` is its idempotency key."""
        prefix = f"page:{visitor.person.id}:"

        async def take(context: Context) -> Decided:
            _same(context, visitor)
            context.texts = visitor.texts
            decided = await handle(context)
            if context.speeches:
                said = await deliveries.promised_since(context.connection, prefix, context.now - _DAY)
                if said >= _SAID_A_DAY:
                    # The page has said it; what others have to hear is said all the same.
                    context.speeches[:] = [
                        each for each in context.speeches if each.account.person_id != visitor.person.id
                    ]
            return decided

        return await self._events.decide(f"{prefix}{about}", visitor.account.id, take)

    def _landing(self, purpose: Purpose) -> Callable[[Request], Awaitable[Response]]:
        async def landing(request: Request) -> Response:
            """Show whom a link belongs to, and the form that spends it."""
            async with self._events.database.reading() as connection:
                found = await self._find(connection, request, purpose)
                if isinstance(found, _Closed):
                    return self._closed(request, found)
                account, person = await self._owner(connection, found)
            if account is None:
                return self._closed(request, _Closed(UNKNOWN))
            language = person.language if person is not None else None
            texts = self._events.catalogue.texts(language) if language else self._pages.texts(request)
            # Somebody else's link must not take over a visit unseen: what is done from then on would be theirs.
            before = await self.of(request)
            other = before.account if before is not None and before.person.id != account.person_id else None
            values = {
                "owner": plain_name(account),
                "other": plain_name(other) if other is not None else None,
                "where": request.query_params.get(_WHERE, "")[:_MOST_TYPED],
            }
            return self._pages.page(request, "link.html", texts, values)

        return landing

    def _entering(self, purpose: Purpose) -> Callable[[Request], Awaitable[Response]]:
        async def entering(request: Request) -> Response:
            """Spend the link, begin the visit, and lead on to the page."""
            form = await self._pages.own_form(request)
            browser = self._pages.browser(request)
            if browser is None:
                return self._closed(request, _Closed(NO_COOKIES), status=400)
            if form is None:
                return self._pages.forged(request)
            token, keys, now = str(request.path_params["token"]), self._events.world.keys, self._events.clock()
            async with self._events.database.transaction() as connection:
                found = await self._find(connection, request, purpose)
                if isinstance(found, _Closed):
                    return self._closed(request, found)
                spent = await codes.use(connection, keys, token, purpose, now, by=browser)
                account, _ = await self._owner(connection, found)
            if spent is None or account is None:
                return self._closed(request, _Closed(USED if spent is None else UNKNOWN))
            where = form.get(_WHERE, "")[:_MOST_TYPED]
            response = RedirectResponse(PATHS[purpose] + (f"?{urlencode({_WHERE: where})}" if where else ""), 303)
            self._begin(response, account)
            return response

        return entering

    async def _find(self, connection: "AsyncConnection", request: Request, purpose: Purpose) -> Code | _Closed:
        keys, browser = self._events.world.keys, self._pages.browser(request)
        found = await codes.find(connection, keys, str(request.path_params["token"]), purpose)
        if found is None:
            return _Closed(UNKNOWN)
        if self._events.clock() >= found.expires_at:
            return _Closed(EXPIRED)
        if found.used_at is not None and not found.is_used_by(keys, browser):
            return _Closed(USED)
        return found

    async def _owner(self, connection: "AsyncConnection", found: Code) -> tuple[Account | None, Person | None]:
        """Return the account to which a link was given, or another one of its person's."""
        account = await accounts.get(connection, found.account_id) if found.account_id else None
        if account is None:
            mine = await accounts.of_person(connection, found.person_id)
            if not mine:
                return None, None
            account = mine[0]
        return account, await accounts.get_person(connection, account.person_id)

    def _begin(self, response: Response, account: Account) -> None:
        visit = {"person": account.person_id, "account": account.id, "until": self._events.clock() + self._lifetime}
        self._pages.seal(response, _COOKIE, visit)
        self._pages.unsay(response)

    def _read(self, request: Request) -> tuple[int, str, int] | None:
        """Return person, account and end of a visit, as the cookie says."""
        match self._pages.unseal(request, _COOKIE):
            case {"person": int(person_id), "account": str(account_id), "until": int(until)}:
                return person_id, account_id, until
        return None

    async def _leave(self, request: Request, visitor: Visitor) -> Response:
        """End the visit in this browser."""
        if await self._pages.own_form(request) is None:
            return self._pages.forged(request)
        title, words = N_("Goodbye"), N_("Your visit in this browser is over. For a new link, send me: contacts")
        response = self._pages.message(request, visitor.texts, visitor.texts.text(title), visitor.texts.text(words))
        response.delete_cookie(_COOKIE, path="/")
        self._pages.forget_browser(response)
        return response

    def _closed(self, request: Request, closed: _Closed, *, status: int = 410) -> Response:
        texts = self._pages.texts(request)
        return self._pages.message(
            request, texts, texts.text(N_("This link does not work")), texts.text(closed.why), status=status
        )
