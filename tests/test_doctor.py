"""`reflock doctor`: what it sees when all is well, what it says and sets when it is not, and what it leaves alone."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.__main__ import main
from bot.sandbox.faults import Fault
from storage import messages
from tests.conftest import fresh_postgres
from tests.surgery import LOGIN, LOGOUT, Hanging, Requests, Surgery, open_surgery

ROOT = Path(__file__).parents[1]


@pytest.fixture
async def surgery(tmp_path: Path, database_url: str) -> AsyncIterator[Surgery]:
    async with open_surgery(tmp_path, database_url) as opened:
        yield opened


def falls_ill(surgery: Surgery) -> None:
    """Let everything be otherwise that can be set from here."""
    surgery.sky.world.set_profile(surgery.sky.world.accounts[surgery.bot.did], bot=False)
    surgery.bot.allow_incoming = "following"
    surgery.toot.account.bot = False
    surgery.toot.allow_private_mentions(allowed=False)
    (surgery.folder / ".env").chmod(0o644)


def is_labelled(surgery: Surgery) -> bool:
    profile = surgery.sky.world.accounts[surgery.bot.did].repo["app.bsky.actor.profile"]["self"].value
    return {"val": "bot"} in profile.get("labels", {}).get("values", [])


# All is well.


async def test_nothing_is_wrong_with_a_running_bot(surgery: Surgery) -> None:
    async with surgery.running_bot():
        visit = await surgery.asks()

    assert (visit.exit_code, visit.wrong, visit.not_checked) == (0, [], []), visit.text
    assert (
        visit.about("Bluesky login") == f"ok   Bluesky login: @reflock.test on {surgery.sky.url} ({surgery.bot.did})."
    )
    assert visit.about("Mastodon login") == f"ok   Mastodon login: @reflock on {surgery.town.url}."
    assert visit.about("Mastodon server").endswith("is mastodon 4.3.0.")
    assert "streamed from" in visit.about("Mastodon news")
    assert "the bot answers at" in visit.about("Pages from outside")
    assert visit.text.splitlines()[-1].endswith("checks: nothing is wrong.")


async def test_a_new_installation_has_nothing_wrong_either(surgery: Surgery) -> None:
    visit = await surgery.asks()

    assert "the bot is not running here" in visit.about("Pages from outside")
    assert "OAuth metadata" in visit.not_checked
    if surgery.is_sqlite:
        assert (visit.exit_code, visit.wrong) == (0, []), visit.text
        assert "is not there yet" in visit.about("Database")
        assert not surgery.sqlite_file.exists()
    else:
        assert visit.wrong == ["Database revision"]
        assert "Prepare it with: reflock db upgrade" in visit.about("Database revision")


async def test_machines_read_one_object(surgery: Surgery) -> None:
    await surgery.prepare()
    surgery.toot.account.bot = False
    visit = await surgery.asks(to_machine=True)

    told = json.loads(visit.text)
    assert visit.exit_code == told["wrong"] == 1
    assert told["mended"] == []
    flag = next(each for each in told["checks"] if each["name"] == "Mastodon bot flag")
    assert (flag["state"], flag["can_be_set"]) == ("fix", True)
    assert {each["state"] for each in told["checks"]} == {"ok", "fix", "not checked"}


# Looking changes nothing, and --fix only what was agreed to.


async def test_looking_changes_nothing(surgery: Surgery) -> None:
    await surgery.prepare()
    falls_ill(surgery)
    asked = [Requests(server.app) for server in (surgery.sky, surgery.town, surgery.x)]
    visit = await surgery.asks()

    assert visit.exit_code == 1
    assert visit.wrong == [
        "Secrets file",
        "Bluesky bot label",
        "Bluesky messages from everybody",
        "Mastodon bot flag",
        "Mastodon private mentions",
    ]
    assert visit.text.splitlines()[-1].endswith("5 can be set by: reflock doctor --fix.")
    assert [each.changing for each in asked] == [[LOGIN, LOGOUT], [], []]
    assert not is_labelled(surgery)
    assert surgery.bot.allow_incoming == "following"
    assert not surgery.toot.account.bot
    assert surgery.toot.account.policy["for_private_mentions"] == "filter"
    assert stat.S_IMODE((surgery.folder / ".env").stat().st_mode) == 0o644

    async def marks(connection: AsyncConnection) -> list[str | None]:
        return [await messages.read_cursor(connection, name) for name in ("doctor", "pseudonym-key")]

    assert await surgery.database(marks) == [None, None]


async def test_everything_is_set_with_one_yes(surgery: Surgery) -> None:
    await surgery.prepare()
    falls_ill(surgery)
    visit = await surgery.asks(fix=True, yes=True)

    assert visit.exit_code == 0, visit.text
    before, _, after = visit.text.partition("Checked again:")
    assert before.count("FIX") == before.count(": set.") == 5
    assert "FIX" not in after
    assert is_labelled(surgery)
    assert surgery.bot.allow_incoming == "all"
    assert surgery.toot.account.bot
    assert surgery.toot.account.policy["for_private_mentions"] == "accept"
    assert stat.S_IMODE((surgery.folder / ".env").stat().st_mode) == 0o600


async def test_each_change_is_asked_for_and_a_no_is_a_no(surgery: Surgery) -> None:
    await surgery.prepare()
    falls_ill(surgery)
    visit = await surgery.asks(fix=True, answers="n\ny\nn\ny\nn\n")

    assert visit.exit_code == 1
    assert visit.text.count("[y/N]") == 5
    assert is_labelled(surgery)
    assert surgery.bot.allow_incoming == "following"
    assert surgery.toot.account.bot
    assert surgery.toot.account.policy["for_private_mentions"] == "filter"
    assert stat.S_IMODE((surgery.folder / ".env").stat().st_mode) == 0o644


async def test_what_else_the_profile_says_stays(surgery: Surgery) -> None:
    await surgery.prepare()
    account = surgery.sky.world.accounts[surgery.bot.did]
    surgery.sky.world.set_profile(account, bot=False)
    before = dict(account.repo["app.bsky.actor.profile"]["self"].value)
    await surgery.asks(fix=True, yes=True)

    after = dict(account.repo["app.bsky.actor.profile"]["self"].value)
    assert after.pop("labels")["values"] == [{"val": "bot"}]
    before.pop("labels", None)
    assert after == before


async def test_what_cannot_be_set_is_said_and_the_rest_is_set(surgery: Surgery) -> None:
    await surgery.prepare()
    falls_ill(surgery)
    surgery.sky.faults.plan(Fault("com.atproto.repo.putRecord", times=1))
    visit = await surgery.asks(fix=True, yes=True)

    assert visit.exit_code == 1
    assert "Bluesky bot label: could not be set: " in visit.text
    assert not is_labelled(surgery)
    assert surgery.bot.allow_incoming == "all"
    assert visit.about("Bluesky bot label").startswith("FIX")


# The configuration.


async def test_each_thing_that_is_missing_has_its_line_and_the_rest_is_checked(surgery: Surgery) -> None:
    await surgery.prepare()
    surgery.sections["bluesky"]["handle"] = ""
    del surgery.secrets["REFLOCK_BLUESKY_APP_PASSWORD"]
    visit = await surgery.asks()

    assert visit.exit_code == 1
    assert visit.wrong == ["Configuration", "Configuration"]
    assert "FIX  Configuration: [bluesky] handle is empty. Write the bot's handle there." in visit.text
    assert "[bluesky] handle or REFLOCK_BLUESKY_APP_PASSWORD is missing" in visit.about("Bluesky login")
    assert visit.about("Mastodon private mentions").startswith("ok")


async def test_a_network_that_is_off_is_not_asked(surgery: Surgery) -> None:
    await surgery.prepare()
    surgery.sections["bluesky"]["enabled"] = False
    asked = Requests(surgery.sky.app)
    visit = await surgery.asks()

    assert visit.exit_code == 0
    assert not [line for line in visit.text.splitlines() if line[5:].startswith("Bluesky")]
    assert surgery.sky.url not in visit.text
    assert asked.changing == []


async def test_keys_that_are_none_have_a_line(surgery: Surgery) -> None:
    await surgery.prepare()
    surgery.secrets["REFLOCK_GRANT_KEYS"] = "garbage"
    visit = await surgery.asks()

    assert visit.wrong == ["Keys"]
    assert "key 1 of 1 is not a Fernet key. Put the former key back" in visit.about("Keys")
    assert "reflock init --directory new" in visit.about("Keys")
    assert "has to be right first" in visit.about("Keys fit the database")


async def test_secrets_may_come_from_the_environment_alone(surgery: Surgery) -> None:
    loaded = await surgery.prepare()
    (surgery.folder / ".env").unlink()
    visit = await surgery.asks(loaded=loaded)

    assert visit.exit_code == 0
    assert "the secrets come from the environment" in visit.about("Secrets file")


async def test_a_full_disk_has_a_line(surgery: Surgery) -> None:
    await surgery.prepare()
    surgery.free = 100 * 2**20
    visit = await surgery.asks()

    assert visit.wrong == ["Disk"]
    assert "100 MB free" in visit.about("Disk")
    assert "1,024 MB are needed" in visit.about("Disk")


# The clock.


@pytest.mark.parametrize(("skew", "words"), [(120, "ahead of"), (-120, "behind")])
async def test_a_skewed_clock_has_a_line_for_each_server_with_its_limit(
    surgery: Surgery, skew: int, words: str
) -> None:
    await surgery.prepare()
    surgery.skew_seconds = skew
    visit = await surgery.asks()

    assert [name.partition(" ")[0] for name in visit.wrong] == ["Clock", "Clock"]
    for server in (surgery.sky, surgery.town):
        line = visit.about(f"Clock ({server.url.removeprefix('http://')})")
        off = re.search(rf"clock is (\d+) seconds {words}", line)
        assert off, line
        assert abs(int(off[1]) - 120) < 20  # the Date of an answer may be some seconds old on a busy machine
        assert "allowed here: 5 seconds ahead, 30 behind" in line
        assert "timedatectl set-ntp true" in line


# Servers that do not answer.


async def test_a_server_that_is_gone_costs_the_others_nothing(surgery: Surgery) -> None:
    await surgery.prepare()
    surgery.sections["bluesky"]["service_url"] = "http://127.0.0.1:9"
    visit = await surgery.asks()

    assert visit.exit_code == 1
    assert visit.wrong == ["Bluesky login"]
    assert visit.about("Clock (127.0.0.1:9)").startswith("-    Clock (127.0.0.1:9): not checked: ")
    assert "is [bluesky] service_url right?" in visit.about("Bluesky login")
    assert "“Bluesky login” has to be right first" in visit.about("Bluesky direct messages")
    assert visit.about("Mastodon private mentions").startswith("ok")


async def test_a_server_that_hangs_is_given_up_after_the_stated_time(surgery: Surgery) -> None:
    await surgery.prepare()
    Hanging(surgery.sky.app, LOGIN, surgery.patience, "Bluesky login")
    Hanging(surgery.town.app, "/notifications/policy", surgery.patience, "Mastodon private mentions")
    visit = await surgery.asks()

    assert visit.wrong == ["Bluesky login", "Mastodon private mentions"]
    for name in visit.wrong:
        assert "no answer within 7 seconds" in visit.about(name)
    assert visit.about("Mastodon news").startswith("ok")


async def test_an_answer_that_is_none_has_a_line(surgery: Surgery) -> None:
    await surgery.prepare()
    surgery.town.faults.plan(Fault("/api/v1/accounts/verify_credentials", status=200, body=b"[]", times=9))
    surgery.sky.faults.plan(Fault("com.atproto.server.getSession", kind="malformed", times=9))
    surgery.x.faults.plan(Fault("/tweet-result", kind="malformed"))
    surgery.x.faults.plan(Fault("/oembed", status=200, body=b'{"not": "a post"}'))
    visit = await surgery.asks()

    assert [name.partition(" (")[0] for name in visit.wrong] == [
        "Bluesky login",
        "Mastodon login",
        "X look-up",
        "X look-up",
    ]
    assert "Proofs wait as long as neither answers" in visit.about("X look-up")


# What servers say is quoted, but not everything.


async def test_a_server_that_repeats_our_secret_or_plays_with_the_terminal_is_not_quoted_in_that(
    surgery: Surgery,
) -> None:
    await surgery.prepare()
    words = f"no: {surgery.bot.password} \\u001b[2J\\u0007 gone"
    body = f'{{"error":"AuthenticationRequired","message":"{words}"}}'.encode()
    surgery.sky.faults.plan(Fault(LOGIN, status=401, body=body))
    visit = await surgery.asks()

    assert "no: *** " in visit.about("Bluesky login")
    assert "\x1b" not in visit.text
    assert "\x07" not in visit.text


async def test_a_long_answer_is_cut_after_our_secret_is_out_of_it_and_before_what_to_do(surgery: Surgery) -> None:
    await surgery.prepare()
    before = "x" * (598 - len(f"{surgery.sky.url} refuses @reflock.test: "))
    body = json.dumps({"error": "AuthenticationRequired", "message": f"{before}{surgery.bot.password}"})
    surgery.sky.faults.plan(Fault(LOGIN, status=401, body=body.encode()))
    visit = await surgery.asks()

    assert "x**… Check [bluesky] handle, and make a new app password" in visit.about("Bluesky login")


async def test_a_password_is_not_quoted_in_any_spelling(surgery: Surgery) -> None:
    address = "postgresql://reflock:s%C3%A9cret%20word%2F1@127.0.0.1:9/reflock"
    surgery.sections["database"]["url"] = address
    spellings = ["sécret word/1", "s%C3%A9cret%20word%2F1", "s%C3%A9cret+word%2F1"]
    message = f"no: {', '.join(spellings)} in {address}"
    body = json.dumps({"error": "AuthenticationRequired", "message": message}).encode()
    surgery.sky.faults.plan(Fault(LOGIN, status=401, body=body))
    visit = await surgery.asks()

    assert "no: ***, ***, *** in postgresql://reflock:***@" in visit.about("Bluesky login")


# The command line.


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "bot", *arguments, "--config", str(folder / "config.toml")]


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"], ["db", "upgrade"]])
def test_where_nobody_reads_on_the_command_ends_without_a_word(tmp_path: Path, arguments: list[str]) -> None:
    off = "".join(f"[{network}]\nenabled = false\n" for network in ("bluesky", "mastodon"))
    nowhere = "".join(f'{name}_url = "http://127.0.0.1:9"\n' for name in ("syndication", "oembed"))
    (tmp_path / "config.toml").write_text(f"{off}[x]\n{nowhere}")
    read, write = os.pipe()
    os.close(read)

    ran = subprocess.run(
        command(tmp_path, *arguments), stdout=write, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    os.close(write)

    assert ran.returncode == 141, ran.stderr
    assert all(line.startswith("Checking; ") for line in ran.stderr.splitlines()), ran.stderr


async def test_ctrl_c_at_a_question_changes_nothing_and_ends_the_command(surgery: Surgery) -> None:
    await surgery.prepare()
    falls_ill(surgery)
    surgery.install()
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command(surgery.folder, "doctor", "--fix"), stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT
    )
    os.close(theirs)
    shown = b""
    while b"[y/N]: " not in shown:
        shown += await asyncio.to_thread(os.read, ours, 65536)
    while process.returncode is None:  # one that comes before anybody reads what is typed is noted only with the next
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)
    with contextlib.suppress(OSError):  # nobody is at the other end any more
        while True:
            shown += os.read(ours, 65536)
    os.close(ours)

    assert process.returncode == 130
    assert b"Nothing more was changed." in shown
    assert b"Traceback" not in shown
    assert stat.S_IMODE((surgery.folder / ".env").stat().st_mode) == 0o644
    assert not is_labelled(surgery)
    assert not surgery.toot.account.bot


def test_an_unusable_configuration_is_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[bluesky]\nhandel = 1\n")
    ran = CliRunner().invoke(main, ["doctor", "--config", str(tmp_path / "config.toml")])

    assert ran.exit_code == 2
    assert "[bluesky] handel is not a key that Reflock knows" in ran.output


@pytest.mark.parametrize("options", [["--yes"], ["--fix", "--json"]])
def test_questions_that_nobody_can_answer_are_refused_at_once(tmp_path: Path, options: list[str]) -> None:
    ran = CliRunner().invoke(main, ["doctor", *options, "--config", str(tmp_path / "config.toml")])

    assert ran.exit_code == 2
    assert "--fix" in ran.output


async def test_the_command_checks_sets_and_is_content_on_postgresql(tmp_path: Path, postgres: str) -> None:
    async with open_surgery(tmp_path, await fresh_postgres(postgres)) as surgery:
        await surgery.prepare()
        surgery.toot.account.bot = False
        ran = []
        for options in ([], ["--fix", "--yes", "--json"], []):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-W",
                "error",
                "-m",
                "bot",
                "doctor",
                *options,
                "--config",
                str(tmp_path / "config.toml"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, _ = await asyncio.wait_for(process.communicate(), 120)
            ran.append((process.returncode, said.decode()))

    assert [code for code, _ in ran] == [1, 0, 0], ran
    assert "FIX  Mastodon bot flag" in ran[0][1]
    assert json.loads(ran[1][1])["mended"] == ["Mastodon bot flag"]
    assert "nothing is wrong" in ran[2][1]
    assert surgery.toot.account.bot
