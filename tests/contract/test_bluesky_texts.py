"""Long texts, strange letters and links on Bluesky: what `fits` lets through the server takes, byte for byte."""

from dataclasses import replace

import pytest

from bot.networks import Incoming
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.bluesky_records import POST
from bot.networks.errors import Refused
from bot.networks.text import link_facets, split
from tests.contract.bluesky import Drawer, Scene, answer, dm

_FAMILY = "👨‍👩‍👧‍👦"  # one grapheme of 25 bytes
_FLAG = "🏴󠁧󠁢󠁷󠁬󠁳󠁿"  # one of 28
_COMBINED = "e\u0301"  # one of 3, in two code points
_ZALGO = "a" + "\u0316\u0317\u0318\u0319" * 2  # one of 17
_HANGUL = "\u1112\u1161\u11ab"  # one of 9, in three code points
_NI = "நி"  # one of 6, a letter and its vowel sign
_LETTERS = ["x", "é", _COMBINED, _HANGUL, _NI, "字", "👍🏽", "🇫🇷"]
_LINKS = (
    "Näheres 👨‍👩‍👧‍👦: https://reflock.example/guide. Then (https://例え.example/x_(y)) — or "
    "https://reflock.example/été?q=ü&x=[1]#§ today; HTTP://EXAMPLE.ORG/%7Ea!"
)


async def asked(scene: Scene) -> tuple[BlueskyNetwork, Incoming]:
    """Have somebody ask the bot something in public."""
    bot, cursor = await scene.attentive()
    alice = await scene.person("alice")
    await scene.sky.settle()
    await alice.post(f"@{scene.flock.handle} hello")
    (heard,) = await scene.heard(bot, cursor)
    return bot, heard


async def test_three_hundred_graphemes_are_a_post_and_one_more_is_not(bluesky: Scene) -> None:
    bot, heard = await asked(bluesky)
    for letter in _LETTERS:
        assert bot.fits(letter * 300, public=True), letter
        await bot.say(answer(heard, letter * 300, key=letter))
        assert not bot.fits(letter * 301, public=True), letter
        with pytest.raises(Refused):
            await bot.say(answer(heard, letter * 301, key=f"{letter} more"))
    said = [record["value"]["text"] for record in await bluesky.records(bluesky.flock.did, POST)]
    assert sorted(said) == sorted(letter * 300 for letter in _LETTERS)


async def test_three_thousand_bytes_are_a_post_and_one_more_is_not(bluesky: Scene) -> None:
    bot, heard = await asked(bluesky)
    for letter in (_FAMILY, _FLAG, _ZALGO):
        most = letter * (3000 // len(letter.encode()))
        longest = most + "." * (3000 - len(most.encode()))
        assert bot.fits(longest, public=True)
        await bot.say(answer(heard, longest, key=letter))
        assert not bot.fits(f"{longest}.", public=True)
        with pytest.raises(Refused):
            await bot.say(answer(heard, f"{longest}.", key=f"{letter} more"))


async def test_a_thousand_graphemes_are_a_direct_message_and_one_more_is_not(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice = await bluesky.talker("alice")
    await bluesky.sky.settle()
    for letter in _LETTERS:
        assert bot.fits(letter * 1000, public=False), letter
        await bot.say(dm(alice, letter * 1000))
        assert not bot.fits(letter * 1001, public=False), letter
        with pytest.raises(Refused):
            await bot.say(dm(alice, letter * 1001))
    assert [message.text for message in alice.received_dms(bluesky.flock.did)] == [letter * 1000 for letter in _LETTERS]


async def test_a_long_text_arrives_whole_in_pieces(bluesky: Scene) -> None:
    bot, heard = await asked(bluesky)
    text = "\n\n".join(
        f"{number}. {_FAMILY} Les amis de {_COMBINED}mile, {_NI} 字 — https://reflock.example/{number}?é=ü {'mot ' * 20}"
        for number in range(12)
    )
    pieces = split(text, lambda piece: bot.fits(piece, public=True))
    assert len(pieces) > 1
    uris = [await bot.say(answer(heard, piece, key=str(number))) for number, piece in enumerate(pieces)]
    by_uri = {record["uri"]: record["value"]["text"] for record in await bluesky.records(bluesky.flock.did, POST)}
    assert "".join("".join(by_uri[uri] for uri in uris).split()) == "".join(text.split())


async def test_links_can_be_pressed_and_lie_where_their_bytes_lie(bluesky: Scene) -> None:
    bot, heard = await asked(bluesky)
    uri = await bot.say(answer(heard, _LINKS))
    await bluesky.sky.settle()
    found = await bluesky.http.get(
        f"{bluesky.sky.url}/xrpc/com.atproto.repo.getRecord",
        params={"repo": bluesky.flock.did, "collection": POST, "rkey": uri.rpartition("/")[2]},
    )
    value = found.json()["value"]
    raw = value["text"].encode()
    shown = [
        (raw[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode(), facet["features"][0]["uri"])
        for facet in value["facets"]
    ]
    assert value["text"] == _LINKS
    assert shown == [(link, link) for _, _, link in link_facets(_LINKS)]
    assert len(shown) == 4


async def test_links_survive_the_way_from_one_bot_to_another(bluesky: Scene) -> None:
    bot, cursor = await bluesky.attentive()
    other = await bluesky.talker("other")
    robot = await bluesky.start(other, drawer=Drawer())
    await bluesky.sky.settle()
    await robot.say(dm(bluesky.flock, _LINKS))
    (heard,) = await bluesky.heard(bot, cursor)
    assert heard.text == _LINKS


async def test_every_language_of_ours_is_one_for_the_server(bluesky: Scene) -> None:
    bot, heard = await asked(bluesky)
    for language in ("en", "fr", "pt", "pt-BR", "zh-Hans", "ar", "ja"):
        await bot.say(replace(answer(heard, "Hello!", key=language), language=language))
    said = [record["value"]["langs"] for record in await bluesky.records(bluesky.flock.did, POST)]
    assert len(said) == 7
