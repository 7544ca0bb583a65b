"""What all pages share: templates, languages, sealed cookies, and the defence of forms."""

import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import jinja2
from babel import Locale
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response

from bot.events import Events
from handlers.texts import N_, Texts
from storage.keys import LostSecretError, new_token

HERE: Final = Path(__file__).parent
_FORM_COOKIE: Final = "reflock-form"
_SAID_COOKIE: Final = "reflock-said"
# A cookie holds 4,096 bytes (RFC 6265, 6.1); sealed, words take a third more than their bytes, four a character at most.
_MOST_SAID: Final = 600
# What our forms without files send: a proof, a choice, at most a line of text.
_FORM_BYTES: Final = 16_384
_FORM_FIELDS: Final = 10

FORGED: Final = N_("This form was not sent from its own page, or too late. Open the page again, and try once more.")


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
        """Choose the language of somebody we do not know: what their browser asks for."""
        catalogue = self.events.catalogue
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
        visited: str | None = None,
    ) -> Response:
        """Render a page.

        `leads_away` says that a form of it redirects to a server that its user names; `visited` is whose visit it
        belongs to, for the pages that only visitors see.
        """
        secret = self.browser(request) or new_token()
        said = self.unseal(request, _SAID_COOKIE) if visited is not None else None
        html = self._templates.get_template(template).render(
            text=texts.text,
            plural=texts.plural,
            number=texts.number,
            language=texts.language.replace("_", "-"),
            direction="rtl" if Locale.parse(texts.language).text_direction == "rtl" else "ltr",
            csrf=self._proof(secret),
            visited=visited,
            path=request.scope["path"],
            said=str(said["words"]).splitlines() if said is not None else [],
            **values,
        )
        response = HTMLResponse(html, status)
        if said is not None:
            response.delete_cookie(_SAID_COOKIE, path="/")
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

    def seal(self, response: Response, name: str, value: Mapping[str, object]) -> None:
        """Leave something in a browser that only we can read there."""
        sealed = self.events.world.keys.encrypt(json.dumps({"cookie": name, **value}, ensure_ascii=False))
        self._set_cookie(response, name, sealed.decode("ascii"))

    def unseal(self, request: Request, name: str) -> dict[str, Any] | None:
        """Return what we left in a browser; None where there is nothing, or nothing of ours."""
        sealed = request.cookies.get(name)
        if sealed is None:
            return None
        try:
            value = json.loads(self.events.world.keys.decrypt(sealed.encode()))
        except (LostSecretError, ValueError):  # of another key, or another secret of ours in its place
            return None
        return value if isinstance(value, dict) and value.get("cookie") == name else None

    def say_next(self, response: Response, words: str) -> None:
        """Have the next page that this browser opens begin with some words: with as many whole lines as fit."""
        whole = words if len(words) <= _MOST_SAID else words[: _MOST_SAID + 1].rpartition("\n")[0]
        self.seal(response, _SAID_COOKIE, {"words": whole or words[:_MOST_SAID]})

    def unsay(self, response: Response) -> None:
        """Take back what was to be said next: another reader may come."""
        response.delete_cookie(_SAID_COOKIE, path="/")

    def forget_browser(self, response: Response) -> None:
        """Make a browser a stranger, to the links too that it spent: the next at it may find them in its history."""
        self.unsay(response)
        response.delete_cookie(_FORM_COOKIE, path="/")

    def _set_cookie(self, response: Response, name: str, value: str) -> None:
        # Lax, not Strict: the way back from a consent page comes from another site.
        response.set_cookie(name, value, path="/", httponly=True, samesite="lax", secure=self._secure)


def policy(form_targets: str = "'self'") -> str:
    """Return the content security policy: our own style sheet and scripts, and nothing of anybody else's."""
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        f"form-action {form_targets}; base-uri 'none'; frame-ancestors 'none'"
    )
