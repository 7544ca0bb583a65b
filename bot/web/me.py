"""Show people what is held about them, change how they are treated, give everything out, and forget them."""

import json
from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.web.pages import Pages
from bot.web.visitors import Visitor, Visitors
from handlers import held, privacy, router
from handlers.context import Context
from handlers.names import plain_name, quoted
from handlers.notices import CADENCE, DISCOVERABLE, quiet
from handlers.routing import UsageError
from handlers.self_service import AUTO, own_name
from handlers.texts import N_
from handlers.words import WordError
from storage.keys import new_token

# A form of this page is one of these commands in another shape: it takes the same words and gets the same answer.
_COMMANDS: Final = frozenset({"lang", "notify", "quiet", "auto", "discoverable", "resume"})
_COOKIES: Final = "reflock-"


class MePages:
    """The page behind the link that `export` gives."""

    def __init__(self, pages: Pages, visitors: Visitors) -> None:
        self._pages = pages
        self._visitors = visitors

    def routes(self) -> list[Route]:
        """Return the routes of the page."""
        return [
            Route("/me", self._visitors.only(self.show), methods=["GET"]),
            Route("/me", self._visitors.only(self.change), methods=["POST"]),
            Route("/me/export", self._visitors.only(self.export), methods=["POST"]),
            Route("/me/forget", self._visitors.only(self.ask), methods=["GET"]),
            Route("/me/forget", self._visitors.only(self.forget), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """Show the page."""
        return await self._page(request, visitor)

    async def change(self, request: Request, visitor: Visitor) -> Response:
        """Do what a command does; the next page begins with its answer."""
        form = await self._pages.own_form(request)
        name = form.get("command", "") if form is not None else ""
        command = router.find(name) if name in _COMMANDS else None
        if form is None or command is None:
            return self._pages.forged(request)
        words = form.get("words") or "-".join(form[each] for each in ("from", "to") if each in form)
        try:
            arguments = command.bind(words)
        except WordError as error:
            problem = visitor.texts.text(error.message, word=quoted(error.word))
            return await self._page(request, visitor, problem, status=422)
        except UsageError:  # no form of ours says that
            return self._pages.forged(request)

        async def take(ctx: Context) -> str:
            return await command.handler(ctx, *arguments) or ""

        answer = await self._visitors.decide(visitor, f"{name}:{new_token()}", take)
        response = RedirectResponse("/me", 303)
        self._pages.say_next(response, answer)
        return response

    async def export(self, request: Request, visitor: Visitor) -> Response:
        """Give everything that is held as a file."""
        if await self._pages.own_form(request) is None:
            return self._pages.forged(request)
        events = self._pages.events
        async with events.database.reading() as connection:
            everything = await privacy.everything(connection, visitor.person.id, events.clock())
        return Response(
            json.dumps(everything, ensure_ascii=False, indent=2),
            media_type="application/json",
            headers={"content-disposition": 'attachment; filename="reflock-export.json"'},
        )

    async def ask(self, request: Request, visitor: Visitor) -> Response:
        """Say what will be removed and how soon, and ask."""
        async with self._visitors.looking(visitor) as ctx:
            lines = [await privacy.what_goes(ctx), privacy.wiped_within(ctx.texts)]
        owner = plain_name(visitor.account)
        return self._pages.page(request, "me_forget.html", visitor.texts, {"lines": lines}, visited=owner)

    async def forget(self, request: Request, visitor: Visitor) -> Response:
        """Remove everything, and end the visit; nothing of ours stays in the browser either."""
        if await self._pages.own_form(request) is None:
            return self._pages.forged(request)
        with suppress(LookupError):  # the button was pressed twice: it is done already
            await self._visitors.decide(visitor, f"forget:{new_token()}", privacy.forget_now)
        texts = visitor.texts
        response = self._pages.message(request, texts, texts.text(N_("Goodbye")), privacy.farewell(texts))
        for name in request.cookies:
            if name.startswith(_COOKIES):
                response.delete_cookie(name, path="/")
        return response

    async def _page(self, request: Request, visitor: Visitor, problem: str = "", *, status: int = 200) -> Response:
        text, person = visitor.texts.text, visitor.person
        async with self._visitors.looking(visitor) as ctx:
            parts = await held.in_words(ctx)
            quiet_now = await quiet(ctx)
        values = {
            "problem": problem,
            "parts": parts,
            "quiet_now": quiet_now,
            "hours": range(24),
            "person": person,
            "spoken": visitor.texts.language,
            "languages": [(each, own_name(each)) for each in visitor.texts.catalogue.languages],
            "cadences": [(each.value, text(words)) for each, words in CADENCE.items()],
            "discoverables": [(each.value, text(words)) for each, words in DISCOVERABLE.items()],
            "autos": [("on" if on else "off", text(words)) for on, words in AUTO.items()],
        }
        owner = plain_name(visitor.account)
        return self._pages.page(request, "me.html", visitor.texts, values, status=status, visited=owner)
