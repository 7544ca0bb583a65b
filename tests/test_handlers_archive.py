"""What is read out of what people upload, and what is said of what cannot be read."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.archive import ArchiveError, parse_file, read_archive

HIGHEST = 2**63 - 1
IDS = st.lists(st.integers(1, HIGHEST), min_size=1, max_size=40, unique=True)


def following_js(ids: list[int], *, table: str = "following", part: int = 0, domain: str = "twitter.com") -> bytes:
    key = table.removesuffix("s")
    entries = [
        {key: {"accountId": str(x_id), "userLink": f"https://{domain}/intent/user?user_id={x_id}"}} for x_id in ids
    ]
    return f"window.YTD.{table}.part{part} = {json.dumps(entries, indent=2)}".encode()


def manifest_js(x_id: int, handle: str) -> bytes:
    info = {"userInfo": {"accountId": str(x_id), "userName": handle, "displayName": "A"}, "archiveInfo": {}}
    return f"window.__THAR_CONFIG = {json.dumps(info)}".encode()


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return into.getvalue()


def problem(*files: tuple[str, bytes]) -> str:
    with pytest.raises(ArchiveError) as caught:
        read_archive(files)
    return str(caught.value)


@given(IDS, st.sampled_from(["twitter.com", "x.com"]), st.booleans())
def test_every_id_of_a_list_is_read(ids: list[int], domain: str, bom: bool) -> None:
    data = (b"\xef\xbb\xbf" if bom else b"") + following_js(ids, domain=domain)
    part = parse_file("following.js", data)
    assert (part.kind, part.ids.tolist(), part.skipped) == ("following", ids, 0)


@given(IDS)
def test_entries_in_other_spellings_are_read_too(ids: list[int]) -> None:
    spellings = [
        {"Following": {"accountID": str(ids[0])}},
        *({"following": {"userLink": f"https://x.com/intent/user?user_id={x_id}"}} for x_id in ids[1:]),
        {"following": {"accountId": "nobody"}},
    ]
    part = parse_file("FOLLOWING.js", f"window.YTD.following.part0 = {json.dumps(spellings)};\n".encode())
    assert (part.ids.tolist(), part.skipped) == (ids, 1)


@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused_with_a_sentence(data: bytes) -> None:
    for content in (data, b"window.YTD.following.part0 = " + data, b"PK\x03\x04" + data, b"[" + data):
        try:
            read_archive([("following.js", content)])
        except ArchiveError as error:
            assert str(error).endswith((".", "?", "please."))  # noqa: PT017  # both ways are right


def test_parts_are_joined_and_a_missing_beginning_is_noticed() -> None:
    whole = [("following.js", following_js([1, 2])), ("following-part1.js", following_js([2, 3], part=1))]
    lists = read_archive(whole)
    assert lists.following is not None
    assert (lists.following.tolist(), lists.partial, lists.followers) == ([1, 2, 3], False, None)
    assert read_archive(whole[1:]).partial


def test_a_zip_gives_its_lists_and_says_whose_it_is() -> None:
    data = zipped(
        {
            "twitter-2026/data/manifest.js": manifest_js(7, "Old_Handle"),
            "twitter-2026/data/account.js": b"not needed, and it holds an e-mail address",
            "twitter-2026/data/following.js": following_js([5, 6]),
            "twitter-2026/data/follower.js": following_js([6], table="follower"),
            "twitter-2026/data/follower_part1.js": following_js([8], table="follower", part=1),
            "twitter-2026/data/tweets.js": b"window.YTD.tweets.part0 = []",
            "__MACOSX/data/following.js": b"junk",
        }
    )
    lists = read_archive([("archive.zip", data)])
    assert lists.following is not None
    assert lists.followers is not None
    assert (lists.following.tolist(), lists.followers.tolist()) == ([5, 6], [6, 8])
    assert (lists.account_x_id, lists.x_handle, lists.partial) == (7, "old_handle", False)


def test_an_account_file_stands_in_for_the_manifest() -> None:
    account = b'window.YTD.account.part0 = [{"account": {"email": "a@b.c", "username": "Old", "accountId": "9"}}]'
    lists = read_archive([("account.js", account), ("following.js", following_js([1]))])
    assert (lists.account_x_id, lists.x_handle) == (9, "old")


@pytest.mark.parametrize(
    ("text", "handles"),
    [
        ("jack_smith\n@Marie75\n\nhttps://x.com/tom\n", ("jack_smith", "marie75", "tom")),
        ("name,screen_name,since\nJack,jack_smith,2011\nMarie,@marie75,2012\n", ("jack_smith", "marie75")),
        ("@a, @b; @c", ("a", "b", "c")),
    ],
)
def test_a_plain_list_of_handles_is_read(text: str, handles: tuple[str, ...]) -> None:
    assert read_archive([("list.csv", text.encode())]).handles == handles


def test_an_empty_list_is_a_list() -> None:
    lists = read_archive([("following.js", b"window.YTD.following.part0 = [ ]")])
    assert lists.following is not None
    assert len(lists.following) == 0


def test_what_cannot_be_read_gets_a_clear_sentence() -> None:
    good = following_js([1, 2, 3])
    big = np.zeros(101 * 2**20, np.uint8).tobytes()
    assert "There was no file" in problem()
    assert "following.js is empty" in problem(("following.js", b" \n"))
    assert "breaks off in the middle" in problem(("following.js", good[:-20].rstrip(b"]}")))
    assert "a web page" in problem(("Your archive.html", b"<!DOCTYPE html><html></html>"))
    assert '("tweets")' in problem(("tweets.js", b"window.YTD.tweets.part0 = []"))
    assert "not a text file" in problem(("photo.jpg", b"\xff\xd8\xff\xe0\x00\x80\xfe"))
    assert "hold no list" in problem(("manifest.js", manifest_js(7, "old")))
    assert "different X accounts" in problem(("a.js", manifest_js(7, "old")), ("b.js", manifest_js(8, "older")))
    assert "none of its entries" in problem(("following.js", b'window.YTD.following.part0 = [{"like": 1}]'))
    assert "I cannot read notes.txt" in problem(("notes.txt", b"dear diary, this is no list!"))
    assert "no following.js in it" in problem(("a.zip", zipped({"data/tweets.js": b""})))
    assert "damaged" in problem(("a.zip", zipped({"data/following.js": good})[:-30]))
    assert "more than any list" in problem(("a.zip", zipped({"data/following.js": big})))


def test_a_zip_that_lies_about_its_sizes_or_is_locked_is_refused() -> None:
    data = bytearray(zipped({"data/following.js": following_js(list(range(1, 50)))}, zipfile.ZIP_STORED))
    directory = data.rindex(b"PK\x01\x02")
    locked = bytearray(data)
    locked[directory + 8] |= 1
    assert "protected by a password" in problem(("a.zip", bytes(locked)))
    damaged = bytearray(data)
    damaged[80] ^= 0xFF
    assert "damaged" in problem(("a.zip", bytes(damaged)))


def test_all_zips_of_an_upload_share_one_limit() -> None:
    roomy = zipped({"data/following.js": b"window.YTD.following.part0 = [" + b" " * (51 * 2**20) + b"]"})
    assert read_archive([("a.zip", roomy)]).following is not None
    assert "b.zip unpacks to more than any list" in problem(("a.zip", roomy), ("b.zip", roomy))


@pytest.mark.parametrize("head", [b"window.YTD.following.part0 = ", b"", b"window.YTD.account.part0 = "])
def test_a_small_zip_of_millions_of_entries_is_refused_before_they_are_made(head: bytes) -> None:
    junk = head + b"[" + b"{}," * 1_500_000 + b"{}]"
    assert "was changed" in problem(("following.js", junk))
    many = b"window.YTD.following.part0 = [" + b'{"following":{"accountId":"1"}},' * 1_100_000 + b"]"
    assert "was changed" in problem(("following.js", many))


def test_an_entry_that_no_account_can_have_is_left_out() -> None:
    long = {"following": {"accountId": "1", "userLink": "x" * 20_000}}
    part = parse_file(
        "following.js", b"window.YTD.following.part0 = " + json.dumps([long, {"accountId": "2"}]).encode()
    )
    assert (part.ids.tolist(), part.skipped) == ([2], 1)


def test_a_text_of_millions_of_lines_is_no_list_of_handles() -> None:
    assert "I cannot read list.txt" in problem(("list.txt", b"a\n" * 1_500_000))
