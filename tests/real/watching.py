"""Servers that end with us, however we end: a shell beside each of them waits for our end of a pipe to close."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

_STOP_SECONDS: Final = 30
# Runs what ends a server as soon as nobody holds the other end of its standard input.
_AT_THE_END: Final = 'cat >/dev/null; exec "$@" </dev/null'


@contextlib.contextmanager
def at_the_end(*command: str | Path, **options: Any) -> Iterator[None]:
    """Run a command when the block ends, or when this process does, be it killed."""
    watching = subprocess.Popen(
        ["sh", "-c", _AT_THE_END, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what is typed at us is not meant for it
        **options,
    )
    try:
        yield
    finally:
        _let_go(watching)


@contextlib.contextmanager
def running(command: Sequence[str | Path]) -> Iterator[None]:
    """Run a server until the block ends, or this process does."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with at_the_end("kill", str(process.pid)):
            yield
    finally:
        process.wait(_STOP_SECONDS)


def _let_go(watching: subprocess.Popen[bytes]) -> None:
    assert watching.stdin is not None
    watching.stdin.close()
    watching.wait(_STOP_SECONDS)
