"""The demo's page: anybody plays a person on either network, over HTTP as a browser does."""

import asyncio
import io
import json
import os
import re
import signal
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from html import unescape
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from bot.sandbox.demo import said
from bot.sandbox.demo.browser import find_form
from bot.sandbox.demo.phrases import Phrase
from bot.sandbox.journal import Effect
from bot.sandbox.play.bell import Bell
from bot.sandbox.play.feed import words_of
from tests.playground import Playground, open_playground

ROOT = Path(__file__).parents[1]
PATIENCE = 40
BOTH = ("bluesky", "mastodon")

# One demo for all: whoever plays has accounts of their own.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def playground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Playground]:
    async with open_playground(tmp_path_factory.mktemp("demo")) as opened:
        yield opened


class Tab:
    """One open page: its forms, and what it is told as it happens."""

    def __init__(self, http: httpx.AsyncClient, events: AsyncIterator[str]) -> None:
        self.http = http
        self._events = events
        self.parts: dict[str, str] = {}
        self.logs: dict[str, list[str]] = {}

    async def send(self, action: str, **fields: str) -> None:
        """Send a form of the page."""
        answer = await self.http.post(action, data={"csrf": await proof(self.http, "/play"), **fields})
        assert (answer.status_code, answer.headers["location"]) == (303, "/play"), answer.text

    async def until(self, true: Callable[[], object]) -> None:
        """Take in what changes until something is so."""
        async with asyncio.timeout(PATIENCE):
            while not true():
                line = await anext(self._events)
                if line.startswith("data: "):
                    self._take(json.loads(line.removeprefix("data: ")))

    def _take(self, told: dict[str, dict[str, object]]) -> None:
        for name, part in told["parts"].items():
            self.parts[name] = unescape(str(part))
        for name, more in told["logs"].items():
            assert isinstance(more, dict)
            log = self.logs.setdefault(name, [])
            assert more["start"] == len(log)
            log += [unescape(re.sub(r"<[^>]+>", "", item)) for item in more["items"]]

    async def hears(self, log: str, *phrases: Phrase) -> str:
        """Wait until one of these was said; return all that was said there."""
        await self.until(lambda: any(each.find("\n".join(self.logs.get(log, []))) is not None for each in phrases))
        return "\n".join(self.logs[log])

    async def writes(self, network: str, words: str, *phrases: Phrase) -> str:
        """Click one of the suggested messages, and wait for its answer by direct message."""
        await self.until(lambda: f'value="{words}"' in self.parts.get(f"next-{network}", ""))
        await self.send("/say", network=network, words=words)
        return await self.hears(f"messages-{network}", *phrases)


async def proof(http: httpx.AsyncClient, path: str) -> str:
    return find_form(await http.get(path), lambda form: "csrf" in form.fields).fields["csrf"]


@pytest_asyncio.fixture(loop_scope="module")
async def http(playground: Playground) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=playground.page, trust_env=False, timeout=PATIENCE) as client:
        yield client


async def begin(http: httpx.AsyncClient, name: str = "Alice", networks: tuple[str, ...] = BOTH) -> httpx.Response:
    fields = {"csrf": await proof(http, "/"), "name": name, "network": list(networks)}
    return await http.post("/", data=fields)


def heard_in(messages: list[str], phrase: Phrase) -> bool:
    return any(phrase.find(each) is not None for each in messages)


def last_link(said_so_far: str, purpose: str) -> str:
    return str(re.findall(rf"http://\S+/{purpose}/[\w-]+", said_so_far)[-1])


async def enter(http: httpx.AsyncClient, link: str) -> httpx.Response:
    """Open a one-time link as a browser does that runs its script."""
    landing = await http.get(link)
    form = find_form(landing, lambda form: "csrf" in form.fields)
    return await http.post(link, data=form.fields, follow_redirects=True)


async def hand_over(http: httpx.AsyncClient, link: str) -> None:
    """Download the archive from the page, and hand it over on the bot's."""
    archive = (await http.get("/archive")).content
    assert "data/following.js" in zipfile.ZipFile(io.BytesIO(archive)).namelist()
    page = await enter(http, link)
    form = find_form(page, lambda form: "key" in form.fields)
    await http.post(page.url.join("/import"), data=form.fields, files={"files": ("twitter-archive.zip", archive)})


async def consent(http: httpx.AsyncClient, link: str, actor: str) -> None:
    """Choose an account on the bot's page, and press the button on its server's: nobody is asked for a password."""
    page = await enter(http, link)
    form = find_form(page, lambda form: ("account", actor) in form.buttons)
    asked = await http.post(page.url, data={**form.fields, "account": actor}, follow_redirects=True)
    assert "You are signed in as" in asked.text
    assert 'type="password"' not in asked.text
    async with httpx.AsyncClient(trust_env=False) as stranger:
        assert 'type="password"' in (await stranger.get(asked.url)).text
    fields = find_form(asked, lambda form: ("decision", "approve") in form.buttons).fields
    scopes = re.findall(r'name="scope" value="([^"]+)" checked', asked.text)
    answer = await http.post(
        asked.url.join("/oauth/authorize"),
        data={**fields, "decision": "approve", **({"scope": [unescape(each) for each in scopes]} if scopes else {})},
    )
    assert answer.status_code in (302, 303), answer.text
    await http.get(answer.headers["location"])


async def test_from_hello_to_an_arrival_on_both_networks(playground: Playground, http: httpx.AsyncClient) -> None:
    await begin(http)
    stage = playground.stage
    lines = {line.network: line for (each, _), line in stage.lines.items() if each.name == "Alice"}
    alice = next(iter(lines.values())).resident
    async with http.stream("GET", "/events") as events:
        tab = Tab(http, events.aiter_lines())

        await tab.send("/say", network="mastodon", words="hello", public="yes")
        await tab.hears("timeline-mastodon", said.SHORT)
        await tab.writes("bluesky", "start", said.HELLO)
        given = await tab.writes("bluesky", "link", said.SEND_FROM_OTHER)
        code = said.LINK_CODE.findall(given)[-1]
        await tab.writes("mastodon", f"link {code}", said.JOINED)

        await tab.writes("bluesky", f"claim {alice.x_handle}", said.POST_THIS)
        await tab.until(lambda: "Post this farewell on X" in tab.parts["x"])
        await tab.send("/farewell")
        await tab.until(lambda: "Posted." in tab.parts["x"])
        (address,) = re.findall(r"https://x\.com/\S+/status/\d+", tab.parts["x"])
        proved = await tab.writes("bluesky", address, said.PROVED)

        await hand_over(http, last_link(proved, "import"))
        await tab.hears("messages-bluesky", said.ALREADY_HERE)
        for line in lines.values():
            before = len(tab.logs["messages-bluesky"])
            await tab.send("/say", network="bluesky", words="connect")
            await tab.until(lambda: "/connect/" in "".join(tab.logs["messages-bluesky"][before:]))  # noqa: B023  # awaited at once
            await consent(http, last_link("\n".join(tab.logs["messages-bluesky"]), "connect"), line.actor)
            await tab.until(lambda: heard_in(tab.logs["messages-bluesky"][before:], said.GRANTED))  # noqa: B023  # the same

        await tab.writes("bluesky", "follow all", said.SHALL_I)
        await tab.writes("bluesky", "yes", said.HERE_WE_GO)
        for network in lines:
            theirs = [each.name for each in playground.here if network in each.homes]
            await tab.until(lambda: all(name in tab.parts[f"follows-{network}"] for name in theirs))  # noqa: B023  # the same
        await tab.writes("bluesky", "auto on", said.AUTO_ON)

        await tab.send("/arrive")
        await tab.until(lambda: "has arrived. Now see" in tab.parts["arrival"])
        newcomer = re.findall(r"<p>(.+?) has arrived\.", tab.parts["arrival"])[0]
        await tab.hears("messages-bluesky", said.ARRIVED)
        await tab.until(lambda: any(newcomer in tab.parts[f"follows-{network}"] for network in lines))
        assert f"{newcomer}, here on" in tab.parts["flock"]


async def test_what_is_written_stands_in_the_page_that_is_opened_later(http: httpx.AsyncClient) -> None:
    await begin(http, networks=("bluesky",))
    async with http.stream("GET", "/events") as events:
        tab = Tab(http, events.aiter_lines())
        await tab.send("/say", network="bluesky", words="<b>start</b> & more")
        await tab.until(lambda: len(tab.logs.get("messages-bluesky", [])) > 1)

    page = (await http.get("/play")).text
    assert "&lt;b&gt;start&lt;/b&gt; &amp; more" in page
    assert "<b>start" not in page
    assert 'data-log="messages-mastodon"' not in page


async def test_the_page_speaks_the_language_of_its_reader_and_so_does_the_bot(http: httpx.AsyncClient) -> None:
    http.headers["accept-language"] = "fr-CA, en;q=0.5"
    await begin(http, networks=("mastodon",))
    async with http.stream("GET", "/events") as events:
        tab = Tab(http, events.aiter_lines())
        await tab.writes("mastodon", "bonjour", said.HELLO)

    assert '<html lang="fr"' in (await http.get("/play")).text
    assert "Bonjour" in tab.logs["messages-mastodon"][-1]


@pytest.mark.parametrize(("name", "networks"), [("", BOTH), ("\u200b\n", BOTH), ("Alice", ())])
async def test_who_has_no_name_or_lives_nowhere_is_asked_again(
    http: httpx.AsyncClient, name: str, networks: tuple[str, ...]
) -> None:
    answer = await begin(http, name, networks)

    assert answer.status_code == 422
    assert "Write a name, and choose at least one network." in answer.text


async def test_two_people_of_one_name_are_two_people(playground: Playground) -> None:
    names = []
    for _ in range(2):
        async with httpx.AsyncClient(base_url=playground.page, trust_env=False) as http:
            assert (await begin(http, "Ångström 日本")).status_code == 303
            names.append(re.findall(r"@angstrom\w*\.bsky\.social", (await http.get("/play")).text)[0])

    assert names == ["@angstrom.bsky.social", "@angstrom2.bsky.social"]


async def test_a_form_from_elsewhere_does_nothing(playground: Playground, http: httpx.AsyncClient) -> None:
    await begin(http)
    before = len(playground.stage.bluesky.world.journal.effects)

    for fields in ({}, {"csrf": "0" * 64}):
        answer = await http.post("/say", data={**fields, "network": "bluesky", "words": "start"})
        assert answer.status_code == 403
    csrf = await proof(http, "/play")
    answer = await http.post("/say", json={"csrf": csrf, "network": "bluesky", "words": "start"})
    assert answer.status_code == 403
    async with httpx.AsyncClient(base_url=playground.page, trust_env=False) as stranger:
        answer = await stranger.post("/say", data={"csrf": csrf, "network": "bluesky", "words": "start"})
    assert answer.status_code == 403
    assert len(playground.stage.bluesky.world.journal.effects) == before


async def test_who_plays_nobody_is_led_to_the_door(http: httpx.AsyncClient) -> None:
    for path in ("/play", "/archive"):
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert (await http.get("/events")).status_code == 204


async def test_the_page_answers_to_its_own_address_only_and_lets_nothing_else_in(http: httpx.AsyncClient) -> None:
    door = await http.get("/")

    assert door.url.host == "127.0.0.1"
    assert "default-src 'none'" in door.headers["content-security-policy"]
    assert "script-src 'self'" in door.headers["content-security-policy"]
    assert {"httponly", "samesite=strict"} <= set(door.headers["set-cookie"].lower().split("; "))
    assert (await http.get("/", headers={"host": "evil.example"})).status_code == 400


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        ("@reflock.bsky.social @alice.test start", "start"),
        ("@reflock@127.0.0.1:4000 start", "start"),
        ("@tamarsaidi_old is here as @tamar.bsky.social", "@tamarsaidi_old is here as @tamar.bsky.social"),
    ],
)
async def test_whom_a_message_is_addressed_to_is_not_shown_but_whom_it_is_about_is(received: str, shown: str) -> None:
    assert words_of(Effect("dm", "reflock", "alice", received, "at://1", 0.0)) == shown


async def test_a_bell_wakes_all_who_wait_and_nobody_who_comes_later() -> None:
    bell = Bell()
    waiting = [asyncio.create_task(bell.heard()) for _ in range(2)]
    await asyncio.sleep(0)
    bell.ring()
    later = asyncio.create_task(bell.heard())
    await asyncio.gather(*waiting)
    assert not later.done()
    later.cancel()


async def test_no_part_of_a_real_deployment_knows_the_page() -> None:
    code = "import sys, bot.app, bot.web.app; print([name for name in sys.modules if name.startswith('bot.sandbox')])"
    asking = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE)

    assert (await asking.communicate())[0].strip() == b"[]"


async def invited(demo: asyncio.subprocess.Process) -> str:
    """Wait until the story has ended, and open the page to which it invites."""
    assert demo.stdout is not None
    transcript: list[str] = []
    async for line in demo.stdout:
        transcript.append(line.decode())
        if "Play with it" in transcript[-1]:
            break
    invitation = "".join([(await demo.stdout.readline()).decode() for _ in range(2)])
    found = re.search(r"http://127\.0\.0\.1:\d+", invitation)
    assert found, "".join(transcript)
    async with httpx.AsyncClient(base_url=found[0], trust_env=False) as http:
        assert (await begin(http)).headers["location"] == "/play"
        return (await http.get("/play")).text


async def test_the_demo_leaves_the_page_open_until_it_is_told_to_end() -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "bot", "demo", "--people", "12"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"COLUMNS": "120"},
        cwd=ROOT,
    )
    try:
        page = await invited(demo)
        demo.send_signal(signal.SIGINT)
        await demo.communicate()
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.communicate()

    assert "Noor Jansen, here on Bluesky and Mastodon" in page
    assert "still to come" in page
    assert demo.returncode == 0
