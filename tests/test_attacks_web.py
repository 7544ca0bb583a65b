"""Browsers that are none: forms in odd encodings, forms without end, cookies and links that are somebody else's."""

import json

import httpx
import pytest

from bot.sandbox.archive import following_js
from storage import accounts, deliveries, grants, links
from storage.keys import Keys
from tests.flock import Flock, flock
from tests.test_journey import Traveller, new_person, one_time_link
from tests.visits import SCRIPT, csrf, enter, upload

__all__ = ["flock"]  # fixtures


@pytest.fixture
async def alice(flock: Flock) -> Traveller:
    return Traveller(flock, new_person(flock, "mastodon", "alice"), "alice_on_x")


@pytest.fixture
async def page(alice: Traveller) -> httpx.Response:
    """The upload page, in alice's browser."""
    return await enter(alice.browser, one_time_link(await alice.write("import"), "import"))


def parts(proof: str, file_name: bytes = b"following.js") -> bytes:
    return (
        b'--B\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n' + proof.encode() + b"\r\n"
        b'--B\r\nContent-Disposition: form-data; name="files"; filename="'
        + file_name
        + b'"\r\n\r\n'
        + following_js([12])
        + b"\r\n--B--\r\n"
    )


@pytest.mark.parametrize("charset", ["utf-7", "punycode", "undefined", "unicode_escape"])
@pytest.mark.parametrize("path", ["/import", "/connect", "/me/export", "/leave"])
async def test_a_form_in_an_odd_encoding_is_refused_and_the_visit_goes_on(
    flock: Flock, alice: Traveller, page: httpx.Response, path: str, charset: str
) -> None:
    kind = {"content-type": f"multipart/form-data; boundary=B; charset={charset}"}
    content = parts(csrf(page), b"+2AA-\\ud800.js")
    refused = await alice.browser.post(flock.pages + path, content=content, headers=kind)
    assert refused.status_code in (400, 403), refused.text
    assert "RF-" not in refused.text
    assert (await alice.browser.get(page.url)).status_code == 200


async def test_a_form_of_a_browsers_own_is_taken(flock: Flock, alice: Traveller, page: httpx.Response) -> None:
    taken = await alice.browser.post(
        page.url, content=parts(csrf(page)), headers={"content-type": "multipart/form-data; boundary=B"}
    )
    assert taken.status_code == 303, taken.text


@pytest.mark.parametrize("path", ["/connect", "/me/export", "/leave"])
async def test_a_form_without_end_is_not_read_to_the_end(
    flock: Flock, alice: Traveller, page: httpx.Response, path: str
) -> None:
    long = await alice.browser.post(flock.pages + path, data={"csrf": csrf(page), "where": "a" * 2**20})
    assert long.status_code == 403
    assert (await alice.browser.get(page.url)).status_code == 200


async def test_the_form_of_a_link_without_end_does_not_spend_it(flock: Flock, alice: Traveller) -> None:
    address = one_time_link(await alice.write("import"), "import")
    proof = csrf(await alice.browser.get(address))
    long = await alice.browser.post(address, data={"csrf": proof, "where": "a" * 2**20})
    assert long.status_code == 403
    await enter(flock.new_browser(), address)


async def test_a_cookie_that_is_not_a_visits_opens_nothing(
    flock: Flock, alice: Traveller, page: httpx.Response
) -> None:
    visit = alice.browser.cookies["reflock-visit"]
    said = (
        await alice.browser.post(
            page.url, content=parts(csrf(page)), headers={"content-type": "multipart/form-data; boundary=B"}
        )
    ).cookies["reflock-said"]
    keys = flock.app.events.world.keys
    fields = json.loads(keys.decrypt(visit.encode()))
    pseudonym, grant = Keys.generate()
    forged = {
        "another cookie of ours": said,
        "another secret of ours": keys.encrypt("tokens that are not a visit").decode(),
        "a secret of ours that is JSON too": keys.encrypt(
            json.dumps({"access": "token", **fields, "cookie": ""})
        ).decode(),
        "JSON that is no object": keys.encrypt("[]").decode(),
        "of another key": Keys(pseudonym, [grant]).encrypt(json.dumps(fields)).decode(),
        "not sealed": json.dumps(fields).encode().hex(),
        "changed": visit[:-8] + ("A" if visit[-8] != "A" else "B") + visit[-7:],
        "cut": visit[:-8],
        "empty": "",
        "no ASCII": "\xff\xfe",
    }
    for what, cookie in forged.items():
        for path in ("/import", "/contacts", "/connect", "/me"):
            headers = {b"cookie": f"reflock-visit={cookie}".encode("latin-1")}
            answer = await flock.browser.get(flock.pages + path, headers=headers)
            assert answer.status_code == 403, what
            assert "alice" not in answer.text, what
    # A visit is not words to be shown, either.
    headers = {b"cookie": f"reflock-visit={visit}; reflock-said={visit}".encode()}
    assert (await flock.browser.get(f"{flock.pages}/contacts", headers=headers)).status_code == 200


async def test_a_visit_without_its_browsers_own_secret_cannot_send_forms(
    flock: Flock, alice: Traveller, page: httpx.Response
) -> None:
    stolen = flock.new_browser()
    stolen.cookies.set("reflock-visit", alice.browser.cookies["reflock-visit"])
    assert (await upload(stolen, page, SCRIPT)).status_code == 403


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_who_consents_by_somebody_elses_link_is_not_acted_for(flock: Flock, network: str) -> None:
    mallory = Traveller(flock, new_person(flock, "mastodon", "mallory"), "mallory_on_x")
    alice = Traveller(flock, new_person(flock, network, "alice"), "alice_on_x")
    await alice.write("hello")
    passed_on = await mallory.write("connect")
    await alice.consent(passed_on)  # she opens what Mallory passed on to her, and consents
    assert "send me link" in mallory.read()
    async with flock.app.events.database.reading() as connection:
        assert await grants.of_account(connection, alice.person.actor) is None


async def test_a_button_pressed_without_end_does_not_use_up_what_the_bot_may_say(
    flock: Flock, alice: Traveller
) -> None:
    connect = await enter(alice.browser, one_time_link(await alice.write("connect"), "connect"))
    for _ in range(40):
        pressed = await alice.browser.post(
            f"{flock.pages}/connect", data={"csrf": csrf(connect), "disconnect": "nobody's"}
        )
        assert pressed.status_code in (200, 303, 400, 422)
    async with flock.app.events.database.reading() as connection:
        person = await accounts.get(connection, alice.person.actor)
        assert person is not None
        promised = await deliveries.promised_since(connection, f"page:{person.person_id}:", 0)
    assert promised <= 30


async def test_lists_are_not_kept_for_somebody_who_was_forgotten_meanwhile(
    flock: Flock, alice: Traveller, page: httpx.Response
) -> None:
    proof = csrf(page)
    await alice.write("forget me yes")
    await alice.write("hello")  # another person to us
    late = await alice.browser.post(
        page.url, content=parts(proof), headers={"content-type": "multipart/form-data; boundary=B"}
    )
    assert late.status_code == 403
    async with flock.app.events.database.reading() as connection:
        assert (await links.counts(connection)).links == 0


async def test_lists_without_end_are_refused_whole(flock: Flock, alice: Traveller, page: httpx.Response) -> None:
    def entries(kind: str, part: int, first: int) -> bytes:
        numbers = range(first, first + 900_000)
        listed = ",".join(f'{{"{kind}":{{"accountId":"{number}"}}}}' for number in numbers)
        return f"window.YTD.{kind}.part{part} = [{listed}]".encode()

    answers = [
        await alice.browser.post(
            page.url, data={"csrf": csrf(page)}, files=[("files", (name, entries(*content)))], timeout=60
        )
        for name, content in (
            ("following.js", ("following", 0, 1)),
            ("follower.js", ("follower", 0, 1)),
            ("following-part1.js", ("following", 1, 2_000_000)),
            ("follower-part1.js", ("follower", 1, 2_000_000)),
        )
    ]
    assert [answer.status_code for answer in answers] == [303, 303, 303, 422]
    assert "more than the 3,000,000 accounts that I keep for one person" in answers[3].text
    async with flock.app.events.database.reading() as connection:
        assert (await links.counts(connection)).links == 2_700_000
