"""What the stand-in of Mastodon is for: its limits, failures on purpose, and stories that wait."""

import asyncio
from datetime import datetime

import httpx
import pytest
from mastodon import MastodonAPIError, MastodonRatelimitError
from mastodon.errors import MastodonInternalServerError, MastodonNetworkError

from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox, Rule
from tests.conftest import OwnClock
from tests.sandbox_mastodon import alice, bearer, bob, call, flock, http, sdk, server

__all__ = ["alice", "bob", "flock", "http", "server"]  # fixtures


async def test_too_many_requests_are_told_with_headers(
    server: MastodonSandbox, flock: MastodonPerson, clock: OwnClock, http: httpx.AsyncClient
) -> None:
    server.limits.rules["token"] = Rule(3, 300)
    clock.pass_seconds(-clock.seconds() % 300 + 100)  # into a window
    ends_at = clock.seconds() + 200
    answers = [await http.get("/api/v1/notifications", headers=bearer(flock.token)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[3].headers["x-ratelimit-limit"] == "3"
    told = datetime.fromisoformat(answers[3].headers["x-ratelimit-reset"])
    assert told.timestamp() == ends_at, "windows are fixed, not rolling"
    client = sdk(server, flock.token)
    with pytest.raises(MastodonRatelimitError):
        await call(client.account_verify_credentials)
    assert client.ratelimit_remaining == 0
    assert ends_at <= client.ratelimit_reset < ends_at + 300  # the SDK adds how old it takes the answer to be
    other = await http.get("/api/v1/notifications", headers=bearer(flock.token_for("read")))
    assert other.status_code == 200, "each token has its own window"
    clock.pass_seconds(200)
    assert await call(client.account_verify_credentials)
    server.limits.enabled = False
    answers = [await http.get("/api/v1/notifications", headers=bearer(flock.token)) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}


async def test_follows_and_statuses_have_limits_of_their_own(
    server: MastodonSandbox, alice: MastodonPerson, bob: MastodonPerson, clock: OwnClock, http: httpx.AsyncClient
) -> None:
    assert server.limits.rules["follows"] == Rule(400, 86400)
    assert server.limits.rules["statuses"] == Rule(300, 10800)
    server.limits.rules |= {"follows": Rule(1, 86400), "statuses": Rule(1, 10800)}
    carol = server.create_account("carol")

    async def follow(other: MastodonPerson) -> httpx.Response:
        return await http.post(f"/api/v1/accounts/{other.id}/follow", headers=bearer(alice.token))

    first = await follow(bob)
    assert (first.status_code, first.headers["x-ratelimit-limit"]) == (200, "1")
    assert (await follow(bob)).status_code == 200, "who is followed already does not count"
    refused = await follow(carol)
    assert (refused.status_code, refused.json()) == (429, {"error": "Too many requests"})
    assert alice.follows == {bob.actor}
    clock.pass_seconds(86400)
    assert (await follow(carol)).status_code == 200

    statuses = [
        await http.post("/api/v1/statuses", headers=bearer(alice.token), json={"status": f"number {number}"})
        for number in range(2)
    ]
    assert [answer.status_code for answer in statuses] == [200, 429]
    assert len(alice.account.statuses) == 1


async def test_planned_failures_lose_the_request_or_only_its_answer(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson
) -> None:
    client = sdk(server, flock.token)
    server.faults.plan(Fault("/api/v1/statuses", status=500))
    with pytest.raises(MastodonInternalServerError):
        await call(client.status_post, "@alice hello", idempotency_key="k")
    assert server.journal.effects == []
    server.faults.plan(Fault("/api/v1/statuses", "cut", after=True))
    with pytest.raises(MastodonNetworkError):
        await call(client.status_post, "@alice hello", idempotency_key="k")
    assert len(server.journal.effects) == 1
    await call(client.status_post, "@alice hello", idempotency_key="k")
    assert len(server.journal.effects) == 1, "the key saves us from saying it twice"
    server.faults.plan(Fault("/api/v1/notifications", "malformed"))
    with pytest.raises(MastodonAPIError):
        await call(client.notifications)


async def test_a_story_waits_for_what_comes_true(
    server: MastodonSandbox, flock: MastodonPerson, alice: MastodonPerson
) -> None:
    hello = alice.post("@flock hello")
    answering = asyncio.create_task(
        call(sdk(server, flock.token).status_post, "@alice hi", in_reply_to_id=hello, visibility="unlisted")
    )
    replies = await server.changed(lambda: alice.replies_to(hello), timeout=20)
    assert replies[0].text == "@alice hi"
    await answering
    with pytest.raises(TimeoutError):
        await server.changed(alice.received_dms, timeout=0)
    with pytest.raises(ValueError, match="taken"):
        server.create_account("Alice")
    with pytest.raises(ValueError, match="no name"):
        server.create_account("a b")
