"""The real process, as a supervisor sees it: it starts, answers, ends when told to, and says in one line why it cannot."""

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from bot.sandbox.bluesky import BlueskySandbox
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonSandbox
from storage import accounts
from storage.database import Database
from storage.keys import Keys
from storage.records import NetworkName
from tests.conftest import START

BOT = "reflock.test"


def write_configuration(folder: Path, service_url: str, *, password: str = "the bot's own") -> Path:
    pseudonym, grant = Keys.generate()
    config = folder / "config.toml"
    config.write_text(
        f'[database]\nurl = "sqlite:///{folder / "reflock.sqlite3"}"\n'
        f'[bluesky]\nhandle = "{BOT}"\nservice_url = "{service_url}"\nplc_url = "{service_url}"\npoll_seconds = 0.05\n'
        "[mastodon]\nenabled = false\n[web]\nport = 0\n"
    )
    (folder / ".env").write_text(
        f'REFLOCK_PSEUDONYM_KEY={pseudonym}\nREFLOCK_GRANT_KEYS={grant}\nREFLOCK_BLUESKY_APP_PASSWORD="{password}"\n'
    )
    return config


async def start(config: Path, *command: str, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        "bot",
        *command,
        "--config",
        str(config),
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def until_it_says(process: asyncio.subprocess.Process, *words: str) -> str:
    """Read on in its log as far as some words; return what was read."""
    assert process.stderr is not None
    said = ""
    async with asyncio.timeout(60):
        while not all(each in said for each in words):
            said += (line := (await process.stderr.readline()).decode())
            assert line, f"it ended: {said}"
    return said


async def test_it_answers_and_ends_when_told_to(tmp_path: Path) -> None:
    async with BlueskySandbox() as sky:
        bot = sky.create_account(BOT, password="the bot's own", bot=True)
        alice = sky.create_account("alice.test")
        bot.allow_incoming = "all"
        alice.dm(bot, "hello")
        config = write_configuration(tmp_path, sky.url)
        process = await start(config, "run")
        try:
            await sky.changed(lambda: alice.received_dms(bot), 60)
            second = await start(config, "run")
            _, refused = await asyncio.wait_for(second.communicate(), 60)
            assert second.returncode == 2
            assert len(refused.decode().strip().splitlines()) == 1, refused.decode()
            assert "Another Reflock" in refused.decode()
        finally:
            process.send_signal(signal.SIGTERM)
            _, log = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, log.decode()
    assert "the bot's own" not in log.decode()


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_it_ends_when_told_to_while_it_logs_in_at_a_server_that_is_silent(tmp_path: Path, network: str) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        config = write_configuration(tmp_path, address)
        if network == "mastodon":
            config.write_text(f'[mastodon]\nbase_url = "{address}"\n[bluesky]\nenabled = false\n[web]\nport = 0\n')
            with (tmp_path / ".env").open("a") as secrets:
                secrets.write("REFLOCK_MASTODON_ACCESS_TOKEN=token\n")
        process = await start(config, "run")
        await asyncio.wait_for(asked.wait(), 60)
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 60)
        ended.set()
    assert process.returncode == 0, log.decode()
    assert "told to before it ran" in log.decode()
    assert "Traceback" not in log.decode()


@pytest.mark.parametrize(
    ("path", "status", "headers", "body"),
    [
        ("createSession", 429, {"retry-after": "1"}, b'{"error":"RateLimitExceeded","message":"Rate Limit Exceeded"}'),
        (
            "getRecord",
            400,
            {"ratelimit-limit": "3000", "ratelimit-remaining": "9", "ratelimit-reset": "{soon}"},
            b'{"error":"RecordNotFound","message":"Could not locate record"}',
        ),
    ],
)
async def test_a_network_that_asks_it_to_wait_before_it_is_logged_in_is_waited_for(
    tmp_path: Path, path: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    soon = str(int(time.time()) + 10)
    async with BlueskySandbox() as sky:
        sky.create_account(BOT, password="the bot's own", bot=True)
        told = {name: value.replace("{soon}", soon) for name, value in headers.items()}
        sky.faults.plan(Fault(path, status=status, headers=told, body=body))
        process = await start(write_configuration(tmp_path, sky.url), "run")
        try:
            said = await until_it_says(process, "listening")
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), 30)
    (line,) = (each for each in said.splitlines() if "asked to wait" in each)
    assert f"server={sky.url}" in line
    assert "until=20" in line


async def test_it_ends_when_told_to_while_a_network_asks_it_to_wait(tmp_path: Path) -> None:
    async with MastodonSandbox() as town:
        limited = {"retry-after": "3600"}
        town.faults.plan(Fault("verify_credentials", status=429, headers=limited, body=b'{"error":"Too many"}'))
        config = write_configuration(tmp_path, town.url)
        config.write_text(f'[mastodon]\nbase_url = "{town.url}"\n[bluesky]\nenabled = false\n[web]\nport = 0\n')
        with (tmp_path / ".env").open("a") as secrets:
            secrets.write(f"REFLOCK_MASTODON_ACCESS_TOKEN={town.create_account('reflock', bot=True).token}\n")
        process = await start(config, "run")
        await until_it_says(process, "asked to wait", "until=")
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert "told to before it ran" in log.decode()


@pytest.mark.parametrize("wrong", ["password", "address"])
async def test_what_cannot_work_is_said_in_one_line(tmp_path: Path, wrong: str) -> None:
    async with BlueskySandbox() as sky:
        sky.create_account(BOT, password="the bot's own", bot=True)
        config = write_configuration(
            tmp_path,
            "http://127.0.0.1:9" if wrong == "address" else sky.url,
            password="a wrong one" if wrong == "password" else "the bot's own",
        )
        process = await start(config, "run")
        _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert len(error.decode().strip().splitlines()) == 1, error.decode()
    assert ("REFLOCK_BLUESKY_APP_PASSWORD" if wrong == "password" else "service_url") in error.decode()


async def test_the_operators_commands_answer_on_an_empty_installation(tmp_path: Path) -> None:
    config = write_configuration(tmp_path, "http://127.0.0.1:9")
    for command, words in {
        ("db", "upgrade"): "is prepared",
        ("stats",): '"people": 0',
        ("review",): "Nothing waits",
        ("db", "rotate"): "nothing was done",
    }.items():
        process = await start(config, *command)
        said, error = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, error.decode()
        assert words in said.decode()
    process = await start(config, "export", "nobody.test")
    _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "There is no account" in error.decode()


async def test_the_operator_can_forget_somebody_while_the_networks_are_down(tmp_path: Path) -> None:
    config = write_configuration(tmp_path, "http://127.0.0.1:9")
    database = Database(f"sqlite:///{tmp_path / 'reflock.sqlite3'}")
    await database.upgrade()
    async with database.transaction() as connection:
        for actor in ("did:plc:alice", "did:plc:other"):
            await accounts.meet(connection, NetworkName.BLUESKY, actor, "alice.test", START)
    process = await start(config, "forget", "alice.test", "--yes")
    _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "did:plc:alice, did:plc:other" in error.decode()
    process = await start(config, "forget", "did:plc:alice", "--yes")
    said, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, error.decode()
    assert "forgotten" in said.decode()
    async with database.reading() as connection:
        assert await accounts.get(connection, "did:plc:alice") is None
        assert await accounts.get(connection, "did:plc:other") is not None
    await database.close()


async def test_a_relative_database_is_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_configuration(tmp_path, "http://127.0.0.1:9")
    config.write_text(config.read_text().replace(f"sqlite:///{tmp_path}/", "sqlite:///var/"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    process = await start(config, "db", "upgrade")
    _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, error.decode()
    database = tmp_path / "var" / "reflock.sqlite3"
    assert database.stat().st_mode & 0o777 == 0o600
    assert list(elsewhere.iterdir()) == []
