"""Run a command beside a real Bluesky that lives as long as the command does.

    python -m tests.real [--rate-limits] [COMMAND ...]

Where the network is to be found stands, as one JSON object, in the command's REAL_BLUESKY. Without a command the object
is printed, and the network ends when standard input does. The exit code is the command's.
"""

import json
import os
import signal
import subprocess
import sys

from tests.real.installing import NotInstalled
from tests.real.network import running_bluesky


def main(arguments: list[str]) -> int:
    """Start the network, run the command, stop the network."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a way out past everything that has to be ended
    rate_limits = arguments[:1] == ["--rate-limits"]
    command = arguments[rate_limits:]
    try:
        with running_bluesky(rate_limits=rate_limits) as where:
            if command:
                environment = {**os.environ, "REAL_BLUESKY": json.dumps(where)}
                return subprocess.run(command, check=False, env=environment).returncode
            print(json.dumps(where), flush=True)  # noqa: T201  # the answer itself
            sys.stdin.read()
            return 0
    except NotInstalled as problem:
        print(problem, file=sys.stderr)  # noqa: T201  # an answer to who typed the command
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
