"""How much more several workers get done than one: the bot's own outbox on PostgreSQL, in one process a worker.

    python -m tests.with_postgres python -m bench.workers [--quick] [--people 600] --database-url {url}

Replies are promised to people, several to each; each worker performs what it leases, by a network that takes its time
for every request, as real ones do (`--milliseconds`). The same number of replies is performed by one worker and by
three, in turns. Told are replies a second, from the first that was said to the last, and that none was said twice and
none of one person's out of order. Prints one JSON object.
"""

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any, Final

import click

from bench.pipeline import Bench, InstantNetwork
from bot import loops
from bot.app import epoch_ms
from bot.networks import Say
from storage import deliveries, lanes
from storage.bell import hear_bell
from storage.database import Database
from storage.deliveries import Promise
from storage.records import DeliveryKind, NetworkName

_MANY: Final = 3
_REPLIES_EACH: Final = 5
_ROUNDS: Final = 3
_QUICK: Final = (120, 1)
_AT_ONCE: Final = 500
_PAUSE_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 300

Figures = dict[str, Any]


class SlowNetwork(InstantNetwork):
    """A network that takes so many seconds for a request, and notes what was said when."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.said: list[tuple[float, str]] = []

    async def say(self, say: Say) -> str:
        """Take it, after a while."""
        await asyncio.sleep(self.seconds)
        self.said.append((time.time(), say.key))
        return f"at://{say.key}"


async def promise(database: Database, round_: str, people: int) -> list[str]:
    """Promise every person their replies, and return the keys."""
    promises = [
        Promise(
            kind=DeliveryKind.REPLY,
            key=f"{round_}:{person}:{number}",
            lane=lanes.say_lane(NetworkName.BLUESKY, f"{round_}:{person}"),
            payload={
                "actor": f"did:plc:person{person}",
                "handle": f"person{person}.example",
                "text": "Somebody you followed is here.",
                "public": False,
                "thread": None,
                "language": "en",
                "ack": False,
            },
            network=NetworkName.BLUESKY,
        )
        for person in range(people)
        for number in range(_REPLIES_EACH)
    ]
    async with database.transaction() as connection:
        for start in range(0, len(promises), _AT_ONCE):
            await deliveries.promise(connection, promises[start : start + _AT_ONCE], epoch_ms())
    return [each.key for each in promises]


async def work(url: str, name: str, milliseconds: int) -> None:
    """Perform what can be leased until standard input ends, and print what was said when."""
    database = Database(url)
    network = SlowNetwork(milliseconds / 1000)
    try:
        bench = Bench(database, network, worker=name)
        wake = loops.Wake()
        bench.events.on_promise = wake.ring
        tasks = [
            asyncio.create_task(loops.perform(bench.outbox, wake, bench.events.clock, bench.events.outage)),
            asyncio.create_task(hear_bell(database, wake.ring)),
        ]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bench.outbox.stop()
    finally:
        await database.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    json.dump({"said": network.said, "cpu_seconds": used.ru_utime + used.ru_stime}, sys.stdout)


async def perform(database: Database, url: str, name: str, people: int, workers: int, milliseconds: int) -> Figures:
    """Have so many workers say what is promised; return how fast they did, and what it cost."""
    command = [sys.executable, "-m", "bench.workers", "--database-url", url, "--milliseconds", str(milliseconds)]
    processes = [
        await asyncio.create_subprocess_exec(
            *command, "--work", f"{name}-{number}", stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 26
        )
        for number in range(workers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            await process.stdout.readline()
        keys = await promise(database, name, people)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await _unsaid(database):  # noqa: ASYNC110  # what is waited for happens in other processes
                await asyncio.sleep(_PAUSE_SECONDS)
        told = [json.loads((await process.communicate(b""))[0]) for process in processes]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return _figures([tuple(said) for each in told for said in each["said"]], keys, told)


async def _unsaid(database: Database) -> bool:
    async with database.reading() as connection:
        return await lanes.next_due(connection, [lanes.speaking_on(NetworkName.BLUESKY)]) != [None]


def _figures(said: list[tuple[float, str]], keys: list[str], told: list[dict[str, Any]]) -> Figures:
    said.sort()
    by_person: dict[str, list[int]] = {}
    for _, key in said:
        _, person, number = key.split(":")
        by_person.setdefault(person, []).append(int(number))
    return {
        "a_second": round(len(said) / (said[-1][0] - said[0][0]), 1),
        "cpu_ms_each": round(sum(each["cpu_seconds"] for each in told) * 1000 / len(said), 2),
        "doubled": len(said) - len({key for _, key in said}),
        "unsaid": len(set(keys) - {key for _, key in said}),
        "out_of_order": sum(numbers != sorted(numbers) for numbers in by_person.values()),
    }


async def compare(url: str, people: int, rounds: int, milliseconds: int) -> Figures:
    """Let one worker and several do the same in turns; return the medians, and their ratio."""
    database = Database(url)
    found: dict[int, list[Figures]] = {1: [], _MANY: []}
    try:
        await database.upgrade()
        for round_ in range(rounds):
            for workers, figures in found.items():
                name = f"round{round_}of{workers}"
                figures.append(await perform(database, url, name, people, workers, milliseconds))
    finally:
        await database.close()
    speeds = {workers: statistics.median(each["a_second"] for each in figures) for workers, figures in found.items()}
    return {
        "replies": people * _REPLIES_EACH,
        "milliseconds_a_request": milliseconds,
        "cores": os.cpu_count(),
        **{f"workers_{workers}": figures for workers, figures in found.items()},
        "wrong": {
            name: sum(each[name] for figures in found.values() for each in figures)
            for name in ("doubled", "unsaid", "out_of_order")
        },
        "ratio": round(speeds[_MANY] / speeds[1], 2),
    }


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Only one round, of 120 people.")
@click.option("--people", default=600, show_default=True, type=click.IntRange(2, 100_000))
@click.option("--milliseconds", default=200, show_default=True, help="How long the network takes for a request.")
@click.option("--database-url", required=True, help="An empty database on PostgreSQL.")
@click.option("--work", "work_as", default=None, hidden=True)
def main(quick: bool, people: int, milliseconds: int, database_url: str, work_as: str | None) -> None:
    """Read the options, measure, and print the figures."""
    if work_as is not None:
        asyncio.run(work(database_url, work_as, milliseconds))
        return
    people, rounds = _QUICK if quick else (people, _ROUNDS)
    json.dump(asyncio.run(compare(database_url, people, rounds, milliseconds)), sys.stdout)
    print()


if __name__ == "__main__":
    main()
