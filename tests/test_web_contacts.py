"""The page of the contacts, as a browser without JavaScript and as its script see it: who is shown, and whose forms count."""

import csv
import io

import pytest

from storage import accounts
from storage.codes import Purpose
from storage.records import Evidence, NetworkName
from tests.conftest import START, OwnClock
from tests.flock import Flock, flock, open_flock
from tests.reader import Reader, alice, batches, reader
from tests.statements import asked_of
from tests.visits import asks, csrf, enter, link_to

__all__ = ["alice", "flock"]  # fixtures

UNSURE = Evidence.ARCHIVE


async def test_who_is_here_is_shown_with_all_there_is_to_know(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.befriends("carol", on="mastodon")
    await alice.befriends("erin", evidence=UNSURE)
    await asks(flock, alice.person, "skip dave_x")
    page = await alice.opens()
    assert "4 people you followed on X are here:" in page.text
    assert alice.row(page, "bob") == "@bob_x on X bob.test (Bluesky) Skip"
    assert 'href="https://bsky.app/profile/bob.test"' in page.text
    assert f'href="https://{flock.mastodon.domain}/@carol"' in page.text
    assert "skipped Restore" in alice.row(page, "dave")
    assert "not sure · not proved by a post: choose by hand" in alice.row(page, "erin")
    assert alice.ticked(page) == {"bob", "carol"}


async def test_contacts_on_a_network_where_one_has_no_account_lead_to_the_page_of_consents(alice: Reader) -> None:
    await alice.befriends("carol", on="mastodon")
    page = await alice.opens()
    assert '<a href="/connect">Connect your account on Mastodon</a>' in page.text


async def test_leaving_out_and_bringing_back_with_and_without_scripts(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave", "frank")
    await alice.consents()
    page = await alice.opens()
    await alice.reconnects("frank", page=page)
    skipped = await alice.sends("/contacts/skip", alice.form(page, "bob", "frank"))
    assert skipped.headers["location"] == "/contacts"
    page = await alice.opens()
    assert "Left out: @bob.test and @frank.test." in page.text
    assert "1 follow still to come is cancelled." in page.text
    assert alice.ticked(page) == {"dave"}
    await flock.settle()
    assert alice.person.follows == set()

    one = {"csrf": csrf(page), "one": str(alice.friends["bob"])}
    restored = await alice.sends("/contacts/restore", {**one}, accept="application/json")
    assert restored.json()["words"] == "Back in the list: @bob.test."
    assert "checked" in restored.json()["rows"]
    again = await alice.sends("/contacts/restore", {**one}, accept="application/json")
    assert again.json()["words"] == "None of them was left out, so nothing changed."
    assert alice.ticked(await alice.opens()) == {"bob", "dave"}
    nobody = await alice.sends("/contacts/skip", alice.form(page))
    assert nobody.status_code == 303
    assert "Nobody is ticked, so nothing changed." in (await alice.opens()).text


async def test_the_list_is_narrowed_without_scripts_too(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob", "dave")
    await alice.befriends("erin", evidence=UNSURE)
    await asks(flock, alice.person, "skip dave_x")
    for query, shown in (
        ("q=%40BOB", {"bob"}),
        ("q=erin.test", {"erin"}),
        ("show=skipped", {"dave"}),
        ("show=unsure", {"erin"}),
        ("show=open", {"bob", "erin"}),
        ("show=open&q=dave", set()),
        ("show=nonsense", {"bob", "dave", "erin"}),
    ):
        assert alice.shown(await alice.opens(f"/contacts?{query}")) == shown, query
    hostile = await alice.opens("/contacts?q=%22%3E%3Cscript%3E")
    assert '"><script>' not in hostile.text


async def test_only_ones_own_contacts_and_batches_can_be_named(flock: Flock, alice: Reader) -> None:
    await alice.befriends("bob")
    await alice.consents()
    begun = await alice.reconnects("bob")
    mallory = flock.bluesky.create_account("mallory.test")
    await asks(flock, mallory, "hello")
    intruder = Reader(flock, mallory, flock.new_browser(), alice.friends)
    page = await enter(intruder.browser, await link_to(flock, mallory, Purpose.CONTACTS))
    fields: dict[str, str | list[str]] = {"csrf": csrf(page), "newest": "0", "contact": [str(alice.friends["bob"])]}
    preview = await intruder.sends("/contacts/reconnect", {**fields, "confirmed": "yes"})
    assert "Nobody is chosen." in preview.text
    assert (await intruder.sends("/contacts/preview", fields)).json()["lines"][0].startswith("Nobody is chosen.")
    left_out = await intruder.sends("/contacts/skip", fields, accept="application/json")
    assert left_out.json() == {"words": "Nobody is ticked, so nothing changed.", "rows": ""}
    address = begun.headers["location"]
    assert (await intruder.opens(address)).headers["location"] == "/contacts"
    assert (await intruder.opens(address.replace("batch?", "progress?"))).status_code == 404
    undone = await intruder.sends("/contacts/undo", {**fields, "batch": address.partition("=")[2], "confirmed": "yes"})
    assert undone.headers["location"] == "/contacts"
    await flock.settle()
    assert alice.person.follows == {alice.there["bob"].actor}
    for path in ("/contacts/batch?batch=nonsense", "/contacts/batch", "/contacts/batch?batch=" + "9" * 30):
        assert (await alice.opens(path)).headers["location"] == "/contacts"


@pytest.mark.parametrize("path", ["reconnect", "preview", "skip", "restore", "undo"])
async def test_a_form_from_elsewhere_or_from_nobody_changes_nothing(flock: Flock, alice: Reader, path: str) -> None:
    await alice.befriends("bob")
    page = await alice.opens()
    form = alice.form(page, "bob", confirmed="yes", batch="1")
    forged = await alice.sends(f"/contacts/{path}", {**form, "csrf": "0" * 64})
    assert forged.status_code == 403
    strange = await alice.browser.post(f"{flock.pages}/contacts/{path}", json=form)
    assert strange.status_code == 403
    if path != "undo":
        for contact in ("-1", "1 OR 1=1", "9" * 40, "١"):
            assert (await alice.sends(f"/contacts/{path}", {**form, "contact": contact})).status_code == 403
    stranger = await flock.new_browser().post(f"{flock.pages}/contacts/{path}", data=form)
    assert stranger.status_code == 403
    assert await batches(flock) == 0


async def test_thousands_of_ticks_are_taken_and_millions_are_not(alice: Reader) -> None:
    await alice.befriends("bob")
    page = await alice.opens()
    form = alice.form(page, "bob")
    form["contact"] = [str(alice.friends["bob"]), *(str(number) for number in range(10**6, 10**6 + 20_000))]
    assert (await alice.sends("/contacts/preview", form)).status_code == 200
    form["contact"] = ["1234567890"] * 60_000
    assert (await alice.sends("/contacts/preview", form)).status_code == 403


async def test_mastodons_own_import_takes_the_list(flock: Flock, alice: Reader) -> None:
    await alice.befriends("carol", "gil", on="mastodon")
    await alice.befriends("bob")
    await alice.befriends("hugo", on="mastodon", evidence=UNSURE)
    events = flock.app.events
    async with events.database.transaction() as connection:
        hostile = '=HYPERLINK("https://evil.example")@evil.example'
        await accounts.meet(connection, NetworkName.MASTODON, alice.there["gil"].actor, hostile, flock.clock())
    page = await alice.opens()
    assert "following_accounts.csv" not in page.text  # a short list is followed one by one
    given = await alice.opens("/contacts/following_accounts.csv")
    assert given.headers["content-type"].startswith("text/csv")
    assert 'filename="following_accounts.csv"' in given.headers["content-disposition"]
    assert given.text.startswith("Account address,Show boosts,Notify on new posts,Languages\n")
    rows = list(csv.reader(io.StringIO(given.text)))[1:]
    assert rows == [[f"carol@{flock.mastodon.domain}", "true", "false", ""]]


async def test_a_long_list_on_mastodon_is_offered_to_its_own_import(alice: Reader) -> None:
    await alice.befriends(*(f"friend{number}" for number in range(101)), on="mastodon")
    page = await alice.opens()
    assert "more than 400 accounts a day" in page.text
    assert "Download following_accounts.csv (101 accounts)" in page.text


async def test_what_to_do_while_there_is_nothing_to_see(flock: Flock, alice: Reader) -> None:
    page = await alice.opens()
    assert "I do not know yet whom you followed on X." in page.text
    assert 'href="/import"' in page.text
    assert "Connect alice.test (Bluesky)" in page.text
    await alice.hands_over([77])
    page = await alice.opens()
    assert "I hold 1 account that you followed on X; it is not here yet." in page.text
    assert "Hand over the lists" not in page.text
    assert "Reconnect selected" not in page.text


async def test_before_the_opening_day_nothing_begins(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, notices={"opens_at": "2030-06-01T18:00:00+00:00"}) as flock:
        alice = await reader(flock)
        assert clock() == START
        await alice.befriends("bob")
        page = await alice.opens()
        assert "reconnection opens on Jun 1, 2030" in page.text
        assert "bob_x" not in page.text
        assert "Connect alice.test (Bluesky)" in page.text
        form: dict[str, str | list[str]] = {"csrf": csrf(page), "newest": "0", "contact": [str(alice.friends["bob"])]}
        early = await alice.sends("/contacts/reconnect", {**form, "confirmed": "yes"})
        assert "reconnection opens on" in early.text
        assert await batches(flock) == 0
        assert (await alice.opens("/contacts/following_accounts.csv")).text.count("\n") == 1


async def test_the_page_asks_the_database_as_often_for_many_as_for_few(flock: Flock, alice: Reader) -> None:
    friends = ("bob", "carol", "dave", "erin", "frank")
    await alice.befriends(*friends, "gil")
    await alice.consents()
    for name in friends:  # as many batches as the page names
        await alice.reconnects(name)
    await flock.settle()
    engine = flock.app.events.database._reader
    with asked_of(engine) as for_few:
        await alice.opens()
    await alice.befriends(*(f"friend{number}" for number in range(30)))
    begun = await alice.reconnects(*(f"friend{number}" for number in range(20)))
    await flock.settle()
    await alice.opens()
    with asked_of(engine) as for_many:
        await alice.opens()
    assert begun.status_code == 303
    assert 0 < len(for_many) <= len(for_few)
