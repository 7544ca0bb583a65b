"""The Bluesky stand-in's OAuth server, walked through by a client written from the specification."""

import base64
import hashlib
import json
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from tests.conftest import OwnClock
from tests.sandbox_bluesky import alice, bob, sky

__all__ = ["alice", "bob", "sky"]  # fixtures

FOLLOW = "app.bsky.graph.follow"
SCOPE = f"atproto repo:{FOLLOW}?action=create&action=delete"
REDIRECT = "http://127.0.0.1:8898/back"
LOOPBACK = "http://localhost?" + urlencode({"redirect_uri": REDIRECT, "scope": f"{SCOPE} rpc:*?aud=*"})
WEB = "https://reflock.home.arpa/oauth-client-metadata.json"


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Key:
    """An ES256 key that signs tokens."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        numbers = self._private.public_key().public_numbers()
        self.jwk = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}

    def sign(self, head: dict[str, Any], claims: dict[str, Any]) -> str:
        signed = f"{b64(json.dumps(head | {'alg': 'ES256'}).encode())}.{b64(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self._private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{b64(r.to_bytes(32) + s.to_bytes(32))}"


class Consumer:
    """A client of the authorization server; `assertion_key` makes it a confidential one."""

    def __init__(self, sky: BlueskySandbox, client_id: str = LOOPBACK, assertion_key: Key | None = None) -> None:
        self.sky = sky
        self.client_id = client_id
        self.key = Key()
        self.assertion_key = assertion_key
        self.verifier = b64(secrets.token_bytes(32))
        self.nonce = ""

    def proof(self, method: str, url: str, **claims: Any) -> str:
        said = {"jti": secrets.token_hex(8), "htm": method, "htu": url, "iat": int(self.sky.now()), "nonce": self.nonce}
        return self.key.sign({"typ": "dpop+jwt", "jwk": self.key.jwk}, said | claims)

    async def form(self, path: str, **form: str) -> httpx.Response:
        """Post a form with a proof, once more if the server wants its nonce."""
        url = f"{self.sky.url}/oauth/{path}"
        for _ in range(2):
            answer = await self.sky.http.post(
                url, data=self._client() | form, headers={"dpop": self.proof("POST", url)}
            )
            self.nonce = answer.headers.get("dpop-nonce", self.nonce)
            if answer.json().get("error") != "use_dpop_nonce":
                break
        return answer

    def _client(self) -> dict[str, str]:
        if self.assertion_key is None:
            return {"client_id": self.client_id}
        now = int(self.sky.now())
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": self.sky.url, "jti": secrets.token_hex(8)}
        return {
            "client_id": self.client_id,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self.assertion_key.sign({"kid": "k1"}, claims | {"iat": now, "exp": now + 60}),
        }

    async def push(self, **more: str) -> httpx.Response:
        challenge = b64(hashlib.sha256(self.verifier.encode()).digest())
        form = {
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": SCOPE,
            "state": "s1",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return await self.form("par", **(form | more))

    async def ask(self, **more: str) -> str:
        """Return where the browser is sent."""
        pushed = await self.push(**more)
        assert pushed.status_code == 201, pushed.text
        query = urlencode({"client_id": self.client_id, "request_uri": pushed.json()["request_uri"]})
        return f"{self.sky.url}/oauth/authorize?{query}"

    async def redeem(self, answer_url: str, **more: str) -> httpx.Response:
        code = dict(parse_qsl(urlsplit(answer_url).query))["code"]
        form = {"code": code, "redirect_uri": REDIRECT, "code_verifier": self.verifier}
        return await self.form("token", grant_type="authorization_code", **(form | more))

    async def refresh(self, token: str) -> httpx.Response:
        return await self.form("token", grant_type="refresh_token", refresh_token=token)

    async def consent(self, person: BlueskyPerson, **asked: str) -> dict[str, Any]:
        """Do the whole flow and return the tokens."""
        answer = await self.redeem(await person.approve(await self.ask(**asked)))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def call(self, method: str, nsid: str, access: str, **request: Any) -> httpx.Response:
        """Call XRPC with a token and a proof, once more if the server wants its nonce."""
        url = f"{self.sky.url}/xrpc/{nsid}"
        ath = b64(hashlib.sha256(access.encode()).digest())
        for _ in range(2):
            headers = {"authorization": f"DPoP {access}", "dpop": self.proof(method, url, ath=ath)}
            answer = await self.sky.http.request(method, url, headers=headers, **request)
            self.nonce = answer.headers["dpop-nonce"]
            if 'error="use_dpop_nonce"' not in answer.headers.get("www-authenticate", ""):
                break
        return answer

    async def create(self, tokens: dict[str, Any], collection: str, **value: Any) -> httpx.Response:
        record = {"$type": collection, "createdAt": "2026-11-21T00:00:00.000Z", **value}
        body = {"repo": tokens["sub"], "collection": collection, "record": record}
        return await self.call("POST", "com.atproto.repo.createRecord", tokens["access_token"], json=body)


@pytest.fixture
def consumer(sky: BlueskySandbox) -> Consumer:
    return Consumer(sky)


async def test_a_handle_leads_to_its_authorization_server(sky: BlueskySandbox, alice: BlueskyPerson) -> None:
    found = await sky.http.get(f"{sky.url}/.well-known/atproto-did", headers={"host": "alice.test"})
    assert found.text == alice.did
    document = (await sky.http.get(f"{sky.url}/{found.text}")).json()
    pds = document["service"][0]["serviceEndpoint"]
    resource = (await sky.http.get(f"{pds}/.well-known/oauth-protected-resource")).json()
    [issuer] = resource["authorization_servers"]
    server = (await sky.http.get(f"{issuer}/.well-known/oauth-authorization-server")).json()
    assert server["issuer"] == issuer == sky.url
    assert (await sky.http.get(f"{sky.url}/did:plc:nobody")).status_code == 404


async def test_consent_lets_the_client_follow_and_nothing_else(
    sky: BlueskySandbox, consumer: Consumer, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    answer_url = await alice.approve(await consumer.ask(login_hint=alice.handle))
    answer = dict(parse_qsl(urlsplit(answer_url).query))
    assert answer_url.startswith(REDIRECT)
    assert (answer["state"], answer["iss"]) == ("s1", sky.url)
    tokens = (await consumer.redeem(answer_url)).json()
    assert (tokens["sub"], tokens["token_type"], tokens["scope"]) == (alice.did, "DPoP", SCOPE)

    assert (await consumer.create(tokens, FOLLOW, subject=bob.did)).status_code == 200
    assert alice.follows == {bob.did}
    refused = await consumer.create(tokens, "app.bsky.feed.post", text="not asked for")
    assert (refused.status_code, refused.json()["error"]) == (403, "ScopeMissingError")

    [uri] = sky.world.follows[alice.did, bob.did]
    update = {"$type": "com.atproto.repo.applyWrites#delete", "collection": FOLLOW, "rkey": uri.rpartition("/")[2]}
    body = {"repo": alice.did, "writes": [update]}
    done = await consumer.call("POST", "com.atproto.repo.applyWrites", tokens["access_token"], json=body)
    assert done.status_code == 200
    assert alice.follows == set()


async def test_what_another_service_answers_needs_its_own_scope(
    sky: BlueskySandbox, consumer: Consumer, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    asked: dict[str, Any] = {"params": {"actor": alice.did, "others": [bob.did]}}
    method = "app.bsky.graph.getRelationships"
    narrow = await consumer.consent(alice)
    refused = await consumer.call("GET", method, narrow["access_token"], **asked)
    assert (refused.status_code, refused.json()["error"]) == (403, "ScopeMissingError")
    wide = await consumer.consent(alice, scope=f"{SCOPE} rpc:*?aud=*")
    assert (await consumer.call("GET", method, wide["access_token"], **asked)).status_code == 200
    assert (await sky.http.get(f"{sky.url}/xrpc/{method}", **asked)).status_code == 200


async def test_a_refusal_comes_back_as_access_denied(consumer: Consumer, alice: BlueskyPerson) -> None:
    answer = dict(parse_qsl(urlsplit(await alice.approve(await consumer.ask(), allow=False)).query))
    assert (answer["error"], answer["state"]) == ("access_denied", "s1")


async def test_people_may_grant_less_than_was_asked_for(consumer: Consumer, alice: BlueskyPerson) -> None:
    tokens = (await consumer.redeem(await alice.approve(await consumer.ask(), scope="atproto"))).json()
    assert tokens["scope"] == "atproto"
    refused = await consumer.create(tokens, FOLLOW, subject=alice.did)
    assert refused.status_code == 403


async def test_a_story_may_have_everybody_grant_only_a_part(
    sky: BlueskySandbox, consumer: Consumer, alice: BlueskyPerson
) -> None:
    sky.granted_scope = "atproto"
    assert (await consumer.consent(alice))["scope"] == "atproto"


async def test_a_wrong_password_and_a_used_page_lead_nowhere(
    sky: BlueskySandbox, consumer: Consumer, alice: BlueskyPerson
) -> None:
    page = await consumer.ask()
    impostor = BlueskyPerson(sky, sky.world.accounts[alice.did], "wrong")
    with pytest.raises(ValueError, match="Invalid identifier or password"):
        await impostor.approve(page)
    await alice.approve(page)
    with pytest.raises(ValueError, match="unknown or has expired"):
        await alice.approve(page)


async def test_a_refresh_token_works_once_and_its_replay_ends_the_session(
    consumer: Consumer, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    first = await consumer.consent(alice)
    second = (await consumer.refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (await consumer.create(second, FOLLOW, subject=bob.did)).status_code == 200
    replay = await consumer.refresh(first["refresh_token"])
    assert (replay.status_code, replay.json()["error"]) == (400, "invalid_grant")
    assert (await consumer.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await consumer.create(second, FOLLOW, subject=bob.did)).status_code == 401


async def test_a_code_works_once_and_its_replay_ends_the_session(consumer: Consumer, alice: BlueskyPerson) -> None:
    answer_url = await alice.approve(await consumer.ask())
    tokens = (await consumer.redeem(answer_url)).json()
    assert (await consumer.redeem(answer_url)).json()["error"] == "invalid_grant"
    assert (await consumer.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_code_needs_its_verifier_and_its_key(consumer: Consumer, alice: BlueskyPerson) -> None:
    answer_url = await alice.approve(await consumer.ask())
    assert (await consumer.redeem(answer_url, code_verifier="x" * 43)).json()["error"] == "invalid_grant"
    consumer.key = Key()
    assert (await consumer.redeem(answer_url)).json()["error"] == "invalid_grant"


async def test_an_access_token_ends_after_an_hour_and_on_revocation(
    sky: BlueskySandbox, consumer: Consumer, alice: BlueskyPerson, bob: BlueskyPerson, clock: OwnClock
) -> None:
    tokens = await consumer.consent(alice)
    clock.pass_seconds(sky.oauth_access_seconds)
    late = await consumer.create(tokens, FOLLOW, subject=bob.did)
    assert (late.status_code, late.json()["error"]) == (401, "invalid_token")
    fresh = (await consumer.refresh(tokens["refresh_token"])).json()
    assert (await consumer.form("revoke", token=fresh["refresh_token"])).status_code == 200
    assert (await consumer.create(fresh, FOLLOW, subject=bob.did)).status_code == 401
    assert sky.oauth.sessions_of(alice.did) == []


async def test_a_public_session_lasts_two_weeks(consumer: Consumer, alice: BlueskyPerson, clock: OwnClock) -> None:
    tokens = await consumer.consent(alice)
    clock.pass_seconds(14 * 86400)
    assert (await consumer.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_proof_must_fit_the_request_the_token_and_the_moment(
    sky: BlueskySandbox, consumer: Consumer, alice: BlueskyPerson
) -> None:
    tokens = await consumer.consent(alice)
    access = tokens["access_token"]
    ath = b64(hashlib.sha256(access.encode()).digest())
    url = f"{sky.url}/xrpc/com.atproto.server.getSession"

    async def attempt(proof: str) -> str:
        headers = {"authorization": f"DPoP {access}", "dpop": proof}
        return str((await sky.http.get(url, headers=headers)).json().get("error"))

    good = consumer.proof("GET", url, ath=ath)
    assert await attempt(good) == "None"
    assert await attempt(good) == "invalid_dpop_proof"  # a replay
    assert await attempt(consumer.proof("POST", url, ath=ath)) == "invalid_dpop_proof"
    assert await attempt(consumer.proof("GET", f"{url}x", ath=ath)) == "invalid_dpop_proof"
    assert await attempt(consumer.proof("GET", url, ath="other")) == "invalid_dpop_proof"
    assert await attempt(consumer.proof("GET", url, ath=ath, iat=int(sky.now()) - 3600)) == "invalid_dpop_proof"
    assert await attempt(consumer.proof("GET", url, ath=ath, nonce="stale")) == "use_dpop_nonce"
    consumer.key = Key()
    assert await attempt(consumer.proof("GET", url, ath=ath)) == "invalid_dpop_proof"


async def test_a_pushed_request_is_checked(consumer: Consumer) -> None:
    async def attempt(**form: str) -> str:
        return str((await consumer.push(**form)).json()["error"])

    assert await attempt(code_challenge_method="plain") == "invalid_request"
    assert await attempt(redirect_uri="http://127.0.0.1:8898/elsewhere") == "invalid_request"
    assert await attempt(scope="atproto transition:generic") == "invalid_scope"
    assert await attempt(scope=SCOPE.removeprefix("atproto ")) == "invalid_scope"
    # A loopback client may listen on another port than it said (RFC 8252).
    assert (await consumer.push(redirect_uri="http://127.0.0.1:9999/back")).status_code == 201


async def test_a_confidential_client_proves_itself_with_its_key(sky: BlueskySandbox, alice: BlueskyPerson) -> None:
    key = Key()
    metadata = {
        "client_id": WEB,
        "client_name": "Reflock",
        "redirect_uris": [REDIRECT],
        "scope": SCOPE,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "dpop_bound_access_tokens": True,
        "jwks": {"keys": [{**key.jwk, "kid": "k1", "use": "sig", "alg": "ES256"}]},
    }
    fetched: list[str] = []

    async def fetch(url: str) -> dict[str, Any]:
        fetched.append(url)
        return metadata

    sky.fetch_client_metadata = fetch
    consumer = Consumer(sky, WEB, key)
    tokens = await consumer.consent(alice)
    assert (await consumer.refresh(tokens["refresh_token"])).status_code == 200
    assert fetched == [WEB]
    for impostor in (Consumer(sky, WEB), Consumer(sky, WEB, Key())):
        refused = await impostor.push()
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client")


async def test_a_client_without_metadata_is_refused(sky: BlueskySandbox) -> None:
    consumer = Consumer(sky, f"{sky.url}/no-such-document.json")
    assert (await consumer.push()).json()["error"] == "invalid_client_metadata"
