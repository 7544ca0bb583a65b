"""A browser as small as can be: it opens a page, fills in its form, keeps the page's cookies, goes where it is sent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from bot.sandbox.demo.lines import StepFailed


class PageProblem(StepFailed):
    """A page says that it cannot go on; the text is what it says."""


@dataclass(slots=True)
class Form:
    """One form: its hidden fields, and its buttons with a name."""

    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


def new_client() -> httpx.AsyncClient:
    """Return a client that all browsers share; it keeps no cookies, because each keeps its own."""
    nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(trust_env=False, timeout=30, cookies=nothing)


class Browser:
    """One person's browser."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http: Final = http
        self._cookies: dict[str, str] = {}

    async def get(self, url: str) -> httpx.Response:
        """Open an address."""
        return self._kept(await self._http.get(url, headers=self._headers()))

    async def post(
        self,
        url: str,
        fields: Mapping[str, str],
        files: Sequence[tuple[str, tuple[str, bytes]]] | None = None,
    ) -> httpx.Response:
        """Send a form."""
        return self._kept(await self._http.post(url, data=dict(fields), files=files, headers=self._headers()))

    async def enter(self, url: str) -> httpx.Response:
        """Open a one-time link and go on to its page, as a browser with scripts does by itself."""
        landing = await self.get(url)
        form = find_form(landing, lambda form: "csrf" in form.fields)
        answer = await self.post(url, form.fields)
        if answer.status_code != 303:
            raise PageProblem(f"{answer.status_code}: {text_of(answer.text)}")
        return await self.get(str(answer.url.join(answer.headers["location"])))

    def _headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}

    def _kept(self, response: httpx.Response) -> httpx.Response:
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name.strip()] = value.strip()
        return response


def forms_of(page: str) -> list[Form]:
    """Return the forms of a page."""
    return _Page(page).forms


def text_of(page: str) -> str:
    """Return what a page says, a paragraph a line."""
    return "\n".join(_Page(page).paragraphs)


def find_form(page: httpx.Response, fits: Callable[[Form], bool]) -> Form:
    """Return the first form that fits; PageProblem with the page's words if there is none."""
    form = next((form for form in forms_of(page.text) if fits(form)), None)
    if form is None:
        raise PageProblem(f"{page.status_code}: {text_of(page.text)}")
    return form


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.paragraphs: list[str] = []
        self._within = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form())
        elif tag == "p":
            self._within = True
            self.paragraphs.append("")
        elif tag == "input" and values.get("type") == "hidden" and self.forms:
            self.forms[-1].fields[values["name"]] = values.get("value", "")
        elif tag == "button" and values.get("name") and self.forms:
            self.forms[-1].buttons.append((values["name"], values.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        self._within = self._within and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._within:
            self.paragraphs[-1] += data
