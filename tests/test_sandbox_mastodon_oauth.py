"""Consent at the stand-in of Mastodon: asked for, given, refused, proved and revoked."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from bot.sandbox.mastodon import ApiError, MastodonPerson, MastodonSandbox
from tests.conftest import OwnClock
from tests.sandbox_mastodon import alice, bearer, bob, http, server

__all__ = ["alice", "bob", "http", "server"]  # fixtures

CALLBACK = "https://reflock.example/connect/mastodon/callback"
OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
USER_SCOPE = "profile read:follows write:follows read:search"
VERIFIER = "a-verifier-of-at-least-forty-three-characters-long"


def authorize_url(server: MastodonSandbox, app: dict[str, Any], **changes: str) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": app["client_id"],
        "redirect_uri": app["redirect_uri"],
        "scope": USER_SCOPE,
        "state": "the state",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{server.url}/oauth/authorize?{urlencode(query | changes)}"


async def register(http: httpx.AsyncClient, redirect_uri: str = CALLBACK) -> dict[str, Any]:
    form = {"client_name": "Reflock", "redirect_uris": redirect_uri, "scopes": USER_SCOPE}
    app: dict[str, Any] = (await http.post("/api/v1/apps", data=form)).json()
    return app


async def exchange(http: httpx.AsyncClient, app: dict[str, Any], code: str, **changes: str) -> httpx.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": app["client_id"],
        "client_secret": app["client_secret"],
        "redirect_uri": app["redirect_uri"],
        "code": code,
        "code_verifier": VERIFIER,
    }
    return await http.post("/oauth/token", data=form | changes)


def code_in(url: str) -> str:
    return parse_qs(urlsplit(url).query)["code"][0]


async def test_consent_is_given_used_and_revoked(
    server: MastodonSandbox, alice: MastodonPerson, bob: MastodonPerson, http: httpx.AsyncClient
) -> None:
    described = (await http.get("/.well-known/oauth-authorization-server")).json()
    assert set(USER_SCOPE.split()) <= set(described["scopes_supported"])
    app = await register(http)
    landed = await alice.approve(authorize_url(server, app))
    assert landed.startswith(f"{CALLBACK}?code=")
    assert parse_qs(urlsplit(landed).query)["state"] == ["the state"]
    answer = (await exchange(http, app, code_in(landed))).json()
    assert (answer["token_type"], answer["scope"]) == ("Bearer", USER_SCOPE)
    granted = bearer(answer["access_token"])
    assert (await http.get("/api/v1/accounts/verify_credentials", headers=granted)).json()["uri"] == alice.actor
    assert (await http.post(f"/api/v1/accounts/{bob.id}/follow", headers=granted)).json()["following"]
    assert alice.follows == {bob.actor}
    found = await http.get("/api/v2/search", params={"q": "bob", "resolve": "true"}, headers=granted)
    assert len(found.json()["accounts"]) == 1
    for outside in (
        await http.post("/api/v1/statuses", data={"status": "not in my name"}, headers=granted),
        await http.get("/api/v1/accounts/lookup", params={"acct": "bob"}, headers=granted),
    ):
        assert outside.status_code == 403
        assert outside.json() == {"error": "This action is outside the authorized scopes"}

    again = code_in(await alice.approve(authorize_url(server, app)))
    assert (await exchange(http, app, again)).json()["access_token"] == answer["access_token"], "as Mastodon does"
    secret = {"client_id": app["client_id"], "client_secret": app["client_secret"], "token": answer["access_token"]}
    assert (await http.post("/oauth/revoke", data=secret | {"client_secret": "wrong"})).status_code == 401
    assert (await http.post("/oauth/revoke", data=secret)).json() == {}
    assert (await http.post("/oauth/revoke", data=secret)).status_code == 200
    ended = await http.get("/api/v1/accounts/verify_credentials", headers=granted)
    assert (ended.status_code, ended.json()) == (401, {"error": "The access token was revoked"})
    fresh = (await exchange(http, app, code_in(await alice.approve(authorize_url(server, app))))).json()
    assert fresh["access_token"] != answer["access_token"]


async def test_consent_is_refused(server: MastodonSandbox, alice: MastodonPerson, http: httpx.AsyncClient) -> None:
    app = await register(http)
    landed = await alice.approve(authorize_url(server, app), allow=False)
    query = parse_qs(urlsplit(landed).query)
    assert (query["error"], query["state"]) == (["access_denied"], ["the state"])
    oob = await register(http, OUT_OF_BAND)
    with pytest.raises(ApiError, match="denied"):
        await alice.approve(authorize_url(server, oob), allow=False)


async def test_without_a_web_address_the_page_shows_the_code(
    server: MastodonSandbox, alice: MastodonPerson, http: httpx.AsyncClient
) -> None:
    app = await register(http, OUT_OF_BAND)
    code = await alice.approve(authorize_url(server, app))
    assert len(code) > 30
    assert (await exchange(http, app, code)).status_code == 200


async def test_codes_are_proved_single_use_and_short_lived(
    server: MastodonSandbox, alice: MastodonPerson, http: httpx.AsyncClient, clock: OwnClock
) -> None:
    app = await register(http)

    async def fresh(**changes: str) -> str:
        return code_in(await alice.approve(authorize_url(server, app, **changes)))

    for changes in ({"code_verifier": "wrong"}, {"code_verifier": ""}, {"redirect_uri": OUT_OF_BAND}):
        answer = await exchange(http, app, await fresh(), **changes)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), changes
    code = await fresh()
    assert (await exchange(http, app, code, client_secret="wrong")).status_code == 401
    assert (await exchange(http, app, code)).status_code == 200
    assert (await exchange(http, app, code)).json()["error"] == "invalid_grant"
    plain = await fresh(code_challenge="")
    assert (await exchange(http, app, plain, code_verifier="")).status_code == 200
    late = await fresh()
    clock.pass_seconds(600)
    assert (await exchange(http, app, late)).json()["error"] == "invalid_grant"
    assert (await exchange(http, app, "x", grant_type="password")).json()["error"] == "unsupported_grant_type"
    alone = (await exchange(http, app, "", grant_type="client_credentials", scope="profile")).json()["access_token"]
    assert (await http.get("/api/v1/accounts/verify_credentials", headers=bearer(alone))).status_code == 422


async def test_the_consent_page_says_what_is_wrong(
    server: MastodonSandbox, alice: MastodonPerson, http: httpx.AsyncClient
) -> None:
    app = await register(http)
    for changes in (
        {"client_id": "nobody"},
        {"redirect_uri": "https://evil.example/"},
        {"scope": "write"},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
    ):
        with pytest.raises(ApiError):
            await alice.approve(authorize_url(server, app, **changes))
    alice.password = "forgotten"
    with pytest.raises(ApiError, match="Invalid e-mail address or password"):
        await alice.approve(authorize_url(server, app))
    bad = {"client_name": "Reflock", "redirect_uris": CALLBACK, "scopes": "read:everything"}
    assert (await http.post("/api/v1/apps", data=bad)).status_code == 422
