"""Show who of the people somebody followed on X is here, and have them chosen, left out and brought back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bot.web.choosing import chosen
from bot.web.contact_rows import SHOWN, Listed, listed
from bot.web.csv_export import following_accounts
from bot.web.pages import Pages
from bot.web.progress import ProgressStreams
from bot.web.reconnecting import ReconnectPages
from bot.web.visitors import Visitor, Visitors
from handlers.batches import standing_batches
from handlers.choices import NONE_LEFT_OUT, bring_back, leave_out
from handlers.contacts import nobody_yet, not_open_yet
from handlers.context import Context
from handlers.following import plan
from handlers.follows import preview_in_short
from handlers.matching import Contact, contacts
from handlers.names import NETWORKS, plain_name
from handlers.texts import N_
from storage import accounts, follows, grants, links
from storage.records import Account, Choice, NetworkName

_NONE_TICKED: Final = N_("Nobody is ticked, so nothing changed.")
# Mastodon lets nobody follow more by hand, or by an app, in 24 hours (app/lib/rate_limiter.rb); its own import is not
# counted.
_FOLLOWS_A_DAY: Final = 400
# So many are followed one by one soon enough.
_LONG_LIST: Final = 100
_MOST_SEARCHED: Final = 100

Change = Callable[[Context, Sequence[Contact]], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class _Lacking:
    """A network for which a consent is missing, and the accounts there that could give it: id and name."""

    network: str
    accounts: list[tuple[str, str]]


class ContactsPages:
    """The page behind the link that `contacts` gives, and all that is done from it."""

    def __init__(self, pages: Pages, visitors: Visitors) -> None:
        self._pages = pages
        self._visitors = visitors
        self._reconnecting = ReconnectPages(pages, visitors)
        self._streams = ProgressStreams(visitors)

    def routes(self) -> list[Route]:
        """Return the routes of the page."""
        only = self._visitors.only
        return [
            Route("/contacts", only(self.show), methods=["GET"]),
            Route("/contacts/preview", only(self.preview), methods=["POST"]),
            Route("/contacts/skip", only(self._changing("skip", leave_out)), methods=["POST"]),
            Route("/contacts/restore", only(self._changing("restore", _brought_back)), methods=["POST"]),
            Route("/contacts/following_accounts.csv", only(self.export), methods=["GET"]),
            Route("/contacts/progress", only(self._streams.watch), methods=["GET"]),
            *self._reconnecting.routes(),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """List everybody who is here; `show` and `q` narrow the list for browsers that run no scripts."""
        show = request.query_params.get("show", "all")
        show = show if show in SHOWN else "all"
        words = request.query_params.get("q", "").strip().lower()[:_MOST_SEARCHED]
        async with self._visitors.looking(visitor) as ctx:
            # The contacts are worked out from what the registry knows; a reader leaves there what it has learnt.
            closed = not_open_yet(ctx)
            found = [] if closed else await contacts(ctx)
            view = await listed(ctx, found)
            values: dict[str, object] = {
                "closed": closed,
                "empty": None if closed or found else await nobody_yet(ctx),
                "has_list": bool(found) or bool(await links.uploads_of(ctx.connection, ctx.person.id)),
                "lacking": await _lacking(ctx, view),
                "preview": await _previewed(ctx, view.ticked),
                "newest": await follows.newest_batch_id(ctx.connection, ctx.person.id),
                "standing": await standing_batches(ctx),
                "to_import": to_import if (to_import := len(_to_import(view))) > _LONG_LIST else 0,
                "follows_a_day": _FOLLOWS_A_DAY,
                "show": show,
                "words": words,
            }
        # Thousands of rows take a while: nobody else waits for them.
        return await asyncio.to_thread(self._page, request, visitor, view, values)

    def _page(self, request: Request, visitor: Visitor, view: Listed, values: dict[str, object]) -> Response:
        show, words = str(values["show"]), str(values["words"]).removeprefix("@")
        rows = view.rows()
        shown = [each for each in rows if each.fits(show, words)]
        values |= {"rows": shown, "total": len(rows), "narrowed": show != "all" or bool(words)}
        owner = plain_name(visitor.account)
        return self._pages.page(
            request, "contacts.html", visitor.texts, values, leads_away=bool(values["lacking"]), visited=owner
        )

    async def preview(self, request: Request, visitor: Visitor) -> Response:
        """Say what would be done about the ticked contacts."""
        given = await chosen(self._pages, request)
        if given is None:
            return self._pages.forged(request)
        async with self._visitors.looking(visitor) as ctx:
            found = [] if not_open_yet(ctx) else await contacts(ctx)
            lines = await _previewed(ctx, [each for each in found if each.person_id in given.ids])
        return JSONResponse({"lines": lines})

    def _changing(self, name: str, change: Change) -> Callable[[Request, Visitor], Awaitable[Response]]:
        async def changing(request: Request, visitor: Visitor) -> Response:
            """Change what was chosen about the ticked contacts, or about the `one` whose button was pressed."""
            given = await chosen(self._pages, request)
            if given is None:
                return self._pages.forged(request)
            ids = given.ids if given.one is None else frozenset({given.one})

            async def take(ctx: Context) -> str:
                of_own = [each for each in await contacts(ctx) if each.person_id in ids]
                return await change(ctx, of_own) if of_own else ctx.text(_NONE_TICKED)

            said = await self._visitors.decide(visitor, name, take)
            if "application/json" in request.headers.get("accept", ""):
                return JSONResponse({"words": said, "rows": await self._rendered(request, visitor, ids)})
            response = RedirectResponse("/contacts", 303)
            self._pages.say_next(response, said)
            return response

        return changing

    async def _rendered(self, request: Request, visitor: Visitor, ids: frozenset[int]) -> str:
        """Render some rows anew."""
        async with self._visitors.looking(visitor) as ctx:
            view = await listed(ctx, await contacts(ctx))
        values = {"rows": view.rows([each for each in view.contacts if each.person_id in ids])}
        page = self._pages.page(request, "contacts_rows.html", visitor.texts, values, has_form=False)
        return bytes(page.body).decode()

    async def export(self, _request: Request, visitor: Visitor) -> Response:
        """Give those whom one would follow on Mastodon as the file that Mastodon's own import takes."""
        async with self._visitors.looking(visitor) as ctx:
            found = [] if not_open_yet(ctx) else await contacts(ctx)
            view = await listed(ctx, found)
        return Response(
            following_accounts(_to_import(view)),
            media_type="text/csv",
            headers={"content-disposition": 'attachment; filename="following_accounts.csv"'},
        )


async def _brought_back(ctx: Context, of_own: Sequence[Contact]) -> str:
    return await bring_back(ctx, of_own) or ctx.text(NONE_LEFT_OUT)


async def _previewed(ctx: Context, wanted: Sequence[Contact]) -> list[str]:
    return await preview_in_short(ctx, await plan(ctx, wanted, retry=True))


def _to_import(view: Listed) -> list[Account]:
    return [each for contact in view.ticked for each in contact.native if each.network is NetworkName.MASTODON]


async def _lacking(ctx: Context, view: Listed) -> list[_Lacking]:
    """Return for which networks a consent is missing: those of contacts, or all while there is nobody yet."""
    mine = await accounts.of_person(ctx.connection, ctx.person.id)
    if view.contacts:
        wished = [each for each in view.planned.unreached if each.choice is not Choice.SKIP]
        networks = {network for each in wished for network in each.networks}
    else:
        given = await grants.active(ctx.connection, ctx.person.id)
        networks = set() if given else {each.network for each in mine}
    return [
        _Lacking(NETWORKS[network], [(each.id, plain_name(each)) for each in mine if each.network is network])
        for network in sorted(networks)
    ]
