"""Send people to where consent is given, and take them in when they come back."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.consents import Consents
from bot.networks.errors import Refused, Unavailable
from bot.networks.oauth_atproto import CALLBACK_PATH as BLUESKY_CALLBACK
from bot.networks.oauth_mastodon import CALLBACK_PATH as MASTODON_CALLBACK
from bot.web.pages import USED, Closed, Opened, Pages
from handlers import consents as handler
from handlers.consents import Granted
from handlers.context import Context
from handlers.names import NETWORKS, plain_name
from handlers.texts import N_, Texts
from storage import accounts, grants
from storage.codes import Purpose
from storage.keys import new_token
from storage.records import Account, NetworkName

_NOTHING_TYPED: Final = N_("Nothing was typed. Write your Bluesky name, or the name of your Mastodon server.")
_MOST_TYPED: Final = 300


class ConnectPages:
    """The page behind the link that `connect` gives, and the two addresses to which servers send people back."""

    def __init__(self, pages: Pages, consents: Consents) -> None:
        self._pages = pages
        self._consents = consents

    def routes(self) -> list[Route]:
        """Return the routes of the pages."""
        return [
            Route(BLUESKY_CALLBACK, self.back_from_bluesky, methods=["GET"]),
            Route(MASTODON_CALLBACK, self.back_from_mastodon, methods=["GET"]),
            Route("/connect/{token}", self.show, methods=["GET"]),
            Route("/connect/{token}", self.begin, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """Show which accounts can be connected."""
        opened = await self._pages.look(request, Purpose.CONNECT)
        if isinstance(opened, Closed):
            return self._pages.closed(request, opened)
        return await self._form(request, opened, typed=request.query_params.get("where", "")[:_MOST_TYPED])

    async def begin(self, request: Request) -> Response:
        """Begin a consent, and send the browser to the server that asks for it."""
        opened = await self._pages.look(request, Purpose.CONNECT)
        if isinstance(opened, Closed):
            return self._pages.closed(request, opened)
        form = await self._pages.own_form(request)
        if form is None:
            return self._pages.forged(request)
        network, where, only = await self._chosen(opened, form)
        if not where:
            return await self._form(request, opened, opened.texts.text(_NOTHING_TYPED), status=400)
        async with self._pages.events.database.transaction() as connection:
            if not await self._pages.spend(connection, opened, Purpose.CONNECT):
                return self._pages.closed(request, Closed(USED))
        browser = self._pages.browser(request)
        person_id, account_id = opened.account.person_id, opened.account.id
        response: Response
        try:
            url = await self._consents.begin(network, person_id, account_id, where, only=only, browser=browser)
            response = RedirectResponse(url, 303)
        except (Refused, Unavailable) as error:
            problem = handler.problem(opened.texts, _reason(error))
            response = await self._form(request, opened, problem, typed=where, status=422)
        self._pages.remember(response, opened)
        return response

    async def _chosen(self, opened: Opened, form: Mapping[str, str]) -> tuple[NetworkName, str, str | None]:
        """Return the network, what names the server there, and the one account that may consent, if it was chosen."""
        chosen = form.get("account", "")
        for each in await self._own(opened):
            if each.id == chosen:
                where = each.id if each.network is NetworkName.BLUESKY else plain_name(each)
                return each.network, where, each.id
        is_bluesky = form.get("network") == NetworkName.BLUESKY.value
        network = NetworkName.BLUESKY if is_bluesky else NetworkName.MASTODON
        return network, form.get("where", "").strip()[:_MOST_TYPED], None

    async def back_from_bluesky(self, request: Request) -> Response:
        """Take in who comes back from a Bluesky server."""
        return await self._back(request, NetworkName.BLUESKY)

    async def back_from_mastodon(self, request: Request) -> Response:
        """Take in who comes back from a Mastodon-API server."""
        return await self._back(request, NetworkName.MASTODON)

    async def _back(self, request: Request, network: NetworkName) -> Response:
        texts = self._pages.texts(request)
        try:
            granted = await self._consents.finish(
                network, dict(request.query_params), browser=self._pages.browser(request)
            )
        except Refused as refusal:
            return self._not_connected(request, texts, handler.problem(texts, refusal.reason), 400)
        except Unavailable:
            words = texts.text(
                N_("Your server does not answer me just now. Reload this page in a moment, or send me: connect")
            )
            return self._not_connected(request, texts, words, 503)
        return await self._granted(request, granted)

    async def _granted(self, request: Request, granted: Granted) -> Response:
        """Hand the consent to the handler; the page shows what goes out by DM as well."""
        asking = await self._asking(granted)
        texts = self._pages.texts(request)
        if asking is None:  # forgotten while away
            await self._give_back(granted)
            return self._not_connected(request, texts, handler.problem(texts, "consent_unknown"), 400)

        async def take(ctx: Context) -> tuple[handler.Taken, Texts]:
            taken = await handler.granted(ctx, granted)
            ctx.say(taken.text)
            return taken, ctx.texts

        taken, texts = await self._pages.events.decide(f"consent:{new_token()}", asking.id, take)
        title = texts.text(N_("Connected")) if taken.kept else texts.text(N_("Not connected"))
        return self._pages.message(request, texts, title, taken.text)

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
            mine = (await accounts.accounts_of(connection, [granted.person_id])).get(granted.person_id, [])
            return mine[0] if mine else None

    async def _own(self, opened: Opened) -> list[Account]:
        async with self._pages.events.database.reading() as connection:
            mine = await accounts.accounts_of(connection, [opened.account.person_id])
        return mine.get(opened.account.person_id, [])

    async def _form(
        self, request: Request, opened: Opened, problem: str = "", *, typed: str = "", status: int = 200
    ) -> Response:
        own = await self._own(opened)
        async with self._pages.events.database.reading() as connection:
            given = {grant.account_id for grant in await grants.active(connection, opened.account.person_id)}
        bluesky = self._consents.atproto is not None
        values = {
            "problem": problem,
            "owner": plain_name(opened.account),
            "typed": typed,
            "bluesky": bluesky,
            "connected": [plain_name(each) for each in own if each.id in given],
            "waiting": [
                (each.id, plain_name(each), NETWORKS[each.network])
                for each in own
                if each.id not in given and (bluesky or each.network is not NetworkName.BLUESKY)
            ],
        }
        return self._pages.page(request, "connect.html", opened.texts, values, status=status, leads_away=True)

    def _not_connected(self, request: Request, texts: Texts, words: str, status: int) -> Response:
        return self._pages.message(request, texts, texts.text(N_("Not connected")), words, status=status)


def _reason(error: Refused | Unavailable) -> str:
    return error.reason if isinstance(error, Refused) else "unreachable"
