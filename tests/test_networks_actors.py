"""Who wrote: where the bot's server does not tell, only the writer's own server is believed."""

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from bot.networks import FollowOrder, FollowOutcome, GrantInUse, Incoming
from bot.networks.errors import GONE
from bot.networks.guard import GuardedClient
from bot.networks.mastodon import MastodonNetwork
from bot.networks.oauth_mastodon import MastodonOauth
from bot.sandbox.faults import Fault, FaultMiddleware, Faults
from bot.sandbox.mastodon import MastodonSandbox
from bot.sandbox.mastodon.quirks import OLD_MASTODON, SPLIT_DOMAIN
from bot.web.serving import Server
from tests.conftest import OwnClock

TOO_LONG = 1_201  # seconds for which nobody tells who wrote something
_NUMBERS = itertools.count()


@dataclass
class Stranger:
    """A server of which nobody knows what it will say; `faults` makes it silent."""

    answer: Callable[[Request], Response] = field(default=lambda _request: Response(status_code=404))
    faults: Faults = field(default_factory=Faults)
    name: str = ""

    def says(self, subject: str, actor: str) -> None:
        """Have it describe somebody."""
        links = [{"rel": "self", "type": "application/activity+json", "href": actor}]
        self.answer = lambda _request: JSONResponse({"subject": f"acct:{subject}", "links": links})

    def falls_silent(self) -> Fault:
        """Have it answer nobody."""
        return self.faults.plan(Fault("webfinger", "cut", times=1000))


@dataclass
class Hearing:
    """The bot on a server that tells no actor URIs, and what people of other servers say to it."""

    town: MastodonSandbox
    bot: MastodonNetwork
    oauth: MastodonOauth
    clock: OwnClock
    token: str
    entries: list[dict[str, object]] = field(default_factory=list)
    cursor: str | None = None

    async def says(self, acct: str, page: str, **told: str) -> None:
        """Have somebody of another server mention the bot, of whom our own server may have `told` more."""
        speaker = self.town.people[f"{self.town.url}/users/speaker"]
        speaker.post(f"hello @flock from {acct}")
        headers = {"authorization": f"Bearer {self.token}"}
        entry = (await self.town.http.get(f"{self.town.url}/api/v1/notifications", headers=headers)).json()[0]
        account = entry["account"] | {"acct": acct, "username": acct.partition("@")[0], "url": page} | told
        entry["account"], entry["status"]["account"] = account, account
        self.entries.insert(0, entry)

    async def hear(self) -> list[Incoming]:
        """Hear once."""
        self.town.faults.clear()
        body = json.dumps(self.entries).encode()
        self.town.faults.plan(Fault("/api/v1/notifications", status=200, body=body, times=1))
        batch = await self.bot.hear(self.cursor)
        self.cursor = batch.cursor
        return batch.messages

    async def hear_in_vain(self) -> None:
        """Hear for as long as a writer is waited for, and hear nobody."""
        for _ in range(TOO_LONG // 60 + 2):
            assert await self.hear() == []
            self.clock.pass_seconds(60)
        assert "waiting" not in str(self.cursor)

    async def follow(self, stranger: Stranger, actor: str) -> list[FollowOutcome]:
        """Follow carol of another server, whom somebody's server knows by her name alone, in his name."""
        alice, carol = (
            self.town.create_account(f"{name}{next(_NUMBERS)}", locked=False) for name in ("alice", "carol")
        )
        account = {"id": carol.id, "username": "carol", "acct": f"carol@{stranger.name}"}
        self.town.faults.plan(Fault("/search", status=200, body=json.dumps({"accounts": [account]}).encode(), times=2))
        app = await self.oauth.register(self.town.domain)
        asked, url = self.oauth.start(app, alice.actor)
        tokens = await self.oauth.finish_with_code(app, asked, await alice.approve(url))
        order = FollowOrder("order", actor, f"@carol@{stranger.name}")
        return await self.bot.follow(GrantInUse(alice.actor, tokens.to_json(), _never), [order])


async def _never(secret: str) -> None:
    raise AssertionError("tokens of Mastodon do not change")


@pytest.fixture
async def good(clock: OwnClock) -> AsyncIterator[MastodonSandbox]:
    async with MastodonSandbox(now=clock.seconds) as sandbox:
        yield sandbox


@pytest.fixture
async def community(clock: OwnClock) -> AsyncIterator[MastodonSandbox]:
    """Give a server whose accounts are named by another host."""
    async with MastodonSandbox(now=clock.seconds, quirks=SPLIT_DOMAIN) as sandbox:
        yield sandbox


@pytest.fixture
async def stranger() -> AsyncIterator[Stranger]:
    unknown = Stranger()

    async def webfinger(request: Request) -> Response:
        return unknown.answer(request)

    app = FaultMiddleware(Starlette(routes=[Route("/.well-known/webfinger", webfinger)]), unknown.faults)
    async with Server(app) as server:
        unknown.name = server.url.removeprefix("http://")
        yield unknown


@pytest.fixture
async def hearing(
    clock: OwnClock, good: MastodonSandbox, community: MastodonSandbox, stranger: Stranger
) -> AsyncIterator[Hearing]:
    async with AsyncExitStack() as stack:
        town = await stack.enter_async_context(MastodonSandbox(now=clock.seconds, quirks=OLD_MASTODON))
        named = {town.domain, good.domain, community.domain.lower(), community.host, stranger.name}
        guard = await stack.enter_async_context(GuardedClient(allow_private=frozenset(named)))
        flock = town.create_account("flock", bot=True, locked=False)
        town.create_account("speaker", locked=False)
        oauth = MastodonOauth(guard, public_url=None, clock=clock.seconds)
        bot = MastodonNetwork(
            base_url=town.url,
            access_token=flock.token,
            guard=guard,
            oauth=oauth,
            clock=clock,
            poll_seconds=1,
            streaming=False,
        )
        stack.push_async_callback(bot.close)
        await bot.start()
        yield Hearing(town, bot, oauth, clock, flock.token)


async def test_people_of_other_servers_are_known_by_what_their_own_servers_say(
    hearing: Hearing, good: MastodonSandbox, community: MastodonSandbox
) -> None:
    alice, bob = good.create_account("alice"), community.create_account("bob")
    await hearing.says(f"alice@{good.domain}", alice.account.url)
    await hearing.says(f"bob@{community.domain}", bob.account.url)
    assert [message.actor for message in await hearing.hear()] == [alice.actor, bob.actor]


async def test_nobody_is_heard_as_whom_he_says_he_is(
    hearing: Hearing, good: MastodonSandbox, stranger: Stranger
) -> None:
    victim = good.create_account("victim")
    lies: list[Callable[[], None]] = [
        lambda: stranger.says(f"mallory@{stranger.name}", victim.actor),
        lambda: stranger.says(f"victim@{good.domain}", victim.actor),
        lambda: stranger.says(f"mallory@{stranger.name}", victim.actor.replace("http:", "https:")),
        lambda: stranger.says(f"mallory@{stranger.name}", victim.actor.replace("//", f"//{stranger.name}@")),
        lambda: stranger.says(f"mallory@{stranger.name}", "http://[victim"),
        lambda: stranger.says(f"mallory@{stranger.name}", ""),
    ]
    query = f"resource=acct:victim@{good.domain}"

    def send_on() -> None:
        stranger.answer = lambda _request: RedirectResponse(f"{good.url}/.well-known/webfinger?{query}", 302)

    def know_nobody() -> None:
        stranger.answer = lambda _request: Response(status_code=404)

    for lie in (*lies, send_on, know_nobody):
        lie()
        for name in ("mallory", "victim"):
            with capture_logs() as logs:
                await hearing.says(f"{name}@{stranger.name}", victim.account.url)
                await hearing.hear_in_vain()
            assert f"who {name}@{stranger.name} is" in " ".join(str(line.get("why")) for line in logs)


async def test_nobody_of_the_fediverse_is_heard_as_an_account_of_bluesky(hearing: Hearing, stranger: Stranger) -> None:
    await hearing.says(f"alice@{stranger.name}", f"http://{stranger.name}/@alice", uri="did:plc:flyingsouth")
    await hearing.says(f"bob@{stranger.name}", f"http://{stranger.name}/@bob", uri=f"http://{stranger.name}/users/bob")
    assert [message.actor for message in await hearing.hear()] == [f"http://{stranger.name}/users/bob"]


async def test_another_servers_namesake_of_the_same_page_is_not_taken_for_the_writer(
    hearing: Hearing, stranger: Stranger, community: MastodonSandbox
) -> None:
    """A server that looks at the name alone finds its own alice whoever is asked for."""
    alice = community.create_account("alice")
    described = {
        "subject": f"acct:alice@{community.domain}",
        "links": [{"rel": "self", "type": "application/activity+json", "href": alice.actor}],
    }
    community.faults.plan(Fault("webfinger", status=200, body=json.dumps(described).encode(), times=1000))
    stranger.says(f"alice@{stranger.name}", alice.actor)
    await hearing.says(f"alice@{stranger.name}", alice.account.url)
    await hearing.hear_in_vain()


async def test_who_says_much_at_once_is_asked_about_once(hearing: Hearing, stranger: Stranger) -> None:
    alice = f"alice@{stranger.name}"
    stranger.says(alice, f"http://{stranger.name}/users/alice")
    asked: list[Request] = []
    answer = stranger.answer

    def counted(request: Request) -> Response:
        asked.append(request)
        return answer(request)

    stranger.answer = counted
    for _ in range(20):
        await hearing.says(alice, f"http://{stranger.name}/@alice")
    assert {message.actor for message in await hearing.hear()} == {f"http://{stranger.name}/users/alice"}
    assert len(asked) == 1


async def test_a_silent_server_holds_up_nobody_else_and_gives_its_people_no_second_identity(
    hearing: Hearing, good: MastodonSandbox, stranger: Stranger
) -> None:
    bob, carols = good.create_account("bob"), f"http://{stranger.name}/users/carol"
    silence = stranger.falls_silent()
    for number in range(12):
        await hearing.says(f"carol{number}@{stranger.name}", f"http://{stranger.name}/@carol{number}")
    await hearing.says(f"bob@{good.domain}", bob.account.url)
    assert [message.actor for message in await hearing.hear()] == [bob.actor]
    assert silence.times < 1000

    stranger.faults.clear()
    stranger.says(f"carol3@{stranger.name}", carols)
    hearing.clock.pass_seconds(200)
    assert await hearing.hear() == []  # it is left alone for a while after it was silent
    hearing.clock.pass_seconds(TOO_LONG)
    assert [message.actor for message in await hearing.hear()] == [carols] * 12
    assert await hearing.hear() == []


async def test_who_cannot_be_told_at_first_is_heard_as_soon_as_they_can_be_once(
    hearing: Hearing, good: MastodonSandbox, stranger: Stranger
) -> None:
    bob, carols = good.create_account("bob"), f"http://{stranger.name}/users/carol"
    stranger.says(f"carol@{stranger.name}", carols)
    stranger.faults.plan(Fault("webfinger", "cut", times=2))
    await hearing.says(f"carol@{stranger.name}", f"http://{stranger.name}/@carol")
    await hearing.says(f"bob@{good.domain}", bob.account.url)
    assert [message.actor for message in await hearing.hear()] == [bob.actor]
    hearing.clock.pass_seconds(100)
    heard = [message.actor for _ in range(3) for message in await hearing.hear()]
    assert heard == [carols]


async def test_where_the_host_that_only_names_accounts_is_silent_the_one_that_serves_them_is_asked(
    hearing: Hearing, good: MastodonSandbox, stranger: Stranger
) -> None:
    bob = good.create_account("bob")
    stranger.falls_silent()
    subject = {
        "subject": f"acct:bob@{stranger.name}",
        "links": [{"rel": "self", "type": "application/activity+json", "href": bob.actor}],
    }
    good.faults.plan(Fault("webfinger", status=200, body=json.dumps(subject).encode()))
    await hearing.says(f"bob@{stranger.name}", bob.account.url)
    assert [message.actor for message in await hearing.hear()] == [bob.actor]


async def test_a_silent_server_is_asked_no_more_for_those_who_follow_its_people(
    hearing: Hearing, stranger: Stranger
) -> None:
    silence = stranger.falls_silent()
    await hearing.says(f"carol@{stranger.name}", f"http://{stranger.name}/@carol")
    for _ in range(3):
        assert await hearing.hear() == []
    asked = silence.times
    outcomes = await hearing.follow(stranger, f"http://{stranger.name}/users/carol")
    assert [outcome.state for outcome in outcomes] == ["done"]
    assert silence.times == asked


async def test_a_name_that_is_another_persons_by_now_is_not_followed(
    hearing: Hearing, stranger: Stranger, good: MastodonSandbox
) -> None:
    stranger.says(f"carol@{stranger.name}", f"http://{stranger.name}/users/carol2")
    outcomes = await hearing.follow(stranger, f"http://{stranger.name}/users/carol")
    assert outcomes == [FollowOutcome("refused", reason=GONE)]
    # What is no proof of anybody is no proof against anybody either.
    stranger.says(f"carol@{stranger.name}", good.create_account("victim").actor)
    hearing.clock.pass_seconds(3601)
    outcomes = await hearing.follow(stranger, f"http://{stranger.name}/users/carol")
    assert [outcome.state for outcome in outcomes] == ["done"]
