"""Find a Chromium for the tests; as a command, see to it that there is one.

python -m tests.browser.chromium
"""

import shutil
import subprocess
import sys
from typing import Final

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_HELP: Final = """
The tests drive a real Chromium. There is none on the PATH, and Playwright could not fetch its own (see above).
Install one, with `apt-get install chromium` on Debian for example, and start again;
or run everything else: .venv/bin/python -m pytest --ignore=tests/browser
"""


def installed() -> str | None:
    """Return the path of the Chromium that this machine has; None where Playwright is to use its own."""
    return next((path for name in _NAMES if (path := shutil.which(name)) and _starts(path)), None)


def _starts(path: str) -> bool:
    # On some systems the command only says where the browser can be had.
    return subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0


def main() -> int:
    """Have Playwright fetch its Chromium where none is installed, which takes no time when it has it; exit code 1 if it cannot."""
    if installed() is not None:
        return 0
    fetching = subprocess.run([sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"], check=False)
    if fetching.returncode:
        print(_HELP, file=sys.stderr)  # noqa: T201  # this is a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
