"""Every way in which a consent can end: on a page that says what to do, and lets who is on a visit try again."""

import json
import re

import httpx
import pytest

from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson
from handlers import consents
from storage import grants
from storage.codes import Purpose
from tests.flock import Flock, flock
from tests.visits import alice, asks, begins, chooses, enter, link, link_to

__all__ = ["alice", "flock"]  # fixtures

AGAIN = '<a href="/connect">Try again</a>'


@pytest.fixture
def other(flock: Flock) -> MastodonPerson:
    """Alice's account on Mastodon, from which she has not spoken yet."""
    return flock.mastodon.create_account("alice")


@pytest.fixture
async def page(flock: Flock, alice: BlueskyPerson) -> httpx.Response:
    """The page where consent begins, in alice's browser."""
    return await enter(flock.browser, await link_to(flock, alice, Purpose.CONNECT))


async def active(flock: Flock) -> set[str]:
    """Return the accounts for which we may act."""
    async with flock.app.events.database.reading() as connection:
        given = await grants.active_of(connection, range(1, 10))
    return {grant.account_id for each in given.values() for grant in each}


async def connects_both(flock: Flock, alice: BlueskyPerson, other: MastodonPerson, page: httpx.Response) -> None:
    back = await alice.approve(await begins(flock.browser, page, account=alice.did))
    await flock.browser.get(back)
    back = await other.approve(await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain))
    await flock.browser.get(back)
    assert await active(flock) == {alice.did, other.actor}


async def shown(flock: Flock) -> str:
    return (await flock.browser.get(f"{flock.pages}/connect")).text


def revoked(flock: Flock) -> list[bool]:
    """Tell of each token for follows on Mastodon whether it was ended there."""
    return [each.revoked for each in flock.mastodon.oauth.tokens.values() if "write:follows" in each.scopes]


# What the page says, and what it ends.


async def test_it_says_what_is_asked_for_and_why_before_anything_is_asked(page: httpx.Response) -> None:
    for said in (
        "To create follow records and to delete them, nothing else",
        "To follow and unfollow.",
        "your server has to look somebody up",
        "so that I know whose consent it is",
    ):
        assert said in page.text


async def test_one_account_is_disconnected_and_the_other_stays(
    flock: Flock, alice: BlueskyPerson, other: MastodonPerson, page: httpx.Response
) -> None:
    await connects_both(flock, alice, other, page)
    read = await shown(flock)
    name = f"alice@{flock.mastodon.domain}"
    assert "alice.test: I may follow for you since Mar 17, 2030" in read
    assert f"{name}: I may follow for you since Mar 17, 2030" in read
    done = await chooses(flock.browser, page, disconnect=other.actor)
    assert (done.status_code, done.headers["location"]) == (303, "/connect")
    read = await shown(flock)
    assert f"Done: I no longer follow as {name}" in read
    assert f"Connect {name} (Mastodon)" in read
    assert await active(flock) == {alice.did}
    await flock.settle()
    assert revoked(flock) == [True]
    assert f"I no longer follow as {name}" in alice.received_dms(flock.bluesky_bot)[-1].text

    await chooses(flock.browser, page, disconnect=alice.did)
    await flock.settle()
    assert await active(flock) == set()
    assert flock.bluesky.oauth.sessions_of(alice.did) == []
    await chooses(flock.browser, page, disconnect=alice.did)
    assert "there is nothing to end" in await shown(flock)


async def test_nobody_ends_what_somebody_else_gave(
    flock: Flock, alice: BlueskyPerson, other: MastodonPerson, page: httpx.Response
) -> None:
    await connects_both(flock, alice, other, page)
    bob = flock.bluesky.create_account("bob.test")
    await asks(flock, bob, "hello")
    browser = flock.new_browser()
    his = await enter(browser, await link_to(flock, bob, Purpose.CONNECT))
    assert (await chooses(browser, his, disconnect=alice.did)).status_code == 303
    assert "there is nothing to end" in (await browser.get(f"{flock.pages}/connect")).text
    assert await active(flock) == {alice.did, other.actor}


async def test_a_consent_that_its_server_ended_is_shown_as_such_and_can_be_given_anew(
    flock: Flock, alice: BlueskyPerson, other: MastodonPerson, page: httpx.Response
) -> None:
    await connects_both(flock, alice, other, page)
    alice.withdraw_consents()
    async with flock.app.events.event("a follow that was refused", alice.did) as ctx:
        await consents.lost(ctx, alice.did)
    read = await shown(flock)
    assert "alice.test: your server has ended this consent" in read
    assert "Connect alice.test (Bluesky)" in read
    await flock.browser.get(await alice.approve(await begins(flock.browser, page, account=alice.did)))
    assert await active(flock) == {alice.did, other.actor}


@pytest.mark.parametrize(
    ("words", "field"),
    [("connect mastodon.social", "server"), ("connect alice.bsky.social", "handle"), ("connect alice.test", "handle")],
)
async def test_what_was_named_in_the_conversation_stands_in_its_field_already(
    flock: Flock, alice: BlueskyPerson, words: str, field: str
) -> None:
    page = await enter(flock.browser, await link(flock, alice, words))
    typed = dict(re.findall(r'id="(handle|server)"[^>]*? value="([^"]*)"', page.text))
    assert typed == {"handle": "", "server": "", field: words.split()[1]}


async def test_what_was_typed_wrongly_stays_to_be_corrected(flock: Flock, page: httpx.Response) -> None:
    wrong = await chooses(flock.browser, page, network="mastodon", where="localhost")
    assert 'value="localhost" aria-invalid="true" aria-describedby="problem"' in wrong.text
    assert wrong.text.count('value="localhost"') == 1


# How it can end.


async def test_a_refusal_ends_on_a_page_from_which_it_can_be_tried_again(
    flock: Flock, alice: BlueskyPerson, other: MastodonPerson, page: httpx.Response
) -> None:
    on_bluesky = await alice.approve(await begins(flock.browser, page, account=alice.did), allow=False)
    address = await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain)
    for back in (on_bluesky, await other.approve(address, allow=False)):
        refused = await flock.browser.get(back)
        assert refused.status_code == 400
        assert "No consent was given there" in refused.text
        assert AGAIN in refused.text
    again = await flock.browser.get(f"{flock.pages}/connect")
    await flock.browser.get(await alice.approve(await begins(flock.browser, again, account=alice.did)))
    assert await active(flock) == {alice.did}


async def test_a_consent_for_less_is_given_back_and_can_be_tried_again(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    less = await alice.approve(await begins(flock.browser, page, account=alice.did), scope="atproto")
    partial = await flock.browser.get(less)
    assert "the right to follow is missing" in partial.text
    assert AGAIN in partial.text
    await flock.settle()
    assert flock.bluesky.oauth.sessions_of(alice.did) == []
    assert await active(flock) == set()


async def test_a_late_a_made_up_and_a_used_consent_can_be_tried_again(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    late = await alice.approve(await begins(flock.browser, page, account=alice.did))
    flock.clock.pass_seconds(1800)
    used = await alice.approve(await begins(flock.browser, page, account=alice.did))
    assert (await flock.browser.get(used)).headers["location"] == "/contacts"
    made_up = f"{flock.pages}/connect/mastodon/callback?state=made-up&code=1"
    for back, sentence in (
        (late, "expired or is used up"),
        (made_up, "I did not ask for this consent"),
        (used, "expired or is used up"),
    ):
        ended = await flock.browser.get(back)
        assert ended.status_code == 400
        assert sentence in ended.text
        assert AGAIN in ended.text
    assert await active(flock) == {alice.did}


async def test_the_wrong_account_is_not_taken_and_can_be_tried_again(
    flock: Flock, alice: BlueskyPerson, other: MastodonPerson, page: httpx.Response
) -> None:
    mallory = flock.mastodon.create_account("mallory")
    await connects_both(flock, alice, other, page)
    await chooses(flock.browser, page, disconnect=other.actor)
    wrong = await flock.browser.get(await mallory.approve(await begins(flock.browser, page, account=other.actor)))
    assert wrong.status_code == 400
    assert "another account than the one that was asked" in wrong.text
    assert AGAIN in wrong.text
    assert await active(flock) == {alice.did}


async def test_an_account_that_is_a_person_of_its_own_is_not_taken_from_here(
    flock: Flock, other: MastodonPerson, page: httpx.Response
) -> None:
    other.dm(flock.mastodon_bot, "hello")
    await flock.settle()
    back = await other.approve(await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain))
    ended = await flock.browser.get(back)
    assert "join them first: send me link" in ended.text
    assert AGAIN in ended.text
    await flock.settle()
    assert revoked(flock) == [True]


async def test_another_browser_is_told_what_to_do_and_has_nothing_to_press(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    back = await alice.approve(await begins(flock.browser, page, account=alice.did))
    stolen = await flock.new_browser().get(back)
    assert stolen.status_code == 400
    assert "send me connect and stay in one browser" in stolen.text
    assert "Try again" not in stolen.text
    assert "set-cookie" not in stolen.headers
    assert (await flock.browser.get(back)).headers["location"] == "/contacts"


async def test_a_silent_server_is_asked_again_by_the_same_page(
    flock: Flock, alice: BlueskyPerson, other: MastodonPerson, page: httpx.Response
) -> None:
    on_bluesky = await alice.approve(await begins(flock.browser, page, account=alice.did))
    address = await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain)
    on_mastodon = await other.approve(address)
    flock.bluesky.faults.plan(Fault(path="/oauth/token", status=503))
    flock.mastodon.faults.plan(Fault(path="/oauth/token", status=503))
    for back in (on_bluesky, on_mastodon):
        silent = await flock.browser.get(back)
        assert silent.status_code == 503
        assert "Your server does not answer me just now" in silent.text
        assert '<a href="">Try again</a>' in silent.text
        assert (await flock.browser.get(back)).headers["location"] == "/contacts"
    assert await active(flock) == {alice.did, other.actor}


async def test_two_tabs_end_in_one_consent(
    flock: Flock, alice: BlueskyPerson, other: MastodonPerson, page: httpx.Response
) -> None:
    twice = [await begins(flock.browser, page, account=alice.did) for _ in range(2)]
    for back in [await alice.approve(each) for each in twice]:
        assert (await flock.browser.get(back)).headers["location"] == "/contacts"
    here = [await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain) for _ in range(2)]
    for back in [await other.approve(each) for each in reversed(here)]:
        assert (await flock.browser.get(back)).headers["location"] == "/contacts"
    await flock.settle()
    assert await active(flock) == {alice.did, other.actor}
    assert len(flock.bluesky.oauth.sessions_of(alice.did)) == 1
    async with flock.app.events.database.reading() as connection:
        grant = await grants.of_account(connection, other.actor)
    assert grant is not None
    token = json.loads(flock.app.events.world.keys.decrypt(grant.secret))["access"]
    whose = await flock.browser.get(
        f"{flock.mastodon.url}/api/v1/accounts/verify_credentials", headers={"authorization": f"Bearer {token}"}
    )
    assert whose.status_code == 200  # Mastodon gives one token twice: the end of the first would be that of both


async def test_a_server_that_is_down_when_it_begins_is_said_on_the_form(flock: Flock, page: httpx.Response) -> None:
    flock.mastodon.faults.plan(Fault(path="/api/v1/apps", status=503))
    down = await chooses(flock.browser, page, network="mastodon", where=flock.mastodon.domain)
    assert down.status_code == 422
    assert "does not answer" in down.text
    assert await begins(flock.browser, page, network="mastodon", where=flock.mastodon.domain)
