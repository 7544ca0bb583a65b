"""The import page, and what it does without JavaScript: a form, a limit, and a parser in a thread.

With JavaScript the page opens the archive in the browser, and sends only what `bot.web.lists` takes in.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.web.lists import ListPages, handed_over
from bot.web.pages import Pages
from bot.web.visitors import Visitor, Visitors
from handlers import imports
from handlers.archive import ArchiveError, read_archive
from handlers.claims import ArchiveMismatch
from handlers.names import plain_name
from handlers.texts import N_
from storage.keys import Keys, new_token

# X splits a list into parts of some ten thousand entries; the largest accounts' lists have a few hundred parts.
_MOST_FILES: Final = 500
_MEGABYTE: Final = 2**20
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# So much of each file stays in memory while it arrives; a browser that sends nothing for so long has gone.
_IN_MEMORY: Final = 2**16
_SILENCE_SECONDS: Final = 30
# So many forms arrive at once, of one visitor and of all.
_A_VISITOR: Final = 2
_IN_ALL: Final = 20
# A number of each kind that languages tell apart in their plurals (Arabic has six): how the page's script, which
# counts, gets its sentences.
_SAMPLES: Final = (0, 1, 2, 3, 11, 100)

_NO_FILES: Final = N_("There was no file. Choose data/following.js of your X archive, or the whole archive as a zip.")
_TOO_LARGE: Final = N_(
    "That is more than the {megabytes} MB I take at once. Unpack the archive and send only data/following.js and "
    "data/follower.js."
)
_BUSY: Final = N_("Another upload is under way just now. Try again in a moment.")
_BROKEN: Final = N_("The upload broke off or could not be read. Choose the files again, please.")


class _TooLargeError(Exception):
    """More was sent than is taken."""


class UploadPages:
    """The page behind the link that `import` gives. `most_bytes` limits one upload."""

    def __init__(self, pages: Pages, visitors: Visitors, *, most_bytes: int) -> None:
        self._pages = pages
        self._visitors = visitors
        self._most_bytes = most_bytes
        # One at a time: a list that is not as X writes it takes up to thirty times its size in memory while it is read.
        self._reading = asyncio.Semaphore(1)
        self._arriving: Counter[int] = Counter()
        self._lists = ListPages(pages, visitors, most_bytes=most_bytes, reading=self._reading)

    def routes(self) -> list[Route]:
        """Return the routes of the page."""
        return [
            Route("/import", self._visitors.only(self.show), methods=["GET"]),
            Route("/import", self._visitors.only(self.take), methods=["POST"]),
            *self._lists.routes(),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """Show the form."""
        return self._form(request, visitor)

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """Read what was uploaded; what cannot be used is said on the form."""
        person_id = visitor.person.id
        if self._arriving[person_id] >= _A_VISITOR or self._arriving.total() >= _IN_ALL:
            return self._form(request, visitor, visitor.texts.text(_BUSY), status=503)
        self._arriving[person_id] += 1
        try:
            return await self._take(request, visitor)
        finally:
            self._arriving[person_id] -= 1
            self._arriving += Counter()  # forgets who is at zero

    async def _take(self, request: Request, visitor: Visitor) -> Response:
        text = visitor.texts.text
        try:
            form = await self._received(request)
        except _TooLargeError:
            problem = text(_TOO_LARGE, megabytes=self._most_bytes // _MEGABYTE)
            return self._form(request, visitor, problem, status=413)
        except (MultiPartException, ClientDisconnect):
            return self._form(request, visitor, text(_BROKEN), status=400)
        async with _closing(form):
            if not self._pages.is_own_form(request, form.get("csrf", "")):
                return self._pages.forged(request)
            given_key = str(form.get("key", ""))
            key = given_key if _KEY.fullmatch(given_key) else new_token()
            files = [each for each in form.getlist("files") if isinstance(each, UploadFile) and each.filename]
            if not files:
                return self._form(request, visitor, text(_NO_FILES), status=400)
            try:
                async with self._reading:
                    given = await asyncio.to_thread(_read, files, self._pages.events.world.keys)
            except ArchiveError as error:
                return self._form(request, visitor, text(error.message, **error.values), status=422)
        try:
            answer = await handed_over(self._visitors, visitor, given, key)
        except ArchiveMismatch as mismatch:
            return self._form(request, visitor, str(mismatch), status=422)
        response = RedirectResponse("/contacts", 303)
        self._pages.say_next(response, answer)
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
        parser = MultiPartParser(request.headers, self._limited(request), max_files=_MOST_FILES, max_fields=10)
        parser.spool_max_size = _IN_MEMORY
        return await parser.parse()

    async def _limited(self, request: Request) -> AsyncGenerator[bytes, None]:
        taken, stream = 0, aiter(request.stream())
        while True:
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ClientDisconnect from None
            taken += len(chunk)
            if taken > self._most_bytes:
                raise _TooLargeError
            yield chunk

    def _form(self, request: Request, visitor: Visitor, problem: str = "", *, status: int = 200) -> Response:
        values = {
            "problem": problem,
            "megabytes": self._most_bytes // _MEGABYTE,
            "key": new_token(),
            "samples": _SAMPLES,
        }
        owner = plain_name(visitor.account)
        return self._pages.page(request, "import.html", visitor.texts, values, status=status, visited=owner)


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
