"""com.atproto.server and com.atproto.identity: signing in, and finding a DID."""

from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.identity import did_document
from bot.sandbox.bluesky.ids import Json
from bot.sandbox.bluesky.limits import LOGIN_RULES
from bot.sandbox.bluesky.world import Account
from bot.sandbox.bluesky.xrpc import Method, PdsCall


def _create_session(call: PdsCall) -> Json:
    identifier = call.text("identifier").lower()
    call.spend("login", identifier, LOGIN_RULES)
    account, tokens = call.sandbox.sessions.create(identifier, call.text("password"))
    return _session(call, account) | tokens


def _refresh_session(call: PdsCall) -> Json:
    account, tokens = call.sandbox.sessions.refresh(call.token)
    return _session(call, account) | tokens


def _delete_session(call: PdsCall) -> None:
    call.sandbox.sessions.end(call.token)


def _get_session(call: PdsCall) -> Json:
    if call.me.status in ("takendown", "suspended"):
        raise XrpcError("InvalidRequest", f"Could not find user info for account: {call.me.did}")
    return _session(call, call.me)


def _session(call: PdsCall, account: Account) -> Json:
    view: Json = {
        "did": account.did,
        "handle": account.handle,
        "didDoc": did_document(account, call.sandbox.url),
        "active": account.status == "active",
    }
    return view if account.status == "active" else view | {"status": account.status}


def _resolve_handle(call: PdsCall) -> Json:
    account = call.sandbox.world.find(call.text("handle"))
    if account is None:
        raise XrpcError("InvalidRequest", "Unable to resolve handle")
    return {"did": account.did}


def _describe_server(call: PdsCall) -> Json:
    return {"did": call.sandbox.identity.server_did, "availableUserDomains": [".test"], "inviteCodeRequired": False}


METHODS = {
    "com.atproto.server.createSession": Method("POST", "public", _create_session),
    "com.atproto.server.refreshSession": Method("POST", "refresh", _refresh_session),
    "com.atproto.server.deleteSession": Method("POST", "refresh", _delete_session),
    "com.atproto.server.getSession": Method("GET", "user", _get_session),
    "com.atproto.server.describeServer": Method("GET", "public", _describe_server),
    "com.atproto.identity.resolveHandle": Method("GET", "public", _resolve_handle),
}
