"""Uploads that go on after a lost connection, and what happens to those that are not what they say."""

import asyncio
import json
import re
from typing import Any, Final

import httpx
import numpy as np
import pytest
import sqlalchemy as sa

from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.demo.browser import find_form
from storage.codes import Purpose
from storage.tables import upload as uploads
from tests.conftest import OwnClock
from tests.flock import Flock, flock, open_flock
from tests.test_handlers_archive import following_js, manifest_js
from tests.visits import alice, asks, enter, link_to, upload

__all__ = ["alice", "flock"]  # fixtures

HIGHEST: Final = 2**63 - 1
KEY: Final = "0123456789abcdef" * 2


@pytest.fixture
async def sender(flock: Flock, alice: BlueskyPerson) -> "Sender":
    return await sender_of(flock, alice)


async def sender_of(flock: Flock, person: BlueskyPerson) -> "Sender":
    browser = flock.new_browser()
    page = await enter(browser, await link_to(flock, person, Purpose.IMPORT))
    return Sender(browser, flock.pages, find_form(page, lambda form: "key" in form.fields).fields["csrf"])


class Sender:
    """What the page's script sends, by hand."""

    def __init__(self, browser: httpx.AsyncClient, pages: str, proof: str) -> None:
        self.browser = browser
        self.pages = pages
        self.headers = {"tus-resumable": "1.0.0", "x-reflock-form": proof}

    async def asks(self, method: str, path: str, content: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.browser.request(method, self.pages + path, content=content, headers={**self.headers, **named})

    async def begins(self, length: int) -> str:
        begun = await self.asks("POST", "/uploads", upload_length=str(length))
        assert begun.status_code == 201, begun.text
        assert begun.headers["tus-resumable"] == "1.0.0"
        return begun.headers["location"]

    async def appends(self, address: str, offset: int, content: Any) -> httpx.Response:
        kind = "application/offset+octet-stream"
        return await self.asks("PATCH", address, content, upload_offset=str(offset), content_type=kind)

    async def arrived(self, address: str) -> int:
        looked = await self.asks("HEAD", address)
        assert looked.status_code == 200
        return int(looked.headers["upload-offset"])

    async def finishes(self, address: str) -> httpx.Response:
        return await self.asks("POST", f"{address}/finish")

    async def sends(self, body: bytes) -> httpx.Response:
        address = await self.begins(len(body))
        assert (await self.appends(address, 0, body)).status_code == 204
        return await self.finishes(address)


def packed(following: list[int] | None, followers: list[int] | None = None, /, **changes: object) -> bytes:
    header = {
        "key": KEY,
        "account_id": None,
        "handle": None,
        "following": None if following is None else len(following),
        "followers": None if followers is None else len(followers),
        "handles": [],
        "partial": False,
        "skipped": 0,
        **changes,
    }
    ids = np.array([*(following or []), *(followers or [])], "<u8")
    return json.dumps(header).encode() + b"\n" + ids.tobytes()


async def slots(flock: Flock) -> list[int]:
    async with flock.app.events.database.reading() as connection:
        return list(await connection.scalars(sa.select(uploads.c.n).order_by(uploads.c.slot)))


async def test_lists_that_come_in_pieces_are_kept_and_answered_once(
    flock: Flock, alice: BlueskyPerson, sender: Sender
) -> None:
    body = packed([HIGHEST, 12, 12], [5], handles=["jack_smith"], skipped=2, account_id="7", handle="old")
    address = await sender.begins(len(body))
    assert await sender.arrived(address) == 0
    for start in range(0, len(body), 100):
        taken = await sender.appends(address, start, body[start : start + 100])
        assert int(taken.headers["upload-offset"]) == await sender.arrived(address) == min(start + 100, len(body))
    # An answer may be lost on the way, and be asked for again: here by three at once, and once more.
    answers = await asyncio.gather(*(sender.finishes(address) for _ in range(3)))
    answers.append(await sender.finishes(address))
    assert [answer.json() for answer in answers] == [{"next": "/contacts"}] * 4
    page = await sender.browser.get(f"{flock.pages}/contacts")
    assert "Kept: 2 accounts that you followed." in page.text
    assert "The archive says that you were @old." in page.text
    await flock.settle()
    said = [each.text for each in alice.received_dms(flock.bluesky_bot) if "Kept: 2 accounts" in each.text]
    assert len(said) == 1
    assert "2 entries made no sense to me" in said[0]
    assert sorted(await slots(flock)) == [1, 1, 2]


async def test_who_sends_the_same_again_after_the_server_forgot_it_is_not_told_twice(
    flock: Flock, alice: BlueskyPerson, sender: Sender
) -> None:
    for _ in range(2):
        assert (await sender.sends(packed([1, 2]))).status_code == 200
    await flock.settle()
    assert len([each for each in alice.received_dms(flock.bluesky_bot) if "Kept: 2" in each.text]) == 1


async def test_a_part_is_added_and_a_whole_list_takes_the_place_of_the_former(flock: Flock, sender: Sender) -> None:
    for ids, partial, expected in (([1, 2], False, 2), ([3], True, 3), ([4], False, 1)):
        assert (await sender.sends(packed(ids, partial=partial))).status_code == 200
        assert await slots(flock) == [expected]


async def test_what_arrived_before_the_line_was_cut_is_kept(flock: Flock, sender: Sender) -> None:
    body = packed(list(range(1, 40_001)))
    address = await sender.begins(len(body))
    host, _, port = flock.pages.removeprefix("http://").partition(":")
    cookies = "; ".join(f"{name}={value}" for name, value in sender.browser.cookies.items())
    head = {
        **sender.headers,
        "host": host,
        "cookie": cookies,
        "content-type": "application/offset+octet-stream",
        "content-length": str(len(body)),
        "upload-offset": "0",
    }
    lines = [f"PATCH {address} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    _, cut = await asyncio.open_connection(host, int(port))
    cut.write("\r\n".join(lines).encode() + body[:100_000])
    await cut.drain()
    arrived = 0
    async with asyncio.timeout(20):
        while not arrived:  # it is on its way
            arrived = await sender.arrived(address)
    cut.transport.abort()
    assert arrived <= 100_000
    # Who asks how much has arrived is the one who sends from now on.
    assert (await sender.appends(address, arrived, body[arrived:])).status_code == 204
    assert (await sender.finishes(address)).status_code == 200
    assert await slots(flock) == [40_000]


async def test_bytes_are_taken_in_their_order_only_and_no_more_than_were_announced(
    flock: Flock, sender: Sender
) -> None:
    body = packed([1, 2, 3])
    address = await sender.begins(len(body))
    assert (await sender.appends(address, 5, body[5:])).status_code == 409
    assert (await sender.appends(address, 0, body[:20])).status_code == 204
    assert (await sender.appends(address, 0, body[:20])).status_code == 409
    assert (await sender.finishes(address)).status_code == 409
    assert (await sender.appends(address, 20, body)).status_code == 413
    assert (await sender.asks("PATCH", address, body[20:], upload_offset="20")).status_code == 415
    kind = "application/offset+octet-stream"
    for offset in ("", "-1", "x", "٢", "9" * 40):
        named = {**sender.headers, "upload-offset": offset, "content-type": kind}
        encoded = [(name.encode(), value.encode()) for name, value in named.items()]
        odd = await sender.browser.patch(sender.pages + address, content=b"", headers=encoded)
        assert odd.status_code == 400, offset
    for length in ("", "-1", "x", "9" * 40):
        assert (await sender.asks("POST", "/uploads", upload_length=length)).status_code == 400
    assert await sender.arrived(address) == 20
    assert (await sender.appends(address, 20, body[20:])).status_code == 204
    assert (await sender.finishes(address)).status_code == 200


HOSTILE: Final = {
    "nothing": b"",
    "no line": b"x" * 100,
    "no JSON": b"{\n",
    "nested": b"[" * 100_000 + b"\n",
    "no text": b"\xff\xfe\n",
    "another shape": b"[]\n",
    "a field too many": packed([1], email="a@b.c"),
    "a field too few": b'{"key": "%s"}\n' % KEY.encode(),
    "no list": packed(None),
    "fewer ids than it says": packed([1, 2])[:-8],
    "more ids than it says": packed([1, 2]) + b"\0" * 8,
    "half an id": packed([1, 2])[:-3],
    "a negative count": packed([1], following=-1),
    "more than anybody follows": packed([], following=10**9),
    "no account's number": packed([0]),
    "a number too high": packed([1], [HIGHEST + 1]),
    "no account of its own": packed([1], account_id="0", handle="old"),
    "an account in words": packed([1], account_id="seven", handle="old"),
    "a handle that is none": packed([1], handles=["<b>"]),
    "a handle with a line break": packed([1], handles=["old\n"]),
    "a key in other letters": packed([1], key="../" * 8),
}


async def test_what_no_page_of_ours_packed_is_refused_and_kept_nowhere(flock: Flock, sender: Sender) -> None:
    for what, body in HOSTILE.items():
        refused = await sender.sends(body)
        assert refused.status_code == 422, what
        assert "could not be read" in refused.json()["problem"], what
    assert await slots(flock) == []


async def test_more_than_is_taken_is_refused_before_it_is_sent(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web={"upload_megabytes": 1}) as flock:
        person = flock.bluesky.create_account("alice.test")
        await asks(flock, person, "hello")
        sender = await sender_of(flock, person)
        refused = await sender.asks("POST", "/uploads", upload_length=str(2**20 + 1))
        assert refused.status_code == 413
        assert "nothing was kept" in refused.json()["problem"]
        await sender.begins(2**20)


async def test_only_our_own_page_and_only_its_visitor_gets_at_an_upload(
    flock: Flock, alice: BlueskyPerson, sender: Sender
) -> None:
    body = packed([1])
    address = await sender.begins(len(body))
    mallory = flock.bluesky.create_account("mallory.test")
    await asks(flock, mallory, "hello")
    thief = await sender_of(flock, mallory)
    assert (await thief.asks("HEAD", address)).status_code == 404
    assert (await thief.appends(address, 0, body)).status_code == 404
    assert (await thief.finishes(address)).status_code == 404
    nobody = Sender(flock.new_browser(), flock.pages, sender.headers["x-reflock-form"])
    for method, path in (("POST", "/uploads"), ("HEAD", address), ("PATCH", address), ("POST", f"{address}/finish")):
        assert (await nobody.asks(method, path)).status_code == 403
    # Another site's form carries the cookies, but not the page's proof.
    for proof in ("", "0" * 64, thief.headers["x-reflock-form"]):
        for method, path in (("POST", "/uploads"), ("PATCH", address), ("POST", f"{address}/finish")):
            forged = await sender.asks(method, path, x_reflock_form=proof)
            assert forged.status_code == 403
            assert "not sent from its own page" in forged.json()["problem"]
    assert await sender.arrived(address) == 0
    later = await sender.asks("POST", "/uploads", upload_length="5", tus_resumable="2.0.0")
    assert (later.status_code, later.headers["tus-version"]) == (412, "1.0.0")


async def test_what_is_left_lying_is_forgotten(flock: Flock, clock: OwnClock, sender: Sender) -> None:
    first, second, third, fourth = [await sender.begins(10) for _ in range(4)]
    assert (await sender.asks("HEAD", first)).status_code == 404
    for address in (second, third, fourth):
        assert await sender.arrived(address) == 0
    clock.pass_seconds(3599)
    assert await sender.arrived(fourth) == 0
    clock.pass_seconds(1)
    assert (await sender.asks("HEAD", fourth)).status_code == 404


async def test_an_archive_of_another_account_is_refused_and_said_as_a_problem(
    flock: Flock, alice: BlueskyPerson, sender: Sender
) -> None:
    assert (await sender.sends(packed([1], account_id="7", handle="old"))).status_code == 200
    await flock.settle()
    told = len(alice.received_dms(flock.bluesky_bot))
    refused = await sender.sends(packed([2, 3], account_id="8", handle="mallory", key="f" * 32))
    assert refused.status_code == 422
    assert "This archive is of @mallory, but you are @old." in refused.json()["problem"]
    # Without JavaScript it is said on the form.
    page = await enter(flock.browser, await link_to(flock, alice, Purpose.IMPORT))
    files = [
        ("files", (name, content, "text/javascript"))
        for name, content in (("following.js", following_js([2, 3])), ("manifest.js", manifest_js(8, "mallory")))
    ]
    again = await upload(flock.browser, page, *files)
    assert again.status_code == 422
    said = re.search(r'<p class="problem" role="alert">(.*?)</p>', again.text)
    assert said
    assert "This archive is of @mallory" in said[1]
    assert await slots(flock) == [1]
    await flock.settle()
    assert len(alice.received_dms(flock.bluesky_bot)) == told
