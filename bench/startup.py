"""How long `reflock --help` takes: the median of several runs of the installed command, in seconds.

Prints one JSON object. With `--check` the exit code is 1 when the median is over the limit.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

_LIMIT_SECONDS = 0.3
_QUICK_RUNS = 1


def measure(runs: int) -> list[float]:
    """Return the seconds each run took; the first one, which warms the disk's cache, is not counted."""
    installed = Path(sys.executable).with_name("reflock")
    command = [str(installed)] if installed.exists() else [sys.executable, "-m", "bot"]
    seconds = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        subprocess.run([*command, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - begun)
    return seconds[1:]


def main() -> None:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often it is started")
    parser.add_argument("--quick", action="store_true", help="only once")
    parser.add_argument("--check", action="store_true", help=f"exit with 1 when the median is over {_LIMIT_SECONDS} s")
    arguments = parser.parse_args()
    seconds = measure(_QUICK_RUNS if arguments.quick else arguments.runs)
    median = statistics.median(seconds)
    print(
        json.dumps(
            {
                "median_seconds": round(median, 3),
                "limit_seconds": _LIMIT_SECONDS,
                "runs": [round(each, 3) for each in seconds],
            }
        )
    )
    if arguments.check and median > _LIMIT_SECONDS:
        sys.exit(1)


if __name__ == "__main__":
    main()
