"""What the server says of itself, and how clients become known to it."""

from typing import TYPE_CHECKING

from bot.sandbox.mastodon.accounts import Json
from bot.sandbox.mastodon.api import Call, Method
from bot.sandbox.mastodon.errors import ApiError, not_found
from bot.sandbox.mastodon.views import VERSION

if TYPE_CHECKING:
    from bot.sandbox.mastodon.sandbox import MastodonSandbox

_TITLE = "Sandbox"
_ABOUT = "A small server on loopback."


def _register(call: Call) -> Json:
    app = call.sandbox.oauth.register(
        call.text("client_name") or "", call.many("redirect_uris"), call.text("scopes") or "", call.text("website")
    )
    return {
        "id": str(app.number),
        "name": app.name,
        "website": app.website,
        "scopes": list(app.scopes),
        "redirect_uri": "\n".join(app.redirect_uris),
        "redirect_uris": list(app.redirect_uris),
        "client_id": app.client_id,
        "client_secret": app.client_secret,
        "client_secret_expires_at": 0,
        "vapid_key": "",
    }


def _application(call: Call) -> Json:
    app = call.token.app if call.token else None
    return {"name": app.name if app else "Sandbox", "website": app.website if app else None}


def _speaking(call: Call) -> "MastodonSandbox":
    """Return the server, if it speaks of itself."""
    if call.sandbox.quirks.instance_status is not None:
        raise ApiError(call.sandbox.quirks.instance_status, "This server says nothing of itself")
    return call.sandbox


def _instance_v1(call: Call) -> Json:
    sandbox = _speaking(call)
    return {
        "uri": sandbox.domain,
        "title": _TITLE,
        "short_description": _ABOUT,
        "description": _ABOUT,
        "email": f"admin@{sandbox.domain}",
        "version": VERSION,
        "urls": {"streaming_api": sandbox.url.replace("http", "ws", 1)},
        "stats": {"user_count": len(sandbox.world.accounts), "status_count": 0, "domain_count": 1},
        "thumbnail": None,
        "languages": ["en"],
        "registrations": False,
        "approval_required": False,
        "invites_enabled": False,
        "configuration": sandbox.views.configuration(),
        "contact_account": None,
        "rules": [],
    }


def _instance_v2(call: Call) -> Json:
    sandbox = _speaking(call)
    if not sandbox.quirks.instance_v2:
        raise not_found()
    streaming = {"urls": {"streaming": sandbox.url.replace("http", "ws", 1)}}
    return {
        "domain": sandbox.domain,
        "title": _TITLE,
        "version": VERSION,
        "source_url": "https://github.com/mastodon/mastodon",
        "description": _ABOUT,
        "usage": {"users": {"active_month": len(sandbox.world.accounts)}},
        "thumbnail": {"url": f"{sandbox.url}/preview.png"},
        "icon": [],
        "languages": ["en"],
        "configuration": sandbox.views.configuration()
        | streaming
        | {"translation": {"enabled": False}, "limited_federation": False},
        "registrations": {"enabled": False, "approval_required": False, "message": None, "url": None},
        **({"api_versions": {"mastodon": 2}} if sandbox.quirks.software == "mastodon" else {}),
        "contact": {"email": f"admin@{sandbox.domain}", "account": None},
        "rules": [],
    }


METHODS = (
    Method("POST", "/api/v1/apps", "public", (), _register),
    Method("GET", "/api/v1/apps/verify_credentials", "user", (), _application),
    Method("GET", "/api/v1/instance", "public", (), _instance_v1),
    Method("GET", "/api/v2/instance", "public", (), _instance_v2),
)
