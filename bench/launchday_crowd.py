"""The crowd of the launch day: who they are, when they come, and what they write.

A newcomer says hello, claims an old account, posts the farewell, hands a list over on the page; some consent and follow
all. Everybody reads what comes before they write again, and a few answer a notice.
"""

import asyncio
import json
import random
import re
from array import array
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from bench.launchday_bluesky import BlueskyServer, convo_with
from bench.launchday_clock import SimulatedLoop
from bench.launchday_life import Life
from bench.launchday_mastodon import MastodonServer
from bench.launchday_networks import Outage, Server, Weather, X
from bench.launchday_notes import Log
from bench.links_graph import Graph, Ids, x_ids
from bot.networks import Network, Say
from handlers import follows, imports
from handlers.archive import Lists
from handlers.context import Context
from storage import grants
from storage.records import NetworkName

HOUR: Final = 3_600_000
OPENS: Final = 18 * HOUR
# How many come in each hour of the day: a peak at noon, and a wave when it opens.
_CURVE: Final = (3, 2, 1, 1, 1, 2, 5, 12, 20, 26, 30, 36, 44, 38, 30, 26, 26, 32, 110, 60, 40, 28, 18, 9)
# The wave is steep: half of those who come in the first hour come in so much of it.
_STEEP: Final = 0.2
# The crowd are among so many times as many of X's most popular accounts; thus people find some forty of them.
_AMONG: Final = 30
_ON_MASTODON: Final = 0.1
_FOLLOWERS: Final = 0.4
_ANSWER_A_NOTICE: Final = 0.05
_SERVERS: Final = 50
_ANYTHING: Final = re.compile(".")
_CODE: Final = re.compile(r"RF-\w{4}-\w{4}")
_HELD_UP_MS: Final = 10_000
_RECOVERING_MS: Final = 15 * 60_000


class Crowd:
    """Everybody, by number: first those who are in already, then the newcomers in the order in which they come."""

    def __init__(self, people: int, newcomers: int, seed: int, midnight: int, hours: range) -> None:
        self.people = people
        self.size = people + newcomers
        self.graph = Graph(self.size, seed)
        chance = np.random.default_rng((seed, 7))
        ranks = chance.choice(_AMONG * self.size, self.size * 11 // 10, replace=False)
        self.x_ids = np.array(list(dict.fromkeys(x_ids(ranks).tolist()))[: self.size], np.uint64)
        weights = np.array([_CURVE[hour] for hour in hours])
        hour = chance.choice(hours, newcomers, p=weights / weights.sum())
        minutes = chance.random(newcomers)
        steep = hour == OPENS // HOUR
        minutes[steep] = np.minimum(chance.exponential(_STEEP / np.log(2), int(steep.sum())), 1)
        self.comes_at = np.sort(midnight + ((hour + minutes) * HOUR).astype(np.int64))
        lots = chance.random((2, self.size))
        self.on_mastodon = lots[0] < _ON_MASTODON
        self.consents = lots[1] < _FOLLOWERS

    def network(self, number: int) -> NetworkName:
        """Return where somebody is."""
        return NetworkName.MASTODON if self.on_mastodon[number] else NetworkName.BLUESKY

    def actor(self, number: int) -> str:
        """Return somebody's account."""
        if self.on_mastodon[number]:
            return f"https://server{number % _SERVERS}.example/users/p{number}"
        return f"did:plc:p{number}"

    def handle(self, number: int) -> str:
        """Return somebody's name there."""
        return f"@p{number}@server{number % _SERVERS}.example" if self.on_mastodon[number] else f"p{number}.example"

    def thread(self, number: int) -> str:
        """Return what an adapter needs to write to somebody."""
        actor = self.actor(number)
        return actor if self.on_mastodon[number] else json.dumps({"convo": convo_with(actor)})

    @staticmethod
    def number(actor: str) -> int:
        """Return whose account this is."""
        return int(actor.rpartition("p")[2])

    def list_of(self, number: int) -> Ids:
        """Return whom somebody followed on X."""
        return self.graph.list_of(number)


@dataclass(slots=True)
class Reply:
    """What was measured of one piece of a reply: when the message was written, and how long the piece took."""

    at: int
    took: int
    network: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that was read: when, by whom, under which key, and how many there were since its reader wrote last."""

    at: int
    reader: int
    key: str
    in_a_row: int


@dataclass(slots=True)
class _Talk:
    network: NetworkName
    at: int
    text: str = ""
    more: asyncio.Event = field(default_factory=asyncio.Event)


class Day:
    """What people do on the launch day, and what they get to read."""

    def __init__(self, loop: SimulatedLoop, crowd: Crowd, weather: Weather, seed: int) -> None:
        self.loop = loop
        self.crowd = crowd
        self.weather = weather
        self.chance = random.Random(seed)
        self.bluesky, self.mastodon = BlueskyServer(weather, self._reads), MastodonServer(weather, self._reads)
        self.servers: dict[NetworkName, Server] = {each.name: each for each in (self.bluesky, self.mastodon)}
        for me in range(crowd.people):  # who is in already has talked to the bot before
            if not crowd.on_mastodon[me]:
                self.bluesky.knows(crowd.actor(me), crowd.handle(me))
        self.x = X(weather, lambda number: int(crowd.x_ids[number]))
        self.life: Life | None = None
        self.alive = asyncio.Event()
        self.effect = asyncio.Event()
        # Everything else that runs is the bot's, and is killed with it.
        self.tasks: set[asyncio.Task[Any]] = set()
        self.replies = Log(Reply)
        self.notices = Log(Notice)
        self.unanswered: dict[str, _Talk] = {}
        self._talks: dict[str, _Talk] = {}
        # How many notices each got to read since they wrote last.
        self._in_a_row = array("i", bytes(4 * crowd.size))
        self._messages = 0
        self.registered = 0
        self.links = 0
        self.under_way = 0

    @property
    def written(self) -> int:
        """Return how many messages were written."""
        return self._messages

    def adapters(self) -> dict[NetworkName, Network]:
        """Connect a bot."""
        return {name: server.connect() for name, server in self.servers.items()}

    def go(self, deed: Coroutine[Any, Any, None]) -> None:
        """Let somebody, or something, take its course beside the others."""
        task = asyncio.create_task(deed)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.result()  # a mistake of the bench's own is to be seen

    async def newcomers_come(self) -> None:
        """Let one after the other begin."""
        for place, at in enumerate(self.crowd.comes_at.tolist()):
            await asyncio.sleep(max(0, at - self.loop.epoch_ms()) / 1000)
            self.go(self._newcomer(self.crowd.people + place))

    async def _newcomer(self, me: int) -> None:
        self.under_way += 1
        await self._asks(me, "hello")
        await self._pause(20, 90)
        answer = await self._asks(me, f"claim @x{me}", _CODE)
        await self._pause(60, 300)
        self.x.posts[me] = _CODE.findall(answer)[0]
        await self._asks(me, f"https://x.com/x{me}/status/{X.FIRST_POST + me}")
        await self._pause(60, 600)
        await self._hands_over(me)
        if self.crowd.consents[me]:
            await self._pause(20, 120)
            await self.at_the_page(lambda life: life.decide(f"consent:{me}", self.crowd.actor(me), _consent))
            await self._asks(me, "follow all")
            await self._pause(10, 60)
            await self._asks(me, "yes")
        self.registered += 1
        self.under_way -= 1

    async def _hands_over(self, me: int) -> None:
        with self.loop.uncharged():
            ids = self.crowd.list_of(me)
        lists = Lists(following=ids, account_x_id=int(self.crowd.x_ids[me]), x_handle=f"x{me}")

        async def hand_over(life: Life) -> None:
            given = await asyncio.to_thread(imports.keyed, life.events.world.keys, lists)

            async def take(ctx: Context) -> None:
                ctx.say((await imports.received(ctx, given)).full)

            await life.decide(f"upload:{me}", self.crowd.actor(me), take)

        await self.at_the_page(hand_over)
        self.links += len(ids)

    async def at_the_page(self, act: Callable[[Life], Coroutine[Any, Any, None]]) -> None:
        """Do something on the web pages; whoever is interrupted by a kill does it again."""
        while True:
            await self.alive.wait()
            life = self.life
            assert life is not None
            task = asyncio.create_task(act(life))
            await asyncio.wait({task})
            if not life.dead:
                return task.result()
            if not task.cancelled() and task.exception() is None:
                return None
            await asyncio.sleep(5)

    async def _pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self.chance.uniform(least, most))

    async def _asks(self, me: int, text: str, until: re.Pattern[str] = _ANYTHING) -> str:
        """Write to the bot, and read what it answers, until that is there for which one waits."""
        self._messages += 1
        name, now = self.crowd.network(me), self.loop.epoch_ms()
        message_id = self.servers[name].write(self.crowd.actor(me), self.crowd.handle(me), text)
        talk = self._talks[message_id] = self.unanswered[message_id] = _Talk(name, now)
        self._in_a_row[me] = 0
        while not until.search(talk.text):
            await talk.more.wait()
            talk.more.clear()
        await asyncio.sleep(2)  # time for a second piece
        del self._talks[message_id]
        return talk.text

    def _reads(self, say: Say) -> None:
        """Get something to read: an answer to a message, whose id is in its key, or what nobody asked for."""
        self.effect.set()
        now, parts = self.loop.epoch_ms(), say.key.split(":")
        if parts[0] == "newcomers":
            self._notice(say, now)
            return
        message_id = parts[1] if parts[0] in self.servers else ""
        talk = self._talks.get(message_id)
        self.unanswered.pop(message_id, None)
        if talk is not None:
            self.replies.append(Reply(talk.at, now - talk.at, talk.network))
            talk.text += say.text
            talk.more.set()

    def _notice(self, say: Say, now: int) -> None:
        reader = self.crowd.number(say.actor)
        self._in_a_row[reader] += 1
        self.notices.append(Notice(now, reader, say.key, self._in_a_row[reader]))
        if self.chance.random() < _ANSWER_A_NOTICE:
            self.go(self._answers(reader))

    async def _answers(self, me: int) -> None:
        await self._pause(30, 600)
        await self._asks(me, "contacts")

    def outage_of(self, reply: Reply) -> Outage | None:
        """Return the outage that a reply had to wait for: its message was written during it, or right before."""
        until = reply.at + min(reply.took, _HELD_UP_MS)
        concerned = ("all", "x", reply.network)
        for each in self.weather.outages:
            if each.where in concerned and each.begins <= until and reply.at < each.ends:
                return each
        return None

    def recovering(self, reply: Reply) -> bool:
        """Tell whether an outage had ended shortly before."""
        return any(
            each.where in ("all", "x", reply.network) and 0 <= reply.at - each.ends < _RECOVERING_MS
            for each in self.weather.outages
        )


async def _consent(ctx: Context) -> None:
    """Have given a consent at one's own server."""
    await plant_consent(ctx)
    if answer := await follows.consented(ctx):
        ctx.say(answer)


async def plant_consent(ctx: Context) -> None:
    """Keep a consent as if it had been given."""
    await grants.keep(
        ctx.connection,
        ctx.world.keys,
        person_id=ctx.person.id,
        account_id=ctx.account.id,
        network=ctx.account.network,
        issuer="https://example",
        scope="follow",
        secret="{}",
        now=ctx.now,
    )
