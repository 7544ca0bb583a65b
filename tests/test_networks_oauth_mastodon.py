"""Consent on Mastodon: any server, with and without a web address of our own."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from bot.networks.consent import ConsentExpired, ConsentRefused
from bot.networks.errors import Refused, Unavailable
from bot.networks.guard import GuardedClient, normalise_server
from bot.networks.mastodon import MastodonNetwork
from bot.networks.oauth_mastodon import OUT_OF_BAND, MastodonApp, MastodonConsent, MastodonOauth, MastodonTokens
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonSandbox
from bot.sandbox.mastodon.quirks import SNAC, TAKAHE
from bot.web.serving import Server
from tests.conftest import OwnClock

HOME = "https://reflock.example"


@pytest.fixture
async def server(clock: OwnClock) -> AsyncIterator[MastodonSandbox]:
    async with MastodonSandbox(now=clock.seconds) as sandbox:
        yield sandbox


@pytest.fixture
async def guard(server: MastodonSandbox) -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allow_private=frozenset({server.domain})) as client:
        yield client


@pytest.fixture
def oauth(guard: GuardedClient, clock: OwnClock) -> MastodonOauth:
    return MastodonOauth(guard, public_url=HOME, clock=clock.seconds)


def answer(url: str) -> dict[str, str]:
    """Read what a browser brings back."""
    return dict(parse_qsl(urlsplit(url).query))


async def verify(server: MastodonSandbox, tokens: MastodonTokens) -> int:
    """Ask the server what the token is worth; return the status."""
    headers = {"authorization": f"Bearer {tokens.access}"}
    return (await server.http.get(f"{server.url}/api/v1/accounts/verify_credentials", headers=headers)).status_code


async def owner_of(server: MastodonSandbox, tokens: MastodonTokens) -> str:
    """Ask the server whose token it is; return the account's number."""
    headers = {"authorization": f"Bearer {tokens.access}"}
    answer = await server.http.get(f"{server.url}/api/v1/accounts/verify_credentials", headers=headers)
    return str(answer.json()["id"])


async def test_alice_consents_in_her_browser(
    oauth: MastodonOauth, server: MastodonSandbox, guard: GuardedClient
) -> None:
    alice = server.create_account("alice")
    host = normalise_server(f"@alice@{server.domain}", guard.allow_private)

    app = MastodonApp.from_json((await oauth.register(host)).to_json())
    asked, url = oauth.start(app, alice.actor)
    kept = MastodonConsent.from_json(asked.to_json())
    back = await alice.approve(url)
    tokens = await oauth.finish(app, kept, answer(back))

    assert back.startswith(f"{HOME}/connect/mastodon/callback?")
    assert asked.verifier not in url
    assert (tokens.actor, tokens.acct, tokens.server) == (alice.actor, f"alice@{server.domain}", server.domain)
    assert tokens.scope == "profile read:follows write:follows read:search"
    assert tokens.may_follow
    assert MastodonTokens.from_json(tokens.to_json()) == tokens


async def test_without_a_web_address_the_code_is_pasted(
    guard: GuardedClient, server: MastodonSandbox, clock: OwnClock
) -> None:
    oauth = MastodonOauth(guard, public_url=None, clock=clock.seconds)
    alice = server.create_account("alice")
    app = await oauth.register(server.domain)
    asked, url = oauth.start(app)
    code = await alice.approve(url)

    assert app.redirect_uri == OUT_OF_BAND
    assert (await oauth.finish_with_code(app, asked, f" {code}\n")).actor == alice.actor
    for written in ("{}&state=abc", "https://reflock.example/callback?state=abc&code={}", "code={}&state=abc"):
        pasted = written.format(await alice.approve(url))
        assert (await oauth.finish_with_code(app, asked, pasted)).actor == alice.actor
    with pytest.raises(ConsentExpired, match="mistyped, used or too old"):
        await oauth.finish_with_code(app, asked, code)


async def test_a_refusal_and_a_foreign_answer_are_heard(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    alice = server.create_account("alice")
    app = await oauth.register(server.domain)
    asked, url = oauth.start(app)

    with pytest.raises(ConsentRefused, match="denied the request"):
        await oauth.finish(app, asked, answer(await alice.approve(url, allow=False)))
    good = answer(await alice.approve(url))
    for wrong in ({"state": "x"}, {"state": ""}, {"state": "é"}):
        with pytest.raises(ConsentRefused, match="does not belong"):
            await oauth.finish(app, asked, good | wrong)
    with pytest.raises(ConsentRefused, match="on another server"):
        await oauth.finish(replace(app, server="other.example"), asked, good)
    with pytest.raises(ConsentExpired):
        await oauth.finish(app, replace(asked, verifier="somebody else's"), good)


async def test_a_consent_does_not_wait_for_ever(oauth: MastodonOauth, server: MastodonSandbox, clock: OwnClock) -> None:
    alice = server.create_account("alice")
    app = await oauth.register(server.domain)
    asked, url = oauth.start(app)
    good = answer(await alice.approve(url))
    clock.pass_seconds(3600)

    with pytest.raises(ConsentExpired, match="too long"):
        await oauth.finish(app, asked, good)


async def test_only_the_account_that_was_asked_may_consent(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    alice, mallory = server.create_account("alice"), server.create_account("mallory")
    app = await oauth.register(server.domain)
    asked, url = oauth.start(app, alice.actor)

    with pytest.raises(ConsentRefused, match="given for mallory@"):
        await oauth.finish(app, asked, answer(await mallory.approve(url)))


async def test_a_server_speaks_only_for_its_own_accounts(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    mallory = server.create_account("mallory")
    app = await oauth.register(server.domain)
    asked, url = oauth.start(app)
    forged = {"id": "1", "username": "victim", "uri": "https://mastodon.social/users/victim"}
    server.faults.plan(Fault("verify_credentials", status=200, body=json.dumps(forged).encode()))

    with pytest.raises(ConsentRefused, match="lives on another server"):
        await oauth.finish(app, asked, answer(await mallory.approve(url)))


async def test_an_older_server_tells_the_actor_by_webfinger(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    alice = server.create_account("alice")
    app = await oauth.register(server.domain)
    asked, url = oauth.start(app, alice.actor)
    before_4_2 = {"id": "1", "username": "alice", "acct": "alice", "url": f"{server.url}/@alice"}
    server.faults.plan(Fault("verify_credentials", status=200, body=json.dumps(before_4_2).encode()))

    assert (await oauth.finish(app, asked, answer(await alice.approve(url)))).actor == alice.actor


async def test_an_older_server_gets_older_scopes_and_the_usual_paths(
    oauth: MastodonOauth, server: MastodonSandbox
) -> None:
    alice = server.create_account("alice")
    server.faults.plan(Fault("oauth-authorization-server", status=404, body=b"<h1>Not found</h1>"))
    app = await oauth.register(server.domain)
    asked, url = oauth.start(app)
    tokens = await oauth.finish(app, asked, answer(await alice.approve(url)))

    assert app.scopes == "read:accounts read:follows write:follows read:search"
    assert app.token_endpoint == f"{server.url}/oauth/token"
    assert tokens.may_follow
    assert not replace(tokens, scope="profile read:follows").may_follow


async def test_a_server_that_names_its_scopes_is_not_asked_for_others(
    oauth: MastodonOauth, server: MastodonSandbox
) -> None:
    coarse = json.dumps({"scopes_supported": ["read", "write", "follow"]}).encode()
    server.faults.plan(Fault("oauth-authorization-server", status=200, body=coarse))
    assert (await oauth.register(server.domain)).scopes == "read follow"


async def test_a_page_for_people_is_no_metadata(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    server.faults.plan(Fault("oauth-authorization-server", status=200, body=b"<html>Welcome</html>"))
    assert (await oauth.register(server.domain)).authorization_endpoint == f"{server.url}/oauth/authorize"


async def test_metadata_may_not_lead_us_inside(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    inside = json.dumps({"token_endpoint": "http://169.254.169.254/"}).encode()
    server.faults.plan(Fault("oauth-authorization-server", status=200, body=inside))
    with pytest.raises(Unavailable, match="an address that is not used"):
        await oauth.register(server.domain)


async def test_nobody_is_sent_to_one_servers_page_with_another_ones_token_endpoint(
    oauth: MastodonOauth, server: MastodonSandbox
) -> None:
    for wrong in (
        {"authorization_endpoint": "https://mastodon.social/oauth/authorize"},
        {"issuer": "https://mastodon.social/"},
    ):
        server.faults.plan(Fault("oauth-authorization-server", status=200, body=json.dumps(wrong).encode()))
        with pytest.raises(Unavailable, match="another server"):
            await oauth.register(server.domain)


async def test_a_file_that_somebody_put_there_does_not_speak_for_a_server(
    oauth: MastodonOauth, server: MastodonSandbox
) -> None:
    file = json.dumps({"issuer": server.url, "token_endpoint": f"{server.url}/media/token"}).encode()
    server.faults.plan(Fault("oauth-authorization-server", status=302, headers={"location": "/media/1.json"}))
    server.faults.plan(Fault("/media/1.json", status=200, body=file))
    assert (await oauth.register(server.domain)).token_endpoint == f"{server.url}/oauth/token"


async def test_what_is_no_mastodon_server_says_so(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    server.faults.plan(Fault("/api/v1/apps", status=404, body=b"nothing here"))
    with pytest.raises(Refused, match="does not let apps be registered") as caught:
        await oauth.register(server.domain)
    assert caught.value.reason == "no_mastodon_api"


@pytest.fixture
async def snac(clock: OwnClock) -> AsyncIterator[MastodonSandbox]:
    """Give a server that mixes consents up."""
    async with MastodonSandbox(now=clock.seconds, quirks=SNAC) as sandbox:
        yield sandbox


@pytest.fixture
async def at_snac(snac: MastodonSandbox, clock: OwnClock) -> AsyncIterator[MastodonOauth]:
    async with GuardedClient(allow_private=frozenset({snac.domain})) as guard:
        yield MastodonOauth(guard, public_url=HOME, clock=clock.seconds)


async def test_nobody_consents_where_consents_are_mixed_up(snac: MastodonSandbox, at_snac: MastodonOauth) -> None:
    with pytest.raises(Refused, match="snac does not keep the consents of several people apart") as caught:
        await at_snac.register(snac.domain)
    assert caught.value.reason == "consents_mixed_up"


@pytest.mark.parametrize("path", ["/.well-known/nodeinfo", "/nodeinfo/2.0"])
async def test_a_server_that_cannot_say_just_now_what_it_is_passes_for_nothing_else(
    snac: MastodonSandbox, at_snac: MastodonOauth, path: str
) -> None:
    for fault in (Fault(path, status=503), Fault(path, status=429), Fault(path, "cut", times=2)):
        snac.faults.plan(fault)
        with pytest.raises(Unavailable):
            await at_snac.register(snac.domain)


@pytest.mark.parametrize("path", ["/.well-known/nodeinfo", "/nodeinfo/2.0"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"nothing here"),
        (200, b"<html>Welcome</html>"),
        (200, b"[]"),
        (
            200,
            b'{"links": [7, {"rel": 8}, {"rel": "http://nodeinfo.diaspora.software/ns/schema/2.0", "href": "ftp://x"}]}',
        ),
    ],
)
async def test_a_server_that_never_says_what_it_is_gets_the_scopes_that_all_heed(
    guard: GuardedClient, server: MastodonSandbox, clock: OwnClock, path: str, status: int, body: bytes
) -> None:
    server.faults.plan(Fault("oauth-authorization-server", status=404))
    server.faults.plan(Fault(path, status=status, body=body))
    oauth = MastodonOauth(guard, public_url=HOME, clock=clock.seconds)
    assert (await oauth.register(server.domain)).scopes == "read write:follows"


async def test_an_app_that_was_registered_before_is_not_used_where_consents_are_mixed_up(
    snac: MastodonSandbox, at_snac: MastodonOauth, oauth: MastodonOauth, server: MastodonSandbox
) -> None:
    registered = await oauth.register(server.domain)
    kept = replace(registered, server=snac.domain, base_url=snac.url, scopes="read write:follows")
    with pytest.raises(Refused) as caught:
        await at_snac.check(kept)
    assert caught.value.reason == "consents_mixed_up"
    # Where the server told of its scopes itself it is not asked again.
    untouched = server.faults.plan(Fault("nodeinfo", status=503))
    await oauth.check(registered)
    assert untouched.times == 1


async def test_a_server_in_trouble_is_asked_again_later(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    server.faults.plan(Fault("/api/v1/apps", status=429, headers={"retry-after": "9"}))
    with pytest.raises(Unavailable) as caught:
        await oauth.register(server.domain)
    assert caught.value.retry_in == 9

    app = await oauth.register(server.domain)
    asked, _ = oauth.start(app)
    server.faults.plan(Fault("/oauth/token", status=500, times=2))
    with pytest.raises(Unavailable, match="answered 500"):
        await oauth.finish_with_code(app, asked, "code")


async def test_revoked_is_revoked_even_with_an_empty_answer(oauth: MastodonOauth, server: MastodonSandbox) -> None:
    alice = server.create_account("alice")
    app = await oauth.register(server.domain)
    asked, url = oauth.start(app)
    tokens = await oauth.finish(app, asked, answer(await alice.approve(url)))
    assert await verify(server, tokens) == 200

    server.faults.plan(Fault("/oauth/revoke", status=200, body=b"", after=True))
    await oauth.revoke(tokens)
    assert await verify(server, tokens) == 401
    await oauth.revoke(tokens)

    server.faults.plan(Fault("/oauth/revoke", status=503))
    with pytest.raises(Unavailable):
        await oauth.revoke(tokens)


@pytest.fixture
async def other_name(server: MastodonSandbox) -> AsyncIterator[str]:
    """Give the name of a host that sends everybody on to the server, as anybody's can."""

    async def send_on(request: Request) -> RedirectResponse:
        return RedirectResponse(str(request.url.replace(netloc=server.domain)), 301)

    async with Server(Starlette(routes=[Route("/{path:path}", send_on)])) as host:
        yield host.url.removeprefix("http://")


async def test_an_account_is_named_by_its_server_and_not_by_who_redirects_to_it(
    server: MastodonSandbox, clock: OwnClock, other_name: str
) -> None:
    alice = server.create_account("alice")
    async with GuardedClient(allow_private=frozenset({server.domain, other_name})) as guard:
        oauth = MastodonOauth(guard, public_url=HOME, clock=clock.seconds)
        app = await oauth.register(other_name)
        asked, url = oauth.start(app)
        tokens = await oauth.finish(app, asked, answer(await alice.approve(url)))
        assert (tokens.actor, tokens.acct, tokens.server) == (alice.actor, f"alice@{server.domain}", server.domain)

        # Some communities are named by one host and served by another: then both say so.
        links = [{"rel": "self", "type": "application/activity+json", "href": alice.actor}]
        theirs = json.dumps({"subject": f"acct:alice@{other_name}", "links": links}).encode()
        server.faults.plan(Fault("webfinger", status=200, body=theirs, times=2))
        asked, url = oauth.start(app)
        tokens = await oauth.finish(app, asked, answer(await alice.approve(url)))
        assert (tokens.acct, tokens.server) == (f"alice@{other_name}", other_name)


async def test_of_namesakes_on_a_server_with_several_domains_each_consents_for_herself(clock: OwnClock) -> None:
    async with MastodonSandbox(now=clock.seconds, quirks=TAKAHE) as server:
        first = server.create_account("alice")
        second = server.create_account("alice", domain=server.host)
        async with GuardedClient(allow_private=frozenset({server.domain, server.host})) as guard:
            oauth = MastodonOauth(guard, public_url=HOME, clock=clock.seconds)
            app = await oauth.register(server.host)
            for alice in (first, second):
                asked, url = oauth.start(app, alice.actor)
                tokens = await oauth.finish(app, asked, answer(await alice.approve(url)))
                assert (tokens.actor, f"@{tokens.acct}", tokens.account_id) == (alice.actor, alice.handle, alice.id)
                assert await owner_of(server, tokens) == alice.id

            # A server that describes somebody else than was asked for has not said whose consent this is.
            described = await server.http.get(
                f"{server.url}/.well-known/webfinger", params={"resource": f"acct:{second.handle[1:]}"}
            )
            server.faults.plan(Fault("webfinger", status=200, body=described.content))
            asked, url = oauth.start(app)
            with pytest.raises(ConsentRefused, match="does not say which account alice is"):
                await oauth.finish(app, asked, answer(await first.approve(url)))


async def test_the_bot_itself_may_be_the_namesake_on_the_second_domain(clock: OwnClock) -> None:
    async with MastodonSandbox(now=clock.seconds, quirks=TAKAHE) as server:
        bots = [server.create_account("flock"), server.create_account("flock", domain=server.host)]
        async with GuardedClient(allow_private=frozenset({server.domain, server.host})) as guard:
            oauth = MastodonOauth(guard, public_url=HOME, clock=clock.seconds)
            for account in bots:
                bot = MastodonNetwork(
                    base_url=server.url,
                    access_token=account.token,
                    guard=guard,
                    oauth=oauth,
                    clock=clock,
                    poll_seconds=1,
                    streaming=False,
                )
                await bot.start()
                assert bot.handle == account.handle
                await bot.close()
