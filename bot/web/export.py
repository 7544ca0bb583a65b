"""Give somebody everything that is held about them, as a file."""

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.web.pages import USED, Closed, Pages
from handlers import privacy
from storage.codes import Purpose


class ExportPages:
    """The page behind the link that `export` gives; the file is given out once."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Return the routes of the page."""
        return [
            Route("/export/{token}", self.show, methods=["GET"]),
            Route("/export/{token}", self.give, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show the button that gives the file out."""
        opened = await self._pages.look(request, Purpose.EXPORT)
        if isinstance(opened, Closed):
            return self._pages.closed(request, opened)
        return self._pages.page(request, "export.html", opened.texts, {})

    async def give(self, request: Request) -> Response:
        """Spend the link and give the file out."""
        opened = await self._pages.look(request, Purpose.EXPORT)
        if isinstance(opened, Closed):
            return self._pages.closed(request, opened)
        if await self._pages.own_form(request) is None:
            return self._pages.forged(request)
        events = self._pages.events
        async with events.database.transaction() as connection:
            if not await self._pages.spend(connection, opened, Purpose.EXPORT):
                return self._pages.closed(request, Closed(USED))
            held = await privacy.everything(connection, opened.account.person_id, events.clock())
        return Response(
            json.dumps(held, ensure_ascii=False, indent=2),
            media_type="application/json",
            headers={"content-disposition": 'attachment; filename="reflock-export.json"'},
        )
