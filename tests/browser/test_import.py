"""The import page in a real browser: it opens archives and lists of all sorts by itself, for every reader."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from bot.sandbox.archive import follower_js, following_js
from bot.sandbox.bluesky.people import BlueskyPerson
from handlers import zipped
from handlers.archive import ArchiveError, parse_file, read_archive
from storage.codes import Purpose
from storage.records import Direction
from tests.browser import archives
from tests.browser.browsing import Look
from tests.browser.importing import (
    FOLLOWERS,
    FOLLOWING,
    FOUND,
    MEGABYTE,
    alice,
    chooses,
    finds,
    held,
    long_archive,
    page,
    pseudonyms,
    refuses,
    sends,
    written,
)
from tests.browser.looking import axe, in_order, shot
from tests.browser.memory import tab_memory
from tests.flock import Flock
from tests.visits import link_to

__all__ = ["alice", "page"]  # fixtures


async def test_an_archive_is_opened_in_the_browser_and_its_lists_are_kept(
    flock: Flock, alice: BlueskyPerson, page: Page, tmp_path: Path
) -> None:
    await in_order(page)
    await axe(page)
    await shot(page, "import")
    await chooses(page, archives.write(tmp_path / "twitter.zip", archives.archive(FOLLOWING, FOLLOWERS)))
    await finds(page, FOUND)
    await axe(page)
    await shot(page, "import-found")
    await sends(page)
    await expect(page.locator(".said")).to_contain_text("Kept: 5 accounts that you followed.")
    await flock.settle()
    assert "Kept: 3 accounts that followed you." in alice.received_dms(flock.bluesky_bot)[-1].text
    assert await held(flock, Direction.FOLLOWING) == pseudonyms(flock, FOLLOWING)
    assert await held(flock, Direction.FOLLOWERS) == pseudonyms(flock, FOLLOWERS)


MAKES: dict[str, Callable[[Path], Path]] = {
    "stored": lambda path: archives.write(path, archives.archive(FOLLOWING, FOLLOWERS), zipfile.ZIP_STORED),
    "zip64": lambda path: archives.write_zip64(path, archives.archive(FOLLOWING, FOLLOWERS)),
    "with 200 MB of media": lambda path: archives.write(
        path, archives.archive(FOLLOWING, FOLLOWERS), media_bytes=200 * MEGABYTE
    ),
    "in parts": lambda path: archives.write(path, archives.in_parts(FOLLOWING, FOLLOWERS)),
    "in parts, as they were called before": lambda path: archives.write(
        path, archives.in_parts(FOLLOWING, FOLLOWERS, "_part")
    ),
    "at the top, without a manifest": lambda path: archives.write(
        path,
        {
            "account.js": archives.account_js(),
            "following.js": following_js(FOLLOWING),
            "follower.js": b"\xef\xbb\xbf" + follower_js(FOLLOWERS).replace(b"YTD.follower.", b"YTD.followers."),
        },
    ),
    "in a folder, with a Mac's leavings": lambda path: archives.write(
        path,
        {
            **{f"twitter-2026/{name}": content for name, content in archives.archive(FOLLOWING, FOLLOWERS).items()},
            "__MACOSX/twitter-2026/data/following.js": b"\x00\x05\x16\x07",
        },
    ),
    "behind something else": lambda path: behind(archives.write(path, archives.archive(FOLLOWING, FOLLOWERS))),
}


def behind(path: Path) -> Path:
    """Put a zip of one entry before a zip: of what is appended so, only the second counts."""
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as opened:
        opened.writestr("a.txt", "a")
    path.write_bytes(other.getvalue() + path.read_bytes())
    return path


async def test_archives_of_all_kinds_are_read_alike(page: Page, tmp_path: Path) -> None:
    for kind, make in MAKES.items():
        # By another name: a browser does not say that the same file was chosen again.
        path = make(tmp_path / f"{kind}.zip")
        lists = read_archive([(path.name, path.read_bytes())])
        assert lists.following is not None, kind
        assert lists.followers is not None, kind
        assert (lists.following.tolist(), lists.followers.tolist()) == (sorted(FOLLOWING), sorted(FOLLOWERS)), kind
        await chooses(page, path)
        await finds(page, FOUND)


LOCKED = "twitter.zip is protected by a password"
DAMAGED = "twitter.zip is a zip that breaks off or is damaged"
LARGE = "twitter.zip unpacks to more than any list of X's can hold"
LISTS = {"data/following.js": following_js(FOLLOWING), "data/manifest.js": archives.manifest_js()}
ROOMY = {"data/following.js": b"window.YTD.following.part0 = [" + b" " * (110 * MEGABYTE) + b"]"}
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated": (lambda path: archives.truncated(archives.write(path, LISTS), to=0.9), DAMAGED),
    "truncated early": (lambda path: archives.truncated(archives.write(path, LISTS), to=0.2), DAMAGED),
    "broken": (lambda path: archives.spoiled(archives.write(path, LISTS)), DAMAGED),
    "encrypted": (lambda path: archives.locked(archives.write(path, LISTS)), LOCKED),
    "a bomb": (lambda path: archives.write(path, ROOMY), LARGE),
    "a bomb in disguise": (lambda path: archives.lying(archives.write(path, ROOMY)), DAMAGED),
    "of holidays": (lambda path: archives.write(path, {"a.jpg": b"\xff\xd8"}), "there is no following.js in it"),
}


async def test_what_is_wrong_with_a_zip_is_said_as_the_server_says_it(page: Page, tmp_path: Path) -> None:
    for make, words in REFUSED.values():
        path = make(tmp_path / "twitter.zip")
        with pytest.raises(ArchiveError, match=re.escape(words)) as said:
            read_archive([(path.name, path.read_bytes())])
        await chooses(page, path)
        await refuses(page, str(said.value))


async def test_a_zip_in_a_packing_that_browsers_do_not_know_is_refused_by_its_own_name(
    page: Page, tmp_path: Path
) -> None:
    await chooses(page, archives.write(tmp_path / "twitter.zip", LISTS, zipfile.ZIP_BZIP2))
    await refuses(page, "twitter.zip is packed in a way that browsers cannot unpack.")


BAD_FILES: dict[str, bytes] = {
    "following.js": following_js(FOLLOWING)[:-30].rstrip(b"]}"),
    "follower.js": b" \n",
    "Your archive.html": b"<!DOCTYPE html><html></html>",
    "tweets.js": b"window.YTD.tweets.part0 = []",
    "photo.jpg": b"\xff\xd8\xff\xe0\x00\x80\xfe",
    "manifest.js": archives.manifest_js(),
    "account.js": b'window.YTD.account.part0 = [{"account": {"accountId": "nobody"}}]',
    "following-part1.js": b'window.YTD.following.part1 = [{"like": 1}]',
    "notes.txt": b"dear diary, this is no list!",
    "short.zip": b"PK\x03\x04",
}


async def test_a_wrong_file_gets_its_own_sentence_the_same_as_from_the_server(page: Page, tmp_path: Path) -> None:
    for name, content in BAD_FILES.items():
        with pytest.raises(ArchiveError) as said:
            read_archive([(name, content)])
        await chooses(page, *written(tmp_path, {name: content}))
        await refuses(page, str(said.value))
    await axe(page)
    # The next choice is as good as the first.
    await chooses(page, *written(tmp_path, {"list.txt": b"jack_smith"}))
    await finds(page, "1 handle; nothing else leaves your device.")


async def test_files_of_two_archives_are_not_mixed(page: Page, tmp_path: Path) -> None:
    files = {
        "manifest.js": archives.manifest_js(),
        "account (1).js": archives.account_js(7),
        "list.csv": b"jack_smith",
    }
    await chooses(page, *written(tmp_path, files))
    await refuses(page, "of different X accounts")


async def test_of_a_whole_folder_only_the_lists_are_read(page: Page, tmp_path: Path) -> None:
    folder = {Path(name).name: content for name, content in archives.in_parts(FOLLOWING, FOLLOWERS).items()}
    await chooses(page, *written(tmp_path, folder))
    await finds(page, FOUND)


async def test_loose_files_are_read_and_a_part_alone_is_added(flock: Flock, page: Page, tmp_path: Path) -> None:
    await chooses(page, *written(tmp_path, {"following.js": following_js([1, 2]), "follower.js": follower_js([3])}))
    await finds(page, "2 people you followed, 1 follower; nothing else leaves your device.")
    await sends(page)
    await page.goto(f"{flock.pages}/import")
    await chooses(page, *written(tmp_path, {"following-part1.js": following_js([9], 1)}))
    await finds(page, "1 person you followed; nothing else leaves your device.")
    await sends(page)
    assert await held(flock, Direction.FOLLOWING) == pseudonyms(flock, [1, 2, 9])


TABLE = io.StringIO()
csv.writer(TABLE).writerows(
    [
        ["name", "Screen Name", "bio"],
        ["Jack", "@jack_smith", 'says "hi",\nand more'],
        ["M", "https://x.com/Marie75?s=20", ""],
    ]
)
TEXTS = {
    "a table": TABLE.getvalue(),
    "lines": "jack_smith\r\n\r\n@Marie75\nhttps://mobile.twitter.com/jack_smith/\n",
    "one line": "@jack_smith, marie75; x.com/@marie75",
}


@pytest.mark.parametrize("kind", TEXTS)
async def test_a_list_of_handles_is_read(flock: Flock, page: Page, tmp_path: Path, kind: str) -> None:
    content = TEXTS[kind].encode()
    assert read_archive([("list.csv", content)]).handles == ("jack_smith", "marie75")
    await chooses(page, *written(tmp_path, {"list.csv": content}))
    await finds(page, "2 handles; nothing else leaves your device.")
    await sends(page)
    expected = flock.app.events.world.keys.of_handles(["jack_smith", "marie75"]).tolist()
    assert await held(flock, Direction.FOLLOWING) == sorted(expected)


async def in_browser(page: Page, script: str, argument: Any) -> Any:
    """Run something in the page, with the page's own module of X's formats at hand as `x`."""
    return await page.evaluate(
        f"async (given) => {{ const x = await import('/static/import/x.js'); {script} }}", argument
    )


async def test_browser_and_server_read_the_same_entries_of_an_archive(page: Page) -> None:
    told = await in_browser(page, "return given.map(x.isWanted);", list(archives.PATHS))
    assert dict(zip(archives.PATHS, told, strict=True)) == archives.PATHS
    assert {path: zipped._is_wanted(path) for path in archives.PATHS} == archives.PATHS


ODD: list[tuple[str, str]] = [
    ("a.js", 'window.YTD.following.part3 = [{"Following": {"accountID": "7"}}, {"following": {}}, null, 5, "6"];'),
    ("a.js", 'window . ytd . FOLLOWERS . part0 = [{"follower": {"userLink": "https://x.com/i/user?a=b&user_id=8"}}]'),
    ("follower_part4 (1).json", '[{"accountId": "11"}, {"accountId": "0"}, {"accountId": "9223372036854775808"}]'),
    ("follows.js", 'window.YTD.follower.part0 = [ ] // "]'),
    ("x.js", 'window.__THAR_CONFIG = {"userInfo": {"accountId": "5", "userName": "no handle!"}}'),
    ("x.js", 'window.__THAR_CONFIG = {"archiveInfo": {}}'),
    ("following.json", "{}"),
    ("other.json", "[]"),
    ("handles.txt", "name;a b"),
    ("handles.txt", 'user name\n"@a"\n"b, c"\n'),
]


def read_by_server(name: str, text: str) -> Any:
    try:
        part = parse_file(name, text.encode())
    except ArchiveError:
        return None
    x_id = None if part.x_id is None else str(part.x_id)
    ids = [str(each) for each in part.ids]
    return [part.kind, ids, list(part.handles), part.number, x_id, part.x_handle, part.skipped]


async def test_browser_and_server_make_the_same_of_odd_files(page: Page) -> None:
    told = await in_browser(
        page,
        """
        return given.map(([name, text]) => {
            try {
                const part = x.partOf(name, new TextEncoder().encode(text));
                const { kind, ids = [], handles = [], number = 0, accountId = null, handle = null, skipped = 0 } = part;
                return [kind, ids.map(String), handles, number, accountId, handle, skipped];
            } catch (problem) {
                if (!problem.reason) throw problem;
                return null;
            }
        });""",
        ODD,
    )
    assert told == [read_by_server(*each) for each in ODD]


async def test_it_works_by_keyboard_alone_and_says_aloud_how_far_it_is(
    flock: Flock, page: Page, tmp_path: Path
) -> None:
    await expect(page.get_by_text("Your X archive")).to_be_visible()
    field = page.get_by_label("Your X archive")
    await field.focus()
    await expect(field).to_be_focused()
    async with page.expect_file_chooser() as chooser:
        await field.press("Enter")
    await (await chooser.value).set_files(long_archive(tmp_path, 60_000))
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    await field.focus()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Send")).to_be_focused()
    await page.evaluate(
        """() => {
            const said = [];
            const status = document.querySelector("[role=status][data-part]");
            new MutationObserver(() => {
                const bar = document.querySelector("progress");
                if (!bar.hidden) said.push([status.textContent, bar.position]);
                sessionStorage.said = JSON.stringify(said);
            }).observe(status, { childList: true });
        }"""
    )
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/contacts")
    said = json.loads(await page.evaluate("sessionStorage.said"))
    assert said[0] == ["Sending: 0 %", 0]
    assert said[-1] == ["Sending: 100 %", 1]
    assert len({words for words, _ in said}) >= 4
    assert len(await held(flock, Direction.FOLLOWING)) == 60_000


async def test_files_and_folders_can_be_dropped(page: Page, tmp_path: Path) -> None:
    # Files that the page makes by itself, as nobody drags any here.
    await page.evaluate(
        """(lists) => {
            const transfer = new DataTransfer();
            for (const [name, text] of lists) transfer.items.add(new File([text], name));
            const drop = (type) => new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true });
            const target = document.querySelector(".drop");
            target.dispatchEvent(drop("dragover"));
            target.dispatchEvent(drop("drop"));
        }""",
        [["following.js", following_js([1, 2]).decode()], ["tweets.js", "window.YTD.tweets.part0 = []"]],
    )
    await finds(page, "2 people you followed; nothing else leaves your device.")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(Look(language="fr", width=390, height=844), id="french"),
        pytest.param(Look(language="ar", width=390, height=844, dark=True), id="arabic"),
    ],
    indirect=True,
)
async def test_it_is_in_order_on_a_small_screen_in_other_languages(
    page: Page, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await chooses(page, archives.write(tmp_path / "twitter.zip", archives.archive(FOLLOWING, FOLLOWERS)))
    await expect(page.get_by_role("status")).to_contain_text("old_handle")
    await in_order(page)
    await axe(page)
    await shot(page, f"import-{request.node.callspec.id}")


async def test_without_scripts_the_form_sends_the_files_themselves(
    flock: Flock, alice: BlueskyPerson, page_without_scripts: Page, tmp_path: Path
) -> None:
    page = page_without_scripts
    await page.goto(await link_to(flock, alice, Purpose.IMPORT))
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_text("Without JavaScript in your browser")).to_be_visible()
    await chooses(page, archives.write(tmp_path / "twitter.zip", archives.archive(FOLLOWING, FOLLOWERS)))
    await sends(page)
    assert await held(flock, Direction.FOLLOWING) == pseudonyms(flock, FOLLOWING)


async def test_an_archive_of_four_gigabytes_is_opened_without_being_loaded(page: Page, tmp_path: Path) -> None:
    files = archives.archive(FOLLOWING, FOLLOWERS)
    path = archives.write_huge(tmp_path / "huge.zip", files, size=4 * 2**30, entries=50_000)
    assert path.stat().st_size > 2**32
    async with tab_memory(page) as memory:
        await chooses(page, path)
        await finds(page, FOUND)
    assert memory.highest <= 150 * MEGABYTE
