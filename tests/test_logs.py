"""What is logged holds no secret, whatever a server that is quoted there repeats."""

import subprocess
import sys
from pathlib import Path

import pytest

_SAYS = """
import structlog
from pathlib import Path
from bot.config import load
from bot.hiding import Hiding
from bot.logs import set_up_logs
loaded = load(Path("config.toml"))
set_up_logs(loaded.config.log, Hiding(loaded))
token = loaded.secrets.mastodon_access_token.get_secret_value()
structlog.get_logger().warning("unavailable", why=f"the server says: {token}, and again {token}")
try:
    raise ValueError(f"it answered {token}")
except ValueError:
    structlog.get_logger().exception("crashed")
"""


@pytest.mark.parametrize("written", ["console", "json"])
def test_no_line_repeats_a_secret_that_a_server_repeats(tmp_path: Path, written: str) -> None:
    (tmp_path / "config.toml").write_text(f'[log]\nformat = "{written}"\n')
    (tmp_path / ".env").write_text("REFLOCK_MASTODON_ACCESS_TOKEN=flying-south-4711\n")
    logged = subprocess.run([sys.executable, "-c", _SAYS], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "flying" not in logged.stderr
    assert "the server says: ***, and again ***" in logged.stderr
    assert "it answered ***" in logged.stderr
