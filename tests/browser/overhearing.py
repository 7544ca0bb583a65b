"""What goes wrong in a browser while nobody is looking at it."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Request, Response


class Overhearing:
    """Everything that a browser complains of, and everything it asks for; `hosts` (host:port) are those it may ask."""

    def __init__(self, context: BrowserContext, hosts: Iterable[str]) -> None:
        self.complaints: list[str] = []
        self._hosts = set(hosts)
        context.on("console", self._logged)
        context.on("weberror", lambda thrown: self.complaints.append(f"a script threw {thrown.error}"))
        context.on("request", self._requested)
        context.on("requestfailed", self._failed)
        context.on("response", self._answered)

    def _logged(self, message: ConsoleMessage) -> None:
        # What the browser logs of an answer's status is judged by that answer: below, or by the test that opens it.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(f"the console says: {message.text}")

    def _requested(self, request: Request) -> None:
        if urlsplit(request.url).netloc not in self._hosts:
            self.complaints.append(f"a stranger was asked for {request.url}")

    def _failed(self, request: Request) -> None:
        # Who leaves a page ends what it still waits for, and a download ends the navigation that led to it.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.url} failed: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.complaints.append(f"{response.url} answered {response.status}")
