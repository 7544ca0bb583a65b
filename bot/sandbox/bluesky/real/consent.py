"""The pages of a real PDS's OAuth server, walked through as a browser does, without one."""

import re
from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

_API: Final = "/@atproto/oauth-provider/~api"
_CSRF: Final = re.compile("csrf", re.IGNORECASE)


class AccountPages:
    """One browser at one PDS. `page` is the address at which it stands: of a consent, or of the account itself."""

    def __init__(self, http: httpx.AsyncClient, page: str) -> None:
        parts = urlsplit(page)
        self._http = http
        self._page = page
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._cookies: dict[str, str] = {}

    async def open(self) -> None:
        """Open the page; ValueError with its words if it cannot go on."""
        answer = self._keep(await self._http.get(self._page, headers=self._navigating("cross-site")))
        if answer.status_code != 200:
            raise ValueError(f"The page of the server says: {answer.status_code} {answer.text[:500]}")

    async def sign_in(self, handle: str, password: str, *, remember: bool = False) -> str | None:
        """Sign in; return the token with which the further steps are made, nothing if it is remembered."""
        form = {"username": handle, "password": password, "locale": "en", "remember": remember}
        token: str | None = (await self._post("sign-in", form)).get("ephemeralToken")
        return token

    async def consent(self, did: str, token: str | None, scope: str | None) -> str:
        """Say yes; return where it leads. `scope` grants only these of the scopes asked for."""
        form = {"did": did, "scope": scope} if scope is not None else {"did": did}
        return await self._follow((await self._post("consent", form, token))["url"])

    async def refuse(self) -> str:
        """Say no; return where it leads."""
        return await self._follow((await self._post("reject", {}))["url"])

    async def end_sessions(self, did: str) -> None:
        """Take back every consent that stands in the account's settings."""
        for session in await self._get("oauth-sessions", {"did": did}):
            await self._post("revoke-oauth-session", {"did": did, "tokenId": session["tokenId"]})

    async def _follow(self, url: str) -> str:
        answer = await self._http.get(url, headers={**self._navigating("same-origin"), "referer": self._page})
        return str(answer.headers.get("location") or url)

    async def _post(self, step: str, form: dict[str, Any], token: str | None = None) -> Any:
        headers = self._fetching() | ({"authorization": f"Bearer {token}"} if token else {})
        return self._read(await self._http.post(f"{self._origin}{_API}/{step}", json=form, headers=headers))

    async def _get(self, step: str, query: dict[str, str]) -> Any:
        return self._read(await self._http.get(f"{self._origin}{_API}/{step}", params=query, headers=self._fetching()))

    def _read(self, answer: httpx.Response) -> Any:
        self._keep(answer)
        if answer.status_code != 200:
            raise ValueError(f"The page of the server says: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def _keep(self, answer: httpx.Response) -> httpx.Response:
        for line in answer.headers.get_list("set-cookie"):
            self._cookies.update({name: morsel.value for name, morsel in SimpleCookie(line).items()})
        return answer

    def _cookie(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}

    def _navigating(self, site: str) -> dict[str, str]:
        # The server looks at what only a browser can say: that a person went there.
        return {
            **self._cookie(),
            "accept": "text/html",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
            "sec-fetch-site": site,
        }

    def _fetching(self) -> dict[str, str]:
        csrf = next((value for name, value in self._cookies.items() if _CSRF.search(name)), "")
        return {
            **self._cookie(),
            "origin": self._origin,
            "referer": self._page,
            "sec-fetch-mode": "same-origin",
            "sec-fetch-dest": "empty",
            "sec-fetch-site": "same-origin",
            "x-csrf-token": csrf,
        }
