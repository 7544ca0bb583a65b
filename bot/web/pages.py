"""What all pages share: templates, languages, one-time links, and the defence of forms.

Nobody has an account here. A one-time link is what somebody knows; the first form that is sent on its page spends it
and leaves a cookie, so that the same browser may go on until the link would have expired, and no other may. Merely to
open the page spends nothing: servers fetch every link that is posted, to show a preview of it.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import jinja2
from babel import Locale
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from bot.events import Events
from handlers.texts import N_, Texts
from storage import accounts, codes
from storage.codes import Purpose
from storage.keys import LostSecretError, new_token
from storage.records import Account

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

HERE: Final = Path(__file__).parent
_FORM_COOKIE: Final = "reflock-form"
_LINK_COOKIE: Final = "reflock-link"
# What our forms without files send: a proof, a choice, at most a line of text.
_FORM_BYTES: Final = 16_384
_FORM_FIELDS: Final = 10

USED: Final = N_("This link has been used already. Each works once: ask me for a new one.")
EXPIRED: Final = N_("This link has expired. Ask me for a new one.")
UNKNOWN: Final = N_("This is not a link of mine, or a newer one has taken its place. Ask me for a new one.")
FORGED: Final = N_("This form was not sent from its own page, or too late. Open the link again.")


@dataclass(frozen=True, slots=True)
class Opened:
    """Somebody who came with a link that works. `session` says that it was spent before, by this very browser."""

    account: Account
    texts: Texts
    token: str
    expires_at: int
    session: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """A link that does not work (any more); `why` is a translatable sentence."""

    why: str


class Pages:
    """Render pages, and look after those who come to them."""

    def __init__(self, events: Events, public_url: str | None) -> None:
        self.events: Final = events
        self._secure: Final = (public_url or "").startswith("https://")
        self._templates: Final = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def texts(self, request: Request) -> Texts:
        """Choose the language of somebody we may not know: that of their link, or what their browser asks for."""
        catalogue = self.events.catalogue
        if (session := self._session(request)) is not None:
            return catalogue.texts(str(session["language"]))
        wanted = [part.split(";")[0].strip() for part in request.headers.get("accept-language", "").split(",")]
        return catalogue.texts(next((found for tag in wanted if (found := catalogue.match(tag))), None))

    def page(
        self,
        request: Request,
        template: str,
        texts: Texts,
        values: Mapping[str, Any],
        *,
        status: int = 200,
        has_form: bool = True,
        leads_away: bool = False,
    ) -> Response:
        """Render a page; `leads_away` says that a form of it redirects to a server that its user names."""
        secret = self.browser(request) or new_token()
        html = self._templates.get_template(template).render(
            text=texts.text,
            plural=texts.plural,
            language=texts.language.replace("_", "-"),
            direction="rtl" if Locale.parse(texts.language).text_direction == "rtl" else "ltr",
            csrf=self._proof(secret),
            **values,
        )
        response = HTMLResponse(html, status)
        if has_form:
            self._set_cookie(response, _FORM_COOKIE, secret)
        if leads_away:
            # Browsers apply form-action to where a form's answer redirects to, too.
            targets = "'self' https:" if self._secure else "'self' https: http:"
            response.headers["content-security-policy"] = policy(targets)
        return response

    def message(self, request: Request, texts: Texts, title: str, words: str, *, status: int = 200) -> Response:
        """Render a page that only says something; every line becomes a paragraph."""
        lines = [line for line in words.split("\n") if line.strip()]
        values = {"title": title, "lines": lines}
        return self.page(request, "message.html", texts, values, status=status, has_form=False)

    def closed(self, request: Request, closed: Closed) -> Response:
        """Say why a link does not work."""
        texts = self.texts(request)
        title = texts.text(N_("This link does not work"))
        return self.message(request, texts, title, texts.text(closed.why), status=410)

    def forged(self, request: Request) -> Response:
        """Refuse a form that does not come from our own page."""
        texts = self.texts(request)
        return self.message(request, texts, texts.text(N_("Nothing was done")), texts.text(FORGED), status=403)

    async def own_form(self, request: Request) -> dict[str, str] | None:
        """Read a form without files that was sent from its own page; None for anything else, and for what is too long."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            return None
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > _FORM_BYTES:
                    return None
            fields = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_FORM_FIELDS))
        except (ClientDisconnect, ValueError):
            return None
        return fields if self.is_own_form(request, fields.get("csrf", "")) else None

    def browser(self, request: Request) -> str | None:
        """Return the secret that only this browser knows."""
        return request.cookies.get(_FORM_COOKIE)

    def is_own_form(self, request: Request, proof: object) -> bool:
        """Tell whether a form was sent from a page that we gave to this very browser."""
        secret = self.browser(request)
        return secret is not None and hmac.compare_digest(self._proof(secret).encode(), str(proof).encode())

    def _proof(self, secret: str) -> str:
        return self.events.world.keys.digest(f"form:{secret}").hex()

    async def look(self, request: Request, purpose: Purpose) -> Opened | Closed:
        """Find out who comes with the link of this address; nothing is spent."""
        async with self.events.database.reading() as connection:
            return await self._look(connection, request, purpose)

    async def _look(self, connection: "AsyncConnection", request: Request, purpose: Purpose) -> Opened | Closed:
        token, now = str(request.path_params["token"]), self.events.clock()
        found = await codes.find(connection, self.events.world.keys, token, purpose)
        if found is None:
            return Closed(UNKNOWN)
        session = self._session(request)
        own = session is not None and hmac.compare_digest(str(session["link"]), self._link(token))
        if now >= found.expires_at:
            return Closed(EXPIRED)
        if found.used_at is not None and not own:
            return Closed(USED)
        account = await accounts.get(connection, found.account_id) if found.account_id else None
        if account is None:
            mine = (await accounts.accounts_of(connection, [found.person_id])).get(found.person_id)
            if not mine:
                return Closed(UNKNOWN)
            account = mine[0]
        person = await accounts.get_person(connection, found.person_id)
        texts = self.events.catalogue.texts(person.language) if person.language else self.texts(request)
        return Opened(account, texts, token, found.expires_at, session=found.used_at is not None)

    async def spend(self, connection: "AsyncConnection", opened: Opened, purpose: Purpose) -> bool:
        """Spend the link, unless this browser did so before; False when another one was faster."""
        if opened.session:
            return True
        used = await codes.use(connection, self.events.world.keys, opened.token, purpose, self.events.clock())
        return used is not None

    def remember(self, response: Response, opened: Opened) -> None:
        """Let this browser go on with the link that it has spent."""
        session = {"link": self._link(opened.token), "language": opened.texts.language}
        self._set_cookie(response, _LINK_COOKIE, self.events.world.keys.encrypt(json.dumps(session)).decode("ascii"))

    def _session(self, request: Request) -> dict[str, Any] | None:
        sealed = request.cookies.get(_LINK_COOKIE)
        if sealed is None:
            return None
        try:
            session = json.loads(self.events.world.keys.decrypt(sealed.encode()))
        except (LostSecretError, ValueError):  # of another key, or another secret of ours in its place
            return None
        return session if isinstance(session, dict) and {"link", "language"} <= session.keys() else None

    def _link(self, token: str) -> str:
        return self.events.world.keys.digest(f"session:{token}").hex()

    def _set_cookie(self, response: Response, name: str, value: str) -> None:
        # Lax, not Strict: the way back from a consent page comes from another site.
        response.set_cookie(name, value, path="/", httponly=True, samesite="lax", secure=self._secure)


def policy(form_targets: str = "'self'") -> str:
    """Return the content security policy: our own style sheet, and nothing else of anybody's."""
    return f"default-src 'none'; style-src 'self'; form-action {form_targets}; base-uri 'none'; frame-ancestors 'none'"
