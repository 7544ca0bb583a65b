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
    told: list[int] = []
    running: list[subprocess.Popen[bytes]] = []

    # Noted, and no exception: one that came while the command is being started would leave it behind.
    def end(number: int, _frame: object) -> None:
        told.append(number)
        for each in running:
            each.terminate()

    signal.signal(signal.SIGTERM, end)
    with running_postgres() as server:
        url = asyncio.run(fresh_postgres(server.get_uri()))
        arguments = [argument.replace("{url}", url) for argument in command]
        if not told:
            running.append(subprocess.Popen(arguments, env={**os.environ, "POSTGRES_URL": url}))
            if told:  # meanwhile
                running[0].terminate()
            try:
                code = running[0].wait()
            finally:
                running[0].terminate()  # which does nothing to one that has ended
    return 128 + told[0] if told else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
