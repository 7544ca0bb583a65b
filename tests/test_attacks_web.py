"""Browsers that are none: forms in odd encodings, forms without end, links that are somebody else's."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from bot.sandbox.archive import following_js
from storage import grants
from tests.conftest import OwnClock
from tests.flock import Flock, open_flock
from tests.test_journey import Traveller, new_person, one_time_link


@pytest.fixture
async def flock(database_url: str, clock: OwnClock) -> AsyncIterator[Flock]:
    async with open_flock(database_url, clock) as opened:
        yield opened


@pytest.fixture
async def alice(flock: Flock) -> Traveller:
    return Traveller(flock, new_person(flock, "mastodon", "alice"), "alice_on_x")


async def proof_of(browser: httpx.AsyncClient, address: str) -> str:
    """Open a page, and return what its form proves itself with."""
    found = re.search(r'name="csrf" value="([^"]+)"', (await browser.get(address)).text)
    assert found
    return found[1]


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
@pytest.mark.parametrize("page", ["import", "connect", "export"])
async def test_a_form_in_an_odd_encoding_is_refused_and_the_link_still_works(
    flock: Flock, alice: Traveller, page: str, charset: str
) -> None:
    address = one_time_link(await alice.write(page), page)
    proof = await proof_of(flock.browser, address)
    kind = {"content-type": f"multipart/form-data; boundary=B; charset={charset}"}
    refused = await flock.browser.post(address, content=parts(proof, b"+2AA-\\ud800.js"), headers=kind)
    assert refused.status_code in (400, 403), refused.text
    assert "RF-" not in refused.text
    assert (await flock.browser.get(address)).status_code == 200


async def test_a_form_of_a_browsers_own_is_taken(flock: Flock, alice: Traveller) -> None:
    address = one_time_link(await alice.write("import"), "import")
    proof = await proof_of(flock.browser, address)
    taken = await flock.browser.post(
        address, content=parts(proof), headers={"content-type": "multipart/form-data; boundary=B"}
    )
    assert taken.status_code == 200, taken.text


@pytest.mark.parametrize("page", ["connect", "export"])
async def test_a_form_without_end_is_not_read_to_the_end(flock: Flock, alice: Traveller, page: str) -> None:
    address = one_time_link(await alice.write(page), page)
    proof = await proof_of(flock.browser, address)
    long = await flock.browser.post(address, data={"csrf": proof, "where": "a" * 2**20})
    assert long.status_code == 403
    assert (await flock.browser.get(address)).status_code == 200


async def test_a_cookie_made_of_another_secret_of_ours_opens_nothing(flock: Flock, alice: Traveller) -> None:
    address = one_time_link(await alice.write("import"), "import")
    other = flock.app.events.world.keys.encrypt("tokens that are not a session").decode()
    answer = await flock.browser.get(address, headers={"cookie": f"reflock-link={other}"})
    assert answer.status_code == 200


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
