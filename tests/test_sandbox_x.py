"""The stand-in of X's look-ups, and the archives that X hands out."""

import io
import json
import zipfile
from collections.abc import AsyncIterator

import httpx
import pytest

from bot.sandbox.archive import Spelling, follower_js, following_js, write_archive
from bot.sandbox.faults import Fault
from bot.sandbox.x import XSandbox

NOW = 1_790_000_000.0


@pytest.fixture
async def x() -> AsyncIterator[XSandbox]:
    async with XSandbox(now=lambda: NOW) as sandbox:
        yield sandbox


@pytest.fixture
async def http(x: XSandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=x.url, trust_env=False) as client:
        yield client


def id_of(url: str) -> str:
    return url.rpartition("/")[2]


async def test_a_post_is_found_by_its_number(x: XSandbox, http: httpx.AsyncClient) -> None:
    alice = x.create_account("Old_Alice", x_id=4242)
    url = alice.post("Bye & thanks! I'm now https://mastodon.social/@alice, or alice.bsky.social. #eXit RF-7F3K-9QXA")
    assert url.startswith("https://x.com/Old_Alice/status/")
    tweet = (await http.get("/tweet-result", params={"id": id_of(url), "token": "4f"})).json()
    assert tweet["__typename"] == "Tweet"
    assert tweet["id_str"] == id_of(url)
    assert (tweet["user"]["id_str"], tweet["user"]["screen_name"]) == ("4242", "Old_Alice")
    assert tweet["created_at"] == "2026-09-21T14:13:20.000Z"
    short, bare = tweet["entities"]["urls"]
    assert short["expanded_url"] == "https://mastodon.social/@alice"
    assert bare["expanded_url"] == "http://alice.bsky.social"
    assert tweet["text"] == f"Bye &amp; thanks! I'm now {short['url']}, or {bare['url']}. #eXit RF-7F3K-9QXA"
    assert short["url"].startswith("https://t.co/")


async def test_a_post_is_embedded_by_its_address(x: XSandbox, http: httpx.AsyncClient) -> None:
    alice = x.create_account("alice_x")
    url = alice.post("Adieu\nhttps://example.com RF-7F3K-9QXA", lang="fr")
    for address in (
        url,
        url.replace("x.com", "twitter.com") + "?s=20",
        f"https://x.com/someone_else/status/{id_of(url)}",
    ):
        embed = (await http.get("/oembed", params={"url": address})).json()
        assert embed["author_url"].endswith("/alice_x"), "the author is who wrote it, not who is named in the address"
        assert '<p lang="fr" dir="ltr">Adieu<br><a href="https://t.co/' in embed["html"]
        assert "RF-7F3K-9QXA</p>" in embed["html"]
    for address in ("https://evil.example/alice_x/status/1", "https://x.com/alice_x", "nonsense", ""):
        assert (await http.get("/oembed", params={"url": address})).status_code == 404


async def test_what_is_gone_and_what_never_was(x: XSandbox, http: httpx.AsyncClient) -> None:
    alice, bob = x.create_account("alice"), x.create_account("bob")
    url = alice.post("a mistake")
    with pytest.raises(LookupError):
        bob.delete_post(url)
    alice.delete_post(url)
    gone = (await http.get("/tweet-result", params={"id": id_of(url), "token": "a"})).json()
    assert gone["__typename"] == "TweetTombstone"
    assert (await http.get("/oembed", params={"url": url})).status_code == 404
    never = await http.get("/tweet-result", params={"id": "12345", "token": "a"})
    assert (never.status_code, never.content) == (404, b"")
    assert (await http.get("/tweet-result", params={"id": id_of(url)})).status_code == 400


async def test_a_new_name_leaves_the_number(x: XSandbox, http: httpx.AsyncClient) -> None:
    alice = x.create_account("alice")
    url = alice.post("hello")
    with pytest.raises(ValueError, match="no name"):
        alice.rename("much_too_long_a_name")
    alice.rename("alice_of_old")
    tweet = (await http.get("/tweet-result", params={"id": id_of(url), "token": "a"})).json()
    assert tweet["user"] | {"name": ""} == tweet["user"] | {"name": "", "screen_name": "alice_of_old"}
    assert int(tweet["user"]["id_str"]) == alice.x_id
    squatter = x.create_account("alice")
    assert squatter.x_id != alice.x_id
    with pytest.raises(ValueError, match="taken"):
        x.create_account("ALICE")
    with pytest.raises(ValueError, match="taken"):
        x.create_account("zoe", x_id=alice.x_id)


async def test_numbers_are_as_old_or_as_new_as_the_real_ones(x: XSandbox, http: httpx.AsyncClient) -> None:
    numbers = [x.create_account(f"user{number}").x_id for number in range(20)]
    assert len(set(numbers)) == 20
    assert sum(number < 2**32 for number in numbers) == 10
    assert all(2**60 < number < 2**63 for number in numbers if number >= 2**32)
    x.faults.plan(Fault("/tweet-result", status=429))
    assert (await http.get("/tweet-result", params={"id": "1", "token": "a"})).status_code == 429


def listed(source: bytes) -> list[int]:
    entries = json.loads(source[source.index(b"[") :])
    return [int(next(iter(entry.values()))["accountId"]) for entry in entries]


def test_the_lists_are_written_as_x_writes_them() -> None:
    assert following_js([12, 34], part=2).startswith(b"window.YTD.following.part2 = [")
    assert json.loads(follower_js([12]).removeprefix(b"window.YTD.follower.part0 = ")) == [
        {"follower": {"accountId": "12", "userLink": "https://twitter.com/intent/user?user_id=12"}}
    ]


@pytest.mark.parametrize("spelling", ["-part", "_part"])
def test_an_archive_holds_lists_identity_and_much_to_skip(spelling: Spelling) -> None:
    file = io.BytesIO()
    write_archive(
        file,
        x_id=4242,
        screen_name="Old_Alice",
        following=range(1, 8),
        followers=[5],
        parts=3,
        media_bytes=3_000_000,
        spelling=spelling,
    )
    assert len(file.getvalue()) > 3_000_000
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {"data/manifest.js", "data/account.js", "Your archive.html"} <= set(names)
        files = ["data/following.js", f"data/following{spelling}1.js", f"data/following{spelling}2.js"]
        assert [number for name in files for number in listed(archive.read(name))] == list(range(1, 8))
        manifest = archive.read("data/manifest.js")
        assert b"@example.com" in archive.read("data/account.js")
    assert manifest.startswith(b"window.__THAR_CONFIG = {")
    config = json.loads(manifest[manifest.index(b"{") :])
    assert config["userInfo"]["accountId"] == "4242"
    assert [entry["fileName"] for entry in config["dataTypes"]["following"]["files"]] == files
    assert b"@example.com" not in manifest


def test_the_same_people_give_the_same_archive() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    for file in (first, second):
        write_archive(file, x_id=1, screen_name="a", following=[2], followers=[])
    assert first.getvalue() == second.getvalue()
    with pytest.raises(ValueError, match="at least one part"):
        write_archive(io.BytesIO(), x_id=1, screen_name="a", following=[], followers=[], parts=0)
