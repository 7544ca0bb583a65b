"""Serve the page on loopback: forms in, and everything that changes out as it happens."""

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from hashlib import sha256
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.sandbox.bluesky.sky import StandInHands
from bot.sandbox.consent_page import SESSION_COOKIE
from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.diary import Diary
from bot.sandbox.demo.lines import Person, StepFailed
from bot.sandbox.demo.moves import Moves
from bot.sandbox.demo.stage import Stage
from bot.sandbox.mastodon.people import MastodonPerson
from bot.sandbox.play.bell import Bell
from bot.sandbox.play.cast import Cast
from bot.sandbox.play.pages import HERE, MOST_WRITTEN, Pages
from bot.sandbox.play.player import Player, enter
from bot.sandbox.server import LoopbackServer
from bot.web.pages import policy
from handlers.texts import N_, Catalogue, Texts
from storage.records import NetworkName

_FORM_BYTES: Final = 16_384
_FORM_FIELDS: Final = 10
_LONGEST_NAME: Final = 40
_HEADERS: Final = {
    "content-security-policy": policy(),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_NAMELESS: Final = N_("Write a name, and choose at least one network.")
_NOT_ARRIVED: Final = N_("{name} did not get through: {problem}")

Act = Callable[[Player, dict[str, list[str]]], Coroutine[None, None, None]]


class PlayServer:
    """The page, beside a stage on which the story has been played."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._cast = Cast(stage)
        self._pages = Pages(stage, self._cast)
        self._moves = Moves(stage, Diary())
        self._catalogue = Catalogue()
        self._bell = Bell()
        self._key = secrets.token_bytes()
        self._players: dict[str, Player] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = LoopbackServer()
        self.url: Final = self._server.url
        static = StaticFiles(directory=HERE / "static", packages=[("bot.web", "static")])
        self._server.app = Starlette(
            routes=[
                Route("/", self._door, methods=["GET"]),
                Route("/", self._begin, methods=["POST"]),
                Route("/play", self._play, methods=["GET"]),
                Route("/events", self._events, methods=["GET"]),
                Route("/archive", self._archive, methods=["GET"]),
                Route("/say", self._doing(self._say), methods=["POST"]),
                Route("/farewell", self._doing(self._farewell), methods=["POST"]),
                Route("/arrive", self._doing(self._arrive), methods=["POST"]),
                Mount("/static", static),
            ],
            middleware=[Middleware(_Careful), Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"])],
        )

    async def __aenter__(self) -> Self:
        await self._server.start()
        self._spawn(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.stop()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        while True:
            await self._stage.wire.moment()
            self._bell.ring()

    # Who plays.

    async def _door(self, request: Request) -> Response:
        session = request.cookies.get(SESSION_COOKIE) or secrets.token_urlsafe()
        return self._answer_at_the_door(request, session)

    def _answer_at_the_door(self, request: Request, session: str, problem: str = "", status: int = 200) -> Response:
        texts = self._texts(request)
        html = self._pages.door(texts, self._proof(session), self._players.get(session), texts.text(problem))
        response = HTMLResponse(html, status)
        # Strict: nobody comes here from another site, and the stand-ins of the networks are this one.
        response.set_cookie(SESSION_COOKIE, session, path="/", httponly=True, samesite="strict")
        return response

    async def _begin(self, request: Request) -> Response:
        """Open the accounts of somebody new, and sign this browser in with them."""
        form, session = await self._own_form(request), request.cookies.get(SESSION_COOKIE, "")
        if form is None:
            return RedirectResponse("/", 303)
        name = " ".join("".join(filter(str.isprintable, _first(form, "name"))).split())[:_LONGEST_NAME]
        homes = tuple(network for network in NetworkName if network.value in form.get("network", ()))
        if not name or not homes:
            return self._answer_at_the_door(request, session, _NAMELESS, 422)
        texts = self._texts(request)
        resident = await self._cast.take_part(name, homes, texts.language)
        player = self._players[session] = enter(self._stage, resident, texts)
        for line in player.lines:
            _sign_in(line.person, session)
        return RedirectResponse("/play", 303)

    async def _play(self, request: Request) -> Response:
        player, session = self._player(request)
        if player is None:
            return RedirectResponse("/", 303)
        return HTMLResponse(self._pages.page(player, self._proof(session)))

    async def _archive(self, request: Request) -> Response:
        player, _ = self._player(request)
        if player is None:
            return RedirectResponse("/", 303)
        headers = {"content-disposition": 'attachment; filename="twitter-archive.zip"'}
        return Response(player.archive(), media_type="application/zip", headers=headers)

    def _player(self, request: Request) -> tuple[Player | None, str]:
        session = request.cookies.get(SESSION_COOKIE, "")
        return self._players.get(session), session

    def _texts(self, request: Request) -> Texts:
        wanted = [part.split(";")[0].strip() for part in request.headers.get("accept-language", "").split(",")]
        return self._catalogue.texts(next((tag for tag in wanted if self._catalogue.match(tag)), None))

    # What they do.

    def _doing(self, act: Act) -> Callable[[Request], Coroutine[None, None, Response]]:
        async def do(request: Request) -> Response:
            form = await self._own_form(request)
            player, _ = self._player(request)
            if form is None or player is None:
                texts = self._texts(request)
                words = texts.text(N_("This browser plays nobody any more. Open the first page, and choose a name."))
                return Response(words, 403, media_type="text/plain")
            await act(player, form)
            self._bell.ring()
            return RedirectResponse("/play", 303)

        return do

    async def _say(self, player: Player, form: dict[str, list[str]]) -> None:
        network = next((each for each in player.feeds if each.value == _first(form, "network")), None)
        words = _first(form, "words").strip()
        if network is not None and words:
            await player.say(network, words[: MOST_WRITTEN[network]], public="public" in form)

    async def _farewell(self, player: Player, _form: dict[str, list[str]]) -> None:
        player.post_farewell()

    async def _arrive(self, player: Player, _form: dict[str, list[str]]) -> None:
        newcomer = self._cast.next_to_come(player.resident, player.coming)
        if newcomer is not None:
            player.coming.append(newcomer)
            self._spawn(self._bring(player, newcomer))

    async def _bring(self, player: Player, newcomer: Resident) -> None:
        """Have one of those who are to come register: their accounts become one person, who proves who they were."""
        lines = [self._stage.line(newcomer, network) for network in newcomer.homes]
        try:
            if len(lines) > 1:
                await self._moves.join(*lines[:2])
            await self._moves.prove(lines[0])
        except StepFailed as failure:
            player.coming.remove(newcomer)
            player.problem = player.texts.text(_NOT_ARRIVED, name=newcomer.name, problem=failure)
        self._bell.ring()

    # What they see.

    async def _events(self, request: Request) -> Response:
        player, session = self._player(request)
        if player is None:
            return Response(status_code=204)  # a browser then asks no more
        return StreamingResponse(self._changes(player, self._proof(session)), media_type="text/event-stream")

    async def _changes(self, player: Player, csrf: str) -> AsyncIterator[str]:
        """Yield what an open page lacks: everything at first, then what changes, when it does."""
        shown: dict[str, str] = {}
        lengths: dict[str, int] = {}
        while True:
            logs = {name: items for name, items in self._pages.logs(player, lengths).items() if items}
            parts = {name: part for name, part in self._pages.parts(player, csrf).items() if shown.get(name) != part}
            if not logs and not parts:
                await self._bell.heard()
                continue
            fresh = {name: {"start": lengths.get(name, 0), "items": items} for name, items in logs.items()}
            for name, items in logs.items():
                lengths[name] = lengths.get(name, 0) + len(items)
            shown |= parts
            yield f"data: {json.dumps({'parts': parts, 'logs': fresh})}\n\n"

    # The defence of forms.

    async def _own_form(self, request: Request) -> dict[str, list[str]] | None:
        """Read a form that was sent from our own page in this browser; None for anything else."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _FORM_BYTES:
                return None
        try:
            form = parse_qs(body.decode("ascii"), max_num_fields=_FORM_FIELDS)
        except ValueError:
            return None
        proof = self._proof(request.cookies.get(SESSION_COOKIE, ""))
        return form if hmac.compare_digest(proof.encode(), _first(form, "csrf").encode()) else None

    def _proof(self, session: str) -> str:
        return hmac.new(self._key, session.encode(), sha256).hexdigest()


def _sign_in(person: Person, session: str) -> None:
    """Be signed in with this browser at the consent page of the stand-in where somebody lives."""
    if isinstance(person, StandInHands):
        person.person.sign_in(session)
    elif isinstance(person, MastodonPerson):
        person.sign_in(session)


def _first(form: Mapping[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0]


class _Careful:
    """Put our headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, careful)
