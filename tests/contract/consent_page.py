"""Walk through the login and consent pages of whatever server, by its forms, as somebody's browser would."""

from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import httpx

_MOST_PAGES = 8


async def walk_through(authorize_url: str, login: str, password: str) -> str:
    """Sign in, say yes to whatever is asked, and return the address it leads to, or the code it shows."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as browser:
        page = await browser.get(authorize_url)
        for _ in range(_MOST_PAGES):
            while page.has_redirect_location:
                location = page.url.join(page.headers["location"])
                if location.host != page.url.host:
                    return str(location)
                page = await browser.get(location)
            form = _Form(page.text)
            if code := "".join(parse_qs(urlsplit(str(page.url)).query).get("code", [])):
                return code
            if not form.found:
                if form.code:
                    return form.code
                break
            page = await browser.request(form.method, page.url.join(form.action), data=form.filled(login, password))
    raise AssertionError(f"The consent page leads nowhere: {page.status_code} {page.url} {page.text[:500]}")


class _Form(HTMLParser):
    """The first form of a page that is not one for a search, and the code that the page shows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found = False
        self.action, self.method = "", "POST"
        self.code = ""
        self._fields: dict[str, tuple[str, str]] = {}
        self._inside = False
        self._in_code = False
        self._select = ""
        self.feed(page)

    def filled(self, login: str, password: str) -> dict[str, str]:
        """Return the fields as somebody fills them in."""
        return {
            name: password if kind == "password" else login if kind in ("email", "text") else value
            for name, (kind, value) in self._fields.items()
        }

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "code" or "oauth-code" in values.get("class", ""):
            self._in_code, self.code = tag == "code", self.code or values.get("value", "")
        if tag == "form" and not self.found and values.get("method", "get").lower() == "post":
            self.found = self._inside = True
            self.action = values.get("action", "")
        elif self._inside and tag in ("input", "button", "select") and values.get("name"):
            self._field(tag, values)
        elif self._inside and tag == "option" and self._select and not self._fields[self._select][1]:
            self._fields[self._select] = ("hidden", values.get("value", ""))

    def _field(self, tag: str, values: dict[str, str]) -> None:
        name, kind = values["name"], values.get("type", "submit" if tag == "button" else "text")
        if tag == "select":
            self._select, kind = name, "hidden"
        if kind == "checkbox" and "checked" not in values:
            return
        if kind in ("submit", "radio") and name in self._fields:  # the first button says yes
            return
        self._fields[name] = (kind, values.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.code += data.strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
        if tag == "code":
            self._in_code = False
