"""How others find the server's accounts: WebFinger, NodeInfo and the actors themselves."""

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.sandbox.mastodon.accounts import Account
from bot.sandbox.mastodon.views import VERSION

if TYPE_CHECKING:
    from bot.sandbox.mastodon.sandbox import MastodonSandbox

_ACTIVITY = "application/activity+json"


class Discovery:
    """Answer at /.well-known/…, /nodeinfo and /users/…."""

    def __init__(self, sandbox: "MastodonSandbox") -> None:
        self._sandbox = sandbox

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/.well-known/webfinger", self._webfinger),
            Route("/.well-known/nodeinfo", self._nodeinfo_links),
            Route("/nodeinfo/2.0", self._nodeinfo),
            Route("/users/{name}", self._actor),
            Route("/@{name}", self._actor),
        ]

    async def _webfinger(self, request: Request) -> Response:
        """Answer for `acct:name@domain` and for an actor's addresses (RFC 7033)."""
        resource = request.query_params.get("resource", "")
        if not resource:
            return Response(status_code=400)
        world = self._sandbox.world
        address = resource.removeprefix("acct:")
        account = world.find_uri(resource) if "://" in resource else world.find_acct(address)
        by_host = address.endswith(f"@{self._sandbox.host}")
        if account and by_host and account.domain != self._sandbox.host and not self._sandbox.quirks.webfinger_by_host:
            account = None
        if account is None:
            return Response(status_code=404)
        if account.suspended:
            return Response(status_code=410)
        body = {
            "subject": f"acct:{account.name}@{account.domain}",
            "aliases": [account.url, account.uri],
            "links": [
                {"rel": "http://webfinger.net/rel/profile-page", "type": "text/html", "href": account.url},
                {"rel": "self", "type": _ACTIVITY, "href": account.uri},
            ],
        }
        return JSONResponse(body, media_type="application/jrd+json")

    async def _actor(self, request: Request) -> Response:
        account = self._sandbox.world.find(request.path_params["name"])
        if account is None:
            return Response(status_code=404)
        if account.suspended:
            return Response(status_code=410)
        return JSONResponse(_person(account), media_type=_ACTIVITY)

    async def _nodeinfo_links(self, _request: Request) -> Response:
        schema = "http://nodeinfo.diaspora.software/ns/schema/2.0"
        return JSONResponse({"links": [{"rel": schema, "href": f"{self._sandbox.url}/nodeinfo/2.0"}]})

    async def _nodeinfo(self, _request: Request) -> Response:
        body = {
            "version": "2.0",
            "software": {"name": self._sandbox.quirks.software, "version": VERSION},
            "protocols": ["activitypub"],
            "services": {"outbound": [], "inbound": []},
            "usage": {"users": {"total": len(self._sandbox.world.accounts)}, "localPosts": 0},
            "openRegistrations": False,
            "metadata": {},
        }
        return JSONResponse(body)


def _person(account: Account) -> dict[str, object]:
    return {
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": account.uri,
        "type": "Service" if account.bot else "Person",
        "preferredUsername": account.name,
        "name": account.display_name,
        "url": account.url,
        "inbox": f"{account.uri}/inbox",
        "outbox": f"{account.uri}/outbox",
        "manuallyApprovesFollowers": account.locked,
    }
