"""The characters of the stand-in: how other servers number, write and refuse."""

import httpx
import pytest

from bot.networks.markup import html_to_text
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.ids import IdStyle, read_id, write_id
from bot.sandbox.mastodon.quirks import CHARACTERS, GOTOSOCIAL, HOLLO, SNAC, SPLIT_DOMAIN, TAKAHE, Quirks

NUMBERS = [0, 1, 2, 1000, 1_900_000_000_000 << 16, (1_900_000_000_000 << 16) + 1, (1_900_000_000_001 << 16)]


@pytest.mark.parametrize("style", ["number", "ulid", "uuid"])
def test_ids_are_read_as_they_are_written_and_grow(style: IdStyle) -> None:
    written = [write_id(number, style) for number in NUMBERS]
    assert [read_id(text, style) for text in written] == NUMBERS
    if style != "number":
        assert written == sorted(written)
    for nonsense in ("", "nonsense", "../1", written[-1] + "-0", "é"):
        assert read_id(nonsense, style) is None


def test_ulids_and_uuids_look_like_those_of_real_servers() -> None:
    at = 1_469_918_176_385
    assert write_id(at << 16, "ulid").startswith("01ARYZ6S41")  # the example of the ULID specification
    assert write_id(at << 16, "uuid").startswith("01563df3-6481-7")


@pytest.mark.parametrize("quirks", CHARACTERS, ids=lambda quirks: quirks.name)
async def test_every_character_shows_the_same_words(quirks: Quirks) -> None:
    async with MastodonSandbox(quirks=quirks) as server:
        alice, bob = server.create_account("alice"), server.create_account("bob")
        link = "https://www.example.com/a/long/path/that/is/shortened?x=1&y=2"
        written = alice.post(f"{bob.handle} see {link}\nand <b>this</b> & that")
        headers = {"authorization": f"Bearer {bob.token}"}
        status = (await server.http.get(f"{server.url}/api/v1/statuses/{written}", headers=headers)).json()
        assert status["id"] == written
        said = html_to_text(status["content"])
        assert said.endswith(f" see {link}\nand <b>this</b> & that")
        assert said.lower().startswith("@bob")


@pytest.mark.parametrize(("quirks", "status"), [(GOTOSOCIAL, 401), (TAKAHE, 400), (SNAC, 422)])
async def test_a_token_that_is_none_is_refused_in_each_ones_own_way(quirks: Quirks, status: int) -> None:
    async with MastodonSandbox(quirks=quirks) as server:
        headers = {"authorization": "Bearer nonsense"}
        answer = await server.http.get(f"{server.url}/api/v1/accounts/verify_credentials", headers=headers)
        assert answer.status_code == status


async def test_hollo_gives_the_newest_where_the_oldest_are_asked_for() -> None:
    async with MastodonSandbox(quirks=HOLLO) as server:
        alice, bob = server.create_account("alice"), server.create_account("bob")
        posts = [alice.post(f"{bob.handle} {number}") for number in range(5)]
        client = httpx.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {bob.token}"})
        async with client:
            everything = (await client.get("/api/v1/notifications")).json()
            query = {"min_id": everything[-1]["id"], "limit": "2"}
            page = (await client.get("/api/v1/notifications", params=query)).json()
        assert [entry["status"]["id"] for entry in page] == [posts[4], posts[3]]
        assert "/mention/" in everything[0]["id"]


async def test_snac_shows_its_newest_64_and_no_more() -> None:
    async with MastodonSandbox(quirks=SNAC) as server:
        alice, bob = server.create_account("alice"), server.create_account("bob")
        posts = [alice.post(f"{bob.handle} {number}") for number in range(70)]
        assert [*await looked(server, bob), *await looked(server, bob, "40")] == posts[:5:-1]
        assert await looked(server, bob, "64") == []


@pytest.mark.parametrize("quirks", [GOTOSOCIAL, TAKAHE], ids=lambda quirks: quirks.name)
async def test_a_notification_may_be_shown_after_a_later_one(quirks: Quirks) -> None:
    async with MastodonSandbox(quirks=quirks) as server:
        alice, bob = server.create_account("alice"), server.create_account("bob")
        first, second = alice.post(f"{bob.handle} one"), alice.post(f"{bob.handle} two")
        assert await looked(server, bob) == [second]
        assert await looked(server, bob) == [second, first]


@pytest.mark.parametrize(("quirks", "labels"), [(GOTOSOCIAL, True), (TAKAHE, False), (HOLLO, True), (SNAC, True)])
async def test_all_but_takahe_keep_that_an_account_is_a_bot(quirks: Quirks, labels: bool) -> None:
    async with MastodonSandbox(quirks=quirks) as server:
        robot = server.create_account("robot")
        headers = {"authorization": f"Bearer {robot.token}"}
        path = f"{server.url}/api/v1/accounts/update_credentials"
        answer = await server.http.patch(path, data={"bot": "true"}, headers=headers)
        assert answer.json()["bot"] is labels


@pytest.mark.parametrize("quirks", [GOTOSOCIAL, TAKAHE, HOLLO], ids=lambda quirks: quirks.name)
async def test_accounts_may_tell_no_uri_and_be_found_by_webfinger_alone(quirks: Quirks) -> None:
    async with MastodonSandbox(quirks=quirks) as server:
        alice = server.create_account("alice")
        account = await server.http.get(f"{server.url}/api/v1/accounts/{alice.id}")
        assert "uri" not in account.json()
        query = {"resource": f"acct:{alice.handle.removeprefix('@')}"}
        answer = (await server.http.get(f"{server.url}/.well-known/webfinger", params=query)).json()
        assert alice.actor in [link["href"] for link in answer["links"] if link["rel"] == "self"]


async def looked(server: MastodonSandbox, reader: MastodonPerson, after: str | None = None) -> list[str]:
    """Return the statuses in the notifications of somebody, newest first, after so many of them."""
    client = httpx.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {reader.token}"})
    async with client:
        entries = (await client.get("/api/v1/notifications")).json()
        if after is not None:
            query = {"max_id": reader.account.notifications[-int(after)].id}
            entries = (await client.get("/api/v1/notifications", params=query)).json()
    return [entry["status"]["id"] for entry in entries]


async def test_the_host_that_only_names_accounts_sends_on_nothing_but_webfinger() -> None:
    async with MastodonSandbox(quirks=SPLIT_DOMAIN) as server:
        alice = server.create_account("alice")
        query = {"resource": f"acct:alice@{server.domain.lower()}"}
        named = f"http://{server.domain.lower()}"
        answer = await server.http.get(f"{named}/.well-known/webfinger", params=query, follow_redirects=True)
        assert answer.json()["subject"] == f"acct:alice@{server.domain}"
        assert str(answer.url).startswith(server.url)
        assert alice.actor.startswith(server.url)
        assert (await server.http.get(f"{named}/api/v1/instance")).status_code == 404
