"""The launch day in simulated time: thousands are in already, as many more come within a day, and everything fails once.

    python -m bench.launchday [--quick] [--people 17000] [--newcomers 16000] [--seed 1]

The bot's own loops, handlers, outbox, performers, SQLite storage and Bluesky adapter run beside networks of this process,
which have the sandbox's limits, take 50 to 300 ms for a request, and fail as planned: storms of 429, servers that are down,
answers that are lost. (Mastodon's adapter, and all follows, are imitated.) The whole bot is killed in the middle of work again
and again, and opened anew on the same database. The clock goes on by the CPU time that all of it takes. At 18:00 it opens: until
then Reflock only collects. A reader knows a message by its words: one that is read more often than it was to be said is doubled.

On Bluesky the bot may speak as fast as the configuration's default says. Its Mastodon server is one of its own without
limits for it, as a bot needs that is to answer thousands; `--shared-server` gives it an account on somebody else's, with
Mastodon's limits. `budget` says what share of the allowed pace the day needs: where the busiest minutes need more than all of
it, nobody can be quick. A reply counts as `beyond_the_allowance` when even an account that said nothing but such replies
would have had to hold it back for more than five seconds; the target is about the others. A message counts as one of an
outage when it was written during it, or within ten seconds before; those of the fifteen minutes after it are told
apart too, and count as outside. Prints one JSON object, progress to standard error.
"""

import asyncio
import itertools
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import click
import structlog
from pydantic import SecretStr

from bench.launchday_clock import SimulatedLoop, run_simulated
from bench.launchday_crowd import HOUR, OPENS, Crowd, Day, Reply
from bench.launchday_life import Life
from bench.launchday_load import load
from bench.launchday_networks import Kind, Outage, Weather, Where
from bench.launchday_verdict import is_settled, judge, notice_seconds
from bot.config import Loaded, Secrets, parse
from storage.database import Database
from storage.keys import Keys
from storage.records import NetworkName

_QUICK: Final = 100
_MIDNIGHT: Final = int(datetime(2027, 1, 20, tzinfo=UTC).timestamp() * 1000)
_DAY: Final = range(24)
_QUICK_DAY: Final = range(17, 20)
# After it things may go on for so long until nothing is left to do.
_AFTERWARDS_HOURS: Final = 12
# Each of these happens once before the opening and once in its wave, for so many minutes; and so many kills.
_FAILURES: Final[tuple[tuple[Where, Kind, int], ...]] = (
    ("bluesky", "storm", 5),
    ("bluesky", "down", 10),
    ("mastodon", "storm", 10),
    ("mastodon", "down", 20),
    ("x", "down", 15),
)
_KILLS: Final = 8
_OWN_SERVER_AN_HOUR: Final = 15_000
_BUSIEST_MS: Final = 5 * 60_000
_HELD_BACK_MS: Final = 5_000
_TARGET_SECONDS: Final = 10.0
_TARGET_MB: Final = 400

Figures = dict[str, Any]


def configuration(pace: dict[str, int]) -> Loaded:
    """Return the default configuration, with an opening day."""
    opens_at = datetime.fromtimestamp((_MIDNIGHT + OPENS) / 1000, UTC).isoformat()
    table = {
        "pace": pace,
        "notices": {"opens_at": opens_at},
        "web": {"public_url": "https://reflock.example"},
    }
    pseudonym, grant = Keys.generate()
    secrets = Secrets(pseudonym_key=SecretStr(pseudonym), grant_keys=SecretStr(grant))
    return Loaded(config=parse(table, "the bench"), secrets=secrets)


class LaunchDay:
    """The day itself: who turns what on, and off."""

    def __init__(
        self,
        loop: SimulatedLoop,
        url: str,
        crowd: Crowd,
        hours: range,
        loaded: Loaded,
        seed: int,
        *,
        own_server: bool,
    ) -> None:
        self.loop = loop
        self.begins, self.ends = _MIDNIGHT + hours.start * HOUR, _MIDNIGHT + hours.stop * HOUR
        self.loaded = loaded
        self.weather = Weather(loop, random.Random(seed))
        self.day = Day(loop, crowd, self.weather, seed)
        self._own_server = own_server
        if own_server:
            self.day.mastodon.raise_limits()
        self.log: Counter[str] = Counter()
        self._url = url
        self._crowd = crowd
        secrets = loaded.secrets
        self._keys = Keys(secrets.pseudonym_key.get_secret_value(), [secrets.grant_keys.get_secret_value()])
        self._chance = random.Random(seed + 1)
        self._begun = time.monotonic()
        self.load: Figures = {}
        self.cpu_by_hour: list[float] = []

    async def play(self) -> Figures:
        """Fill the database, let the day pass, and judge it."""
        self._listen_to_log()
        database = Database(self._url)
        self.loop.set_epoch_ms(_MIDNIGHT - 24 * HOUR)
        self.load = await load(self.loop, database, self._crowd, self._keys, _MIDNIGHT + OPENS)
        _say(f"loaded: {self.load}")
        self.loop.set_epoch_ms(self.begins)
        self._plan()
        await self._live()
        main = asyncio.current_task()
        assert main is not None
        self.day.tasks.add(main)
        for deed in (self.day.newcomers_come(), self._kill(), self._tell()):
            self.day.go(deed)
        await self._until(self.ends)
        while self.loop.epoch_ms() < self.ends + _AFTERWARDS_HOURS * HOUR:
            async with database.reading() as connection:
                if not self.day.under_way and await is_settled(connection, self.loop.epoch_ms()):
                    break
            await asyncio.sleep(300)
        ended = self.loop.epoch_ms()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        assert self.day.life is not None
        for task in self.day.tasks - {main}:
            task.cancel()
        await self.day.life.kill({main})
        figures = await self._judge(database, ended, peak)
        await database.close()
        return figures

    async def _live(self) -> None:
        life = Life(self._url, self.loaded, self._keys, self.day.adapters(), self.loop.epoch_ms, self.day.x)
        await life.begin()
        self.day.life = life
        self.day.alive.set()

    def _plan(self) -> None:
        for where, kind, minutes in _FAILURES:
            for in_the_wave in (False, True):
                begins = self._some_time(in_the_wave=in_the_wave)
                self.weather.outages.append(Outage(where, kind, begins, begins + minutes * 60_000))

    def _some_time(self, *, in_the_wave: bool) -> int:
        """Draw a moment: in the hours of the wave, or before."""
        opens_at = _MIDNIGHT + OPENS
        first, last = (opens_at, min(opens_at + 4 * HOUR, self.ends)) if in_the_wave else (self.begins, opens_at)
        return int(self._chance.uniform(first, last - HOUR // 4))

    async def _kill(self) -> None:
        """Kill the bot right when a network has done something for it, and before it knows."""
        day = self.day
        for moment in sorted(self._some_time(in_the_wave=n % 2 == 1) for n in range(_KILLS)):
            await self._until(moment)
            day.effect.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(120):
                    await day.effect.wait()
            assert day.life is not None
            begins = self.loop.epoch_ms()
            day.alive.clear()
            await day.life.kill(day.tasks)
            await asyncio.sleep(self._chance.uniform(1, 8))
            await self._live()
            self.weather.outages.append(Outage("all", "killed", begins, self.loop.epoch_ms()))

    async def _until(self, moment: int) -> None:
        await asyncio.sleep(max(0, moment - self.loop.epoch_ms()) / 1000)

    async def _tell(self) -> None:
        """Say each hour how it goes."""
        seen, cpu = 0, time.process_time()
        for hour in itertools.count(self.begins + HOUR, HOUR):
            await self._until(hour)
            waits = [each.took / 1000 for each in self.day.replies.since(seen)]
            seen = len(self.day.replies)
            used, cpu = time.process_time() - cpu, time.process_time()
            self.cpu_by_hour.append(round(used, 1))
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            _say(
                f"{(hour - _MIDNIGHT) // HOUR:02}:00  registered {self.day.registered}, under way {self.day.under_way}, "
                f"unanswered {len(self.day.unanswered)}, notices {len(self.day.notices)}, "
                f"replies {_seconds(waits)}, "
                f"cpu {used:.0f} s, peak rss {rss:.0f} MB, wall {time.monotonic() - self._begun:.0f} s"
            )

    async def _judge(self, database: Database, ended: int, peak: float) -> Figures:
        day = self.day
        async with database.reading() as connection:
            verdict = await judge(connection, self._crowd, day)
            silence_after = self.loaded.config.notices.silence_after
            notices = await notice_seconds(connection, day, _MIDNIGHT + OPENS, silence_after)
        every = list(day.replies)
        replies = self._replies(every)
        outside = replies["outside"]
        lost, doubled = sum(verdict["lost"].values()), sum(verdict["doubled"].values())
        return {
            "people": self._crowd.people,
            "newcomers": self._crowd.size - self._crowd.people,
            "registered": day.registered,
            "links": self.load["links"] + day.links,
            "load": self.load,
            "simulated_hours": round((ended - self.begins) / HOUR, 1),
            "messages_written": day.written,
            "said": {name.value: len(server.said) for name, server in day.servers.items()},
            "follows": {name.value: server.follows for name, server in day.servers.items()},
            **verdict,
            "reply_seconds": replies,
            "budget": {name.value: self._budget(name, every) for name in NetworkName},
            "notice_seconds": {when: _seconds(waits) for when, waits in notices.items()},
            "mastodon_server": "the bot's own, without limits for it" if self._own_server else "somebody else's",
            "refused_429_deserved": sum(server.refused_429 for server in day.servers.values()),
            "outages": Counter(f"{each.where} {each.kind}" for each in self.weather.outages),
            "requests": self.weather.counts,
            "log": dict(self.log.most_common(12)),
            "cpu_seconds_by_hour": self.cpu_by_hour,
            "peak_rss_mb": round(peak),
            "wall_seconds": round(time.monotonic() - self._begun),
            "targets": {
                "lost_0": lost == 0,
                "doubled_0": doubled == 0,
                "reply_p99_10_s": outside.get("p99", 0) <= _TARGET_SECONDS,
                "peak_rss_400_mb": peak <= _TARGET_MB,
            },
        }

    def _replies(self, replies: Sequence[Reply]) -> Figures:
        by_when: dict[str, list[float]] = {
            "outside": [],
            "of_these_right_after_outages": [],
            "inside_outages": [],
            "beyond_the_allowance": [],
        }
        by_network: dict[str, list[float]] = {}
        beyond = {id(each) for name in NetworkName for each in self._held_back(name, replies)}
        for each in replies:
            seconds = each.took / 1000
            if self.day.outage_of(each) is not None:
                by_when["inside_outages"].append(seconds)
                continue
            if id(each) in beyond:
                by_when["beyond_the_allowance"].append(seconds)
                continue
            by_when["outside"].append(seconds)
            by_network.setdefault(f"outside_on_{each.network}", []).append(seconds)
            if self.day.recovering(each):
                by_when["of_these_right_after_outages"].append(seconds)
        return {name: _seconds(waits) for name, waits in {**by_when, **by_network}.items()}

    def _held_back(self, name: NetworkName, replies: Sequence[Reply]) -> Iterator[Reply]:
        """Find the replies that would have had to wait even if nothing else were said, and each at once."""
        (allowance,) = self.loaded.messages(name)
        every, tolerated, tat = allowance.lasts(1), allowance.lasts(allowance.burst - 1), 0
        for each in sorted((each for each in replies if each.network == name), key=attrgetter("at")):
            said_at = max(each.at, tat - tolerated)
            tat = max(tat, said_at) + every
            if said_at - each.at > _HELD_BACK_MS:
                yield each

    def _budget(self, name: NetworkName, replies: Sequence[Reply]) -> Figures:
        """Hold what was needed against what is allowed, for the day and for its busiest minutes."""
        allowed = self.loaded.messages(name)[0].pace
        hours = (self.ends - self.begins) / HOUR
        times = sorted(each.at for each in replies if each.network == name)
        busiest = max((bisect(times, at + _BUSIEST_MS) - place for place, at in enumerate(times)), default=0)
        return {
            "allowed_an_hour": allowed,
            "allowed_in_these_hours": round(allowed * hours),
            "said": len(self.day.servers[name].said),
            "share_of_these_hours": round(len(self.day.servers[name].said) / (allowed * hours), 3),
            "replies_in_the_busiest_5_minutes": busiest,
            "share_of_the_busiest_5_minutes": round(busiest * HOUR / _BUSIEST_MS / allowed, 2),
        }

    def _listen_to_log(self) -> None:
        """Count what the bot logs instead of printing it; what should not happen is shown."""

        def count(_logger: Any, level: str, event: Any) -> Any:
            self.log[f"{level}: {event['event']}"] += 1
            if level in ("error", "exception", "critical") and "Killed" not in repr(event):
                _say(f"{level}: {event}")
            raise structlog.DropEvent

        structlog.configure(processors=[count], cache_logger_on_first_use=False)


def _seconds(waits: Sequence[float]) -> Figures:
    if len(waits) < 2:
        return {"n": len(waits)}
    cuts = statistics.quantiles(waits, n=100, method="inclusive")
    return {"n": len(waits), "p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "max": round(max(waits), 1)}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help=f"Only {_QUICK} people and as many newcomers, around the opening.")
@click.option("--people", default=17_000, show_default=True, type=click.IntRange(20, 1_000_000))
@click.option("--newcomers", default=16_000, show_default=True, type=click.IntRange(20, 1_000_000))
@click.option("--seed", default=1, show_default=True, type=int)
@click.option("--bluesky-an-hour", type=click.IntRange(1, 100_000), help="Messages, instead of the default pace.")
@click.option("--shared-server", is_flag=True, help="The bot's account is on somebody else's Mastodon server.")
def main(
    *, quick: bool, people: int, newcomers: int, seed: int, bluesky_an_hour: int | None, shared_server: bool
) -> None:
    """Read the options, let the day pass, and print the figures."""
    people, newcomers, hours = (_QUICK, _QUICK, _QUICK_DAY) if quick else (people, newcomers, _DAY)
    paces = {
        "bluesky_messages_an_hour": bluesky_an_hour,
        "mastodon_messages_an_hour": None if shared_server else _OWN_SERVER_AN_HOUR,
    }
    loaded = configuration({name: pace for name, pace in paces.items() if pace is not None})
    random.seed(seed)
    with tempfile.TemporaryDirectory(prefix="reflock-launchday-") as folder:

        async def play(loop: SimulatedLoop) -> Figures:
            crowd = Crowd(people, newcomers, seed, _MIDNIGHT, hours)
            url = f"sqlite:///{Path(folder) / 'day.sqlite3'}"
            return await LaunchDay(loop, url, crowd, hours, loaded, seed, own_server=not shared_server).play()

        figures = run_simulated(play)
    json.dump(figures, sys.stdout)
    print()


if __name__ == "__main__":
    main()
