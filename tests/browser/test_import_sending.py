"""Lists are sent by the page that opened them: nothing else is, the line may be cut, and a refusal says why."""

import json
import re
from pathlib import Path

import numpy as np
from playwright.async_api import Page, expect

from bot.sandbox.archive import following_js
from bot.sandbox.bluesky.people import BlueskyPerson
from storage.records import Direction
from tests.browser import archives
from tests.browser.importing import (
    FOLLOWERS,
    FOLLOWING,
    FOUND,
    alice,
    chooses,
    finds,
    held,
    long_archive,
    pseudonyms,
    sends,
    wire,
    wired,
    written,
)
from tests.browser.looking import axe
from tests.browser.wire import Wire
from tests.flock import Flock

__all__ = ["alice", "wire", "wired"]  # fixtures


async def test_nothing_but_the_lists_and_whose_they_are_leaves_the_browser(
    flock: Flock, wire: Wire, wired: Page, tmp_path: Path
) -> None:
    asked: list[str] = []
    wired.context.on("request", lambda request: asked.append(request.url))
    await chooses(wired, archives.write(tmp_path / "private.zip", archives.archive(FOLLOWING, FOLLOWERS)))
    await finds(wired, FOUND)
    assert [url for url in asked if not url.startswith(wire.url)] == []
    del wire.sent[:]
    await sends(wired)
    # What went over the wire is all that left: nobody else was asked for anything.
    assert [url for url in asked if not url.startswith(wire.url)] == []
    sent = bytes(wire.sent)
    assert archives.CANARY.encode() not in sent
    assert b"private.zip" not in sent
    sending = [each for each in wire.requests() if each.method != "GET"]
    assert [(each.method, each.path.split("/")[1]) for each in sending] == [
        ("POST", "uploads"),
        ("PATCH", "uploads"),
        ("POST", "uploads"),
    ]
    assert [each.body for each in wire.requests() if each.body] == [sending[1].body]
    header, _, ids = sending[1].body.partition(b"\n")
    assert ids == np.array([*sorted(FOLLOWING), *sorted(FOLLOWERS)], "<u8").tobytes()
    told = json.loads(header)
    assert re.fullmatch(r"[0-9a-f]{32}", told.pop("key"))
    assert told == {
        "account_id": str(archives.OWNER),
        "handle": "old_handle",
        "following": 5,
        "followers": 3,
        "handles": [],
        "partial": False,
        "skipped": 0,
    }
    assert await held(flock, Direction.FOLLOWERS) == pseudonyms(flock, FOLLOWERS)


async def test_an_upload_goes_on_where_the_line_was_cut(
    flock: Flock, alice: BlueskyPerson, wire: Wire, wired: Page, tmp_path: Path
) -> None:
    await chooses(wired, long_archive(tmp_path, 50_000))
    await finds(wired, FOUND.replace("5 people", "50,000 people").replace("3 f", "50,000 f"))
    del wire.sent[:]
    wire.cut_after(500_000)
    await sends(wired)
    assert wire.cuts == 1
    # It was begun once; what had arrived before the cut was asked for, and not sent again.
    assert wire.sent.count(b"POST /uploads HTTP") == 1
    assert wire.sent.count(b"HEAD /uploads/") == 1
    offsets = [int(each) for each in re.findall(rb"upload-offset: (\d+)", wire.sent)]
    assert offsets == sorted(offsets)
    assert offsets.count(0) == 1
    await flock.settle()
    assert len(await held(flock, Direction.FOLLOWING)) == 50_000
    kept = [each for each in alice.received_dms(flock.bluesky_bot) if "Kept: 50,000" in each.text]
    assert len(kept) == 1


async def test_who_stays_offline_may_try_again_later(wire: Wire, wired: Page, tmp_path: Path) -> None:
    await chooses(wired, long_archive(tmp_path, 50_000))
    await expect(wired.get_by_role("button", name="Send")).to_be_visible()
    await wired.clock.install()
    wire.down = True
    wire.cut_after(300_000)
    await wired.get_by_role("button", name="Send").click()
    status = wired.get_by_role("status")
    await expect(status).to_have_text("The connection was lost. I go on by myself as soon as it is back.")
    again = wired.get_by_role("button", name="Try again")
    while not await again.is_visible():
        await wired.clock.run_for(1000)
    await expect(wired.get_by_role("alert")).to_contain_text("The connection is still lost.")
    await axe(wired)
    wire.down = False
    del wire.sent[:]
    await again.click()
    await wired.wait_for_url("**/contacts")
    assert b"POST /uploads HTTP" not in wire.sent
    assert b"upload-offset: 0\r\n" not in wire.sent


async def test_an_archive_of_somebody_else_is_refused_with_the_reason(
    flock: Flock, alice: BlueskyPerson, wired: Page, tmp_path: Path
) -> None:
    await chooses(wired, archives.write(tmp_path / "mine.zip", archives.archive(FOLLOWING, FOLLOWERS)))
    await sends(wired)
    await flock.settle()
    told = len(alice.received_dms(flock.bluesky_bot))
    await wired.goto(wired.url.replace("contacts", "import"))
    other = archives.archive([1, 2], []) | {"data/manifest.js": archives.manifest_js(77, "mallory")}
    await chooses(wired, archives.write(tmp_path / "theirs.zip", other))
    await wired.get_by_role("button", name="Send").click()
    await expect(wired.get_by_role("alert")).to_contain_text("This archive is of @mallory, but you are @old_handle.")
    assert await held(flock, Direction.FOLLOWING) == pseudonyms(flock, FOLLOWING)
    await flock.settle()
    assert len(alice.received_dms(flock.bluesky_bot)) == told
    # The right one can be chosen on the same page.
    await chooses(wired, tmp_path / "mine.zip")
    await sends(wired)


async def test_who_sends_after_the_visit_is_over_is_told_so(wired: Page, tmp_path: Path) -> None:
    await chooses(wired, *written(tmp_path, {"following.js": following_js([1])}))
    await expect(wired.get_by_role("button", name="Send")).to_be_visible()
    await wired.context.clear_cookies()
    await wired.get_by_role("button", name="Send").click()
    await expect(wired.get_by_role("alert")).to_contain_text("Your visit here is over")
