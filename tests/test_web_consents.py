"""The page where people choose what to consent to, and their way back from their servers."""

import json
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from starlette.requests import Request

from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.faults import Fault
from bot.web.connect import ConnectPages
from bot.web.pages import Pages
from bot.web.visitors import Visitors
from storage import accounts, grants
from storage.codes import Purpose
from storage.records import NetworkName
from storage.tables import consent_grant
from tests.flock import Flock, flock
from tests.visits import alice, asks, begins, chooses, enter, link, link_to, said

__all__ = ["alice", "flock"]  # fixtures


@pytest.fixture
async def page(flock: Flock, alice: BlueskyPerson) -> httpx.Response:
    """The page where consent begins, in alice's browser."""
    return await enter(flock.browser, await link(flock, alice, "connect"))


async def granted(flock: Flock) -> list[str]:
    async with flock.app.events.database.reading() as connection:
        return list(await connection.scalars(sa.select(consent_grant.c.account_id).order_by(consent_grant.c.id)))


async def test_consent_on_both_networks_makes_one_person_of_both_accounts(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    assert "Connect alice.test (Bluesky)" in page.text
    assert "https:" in page.headers["content-security-policy"]
    back = await alice.approve(await begins(flock.browser, page, account=alice.did))
    done = await flock.browser.get(back, follow_redirects=True)
    assert (done.status_code, done.url.path) == (200, "/contacts")
    assert "I may follow for you as alice.test" in said(done)

    other = flock.mastodon.create_account("alice")
    back = await other.approve(await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain))
    done = await flock.browser.get(back, follow_redirects=True)
    assert "I may follow for you as alice@" in said(done)
    assert await granted(flock) == [alice.did, other.actor]
    await flock.settle()
    assert "I may follow for you as alice@" in alice.received_dms(flock.bluesky_bot)[-1].text
    page = await flock.browser.get(f"{flock.pages}/connect")
    assert 'name="account"' not in page.text  # none of hers is left to be connected
    assert "alice.test" in page.text
    assert f"alice@{flock.mastodon.domain}" in page.text

    replayed = await flock.browser.get(back)
    assert replayed.status_code == 400
    assert "works once" in replayed.text


async def test_a_consent_that_is_refused_forged_late_or_another_browsers_changes_nothing(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    refused = await flock.browser.get(
        await alice.approve(await begins(flock.browser, page, account=alice.did), allow=False)
    )
    assert (refused.status_code, "No consent was given" in refused.text) == (400, True)

    unknown = await flock.browser.get(f"{flock.pages}/connect/bluesky/callback?state=made-up&code=1")
    assert (unknown.status_code, "I did not ask for this consent" in unknown.text) == (400, True)

    back = await alice.approve(await begins(flock.browser, page, account=alice.did))
    stolen = await flock.new_browser().get(back)
    assert (stolen.status_code, "another browser" in stolen.text) == (400, True)
    flock.clock.pass_seconds(1800)
    late = await flock.browser.get(back)
    assert (late.status_code, "expired" in late.text) == (400, True)
    assert await granted(flock) == []


async def test_a_consent_of_another_account_or_for_less_is_not_taken(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    mine, other = flock.mastodon.create_account("alice"), flock.mastodon.create_account("mallory")
    await flock.browser.get(
        await mine.approve(await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain))
    )
    await asks(flock, alice, "disconnect mastodon")
    wrong = await flock.browser.get(await other.approve(await begins(flock.browser, page, account=mine.actor)))
    assert (wrong.status_code, "another account" in wrong.text) == (400, True)

    less = await alice.approve(await begins(flock.browser, page, account=alice.did), scope="atproto")
    partial = await flock.browser.get(less)
    assert "Not connected" in partial.text
    assert "the right to follow is missing" in partial.text
    async with flock.app.events.database.reading() as connection:
        held = await connection.scalar(sa.select(consent_grant.c.person_id).limit(1))
        assert await grants.active(connection, int(held or 0)) == []


async def test_what_is_typed_wrongly_is_explained_on_the_form(flock: Flock, page: httpx.Response) -> None:
    for data, sentence in (
        ({"network": "mastodon", "where": "localhost"}, "not the name of a server"),
        ({"network": "bluesky", "where": "nobody.test"}, "no account of that name"),
        ({"network": "bluesky", "where": " "}, "Nothing was typed"),
    ):
        answer = await chooses(flock.browser, page, **data)
        assert answer.status_code in (400, 422)
        assert sentence in answer.text


async def test_a_silent_server_costs_nothing_and_the_way_back_can_be_reloaded(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    back = await alice.approve(await begins(flock.browser, page, account=alice.did))
    flock.bluesky.faults.plan(Fault(path="/oauth/token", status=503))
    silent = await flock.browser.get(back)
    assert (silent.status_code, "does not answer" in silent.text) == (503, True)
    assert (await flock.browser.get(back)).headers["location"] == "/contacts"
    assert await granted(flock) == [alice.did]


async def test_who_comes_back_when_the_visit_is_over_has_consented_all_the_same(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    flock.clock.pass_seconds(flock.config.config.web.visit_hours * 3600 - 60)
    back = await alice.approve(await begins(flock.browser, page, account=alice.did))
    flock.clock.pass_seconds(60)
    done = await flock.browser.get(back)
    assert (done.status_code, "I may follow for you as alice.test" in done.text) == (200, True)
    assert await granted(flock) == [alice.did]
    assert (await flock.browser.get(f"{flock.pages}/contacts")).status_code == 403


async def test_who_visits_for_somebody_else_meanwhile_does_not_read_what_was_said_to_the_first(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    back = await alice.approve(await begins(flock.browser, page, account=alice.did))
    bob = flock.bluesky.create_account("bob.test")
    await asks(flock, bob, "hello")
    await enter(flock.browser, await link_to(flock, bob, Purpose.CONTACTS))
    done = await flock.browser.get(back)
    assert (done.status_code, "I may follow for you as alice.test" in done.text) == (200, True)
    assert "alice.test" not in (await flock.browser.get(f"{flock.pages}/contacts")).text


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
    pages = Pages(events, flock.pages)
    answer = await ConnectPages(pages, Visitors(pages, lifetime=1), consents)._granted(request, granted_)
    assert answer.status_code == 400
    await flock.settle()
    token = json.loads(granted_.secret)["access"]
    whose = await flock.browser.get(
        f"{flock.mastodon.url}/api/v1/accounts/verify_credentials", headers={"authorization": f"Bearer {token}"}
    )
    assert whose.status_code == 401


async def test_a_consent_on_mastodon_names_its_account_as_a_mention_does(flock: Flock, page: httpx.Response) -> None:
    other = flock.mastodon.create_account("alice")
    await flock.browser.get(
        await other.approve(await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain))
    )
    async with flock.app.events.database.reading() as connection:
        account = await accounts.get(connection, other.actor)
    assert account is not None
    assert account.handle == f"@alice@{flock.mastodon.domain}"
