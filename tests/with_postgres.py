"""Run a command beside a real PostgreSQL server that lives as long as the command does.

    python -m tests.with_postgres reflock demo --once --database-url {url}

`{url}` in an argument becomes the URL of an empty database; the command also finds it in POSTGRES_URL. The exit code
is the command's.
"""

import asyncio
import os
import signal
import subprocess
import sys

from tests.conftest import fresh_postgres
from tests.postgres import running_postgres


def main(command: list[str]) -> int:
    """Start the server in a temporary folder, run the command, stop the server."""
    if not command:
        print(__doc__, file=sys.stderr)  # noqa: T201  # this is a command
        return 2
    # Told to end, Python would leave the server and the command behind; so it ends as after any exception.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with running_postgres() as server:
        url = asyncio.run(fresh_postgres(server.get_uri()))
        arguments = [argument.replace("{url}", url) for argument in command]
        with subprocess.Popen(arguments, env={**os.environ, "POSTGRES_URL": url}) as running:
            try:
                return running.wait()
            finally:
                running.terminate()  # which does nothing to one that has ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
