"""A PostgreSQL server that was started for one command ends with it, and leaves nothing behind."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("ends", ["by itself", "told to"])
def test_nothing_is_left_of_it(ends: str) -> None:
    command = f"echo ready; {'exit 3' if ends == 'by itself' else 'exec sleep 600'}"
    with tempfile.TemporaryDirectory(prefix="reflock-") as folder:
        Path(folder).chmod(0o755)  # started by root, the server runs as somebody else
        with subprocess.Popen(
            [sys.executable, "-m", "tests.with_postgres", "sh", "-c", command],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": folder},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            if ends == "told to":
                process.terminate()
            # It is the command's too: whoever still had it open would keep us waiting.
            assert process.stdout.read() == b""
        assert process.returncode == (3 if ends == "by itself" else 128 + signal.SIGTERM)
        assert list(Path(folder).iterdir()) == []
