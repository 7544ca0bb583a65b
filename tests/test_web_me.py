"""The page on which people read what is held about them, change how they are treated, and leave."""

import json
import re

import httpx
import pytest
import sqlalchemy as sa

from bot.sandbox.bluesky.people import BlueskyPerson
from storage import accounts, tables
from storage.records import Cadence, Discoverable, Person
from tests.flock import Flock, flock
from tests.reunion import friends_of
from tests.visits import SCRIPT, alice, asks, begins, csrf, enter, link, upload

__all__ = ["alice", "flock"]  # fixtures


@pytest.fixture
async def page(flock: Flock, alice: BlueskyPerson) -> httpx.Response:
    """What alice reads about herself in her browser."""
    return await enter(flock.browser, await link(flock, alice, "export"))


async def sends(flock: Flock, page: httpx.Response, path: str = "/me", **fields: str) -> httpx.Response:
    data = {"csrf": csrf(page), **fields}
    return await flock.browser.post(f"{flock.pages}{path}", data=data, follow_redirects=True)


async def person(flock: Flock, alice: BlueskyPerson) -> Person:
    async with flock.app.events.database.reading() as connection:
        account = await accounts.get(connection, alice.did)
        assert account is not None
        return await accounts.get_person(connection, account.person_id)


def said(page: httpx.Response) -> str:
    """Return what a page begins with."""
    found = re.search(r'<div class="said" role="status">(.*?)</div>', page.text, re.DOTALL)
    assert found, page.text
    return "\n".join(re.findall(r"<p>(.*?)</p>", found[1]))


def chosen(page: httpx.Response, command: str) -> str:
    """Return which of a command's choices is marked."""
    form = page.text.split(f'name="command" value="{command}"')[1].split("</form>")[0]
    found = re.search(r'value="([\w-]+)"[^>]*? (?:checked|selected)', form)
    assert found, form
    return found[1]


async def test_what_is_held_can_be_read(flock: Flock) -> None:
    alice, friends = await friends_of(flock, "bluesky", ["bob", "carol", "dave"])
    await alice.write("import jack_smith")
    await alice.write("contacts")
    await alice.write("skip 1")
    await alice.write("follow all")
    await alice.write("yes")
    read = (await enter(alice.browser, await link(flock, alice.person, "export"))).text  # type: ignore[arg-type]
    for line in (
        "alice.test (Bluesky), known since Mar 17, 2030",
        "@alice_on_x: proved by a post",
        f"{len(friends)} accounts you followed, from your archive, Mar 17, 2030",
        "1 account you followed, typed by you, Mar 17, 2030",
        "alice.test: I may follow for you since Mar 17, 2030",
        "2 people you chose to follow",
        "1 person you left out",
        "Follows made for you: 2",
        "8 messages of yours",
    ):
        assert line in read, line
    assert "bob" not in read


async def test_of_who_has_just_come_there_is_little_and_it_says_so(page: httpx.Response) -> None:
    assert page.text.count("<dd>none</dd>") == 3
    assert "2 messages of yours" in page.text


@pytest.mark.parametrize(
    ("command", "words", "again"),
    [
        ("notify", "daily", "Nothing changed. I tell you about newcomers once a day"),
        ("notify", "weekly", "Nothing changed. I tell you about newcomers once a week"),
        ("notify", "off", "Nothing changed. I do not tell you about newcomers"),
        ("notify", "now", "Nothing changed. I tell you about newcomers as they arrive"),
        ("discoverable", "mutuals", "Nothing changed. Only those"),
        ("discoverable", "off", "Nothing changed. Nobody is told"),
        ("discoverable", "everyone", "Nothing changed. Everybody"),
        ("auto", "off", "auto is off already"),
        ("lang", "en", "in English already"),
    ],
)
async def test_a_choice_is_confirmed_as_in_the_conversation_and_stays_chosen(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response, command: str, words: str, again: str
) -> None:
    changed = await sends(flock, page, command=command, words=words)
    assert changed.url.path == "/me"
    assert said(changed)
    assert chosen(changed, command) == words
    assert again in await asks(flock, alice, f"{command} {words}")
    assert again.replace("'", "&#39;") in said(await sends(flock, page, command=command, words=words))


async def test_what_is_changed_is_what_the_bot_goes_by(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    for fields in (
        {"command": "notify", "words": "weekly"},
        {"command": "discoverable", "words": "mutuals"},
        {"command": "auto", "words": "on"},
        {"command": "quiet", "from": "22", "to": "8"},
    ):
        assert said(await sends(flock, page, **fields))
    now = await person(flock, alice)
    assert (now.cadence, now.discoverable, now.auto) == (Cadence.WEEKLY, Discoverable.MUTUALS, True)
    assert (now.quiet_from, now.quiet_to) == (22, 8)
    await flock.settle()
    assert "once a week" not in alice.received_dms(flock.bluesky_bot)[-1].text  # the page said it: no DM repeats it


async def test_quiet_hours_are_set_explained_and_ended(flock: Flock, page: httpx.Response) -> None:
    assert "You have no quiet hours" in page.text
    wrong = await sends(flock, page, command="quiet", **{"from": "3", "to": "3"})
    assert wrong.status_code == 422
    assert "two different hours" in wrong.text
    quiet = await sends(flock, page, command="quiet", **{"from": "23", "to": "7"})
    assert "between 23:00 and 7:00 UTC" in said(quiet)
    ended = await sends(flock, page, command="quiet", words="off", **{"from": "23", "to": "7"})
    assert "You have no quiet hours" in said(ended)


async def test_every_language_is_there_by_its_own_name_and_the_page_speaks_the_chosen_one(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    offered = re.findall(r'<option value="(\w+)" lang="[\w-]+"', page.text)
    assert offered == list(flock.app.events.catalogue.languages)
    assert ">English</option>" in page.text
    assert ">français</option>" in page.text
    changed = await sends(flock, page, command="lang", words="fr")
    assert '<html lang="fr"' in changed.text
    assert "je vous réponds en français" in said(changed)
    assert "Vos comptes" in await asks(flock, alice, "status")


async def test_who_said_stop_may_have_the_silence_ended(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    assert "Speak to me again" not in page.text
    alice.dm(flock.bluesky_bot, "stop")
    await flock.settle()
    silent = await flock.browser.get(f"{flock.pages}/me")
    assert "Speak to me again" in silent.text
    assert "I am back" in said(await sends(flock, silent, command="resume"))
    assert not (await person(flock, alice)).stopped


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"command": "forget me", "words": "yes"},
        {"command": "disconnect", "words": ""},
        {"command": "notify", "words": "daily weekly"},
        {"command": "resume", "words": "now"},
    ],
)
async def test_a_form_that_is_none_of_the_pages_does_nothing(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response, fields: dict[str, str]
) -> None:
    before = await person(flock, alice)
    assert (await sends(flock, page, **fields)).status_code == 403
    assert await person(flock, alice) == before


@pytest.mark.parametrize("path", ["/me", "/me/export", "/me/forget"])
async def test_a_form_from_elsewhere_does_nothing(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response, path: str
) -> None:
    forged = await flock.browser.post(
        f"{flock.pages}{path}", data={"csrf": "0" * 64, "command": "notify", "words": "off"}
    )
    assert forged.status_code == 403
    assert (await person(flock, alice)).cadence is Cadence.NOW
    stranger = flock.new_browser()
    assert (await stranger.post(f"{flock.pages}{path}", data={"csrf": csrf(page)})).status_code == 403
    assert (await stranger.get(f"{flock.pages}/me")).status_code == 403


async def test_everything_is_given_out_as_a_file(flock: Flock, alice: BlueskyPerson, page: httpx.Response) -> None:
    await upload(flock.browser, await flock.browser.get(f"{flock.pages}/import"), SCRIPT)
    given = await sends(flock, page, "/me/export")
    assert given.headers["content-type"] == "application/json"
    assert 'attachment; filename="reflock-export.json"' in given.headers["content-disposition"]
    everything = json.loads(given.text)
    assert everything["accounts"][0]["handle"] == "alice.test"
    assert everything["uploads"][0]["n"] == 3


async def test_who_wants_to_be_forgotten_is_told_what_goes_and_when_and_then_it_is_gone(
    flock: Flock, alice: BlueskyPerson, page: httpx.Response
) -> None:
    await upload(flock.browser, await flock.browser.get(f"{flock.pages}/import"), SCRIPT)
    consent = await flock.browser.get(f"{flock.pages}/connect")
    await flock.browser.get(await alice.approve(await begins(flock.browser, consent, account=alice.did)))
    before = await person(flock, alice)
    asked = await flock.browser.get(f"{flock.pages}/me/forget")
    for words in ("claims, lists, consents, decisions", "cannot be undone", "within 2 days"):
        assert words in asked.text
    assert await person(flock, alice) == before  # to ask is not to do

    gone = await sends(flock, asked, "/me/forget")
    assert gone.status_code == 200
    assert "I no longer know you" in gone.text
    assert not dict(flock.browser.cookies)
    assert "here as" not in gone.text
    async with flock.app.events.database.reading() as connection:
        for table in (tables.account, tables.upload, tables.consent_grant):
            assert await connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0, table.name
    await flock.settle()
    assert "I no longer know you" in alice.received_dms(flock.bluesky_bot)[-1].text
    assert flock.bluesky.oauth.sessions_of(alice.did) == []
    assert (await flock.browser.get(f"{flock.pages}/me")).status_code == 403


async def test_the_last_button_may_be_pressed_twice(flock: Flock, alice: BlueskyPerson, page: httpx.Response) -> None:
    cookies, data = dict(flock.browser.cookies), {"csrf": csrf(page)}
    other = flock.new_browser()
    other.cookies.update(cookies)
    assert "I no longer know you" in (await sends(flock, page, "/me/forget")).text
    late = await other.post(f"{flock.pages}/me/forget", data=data)
    assert late.status_code == 403
    assert "visit here is over" in late.text
    await flock.settle()
    farewells = [each for each in alice.received_dms(flock.bluesky_bot) if "I no longer know you" in each.text]
    assert len(farewells) == 1
