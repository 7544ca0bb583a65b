"""Take in X's lists: a form, a limit, a parser in a thread, and the same handler as for a DM."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from bot.web.pages import USED, Closed, Opened, Pages
from handlers import imports
from handlers.archive import ArchiveError, read_archive
from handlers.context import Context
from handlers.texts import N_
from storage.codes import Purpose
from storage.keys import Keys, new_token

# X splits a list into parts of some ten thousand entries; the largest accounts' lists have a few hundred parts.
_MOST_FILES: Final = 500
_MEGABYTE: Final = 2**20

_NO_FILES: Final = N_("There was no file. Choose data/following.js of your X archive, or the whole archive as a zip.")
_TOO_LARGE: Final = N_(
    "That is more than the {megabytes} MB I take at once. Unpack the archive and send only data/following.js and "
    "data/follower.js."
)
_BROKEN: Final = N_("The upload broke off or could not be read. Choose the files again, please.")


class _TooLargeError(Exception):
    """More was sent than is taken."""


class UploadPages:
    """The page behind the link that `import` gives. `most_bytes` limits one upload."""

    def __init__(self, pages: Pages, *, most_bytes: int) -> None:
        self._pages = pages
        self._most_bytes = most_bytes
        # One at a time: a list that is not as X writes it takes up to thirty times its size in memory while it is read.
        self._reading = asyncio.Semaphore(1)

    def routes(self) -> list[Route]:
        """Return the routes of the page."""
        return [
            Route("/import/{token}", self.show, methods=["GET"]),
            Route("/import/{token}", self.take, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show the form."""
        opened = await self._pages.look(request, Purpose.IMPORT)
        if isinstance(opened, Closed):
            return self._pages.closed(request, opened)
        return self._form(request, opened)

    async def take(self, request: Request) -> Response:
        """Read what was uploaded; what cannot be used is said on the form, and the link still works."""
        opened = await self._pages.look(request, Purpose.IMPORT)
        if isinstance(opened, Closed):
            return self._pages.closed(request, opened)
        text = opened.texts.text
        try:
            form = await self._received(request)
        except _TooLargeError:
            problem = text(_TOO_LARGE, megabytes=self._most_bytes // _MEGABYTE)
            return self._form(request, opened, problem, status=413)
        except (MultiPartException, ClientDisconnect):
            return self._form(request, opened, text(_BROKEN), status=400)
        async with _closing(form):
            if not self._pages.is_own_form(request, form.get("csrf", "")):
                return self._pages.forged(request)
            files = [each for each in form.getlist("files") if isinstance(each, UploadFile) and each.filename]
            if not files:
                return self._form(request, opened, text(_NO_FILES), status=400)
            try:
                async with self._reading:
                    given = await asyncio.to_thread(_read, files, self._pages.events.world.keys)
            except ArchiveError as error:
                return self._form(request, opened, text(error.message, **error.values), status=422)
        return await self._decide(request, opened, given)

    async def _decide(self, request: Request, opened: Opened, given: imports.Keyed) -> Response:
        """Hand the lists to the handler; the page shows what goes out by DM as well."""

        async def take(ctx: Context) -> str | None:
            ctx.texts = opened.texts
            if not await self._pages.spend(ctx.connection, opened, Purpose.IMPORT):
                return None
            answer = await imports.received(ctx, given)
            ctx.say(answer)
            return answer

        answer = await self._pages.events.decide(f"upload:{new_token()}", opened.account.id, take)
        if answer is None:
            return self._pages.closed(request, Closed(USED))
        texts = opened.texts
        response = self._pages.message(request, texts, texts.text(N_("Your lists have arrived")), answer)
        self._pages.remember(response, opened)
        return response

    async def _received(self, request: Request) -> FormData:
        """Read the form to temporary files, and no more of it than is taken."""
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._most_bytes:
            raise _TooLargeError
        kind = request.headers.get("content-type", "").lower()
        # No browser names a charset here; with one, a file's name could decode to what cannot be shown again.
        if not kind.startswith("multipart/form-data") or "charset" in kind:
            raise MultiPartException("not a form with files")
        return await MultiPartParser(
            request.headers, self._limited(request), max_files=_MOST_FILES, max_fields=10
        ).parse()

    async def _limited(self, request: Request) -> AsyncGenerator[bytes, None]:
        taken = 0
        async for chunk in request.stream():
            taken += len(chunk)
            if taken > self._most_bytes:
                raise _TooLargeError
            yield chunk

    def _form(self, request: Request, opened: Opened, problem: str = "", *, status: int = 200) -> Response:
        values = {"problem": problem, "megabytes": self._most_bytes // _MEGABYTE}
        return self._pages.page(request, "import.html", opened.texts, values, status=status)


class _closing:  # noqa: N801  # a context manager reads as a verb
    """Close a form's temporary files, whatever happens."""

    def __init__(self, form: FormData) -> None:
        self._form = form

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_error: object) -> None:
        with suppress(OSError):
            await self._form.close()


def _read(files: list[UploadFile], keys: Keys) -> imports.Keyed:
    return imports.keyed(keys, read_archive((each.filename or "", each.file.read()) for each in files))
