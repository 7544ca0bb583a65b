"""What is logged holds no secret, whatever a server that is quoted there repeats."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SAYS = """
import logging
import structlog
from pathlib import Path
from bot.config import load
from bot.hiding import Hiding
from bot.logs import set_up_logs
loaded = load(Path("config.toml"))
set_up_logs(loaded.config.log, Hiding(loaded))
token = loaded.secrets.mastodon_access_token.get_secret_value()
structlog.get_logger().warning("unavailable", why=f"the server says: {token}, and again {token}")
logging.getLogger("some library").error("it quotes %s", token)
try:
    raise ValueError(f"it answered {token}")
except ValueError:
    structlog.get_logger().exception("crashed")
"""


@pytest.mark.parametrize("written", ["console", "json"])
@pytest.mark.parametrize("secret", ["flying-south-4711", 'flying"south\\4711', "flying-südwärts"])
def test_no_line_repeats_a_secret_that_a_server_repeats(tmp_path: Path, written: str, secret: str) -> None:
    (tmp_path / "config.toml").write_text(f'[log]\nformat = "{written}"\n')
    logged = subprocess.run(
        [sys.executable, "-c", _SAYS],
        cwd=tmp_path,
        env={**os.environ, "REFLOCK_MASTODON_ACCESS_TOKEN": secret, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert "flying" not in logged.stderr
    assert "the server says: ***, and again ***" in logged.stderr
    assert "it answered ***" in logged.stderr
    assert "it quotes ***" in logged.stderr
