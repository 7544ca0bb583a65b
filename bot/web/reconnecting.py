"""Have the chosen contacts followed, show how far that is, and take it back: each after a preview.

The preview stands beside the button of the contacts page, kept current by a script; whoever runs no scripts is shown it
on a page of its own. Every form carries the newest batch that its page knew of: when there is a newer one by now, the
form was sent twice, or something else has begun meanwhile, so nothing begins without another look.
"""

from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.web.choosing import Chosen, chosen
from bot.web.pages import Pages
from bot.web.visitors import Visitor, Visitors
from handlers.batches import progress_in, standing_batches
from handlers.contacts import not_open_yet
from handlers.context import Context
from handlers.following import plan
from handlers.follows import Begun, begin, preview_in_short, take_back, undo_preview
from handlers.matching import contacts
from handlers.names import plain_name
from storage import follows
from storage.follows import Batch


class ReconnectPages:
    """The pages from `Reconnect selected` to `Undo`."""

    def __init__(self, pages: Pages, visitors: Visitors) -> None:
        self._pages = pages
        self._visitors = visitors

    def routes(self) -> list[Route]:
        """Return the routes of the pages."""
        only = self._visitors.only
        return [
            Route("/contacts/reconnect", only(self.reconnect), methods=["POST"]),
            Route("/contacts/batch", only(self.show), methods=["GET"]),
            Route("/contacts/undo", only(self.undo), methods=["POST"]),
        ]

    async def reconnect(self, request: Request, visitor: Visitor) -> Response:
        """Begin, if what the preview said is still what would be done; otherwise show the preview."""
        given = await chosen(self._pages, request)
        if given is None:
            return self._pages.forged(request)
        if not given.fields.get("confirmed"):
            return await self._preview(request, visitor, given)
        newest = given.fields.get("newest", "")

        async def take(ctx: Context) -> Begun | None:
            if not_open_yet(ctx) is not None or newest != str(await _newest(ctx)):
                return None
            of_own = [each for each in await contacts(ctx) if each.person_id in given.ids]
            if not of_own:
                return None
            begun = await begin(ctx, of_own)
            return replace(begun, lines=await besides_progress(ctx, begun.batch_id, begun.lines))

        begun = await self._visitors.decide(visitor, f"reconnect:{newest}", take)
        if begun is None:
            return await self._preview(request, visitor, given)
        response = to_batch(begun.batch_id)
        self._pages.say_next(response, "\n".join(begun.lines))
        return response

    async def _preview(self, request: Request, visitor: Visitor, given: Chosen) -> Response:
        """Show what would be done; straight on to the last batch when all of it has begun already."""
        async with self._visitors.looking(visitor) as ctx:
            closed, newest = not_open_yet(ctx), await _newest(ctx)
            of_own = [] if closed else [each for each in await contacts(ctx) if each.person_id in given.ids]
            planned = await plan(ctx, of_own, retry=True)
            to_do = bool(planned.steps or planned.unreached)
            if of_own and not to_do and given.fields.get("confirmed"):
                return to_batch(newest)
            lines = [closed] if closed else await preview_in_short(ctx, planned)
        values = {
            "lines": lines,
            "to_do": to_do,
            "newest": newest,
            "contacts": [each.person_id for each in of_own],
            "stale": bool(given.fields.get("confirmed")) and to_do,
        }
        owner = plain_name(visitor.account)
        return self._pages.page(request, "contacts_preview.html", visitor.texts, values, visited=owner)

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """Show how far a batch is."""
        async with self._visitors.looking(visitor) as ctx:
            batch = await own_batch(ctx, request.query_params.get("batch", ""))
            if batch is None:
                return RedirectResponse("/contacts", 303)
            values = {
                "batch": batch.id,
                "undone": batch.undone_at is not None,
                "standing": await standing_batches(ctx, besides=batch.id),
                "moment": ctx.texts.moment(batch.created_at),
                "progress": await progress_in(ctx, batch),
                "can_undo": batch.undone_at is None and bool(await undo_preview(ctx, batch)),
            }
        owner = plain_name(visitor.account)
        return self._pages.page(request, "contacts_batch.html", visitor.texts, values, visited=owner)

    async def undo(self, request: Request, visitor: Visitor) -> Response:
        """Ask whether a batch is to be taken back; once that is confirmed, take it back."""
        form = await self._pages.own_form(request)
        if form is None:
            return self._pages.forged(request)
        async with self._visitors.looking(visitor) as ctx:
            batch = await own_batch(ctx, form.get("batch", ""))
            lines = await undo_preview(ctx, batch) if batch else []
        if batch is None:
            return RedirectResponse("/contacts", 303)
        if not form.get("confirmed") and batch.undone_at is None and lines:
            values = {"batch": batch.id, "lines": lines}
            owner = plain_name(visitor.account)
            return self._pages.page(request, "contacts_undo.html", visitor.texts, values, visited=owner)
        batch_id = batch.id

        async def take(ctx: Context) -> str:
            return await take_back(ctx, batch_id)

        response = to_batch(batch_id)
        self._pages.say_next(response, await self._visitors.decide(visitor, f"undo:{batch_id}", take))
        return response


async def own_batch(ctx: Context, number: str) -> Batch | None:
    """Return the person's own batch of this number."""
    batch = await follows.get_batch(ctx.connection, int(number)) if number.isdecimal() and len(number) < 19 else None
    return batch if batch is not None and batch.person_id == ctx.person.id else None


async def besides_progress(ctx: Context, batch_id: int | None, lines: Sequence[str]) -> list[str]:
    """Leave out of what is said of a batch that has begun what its page says itself."""
    batch = await follows.get_batch(ctx.connection, batch_id) if batch_id else None
    shown = (await progress_in(ctx, batch)).lines if batch is not None else []
    return [each for each in lines if each not in shown]


def to_batch(batch_id: int | None) -> RedirectResponse:
    """Lead to the page of a batch; to the contacts when there is none."""
    return RedirectResponse(f"/contacts/batch?batch={batch_id}" if batch_id else "/contacts", 303)


async def _newest(ctx: Context) -> int:
    return await follows.newest_batch_id(ctx.connection, ctx.person.id)
