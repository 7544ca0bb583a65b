"""The benches' outputs are held to what the page of benchmarks tells of them."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench.all import Failed, check
from bench.launchday_bluesky import BlueskyServer
from bench.launchday_clock import SimulatedLoop, run_simulated
from bench.launchday_networks import Weather
from bench.report import read
from bench.report_rows import COMMANDS, ROWS, ZEROS
from bot.networks import Say

TOLD_OF = [name for name in COMMANDS if name in {row.bench for row in ROWS} | {bench for bench, _ in ZEROS}]


def output(*changes: tuple[tuple[str, ...], Any], of: str) -> str:
    """Write what a bench would print: every figure that is told of it, and nothing wrong."""
    printed: dict[str, Any] = {}
    figures = [(row.path, row.target) for row in ROWS if row.bench == of]
    for path, value in [*figures, *((path, 0) for bench, path in ZEROS if bench == of), *changes]:
        into = printed
        for step in path[:-1]:
            into = into.setdefault(step, {})
        into[path[-1]] = value
    return json.dumps(printed)


@pytest.mark.parametrize("name", TOLD_OF)
def test_a_bench_is_fine_that_prints_every_figure_and_counts_nothing_wrong(name: str, tmp_path: Path) -> None:
    printed = tmp_path / "printed.json"
    printed.write_text(output(of=name))

    check(name, printed)

    printed.write_text("{}")
    with pytest.raises(Failed, match="is missing"):
        check(name, printed)


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("launchday", (("lost",), {"replies": 0, "told": 2}), "lost is 2 and not 0"),
        ("launchday", (("doubled",), {"said": 0, "told": None}), "doubled is missing and not 0"),
        ("links", (("index", "differences"), 1), "index.differences is 1 and not 0"),
        ("follow", (("least_used",), None), "least_used is missing (follows: least share of the budget used)"),
    ],
)
def test_a_bench_fails_that_leaves_something_out_or_counts_what_must_not_be(
    name: str, change: tuple[tuple[str, ...], Any], complaint: str, tmp_path: Path
) -> None:
    printed = tmp_path / "printed.json"
    printed.write_text(output(change, of=name))

    with pytest.raises(Failed) as failed:
        check(name, printed)
    assert str(failed.value) == complaint


def test_a_bench_fails_that_prints_no_figures(tmp_path: Path) -> None:
    printed = tmp_path / "printed.json"
    printed.write_text("")

    with pytest.raises(Failed, match="it printed no JSON object"):
        check("idle", printed)


def test_of_several_runs_the_medians_are_told(tmp_path: Path) -> None:
    for time, percent in enumerate((0.2, 9.0, 0.3), 1):
        (tmp_path / f"idle-{time}.json").write_text(output((("cpu_percent",), percent), of="idle"))

    told = {each.row.path: each.value for each in read(tmp_path) if each.row.bench == "idle"}

    assert told[("cpu_percent",)] == 0.3
    assert {each.verdict for each in read(tmp_path) if each.row.bench != "idle"} == {"not measured"}


def test_on_the_launch_day_words_that_were_to_be_said_once_are_doubled_when_they_are_read_twice() -> None:
    async def play(loop: SimulatedLoop) -> None:
        read: list[str] = []
        chat = BlueskyServer(Weather(loop, random.Random(1)), lambda say: read.append(say.key))
        bot, listed = chat.connect(), '{"convo": "p1"}'
        chat.knows("did:plc:p1", "p1.example")

        def hello(key: str) -> Say:
            return Say(key, "did:plc:p1", "p1.example", "Hello!", public=False, thread=listed, language="en")

        await bot.say(hello("a"))
        await bot.say(hello("b"))
        assert (read, chat.doubled) == (["a", "b"], 0)

        chat.answer("chat.bsky.convo.sendMessage", {"convoId": "p1", "message": {"text": "Hello!"}})
        assert (read, chat.doubled) == (["a", "b"], 1)

        chat.expect(hello("c"))
        assert chat.has_said("b")
        assert not chat.has_said("c")

    run_simulated(play)


def test_on_the_launch_day_a_message_waits_until_the_bot_goes_on_from_behind_it() -> None:
    async def play(loop: SimulatedLoop) -> None:
        chat = BlueskyServer(Weather(loop, random.Random(1)), lambda _: None)
        begun = (await chat.connect().hear(None)).cursor
        message_id = chat.write("did:plc:p1", "p1.example", "hello")

        heard = await chat.connect().hear(begun)
        assert [(each.id, each.text) for each in heard.messages] == [(message_id, "hello")]
        assert chat.waiting() == {message_id}

        assert (await chat.connect().hear(heard.cursor)).messages == []
        assert chat.waiting() == set()

    run_simulated(play)
