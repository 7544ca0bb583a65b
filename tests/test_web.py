"""The pages behind one-time links, as a browser without JavaScript sees them."""

import io
import json
import re
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.requests import Request

from bot.config import Loaded, parse
from bot.consents import Consents
from bot.networks.guard import GuardedClient
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.oauth_atproto import AtprotoOauth
from bot.sandbox.archive import follower_js, following_js
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.faults import Fault
from bot.web.app import web
from bot.web.connect import ConnectPages
from bot.web.pages import Pages
from bot.web.serving import Server
from storage import accounts, codes, grants
from storage.codes import Purpose
from storage.keys import new_token
from storage.records import NetworkName
from storage.tables import consent_grant, upload
from tests.conftest import OwnClock
from tests.flock import Flock, open_flock

SCRIPT = ("files", ("following.js", following_js([11, 12, 13]), "text/javascript"))


@pytest.fixture
async def flock(database_url: str, clock: OwnClock) -> AsyncIterator[Flock]:
    async with open_flock(database_url, clock) as opened:
        yield opened


@pytest.fixture
async def alice(flock: Flock) -> BlueskyPerson:
    person = flock.bluesky.create_account("alice.test")
    await asks(flock, person, "hello")
    return person


async def asks(flock: Flock, person: BlueskyPerson, words: str) -> str:
    """Write to the bot, and return its last answer."""
    person.dm(flock.bluesky_bot, words)
    await flock.settle()
    return person.received_dms(flock.bluesky_bot)[-1].text


async def link(flock: Flock, person: BlueskyPerson, words: str) -> str:
    """Ask for a one-time link."""
    found = re.search(r"http://\S+/(?:import|connect|export)/[\w-]+", await asks(flock, person, words))
    assert found
    return found[0]


def csrf(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert found, page.text
    return found[1]


async def sends(flock: Flock, address: str, *files: Any, **data: str) -> httpx.Response:
    """Open a page and send its form."""
    page = await flock.browser.get(address)
    return await flock.browser.post(address, data={"csrf": csrf(page), **data}, files=list(files) or None)


async def slots(flock: Flock) -> list[int]:
    async with flock.app.events.database.reading() as connection:
        return list(await connection.scalars(sa.select(upload.c.n).order_by(upload.c.slot)))


async def test_a_list_is_handed_over_and_the_answer_comes_by_dm_too(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link(flock, alice, "import")
    done = await sends(flock, address, SCRIPT, ("files", ("follower.js", follower_js([12]), "text/javascript")))
    assert done.status_code == 200
    assert "3 accounts that you followed" in done.text
    await flock.settle()
    assert "3 accounts that you followed" in alice.received_dms(flock.bluesky_bot)[-1].text
    assert sorted(await slots(flock)) == [1, 3]


async def test_a_preview_of_the_link_does_not_spend_it_and_the_first_browser_keeps_it(
    flock: Flock, alice: BlueskyPerson
) -> None:
    address = await link(flock, alice, "import")
    async with httpx.AsyncClient() as crawler:
        assert (await crawler.get(address)).status_code == 200
        page = await crawler.get(address)
        assert (await sends(flock, address, SCRIPT)).status_code == 200
        late = await crawler.post(address, data={"csrf": csrf(page)}, files=[SCRIPT])
        assert late.status_code == 410
        assert "used already" in late.text
    assert (await sends(flock, address, SCRIPT)).status_code == 200
    flock.clock.pass_seconds(3600)
    expired = await flock.browser.get(address)
    assert (expired.status_code, "expired" in expired.text) == (410, True)


async def test_bad_files_get_a_clear_sentence_and_the_link_still_works(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link(flock, alice, "import")
    nothing = await sends(flock, address, ("files", ("", b"", "application/octet-stream")))
    assert (nothing.status_code, "There was no file" in nothing.text) == (400, True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("holiday.jpg", b"\xff\xd8")
    for name, content, sentence in (
        ("holiday.zip", packed.getvalue(), "there is no following.js in it"),
        ("following.js", b"window.YTD.following.part0 = [ {", "breaks off in the middle"),
        ("<b>.js", b"window.YTD.tweets.part0 = []", "another part of the archive"),
    ):
        refused = await sends(flock, address, ("files", (name, content, "application/octet-stream")))
        assert refused.status_code == 422
        assert sentence in refused.text
        assert "<b>" not in refused.text
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data/following.js", following_js([1, 2]))
    done = await sends(flock, address, ("files", ("twitter.zip", packed.getvalue(), "application/zip")))
    assert done.status_code == 200
    assert await slots(flock) == [2]


async def test_more_than_is_taken_is_not_read_to_the_end(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web={"upload_megabytes": 1}) as flock:
        person = flock.bluesky.create_account("alice.test")
        await asks(flock, person, "hello")
        address = await link(flock, person, "import")
        page = await flock.browser.get(address)

        async def endless() -> AsyncIterator[bytes]:
            yield b'--x\r\ncontent-disposition: form-data; name="files"; filename="f.js"\r\n\r\n'
            for _ in range(20):
                yield b" " * 65536

        headers = {"content-type": "multipart/form-data; boundary=x"}
        refused = await flock.browser.post(address, content=endless(), headers=headers)
        assert refused.status_code == 413
        assert "1 MB" in refused.text
        broken = await flock.browser.post(address, content=b"?", headers={"content-type": "multipart/form-data"})
        assert broken.status_code == 400
        assert csrf(page)


async def test_a_form_from_elsewhere_is_refused(flock: Flock, alice: BlueskyPerson) -> None:
    for command in ("import", "connect", "export"):
        address = await link(flock, alice, command)
        await flock.browser.get(address)
        files = [SCRIPT] if command == "import" else None
        forged = await flock.browser.post(address, data={"csrf": "0" * 64}, files=files)
        assert forged.status_code == 403
        assert "not sent from its own page" in forged.text


async def test_what_is_held_is_given_out_once(flock: Flock, alice: BlueskyPerson) -> None:
    await sends(flock, await link(flock, alice, "import"), SCRIPT)
    address = await link(flock, alice, "export")
    given = await sends(flock, address)
    assert "attachment" in given.headers["content-disposition"]
    held = json.loads(given.text)
    assert held["accounts"][0]["handle"] == "alice.test"
    assert held["uploads"][0]["n"] == 3
    assert "secret" not in json.dumps(held["grants"])
    assert (await flock.browser.get(address)).status_code == 410


async def begins(flock: Flock, address: str, **data: str) -> str:
    """Choose an account on the page, and return where the browser is sent."""
    begun = await sends(flock, address, **data)
    assert begun.status_code == 303, begun.text
    return begun.headers["location"]


async def granted(flock: Flock) -> list[str]:
    async with flock.app.events.database.reading() as connection:
        return list(await connection.scalars(sa.select(consent_grant.c.account_id).order_by(consent_grant.c.id)))


async def test_consent_on_both_networks_makes_one_person_of_both_accounts(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link(flock, alice, "connect")
    page = await flock.browser.get(address)
    assert "Connect alice.test (Bluesky)" in page.text
    assert "https:" in page.headers["content-security-policy"]
    back = await alice.approve(await begins(flock, address, account=alice.did))
    done = await flock.browser.get(back)
    assert done.status_code == 200
    assert "I may follow for you as alice.test" in done.text

    other = flock.mastodon.create_account("alice")
    back = await other.approve(await begins(flock, address, network="mastodon", where=flock.mastodon.domain))
    done = await flock.browser.get(back)
    assert "I may follow for you as alice@" in done.text
    assert await granted(flock) == [alice.did, other.actor]
    await flock.settle()
    assert "I may follow for you as alice@" in alice.received_dms(flock.bluesky_bot)[-1].text
    page = await flock.browser.get(address)
    assert page.text.count("Connected already") == 2

    replayed = await flock.browser.get(back)
    assert replayed.status_code == 400
    assert "works once" in replayed.text


async def test_a_consent_that_is_refused_forged_late_or_another_browsers_changes_nothing(
    flock: Flock, alice: BlueskyPerson
) -> None:
    address = await link(flock, alice, "connect")
    refused = await flock.browser.get(await alice.approve(await begins(flock, address, account=alice.did), allow=False))
    assert (refused.status_code, "No consent was given" in refused.text) == (400, True)

    unknown = await flock.browser.get(f"{flock.pages}/connect/bluesky/callback?state=made-up&code=1")
    assert (unknown.status_code, "I did not ask for this consent" in unknown.text) == (400, True)

    back = await alice.approve(await begins(flock, address, account=alice.did))
    async with httpx.AsyncClient() as somebody_else:
        stolen = await somebody_else.get(back)
    assert (stolen.status_code, "another browser" in stolen.text) == (400, True)
    flock.clock.pass_seconds(1800)
    late = await flock.browser.get(back)
    assert (late.status_code, "expired" in late.text) == (400, True)
    assert await granted(flock) == []


async def test_a_consent_of_another_account_or_for_less_is_not_taken(flock: Flock, alice: BlueskyPerson) -> None:
    mine, other = flock.mastodon.create_account("alice"), flock.mastodon.create_account("mallory")
    address = await link(flock, alice, "connect")
    await flock.browser.get(
        await mine.approve(await begins(flock, address, network="mastodon", where=flock.mastodon.domain))
    )
    await asks(flock, alice, "disconnect mastodon")
    wrong = await flock.browser.get(await other.approve(await begins(flock, address, account=mine.actor)))
    assert (wrong.status_code, "another account" in wrong.text) == (400, True)

    less = await alice.approve(await begins(flock, address, account=alice.did), scope="atproto")
    partial = await flock.browser.get(less)
    assert "Not connected" in partial.text
    assert "the right to follow is missing" in partial.text
    async with flock.app.events.database.reading() as connection:
        held = await connection.scalar(sa.select(consent_grant.c.person_id).limit(1))
        assert await grants.active(connection, int(held or 0)) == []


async def test_what_is_typed_wrongly_is_explained_on_the_form(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link(flock, alice, "connect @alice@wrong")
    for data, sentence in (
        ({"network": "mastodon", "where": "localhost"}, "not the name of a server"),
        ({"network": "bluesky", "where": "nobody.test"}, "no account of that name"),
        ({"network": "bluesky", "where": " "}, "Nothing was typed"),
    ):
        page = await sends(flock, address, **data)
        assert page.status_code in (400, 422)
        assert sentence in page.text


async def test_a_silent_server_costs_nothing_and_the_way_back_can_be_reloaded(
    flock: Flock, alice: BlueskyPerson
) -> None:
    address = await link(flock, alice, "connect")
    back = await alice.approve(await begins(flock, address, account=alice.did))
    flock.bluesky.faults.plan(Fault(path="/oauth/token", status=503))
    silent = await flock.browser.get(back)
    assert (silent.status_code, "does not answer" in silent.text) == (503, True)
    assert (await flock.browser.get(back)).status_code == 200
    assert await granted(flock) == [alice.did]


async def test_every_answer_is_guarded_and_says_nothing_of_what_went_wrong(flock: Flock, alice: BlueskyPerson) -> None:
    for path, status in (("/", 200), ("/nowhere", 404), ("/import/made-up", 410), ("/static/style.css", 200)):
        answer = await flock.browser.get(flock.pages + path)
        assert answer.status_code == status
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "<script" not in answer.text
        assert " style=" not in answer.text
        assert "set-cookie" not in answer.headers
    address = await link(flock, alice, "import")
    page = await flock.browser.get(address)
    async with flock.app.events.database.transaction() as connection:
        await connection.execute(sa.text("ALTER TABLE upload RENAME TO mislaid"))
    crashed = await flock.browser.post(address, data={"csrf": csrf(page)}, files=[SCRIPT])
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
            address = await link(flock, alice, "connect")
            form = await flock.browser.get(address.replace(flock.pages, server.url))
            assert "HttpOnly" in form.headers["set-cookie"]
            assert "Secure" in form.headers["set-cookie"]


async def test_the_pages_speak_the_language_of_their_reader(flock: Flock, alice: BlueskyPerson) -> None:
    token = new_token()
    events = flock.app.events
    async with events.event("test", alice.did) as ctx:
        await codes.issue(
            ctx.connection, ctx.world.keys, token, Purpose.IMPORT, person_id=ctx.person.id, now=ctx.now, lifetime=60_000
        )
    page = await flock.browser.get(f"{flock.pages}/import/{token}", headers={"accept-language": "ja, en;q=0.5"})
    assert '<html lang="en" dir="ltr">' in page.text


async def test_whether_it_lives_is_told_without_counting(flock: Flock) -> None:
    async with flock.app.events.database.transaction() as connection:
        await connection.execute(sa.text("ALTER TABLE message RENAME TO mislaid"))
    assert (await flock.browser.get(f"{flock.pages}/healthz")).json() == {"status": "ok"}


async def test_a_consent_whose_owner_is_forgotten_meanwhile_is_given_back(flock: Flock, alice: BlueskyPerson) -> None:
    events, consents = flock.app.events, flock.app.consents
    other = flock.mastodon.create_account("alice")
    async with events.event("test", alice.did) as ctx:
        person_id = ctx.person.id
    url = await consents.begin(NetworkName.MASTODON, person_id, alice.did, flock.mastodon.domain)
    back = dict(parse_qsl(urlsplit(await other.approve(url)).query))
    granted_ = await consents.finish(NetworkName.MASTODON, back)
    await asks(flock, alice, "forget me yes")
    request = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []})
    answer = await ConnectPages(Pages(events, flock.pages), consents)._granted(request, granted_)
    assert answer.status_code == 400
    await flock.settle()
    token = json.loads(granted_.secret)["access"]
    whose = await flock.browser.get(
        f"{flock.mastodon.url}/api/v1/accounts/verify_credentials", headers={"authorization": f"Bearer {token}"}
    )
    assert whose.status_code == 401


async def test_a_consent_on_mastodon_names_its_account_as_a_mention_does(flock: Flock, alice: BlueskyPerson) -> None:
    address = await link(flock, alice, "connect")
    other = flock.mastodon.create_account("alice")
    await flock.browser.get(
        await other.approve(await begins(flock, address, network="mastodon", where=flock.mastodon.domain))
    )
    async with flock.app.events.database.reading() as connection:
        account = await accounts.get(connection, other.actor)
    assert account is not None
    assert account.handle == f"@alice@{flock.mastodon.domain}"
