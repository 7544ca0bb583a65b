"""People who send what no client would: letters that look like others, archives made to trip the reader, old links."""

import io
import zipfile

import pytest

from bot.sandbox.archive import following_js
from handlers.archive import ArchiveError, read_archive
from handlers.words import WordError, x_handle
from tests.flock import Flock, flock
from tests.test_journey import Traveller, new_person

__all__ = ["flock"]  # fixtures

LONG_S = "ſ" * 12
TOO_LONG_A_NUMBER = f"following-part{'1' * 5000}.js"
ONE = b'[{"following":{"accountId":"12"}}]'


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
@pytest.mark.parametrize("command", ["claim", "import", "why", "unclaim"])
async def test_a_letter_that_only_looks_like_one_is_no_handle(flock: Flock, network: str, command: str) -> None:
    mallory = Traveller(flock, new_person(flock, network, "mallory"), "mallory_on_x")
    answer = await mallory.write(f"{command} x.com/{LONG_S}")
    assert "is not an X handle" in answer
    assert "went wrong" not in answer


@pytest.mark.parametrize("word", ["x.com/ſmith", "https://x.com/bac\u212a", "x.com/ｂｏｂ"])
def test_the_address_of_a_profile_holds_plain_letters_only(word: str) -> None:
    with pytest.raises(WordError):
        x_handle(word)


@pytest.mark.parametrize("depth", [*range(960, 1000), 100_000])
def test_a_list_nested_ever_deeper_is_read_or_refused_but_never_trips(depth: int) -> None:
    nested = b'{"following":' * depth + b"1" + b"}" * depth
    assert outcome("following.js", b"window.YTD.following.part0 = [" + nested + b"]") in ("read", "refused")


def test_a_part_with_an_endless_number_is_no_part_of_a_list() -> None:
    assert outcome(TOO_LONG_A_NUMBER, b"window.YTD.following.part0 = " + ONE) == "read"
    with pytest.raises(ArchiveError):
        read_archive([(TOO_LONG_A_NUMBER, ONE)])
    with pytest.raises(ArchiveError):
        read_archive([("archive.zip", zipped(f"data/{TOO_LONG_A_NUMBER}", ONE, zipfile.ZIP_DEFLATED))])


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_with_a_turned_byte_is_read_or_refused_but_never_trips(packing: int) -> None:
    whole = zipped("data/following.js", following_js([12, 13]), packing)
    read = 0
    for place in range(4, len(whole)):
        turned = bytearray(whole)
        turned[place] ^= 0xFF
        read += outcome("archive.zip", bytes(turned)) == "read"
    assert read < len(whole) // 2  # not every byte matters, most do


def outcome(name: str, data: bytes) -> str:
    """Tell whether a file is read, or refused with words; any other error goes through."""
    try:
        read_archive([(name, data)])
    except ArchiveError:
        return "refused"
    return "read"


def zipped(name: str, content: bytes, packing: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", packing) as archive:
        archive.writestr(name, content)
    return packed.getvalue()
