"""Send people to where consent is given, take them in when they come back, and end what they gave."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from bot.consents import Consents
from bot.networks.errors import Refused, Unavailable
from bot.networks.oauth_atproto import CALLBACK_PATH as BLUESKY_CALLBACK
from bot.networks.oauth_atproto import METADATA_PATH
from bot.networks.oauth_mastodon import CALLBACK_PATH as MASTODON_CALLBACK
from bot.web.pages import Pages
from bot.web.reconnecting import besides_progress, to_batch
from bot.web.visitors import Visitor, Visitors
from handlers import consents as handler
from handlers.consents import Granted
from handlers.context import Context
from handlers.names import NETWORKS, plain_name
from handlers.texts import N_, Texts
from storage import accounts, follows, grants
from storage.keys import new_token
from storage.records import Account, GrantState, NetworkName

_PAGE: Final = "/connect"
_NOTHING_TYPED: Final = N_("Nothing was typed. Write your Bluesky name, or the name of your Mastodon server.")
_MOST_TYPED: Final = 300


class ConnectPages:
    """The page behind the link that `connect` gives, and the addresses to which servers send people back."""

    def __init__(self, pages: Pages, visitors: Visitors, consents: Consents) -> None:
        self._pages = pages
        self._visitors = visitors
        self._consents = consents

    def routes(self) -> list[Route]:
        """Return the routes of the pages, and those by which Bluesky's servers know us."""
        return [
            Route(BLUESKY_CALLBACK, self.back_from_bluesky, methods=["GET"]),
            Route(MASTODON_CALLBACK, self.back_from_mastodon, methods=["GET"]),
            Route(_PAGE, self._visitors.only(self.show), methods=["GET"]),
            Route(_PAGE, self._visitors.only(self.take), methods=["POST"]),
            Route(METADATA_PATH, self.client_metadata),
            Route("/jwks.json", self.jwks),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        """Show which accounts are connected, and which can be."""
        where = request.query_params.get("where", "").strip()[:_MOST_TYPED]
        is_bluesky = handler.is_on_bluesky(visitor.account, where)
        network = NetworkName.BLUESKY if is_bluesky else NetworkName.MASTODON
        return await self._form(request, visitor, typed={network: where})

    async def take(self, request: Request, visitor: Visitor) -> Response:
        """End a consent, or begin one."""
        form = await self._pages.own_form(request)
        if form is None:
            return self._pages.forged(request)
        if "disconnect" in form:
            return await self._disconnect(visitor, form["disconnect"])
        return await self._begin(request, visitor, form)

    async def _disconnect(self, visitor: Visitor, account_id: str) -> Response:
        """End the consent of one account; its owner reads of it by DM too, whoever sits at this browser."""

        async def end(ctx: Context) -> str:
            answer = await handler.disconnect_account(ctx, account_id)
            ctx.say(answer)
            return answer

        answer = await self._visitors.decide(visitor, f"disconnect:{new_token()}", end)
        response = RedirectResponse(_PAGE, 303)
        self._pages.say_next(response, answer)
        return response

    async def _begin(self, request: Request, visitor: Visitor, form: Mapping[str, str]) -> Response:
        """Begin a consent, and send the browser to the server that asks for it."""
        browser, mine = self._pages.browser(request), visitor.account
        own = next((each for each in await self._own(visitor) if each.id == form.get("account")), None)
        if own is not None:
            network, typed = own.network, {}
            where = own.id if network is NetworkName.BLUESKY else plain_name(own)
        else:
            is_bluesky = form.get("network") == NetworkName.BLUESKY.value
            network = NetworkName.BLUESKY if is_bluesky else NetworkName.MASTODON
            where = form.get("where", "").strip()[:_MOST_TYPED]
            typed = {network: where}
        if not where:
            return await self._form(request, visitor, visitor.texts.text(_NOTHING_TYPED), typed=typed, status=400)
        only = own.id if own is not None else None
        try:
            url = await self._consents.begin(network, mine.person_id, mine.id, where, only=only, browser=browser)
        except (Refused, Unavailable) as error:
            problem = handler.problem(visitor.texts, _reason(error))
            return await self._form(request, visitor, problem, typed=typed, status=422)
        return RedirectResponse(url, 303)

    async def back_from_bluesky(self, request: Request) -> Response:
        """Take in who comes back from a Bluesky server."""
        return await self._back(request, NetworkName.BLUESKY)

    async def back_from_mastodon(self, request: Request) -> Response:
        """Take in who comes back from a Mastodon-API server."""
        return await self._back(request, NetworkName.MASTODON)

    async def client_metadata(self, _request: Request) -> Response:
        """Describe us to Bluesky's authorization servers."""
        metadata = self._consents.client_metadata()
        return JSONResponse({"error": "not found"}, 404) if metadata is None else JSONResponse(metadata)

    async def jwks(self, _request: Request) -> Response:
        """Give the public keys by which Bluesky's authorization servers recognise us."""
        return JSONResponse(self._consents.jwks())

    async def _back(self, request: Request, network: NetworkName) -> Response:
        answer, browser = dict(request.query_params), self._pages.browser(request)
        try:
            granted = await self._consents.finish(network, answer, browser=browser)
        except Refused as refusal:
            return await self._failed(request, refusal.reason, 400)
        except Unavailable:
            # An empty address is this very page: nobody said no, so what the browser brought back still works.
            return await self._failed(request, "silent", 503, again="")
        return await self._granted(request, granted)

    async def _granted(self, request: Request, granted: Granted) -> Response:
        """Hand the consent to the handler; the page shows what goes out by DM as well."""
        asking = await self._asking(granted)
        if asking is None:  # forgotten while away
            await self._give_back(granted)
            return await self._failed(request, "consent_unknown", 400)

        async def take(ctx: Context) -> tuple[handler.Taken, Texts, int | None, list[str]]:
            before = await follows.newest_batch_id(ctx.connection, ctx.person.id)
            taken = await handler.granted(ctx, granted)
            ctx.say(taken.text)
            newest = await follows.newest_batch_id(ctx.connection, ctx.person.id)
            batch_id = newest if newest != before else None
            return taken, ctx.texts, batch_id, await besides_progress(ctx, batch_id, taken.text.splitlines())

        taken, texts, batch_id, lines = await self._pages.events.decide(f"consent:{new_token()}", asking.id, take)
        visitor = await self._visitors.of(request)
        if not taken.kept:
            return self._not_connected(request, visitor, texts, taken.text)
        if visitor is None or visitor.person.id != asking.person_id:
            return self._pages.message(request, texts, texts.text(N_("Connected")), taken.text)
        response = to_batch(batch_id)
        self._pages.say_next(response, "\n".join(lines))
        return response

    async def _give_back(self, granted: Granted) -> None:
        """End a consent that nobody is there for; Mastodon may have given its account's own token again: it lives on."""
        events = self._pages.events
        async with events.database.transaction() as connection:
            others = await grants.of_account(connection, granted.actor)
            if others is None or granted.network is NetworkName.BLUESKY:
                secret = events.world.keys.encrypt(granted.secret)
                await handler.give_back(connection, granted.network, secret, events.clock())
        events.on_promise()

    async def _asking(self, granted: Granted) -> Account | None:
        """Return the account that asked for the consent, or another one of its person's."""
        async with self._pages.events.database.reading() as connection:
            asking = await accounts.get(connection, granted.account_id) if granted.account_id else None
            if asking is not None and asking.person_id == granted.person_id:
                return asking
            mine = await accounts.of_person(connection, granted.person_id)
            return mine[0] if mine else None

    async def _own(self, visitor: Visitor) -> list[Account]:
        async with self._pages.events.database.reading() as connection:
            return await accounts.of_person(connection, visitor.account.person_id)

    async def _form(
        self,
        request: Request,
        visitor: Visitor,
        problem: str = "",
        *,
        typed: Mapping[NetworkName, str],
        status: int = 200,
    ) -> Response:
        own = await self._own(visitor)
        async with self._visitors.looking(visitor) as ctx:
            given = await handler.held(ctx)
        bluesky = self._consents.atproto is not None
        values = {
            "problem": problem,
            "typed": typed,
            "bluesky": bluesky,
            "given": [
                (each.id, plain_name(each), handler.describe(visitor.texts, given[each.id], each))
                for each in own
                if each.id in given
            ],
            "waiting": [
                (each.id, plain_name(each), NETWORKS[each.network])
                for each in own
                if (each.id not in given or given[each.id].state is GrantState.LOST)
                and (bluesky or each.network is not NetworkName.BLUESKY)
            ],
        }
        owner = plain_name(visitor.account)
        return self._pages.page(
            request, "connect.html", visitor.texts, values, status=status, leads_away=True, visited=owner
        )

    async def _failed(self, request: Request, reason: str, status: int, *, again: str = _PAGE) -> Response:
        visitor = await self._visitors.of(request)
        texts = visitor.texts if visitor is not None else self._pages.texts(request)
        return self._not_connected(request, visitor, texts, handler.problem(texts, reason), status=status, again=again)

    def _not_connected(
        self,
        request: Request,
        visitor: Visitor | None,
        texts: Texts,
        words: str,
        *,
        status: int = 200,
        again: str = _PAGE,
    ) -> Response:
        """Say why there is no consent and what to do; only who is on a visit can begin again from here."""
        values: dict[str, object] = {"title": texts.text(N_("Not connected")), "lines": words.splitlines()}
        if visitor is not None or again != _PAGE:
            values["again"] = again
        return self._pages.page(
            request,
            "message.html",
            texts,
            values,
            status=status,
            has_form=visitor is not None,
            visited=plain_name(visitor.account) if visitor is not None else None,
        )


def _reason(error: Refused | Unavailable) -> str:
    return error.reason if isinstance(error, Refused) else "unreachable"
