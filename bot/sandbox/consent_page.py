"""The page on which a stand-in asks for consent, and the browsers in which somebody is signed in there already."""

from html import escape
from typing import Final, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse

# Both stand-ins and the page of the demo are one host to a browser: they see the same cookies.
SESSION_COOKIE: Final = "sandbox-session"

A = TypeVar("A")

_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"></head>
<body><main><h1>{title}</h1>{body}</main></body></html>"""
_HEADERS: Final = {
    # One click is enough for who is signed in: no other page may lay itself over this one.
    "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class SignedIn(Generic[A]):
    """The browsers in which somebody is signed in, by what their session cookie says; none, unless a story signs in."""

    def __init__(self) -> None:
        self._accounts: dict[str, A] = {}

    def add(self, session: str, account: A) -> None:
        """Have a browser belong to an account."""
        self._accounts[session] = account

    def find(self, request: Request) -> A | None:
        """Return who is signed in in the browser that asks."""
        return self._accounts.get(request.cookies.get(SESSION_COOKIE, ""))


def consent_page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """Return a page; `body` is HTML."""
    return HTMLResponse(_PAGE.format(title=escape(title), body=body), status, _HEADERS)
