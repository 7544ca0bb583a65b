"""The pages as a browser without JavaScript sees them: uploads, what is held, and what every answer has in common."""

import io
import json
import re
import time
import zipfile
from collections.abc import AsyncIterator

import httpx
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bot.config import Loaded, parse
from bot.consents import Consents
from bot.networks.guard import GuardedClient
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.oauth_atproto import AtprotoOauth
from bot.sandbox.archive import follower_js, following_js
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.web.app import web
from bot.web.serving import Server
from storage.codes import Purpose
from storage.tables import upload as uploads
from tests.conftest import OwnClock
from tests.flock import Flock, flock, open_flock
from tests.visits import SCRIPT, alice, asks, csrf, enter, link, link_to, said, upload

__all__ = ["alice", "flock"]  # fixtures


async def slots(flock: Flock) -> list[int]:
    async with flock.app.events.database.reading() as connection:
        return list(await connection.scalars(sa.select(uploads.c.n).order_by(uploads.c.slot)))


async def test_a_list_is_handed_over_and_the_answer_comes_by_dm_too(flock: Flock, alice: BlueskyPerson) -> None:
    page = await enter(flock.browser, await link(flock, alice, "import"))
    followers = ("files", ("follower.js", follower_js([12]), "text/javascript"))
    done = await upload(flock.browser, page, SCRIPT, followers)
    assert done.status_code == 200
    assert "3 accounts that you followed" in said(done)
    await flock.settle()
    assert "3 accounts that you followed" in alice.received_dms(flock.bluesky_bot)[-1].text
    assert sorted(await slots(flock)) == [1, 3]


async def test_bad_files_get_a_clear_sentence_and_the_form_still_works(flock: Flock, alice: BlueskyPerson) -> None:
    page = await enter(flock.browser, await link(flock, alice, "import"))
    nothing = await upload(flock.browser, page, ("files", ("", b"", "application/octet-stream")))
    assert (nothing.status_code, "There was no file" in nothing.text) == (400, True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("holiday.jpg", b"\xff\xd8")
    for name, content, sentence in (
        ("holiday.zip", packed.getvalue(), "there is no following.js in it"),
        ("following.js", b"window.YTD.following.part0 = [ {", "breaks off in the middle"),
        ("<b>.js", b"window.YTD.tweets.part0 = []", "another part of the archive"),
    ):
        refused = await upload(flock.browser, page, ("files", (name, content, "application/octet-stream")))
        assert refused.status_code == 422
        assert sentence in refused.text
        assert "<b>" not in refused.text
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data/following.js", following_js([1, 2]))
    # The page that says what is wrong has a form of its own, and that one is as good as the first.
    done = await upload(flock.browser, refused, ("files", ("twitter.zip", packed.getvalue(), "application/zip")))
    assert done.status_code == 200
    assert await slots(flock) == [2]


async def test_more_than_is_taken_is_not_read_to_the_end(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web={"upload_megabytes": 1}) as flock:
        person = flock.bluesky.create_account("alice.test")
        await asks(flock, person, "hello")
        await enter(flock.browser, await link_to(flock, person, Purpose.IMPORT))

        async def endless() -> AsyncIterator[bytes]:
            yield b'--x\r\ncontent-disposition: form-data; name="files"; filename="f.js"\r\n\r\n'
            for _ in range(20):
                yield b" " * 65536

        address = f"{flock.pages}/import"
        headers = {"content-type": "multipart/form-data; boundary=x"}
        refused = await flock.browser.post(address, content=endless(), headers=headers)
        assert refused.status_code == 413
        assert "1 MB" in refused.text
        broken = await flock.browser.post(address, content=b"?", headers={"content-type": "multipart/form-data"})
        assert broken.status_code == 400


async def test_what_is_held_is_given_out_to_visitors(flock: Flock, alice: BlueskyPerson) -> None:
    await upload(flock.browser, await enter(flock.browser, await link(flock, alice, "import")), SCRIPT)
    page = await enter(flock.browser, await link(flock, alice, "export"))
    given = await flock.browser.post(f"{flock.pages}/me/export", data={"csrf": csrf(page)})
    assert "attachment" in given.headers["content-disposition"]
    held = json.loads(given.text)
    assert held["accounts"][0]["handle"] == "alice.test"
    assert held["uploads"][0]["n"] == 3
    assert "secret" not in json.dumps(held["grants"])


def is_guarded(answer: httpx.Response, *, kept: str = "no-store") -> bool:
    """Tell whether an answer is safe from what others may put into it; assert which defence is missing."""
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == kept
    return not re.search(r'<script(?! src="/static/)|<style|\sstyle=|\son\w+=|javascript:', answer.text)


async def test_every_answer_is_guarded_and_says_nothing_of_what_went_wrong(flock: Flock, alice: BlueskyPerson) -> None:
    for path, status in (("/", 200), ("/nowhere", 404), ("/import/made-up", 410), ("/contacts", 403)):
        answer = await flock.browser.get(flock.pages + path)
        assert answer.status_code == status
        assert is_guarded(answer)
        assert "set-cookie" not in answer.headers
    for name in ("style.css", "icon.svg"):
        static = await flock.browser.get(f"{flock.pages}/static/{name}")
        assert static.status_code == 200
        assert is_guarded(static, kept="no-cache")
    assert static.headers["content-type"] == "image/svg+xml"
    address = await link(flock, alice, "import")
    assert is_guarded(await flock.browser.get(address))
    page = await enter(flock.browser, address)
    for path in ("/import", "/contacts", "/connect", "/me"):
        assert is_guarded(await flock.browser.get(flock.pages + path))
    async with flock.app.events.database.transaction() as connection:
        await connection.execute(sa.text("ALTER TABLE upload RENAME TO mislaid"))
    crashed = await upload(flock.browser, page, SCRIPT)
    assert crashed.status_code == 500
    assert re.search(r"RF-\w{4}-\w{4}", crashed.text)
    assert "mislaid" not in crashed.text
    assert "Traceback" not in crashed.text


async def test_machines_are_told_how_it_is(flock: Flock, alice: BlueskyPerson) -> None:
    health = await flock.browser.get(f"{flock.pages}/healthz")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    metrics = await flock.browser.get(f"{flock.pages}/metrics")
    assert "reflock_persons 1.0" in metrics.text
    proxied = await flock.browser.get(f"{flock.pages}/metrics", headers={"x-forwarded-for": "203.0.113.9"})
    assert proxied.status_code == 403
    # The development client is described by its id alone.
    assert (await flock.browser.get(f"{flock.pages}/oauth-client-metadata.json")).status_code == 404
    assert (await flock.browser.get(f"{flock.pages}/jwks.json")).json() == {"keys": []}


async def test_a_confidential_client_is_described_and_its_cookies_keep_to_https(
    flock: Flock, alice: BlueskyPerson
) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    home = "https://reflock.example"
    loaded = Loaded(config=parse({"web": {"public_url": home}}, "the test"), secrets=flock.config.secrets)
    async with GuardedClient() as guard:
        atproto = AtprotoOauth(
            guard, IdentityResolver(guard), public_url=home, clock=time.time, signing_key=key.decode()
        )
        consents = Consents(flock.app.events, atproto, flock.app.consents.mastodon)
        async with Server(web(flock.app.events, consents, loaded)) as server:
            metadata = (await flock.browser.get(f"{server.url}/oauth-client-metadata.json")).json()
            assert metadata["client_id"] == f"{home}/oauth-client-metadata.json"
            assert metadata["redirect_uris"] == [f"{home}/connect/bluesky/callback"]
            (public,) = (await flock.browser.get(f"{server.url}/jwks.json")).json()["keys"]
            assert "d" not in public
            front = await flock.browser.get(server.url)
            assert "set-cookie" not in front.headers
            assert front.headers["strict-transport-security"] == "max-age=31536000"
            assert "strict-transport-security" not in (await flock.browser.get(flock.pages)).headers
            address = (await link(flock, alice, "connect")).replace(flock.pages, server.url)
            landing = await flock.browser.get(address)
            (form_cookie,) = landing.headers.get_list("set-cookie")
            # Over plain HTTP a browser would not send such a cookie back: here it is done by hand.
            spent = await flock.browser.post(
                address, data={"csrf": csrf(landing)}, headers={"cookie": form_cookie.partition(";")[0]}
            )
            visit_cookie = spent.headers.get_list("set-cookie")[0]
            assert visit_cookie.startswith("reflock-visit=")
            for cookie in (form_cookie, visit_cookie):
                assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))


async def test_whether_it_lives_is_told_without_counting(flock: Flock) -> None:
    async with flock.app.events.database.transaction() as connection:
        await connection.execute(sa.text("ALTER TABLE message RENAME TO mislaid"))
    assert (await flock.browser.get(f"{flock.pages}/healthz")).json() == {"status": "ok"}
