"""Consent on Bluesky: asked for, given, refused, used, renewed, replayed and taken back."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bot.networks import dpop
from bot.networks.consent import ConsentExpired, ConsentRefused, GrantLost
from bot.networks.errors import Refused, Unavailable
from bot.networks.guard import GuardedClient
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.oauth_atproto import (
    FOLLOW_SCOPE,
    AtprotoConsent,
    AtprotoOauth,
    AtprotoTokens,
    granted_actions,
)
from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.faults import Fault
from tests.conftest import OwnClock

HOME = "http://127.0.0.1:8899"
FOLLOW = "app.bsky.graph.follow"


@pytest.fixture
async def bluesky(clock: OwnClock) -> AsyncIterator[BlueskySandbox]:
    async with BlueskySandbox(now=clock.seconds) as sandbox:
        yield sandbox


@pytest.fixture
async def guard(bluesky: BlueskySandbox) -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allow_private=frozenset({urlsplit(bluesky.url).netloc})) as client:
        yield client


@pytest.fixture
def identities(guard: GuardedClient, bluesky: BlueskySandbox) -> IdentityResolver:
    return IdentityResolver(guard, plc_url=bluesky.url, resolver_url=bluesky.url)


@pytest.fixture
def oauth(guard: GuardedClient, identities: IdentityResolver, clock: OwnClock) -> AtprotoOauth:
    return AtprotoOauth(guard, identities, public_url=HOME, clock=clock.seconds)


def signing_key() -> str:
    """Make the confidential client's key, as an operator would with openssl."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def answer(url: str) -> dict[str, str]:
    """Read what a browser brings back."""
    return dict(parse_qsl(urlsplit(url).query))


async def consent(oauth: AtprotoOauth, bluesky: BlueskySandbox, handle: str, scope: str | None = None) -> AtprotoTokens:
    """Walk the whole way with one person."""
    person = bluesky.create_account(handle)
    asked, url = await oauth.start(handle)
    return await oauth.finish(asked, answer(await person.approve(url, scope=scope)))


async def follow(oauth: AtprotoOauth, tokens: AtprotoTokens, subject: str) -> int:
    """Follow one account with the user's consent; return the status."""
    value = {"$type": FOLLOW, "subject": subject, "createdAt": "2026-11-01T00:00:00Z"}
    writes = [{"$type": "com.atproto.repo.applyWrites#create", "collection": FOLLOW, "value": value}]
    body = {"repo": tokens.did, "writes": writes}
    return (await oauth.pds_request(tokens, "POST", "com.atproto.repo.applyWrites", json=body)).status


async def test_alice_consents_and_is_followed_on_behalf_of(oauth: AtprotoOauth, bluesky: BlueskySandbox) -> None:
    alice = bluesky.create_account("alice.bsky.test")
    bob = bluesky.create_account("bob.bsky.test")

    asked, url = await oauth.start("@Alice.bsky.test")
    kept = AtprotoConsent.from_json(asked.to_json())
    back = await alice.approve(url)
    tokens = await oauth.finish(kept, answer(back))

    assert back.startswith(f"{HOME}/connect/bluesky/callback?")
    assert kept == asked
    assert asked.verifier not in url
    assert asked.state not in url
    assert (tokens.did, tokens.pds_url, tokens.scope) == (alice.did, bluesky.url, FOLLOW_SCOPE)
    assert tokens.follow_actions == {"create", "delete"}
    assert await follow(oauth, AtprotoTokens.from_json(tokens.to_json()), bob.did) == 200
    assert alice.follows == {bob.did}

    asked_for = [("repo", alice.did), ("collection", FOLLOW)]
    listed = await oauth.pds_request(tokens, "GET", "com.atproto.repo.listRecords", params=asked_for)
    assert [record["value"]["subject"] for record in listed.json["records"]] == [bob.did]


async def test_a_did_is_as_good_as_a_handle(oauth: AtprotoOauth, bluesky: BlueskySandbox) -> None:
    alice = bluesky.create_account("alice.bsky.test")
    asked, _ = await oauth.start(alice.did)
    assert (asked.did, asked.handle) == (alice.did, "alice.bsky.test")


async def test_a_refusal_is_heard(oauth: AtprotoOauth, bluesky: BlueskySandbox) -> None:
    alice = bluesky.create_account("alice.bsky.test")
    asked, url = await oauth.start(alice.handle)
    with pytest.raises(ConsentRefused, match="rejected the request"):
        await oauth.finish(asked, answer(await alice.approve(url, allow=False)))


async def test_less_may_be_granted_than_was_asked(oauth: AtprotoOauth, bluesky: BlueskySandbox) -> None:
    bob = bluesky.create_account("bob.bsky.test")
    tokens = await consent(oauth, bluesky, "alice.bsky.test", scope="atproto")

    assert tokens.scope == "atproto"
    assert tokens.follow_actions == frozenset()
    assert await follow(oauth, tokens, bob.did) in (401, 403)


async def test_an_answer_to_another_question_is_not_used(
    oauth: AtprotoOauth, bluesky: BlueskySandbox, clock: OwnClock
) -> None:
    alice = bluesky.create_account("alice.bsky.test")
    asked, url = await oauth.start(alice.handle)
    good = answer(await alice.approve(url))

    for wrong, sentence in (
        ({"state": "x"}, "does not belong"),
        ({"state": ""}, "does not belong"),
        ({"iss": "https://evil.example"}, "another server"),
        ({"iss": ""}, "another server"),
    ):
        with pytest.raises(ConsentRefused, match=sentence):
            await oauth.finish(asked, good | wrong)
    with pytest.raises(ConsentRefused, match="does not belong"):
        await oauth.finish(asked, {})
    with pytest.raises(ConsentExpired):
        await oauth.finish(asked, good | {"code": "cod-wrong"})

    assert (await oauth.finish(asked, good)).did == alice.did
    with pytest.raises(ConsentExpired, match="replayed"):
        await oauth.finish(asked, good)
    clock.pass_seconds(3600)
    with pytest.raises(ConsentExpired, match="too long"):
        await oauth.finish(asked, good)


async def test_a_consent_for_another_account_is_not_taken(oauth: AtprotoOauth, bluesky: BlueskySandbox) -> None:
    alice, mallory = bluesky.create_account("alice.bsky.test"), bluesky.create_account("mallory.bsky.test")
    asked, url = await oauth.start(alice.handle)

    with pytest.raises(ConsentRefused, match="another account"):
        await oauth.finish(asked, answer(await mallory.approve(url)))
    assert bluesky.oauth.sessions_of(mallory.did) == []


async def test_tokens_are_renewed_and_the_old_ones_are_dead(
    oauth: AtprotoOauth, bluesky: BlueskySandbox, clock: OwnClock
) -> None:
    bob = bluesky.create_account("bob.bsky.test")
    tokens = await consent(oauth, bluesky, "alice.bsky.test")
    assert not tokens.stale(clock.seconds())

    clock.pass_seconds(3601)
    assert tokens.stale(clock.seconds())
    assert await follow(oauth, tokens, bob.did) == 401

    renewed = await oauth.refresh(tokens)
    assert not renewed.stale(clock.seconds())
    assert (renewed.did, renewed.scope, renewed.dpop_key) == (tokens.did, tokens.scope, tokens.dpop_key)
    assert await follow(oauth, renewed, bob.did) == 200

    with pytest.raises(GrantLost, match="replayed"):
        await oauth.refresh(tokens)
    with pytest.raises(GrantLost):
        await oauth.refresh(renewed)


async def test_a_refused_token_says_so(oauth: AtprotoOauth, bluesky: BlueskySandbox, clock: OwnClock) -> None:
    tokens = await consent(oauth, bluesky, "alice.bsky.test")
    clock.pass_seconds(3601)
    refused = await oauth.pds_request(
        tokens, "POST", "com.atproto.repo.applyWrites", json={"repo": tokens.did, "writes": []}
    )
    assert refused.token_refused


async def test_a_revoked_consent_is_over_and_may_be_revoked_twice(oauth: AtprotoOauth, bluesky: BlueskySandbox) -> None:
    tokens = await consent(oauth, bluesky, "alice.bsky.test")
    await oauth.revoke(tokens)
    await oauth.revoke(tokens)

    assert bluesky.oauth.sessions_of(tokens.did) == []
    with pytest.raises(GrantLost):
        await oauth.refresh(tokens)


async def test_nonces_change_and_nobody_notices(oauth: AtprotoOauth, bluesky: BlueskySandbox, clock: OwnClock) -> None:
    bob = bluesky.create_account("bob.bsky.test")
    tokens = await consent(oauth, bluesky, "alice.bsky.test")
    for _ in range(3):
        clock.pass_seconds(2 * bluesky.dpop_nonce_seconds)
        assert await follow(oauth, tokens, bob.did) == 200
        tokens = await oauth.refresh(tokens)


async def test_a_server_in_trouble_costs_nobody_a_consent(oauth: AtprotoOauth, bluesky: BlueskySandbox) -> None:
    tokens = await consent(oauth, bluesky, "alice.bsky.test")
    busy = Fault("/oauth/token", status=429, headers={"retry-after": "7"})
    for fault, retry_in in ((busy, 7.0), (Fault("/oauth/token"), None), (Fault("/oauth/token", "cut"), None)):
        bluesky.faults.plan(fault)
        with pytest.raises(Unavailable) as caught:
            await oauth.refresh(tokens)
        assert caught.value.retry_in == retry_in
    bluesky.faults.plan(Fault("/oauth/revoke", status=503))
    with pytest.raises(Unavailable):
        await oauth.revoke(tokens)

    assert (await oauth.refresh(tokens)).did == tokens.did


async def test_nobody_is_taken_for_somebody_else(
    identities: IdentityResolver, bluesky: BlueskySandbox, guard: GuardedClient
) -> None:
    alice = bluesky.create_account("alice.bsky.test")
    forged = json.dumps({"id": alice.did, "alsoKnownAs": ["at://somebody.else.test"]}).encode()
    bluesky.faults.plan(Fault(alice.did, status=200, body=forged))
    with pytest.raises(Refused, match="does not use this name"):
        await identities.resolve(alice.handle)

    bluesky.faults.plan(Fault(alice.did, status=200, body=b'{"id": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}'))
    with pytest.raises(Unavailable, match="another account"):
        await identities.resolve(alice.handle)

    bluesky.faults.plan(Fault("resolveHandle", status=200, body=b'{"did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}'))
    assert (await identities.resolve(alice.did)).handle is None


@pytest.mark.parametrize(
    "nobody", ["nobody.bsky.test", "not a name", "", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "did:key:zQ3sh", "@x@y.z"]
)
async def test_nobody_is_nobody(identities: IdentityResolver, nobody: str) -> None:
    with pytest.raises(Refused) as caught:
        await identities.resolve(nobody)
    assert caught.value.reason == "gone"


async def test_a_server_must_be_the_issuer_it_says_it_is(oauth: AtprotoOauth, bluesky: BlueskySandbox) -> None:
    alice = bluesky.create_account("alice.bsky.test")
    for path, body, sentence in (
        ("oauth-authorization-server", b'{"issuer": "https://evil.example"}', "by another name"),
        ("oauth-protected-resource", b'{"authorization_servers": []}', "the one server"),
        ("oauth-protected-resource", b'{"authorization_servers": ["http://10.0.0.1"]}', "only asked over https"),
        ("oauth-authorization-server", json.dumps({"issuer": bluesky.url}).encode(), "lack"),
    ):
        bluesky.faults.plan(Fault(path, status=200, body=body))
        with pytest.raises((Refused, Unavailable), match=sentence):
            await oauth.start(alice.handle)


async def test_a_confidential_client_proves_itself_with_its_key(
    guard: GuardedClient, identities: IdentityResolver, bluesky: BlueskySandbox, clock: OwnClock
) -> None:
    def client(pem: str) -> AtprotoOauth:
        return AtprotoOauth(
            guard, identities, public_url="https://reflock.home.arpa/", clock=clock.seconds, signing_key=pem
        )

    ours = client(signing_key())

    async def fetch(url: str) -> dict[str, object]:
        assert url == "https://reflock.home.arpa/oauth-client-metadata.json"
        return ours.client_metadata()

    bluesky.fetch_client_metadata = fetch
    alice = bluesky.create_account("alice.bsky.test")
    asked, url = await ours.start(alice.handle)
    tokens = await ours.finish(asked, answer(await alice.approve(url)))
    clock.pass_seconds(30 * 86400)

    assert (await ours.refresh(tokens)).did == alice.did
    with pytest.raises(Unavailable, match="does not recognise this Reflock"):
        await client(signing_key()).start(alice.handle)


async def test_the_clients_document_says_everything_and_no_secret(
    guard: GuardedClient, identities: IdentityResolver, clock: OwnClock
) -> None:
    ours = AtprotoOauth(
        guard, identities, public_url="https://reflock.home.arpa", clock=clock.seconds, signing_key=signing_key()
    )
    document = ours.client_metadata()

    assert document["client_id"] == "https://reflock.home.arpa/oauth-client-metadata.json"
    assert document["redirect_uris"] == ["https://reflock.home.arpa/connect/bluesky/callback"]
    assert document["scope"] == FOLLOW_SCOPE
    assert document["dpop_bound_access_tokens"] is True
    assert [set(key) for key in document["jwks"]["keys"]] == [{"kty", "crv", "x", "y", "kid", "use", "alg"}]
    assert document["jwks"] == ours.jwks()


def test_the_development_client_describes_itself(
    guard: GuardedClient, identities: IdentityResolver, clock: OwnClock
) -> None:
    ours = AtprotoOauth(guard, identities, public_url="http://localhost:8899", clock=clock.seconds)

    assert parse_qs(urlsplit(ours.client_id).query) == {"redirect_uri": [ours.redirect_uri], "scope": [FOLLOW_SCOPE]}
    assert ours.client_id.startswith("http://localhost?")
    assert ours.redirect_uri == f"{HOME}/connect/bluesky/callback"
    assert ours.jwks() == {"keys": []}


@pytest.mark.parametrize(
    ("public_url", "key", "sentence"),
    [
        ("https://reflock.home.arpa", None, "needs the OAuth signing key"),
        ("https://reflock.home.arpa", "garbage", "not a private key in PEM"),
        ("http://reflock.example", None, "must be https"),
    ],
)
def test_an_impossible_client_is_refused_at_once(
    guard: GuardedClient, identities: IdentityResolver, clock: OwnClock, public_url: str, key: str | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        AtprotoOauth(guard, identities, public_url=public_url, clock=clock.seconds, signing_key=key)


def test_only_keys_on_p256_will_do() -> None:
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="P-256"):
        dpop.jwk_of_pem(pem.decode())


def test_a_proof_is_bound_to_its_request_and_its_token() -> None:
    key = dpop.new_key()
    parts = dpop.proof(key, "POST", "https://pds.example/x?y=1#z", now=1.5, nonce="n", access="token").split(".")
    head, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])

    assert head == {"alg": "ES256", "typ": "dpop+jwt", "jwk": dpop.public_jwk(key)}
    assert (claims["htm"], claims["htu"], claims["iat"], claims["nonce"]) == ("POST", "https://pds.example/x", 1, "n")
    assert claims["ath"] == "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A"
    assert len(base64.urlsafe_b64decode(parts[2] + "==")) == 64


@pytest.mark.parametrize(
    ("scope", "actions"),
    [
        ("atproto", set()),
        ("atproto transition:generic", {"create", "update", "delete"}),
        (FOLLOW_SCOPE, {"create", "delete"}),
        ("atproto repo:app.bsky.graph.follow", {"create", "update", "delete"}),
        ("atproto repo:*?action=create", {"create"}),
        ("repo?collection=app.bsky.feed.post&collection=app.bsky.graph.follow&action=delete", {"delete"}),
        ("repo:app.bsky.feed.post rpc:app.bsky.graph.follow", set()),
    ],
)
def test_what_a_scope_allows(scope: str, actions: set[str]) -> None:
    assert granted_actions(scope, FOLLOW) == actions


def test_what_is_kept_is_read_back_or_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="not a kept AtprotoTokens") as caught:
        AtprotoTokens.from_json('{"access": "hush"}')
    assert "hush" not in str(caught.value)


async def test_tokens_without_renewal_are_lost_when_they_are_stale(
    oauth: AtprotoOauth, bluesky: BlueskySandbox
) -> None:
    tokens = await consent(oauth, bluesky, "alice.bsky.test")
    with pytest.raises(GrantLost, match="no means of renewing"):
        await oauth.refresh(replace(tokens, refresh=""))
