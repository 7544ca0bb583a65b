"""Take in the lists that the import page found in the browser, by an upload that goes on after a lost connection.

It is the core of tus 1.0.0 (https://tus.io/protocols/resumable-upload) with its extension Creation, and a last request
that says what came of it: POST /uploads, HEAD and PATCH /uploads/{id}, POST /uploads/{id}/finish. An upload lives in
one process: one that another process began is unknown here, and the browser begins anew.
"""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.web.packed import LARGEST, PackedError, unpacked
from bot.web.pages import FORGED, Pages
from bot.web.unfinished import Answer, TooLongError, Unfinished, Upload
from bot.web.visitors import Visitor, Visitors
from handlers import imports
from handlers.claims import ArchiveMismatch
from handlers.context import Context
from handlers.texts import N_

_NEXT: Final = "/contacts"
_TUS: Final = {"tus-resumable": "1.0.0"}
_MOST_DIGITS: Final = 12

_TOO_LARGE: Final = N_("These are more accounts than any list of X's can hold, so nothing was kept.")
_BROKEN: Final = N_("The upload broke off or could not be read. Choose the files again, please.")


async def handed_over(visitors: Visitors, visitor: Visitor, given: imports.Keyed, key: str) -> str:
    """Hand lists to the handler, and return the outcome; all of it goes out by DM. Raise ArchiveMismatch when nothing was kept.

    Who sends lists again under the same key, because the answer was lost on the way, is not told twice.
    """

    async def take(ctx: Context) -> str:
        answer = await imports.received(ctx, given)
        ctx.say(answer.full)
        return answer.outcome

    return await visitors.decide(visitor, f"upload:{key}", take)


class ListPages:
    """What the script of the import page talks to. `reading` is held while lists are read, by one at a time."""

    def __init__(self, pages: Pages, visitors: Visitors, *, most_bytes: int, reading: asyncio.Semaphore) -> None:
        self._pages = pages
        self._visitors = visitors
        self._most_bytes = min(most_bytes, LARGEST)
        self._reading = reading
        self._unfinished = Unfinished(pages.events.clock)

    def routes(self) -> list[Route]:
        """Return the routes of the upload."""
        only = self._visitors.only
        return [
            Route("/uploads", only(self.begin), methods=["POST"]),
            Route("/uploads/{id}", only(self.look), methods=["HEAD"]),
            Route("/uploads/{id}", only(self.append), methods=["PATCH"]),
            Route("/uploads/{id}/finish", only(self.finish), methods=["POST"]),
        ]

    async def begin(self, request: Request, visitor: Visitor) -> Response:
        """Make room for an upload, and say where it goes."""
        if (refused := self._refused(request, visitor)) is not None:
            return refused
        length = _number(request, "upload-length")
        if length is None:
            return Response(status_code=400, headers=_TUS)
        if length > self._most_bytes:
            return _problem(visitor, _TOO_LARGE, 413)
        upload_id = self._unfinished.begin(visitor.person.id, length)
        return Response(status_code=201, headers={**_TUS, "location": f"/uploads/{upload_id}"})

    async def look(self, request: Request, visitor: Visitor) -> Response:
        """Say how much has arrived."""
        upload = self._own(request, visitor)
        if upload is None:
            return Response(status_code=404, headers=_TUS)
        headers = {"upload-offset": str(await upload.offset()), "upload-length": str(upload.length)}
        return Response(headers={**_TUS, **headers})

    async def append(self, request: Request, visitor: Visitor) -> Response:
        """Take some more bytes; those that arrive before a connection is lost are kept."""
        if (refused := self._refused(request, visitor)) is not None:
            return refused
        upload, offset = self._own(request, visitor), _number(request, "upload-offset")
        if upload is None:
            return Response(status_code=404, headers=_TUS)
        if request.headers.get("content-type") != "application/offset+octet-stream":
            return Response(status_code=415, headers=_TUS)
        if offset is None:
            return Response(status_code=400, headers=_TUS)
        try:
            taken = await upload.append(offset, request.stream())
        except TooLongError:
            return _problem(visitor, _BROKEN, 413)
        except ClientDisconnect:
            return Response(status_code=400, headers=_TUS)  # nobody hears it
        if not taken:
            return Response(status_code=409, headers=_TUS)
        return Response(status_code=204, headers={**_TUS, "upload-offset": str(await upload.offset())})

    async def finish(self, request: Request, visitor: Visitor) -> Response:
        """Hand the lists over, once, and answer as often as is asked."""
        if (refused := self._refused(request, visitor)) is not None:
            return refused
        upload = self._own(request, visitor)
        if upload is None:
            return Response(status_code=404, headers=_TUS)
        if not upload.is_complete:
            return Response(status_code=409, headers=_TUS)
        async with upload.finishing:
            answer = upload.answer
            if answer is None:
                answer = await self._answer(visitor, upload)
                upload.finish(answer)
        if not answer.kept:
            return JSONResponse({"problem": answer.words}, 422, _TUS)
        response = JSONResponse({"next": _NEXT}, headers=_TUS)
        self._pages.say_next(response, answer.words)
        return response

    async def _answer(self, visitor: Visitor, upload: Upload) -> Answer:
        keys = self._pages.events.world.keys

        def read() -> tuple[imports.Keyed, str]:
            lists, key = unpacked(upload.content())
            return imports.keyed(keys, lists), key

        try:
            async with self._reading:
                given, key = await asyncio.to_thread(read)
            return Answer(await handed_over(self._visitors, visitor, given, key), kept=True)
        except PackedError:
            return Answer(visitor.texts.text(_BROKEN), kept=False)
        except ArchiveMismatch as mismatch:
            return Answer(str(mismatch), kept=False)

    def _own(self, request: Request, visitor: Visitor) -> Upload | None:
        return self._unfinished.find(str(request.path_params["id"]), visitor.person.id)

    def _refused(self, request: Request, visitor: Visitor) -> Response | None:
        """Refuse what our page did not send, and who speaks another version of the protocol."""
        if not self._pages.is_own_form(request, request.headers.get("x-reflock-form", "")):
            return _problem(visitor, FORGED, 403)
        if request.headers.get("tus-resumable") != _TUS["tus-resumable"]:
            return Response(status_code=412, headers={**_TUS, "tus-version": _TUS["tus-resumable"]})
        return None


def _problem(visitor: Visitor, message: str, status: int) -> Response:
    return JSONResponse({"problem": visitor.texts.text(message)}, status, _TUS)


def _number(request: Request, header: str) -> int | None:
    digits = request.headers.get(header, "")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS else None
