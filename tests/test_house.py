"""The house's own rules: imports flow one way, files stay readable, and help costs nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_MOST_LINES = 450
_HEAVY = ["atproto", "mastodon", "sqlalchemy", "numpy", "starlette", "pydantic", "httpx", "alembic", "jinja2", "babel"]
_MACHINE_PATH = re.compile(r"/(?:home|Users|root|work)/[\w.]")
# How a package index is named in a lock file or a configuration; a lock must not prescribe one.
_INDEX = re.compile(r"--(?:extra-)?index-url|--find-links|https?://[\w.-]*pypi")


def tracked_files() -> list[Path]:
    """List what is kept under version control; outside of a clone, what would be."""
    if (ROOT / ".git").exists():
        command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
        return [path for name in listed if (path := ROOT / name).is_file()]
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(part in ("dist", "build", "var", "__pycache__") for part in path.parts)
        and not any(part.startswith(".") and part != ".ci" for part in path.relative_to(ROOT).parts[:-1])
    ]


def test_imports_flow_from_bot_to_handlers_to_storage() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken" in checked.stdout


def test_no_source_file_asks_to_be_two() -> None:
    sources = [path for folder in ("bot", "handlers", "storage", "bench") for path in (ROOT / folder).rglob("*.py")]
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in sources}

    assert lines
    assert {path: n for path, n in lines.items() if n > _MOST_LINES} == {}


def test_nothing_names_a_machine() -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a picture names nothing
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in _MACHINE_PATH.finditer(text)]

    assert found == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-runtime.lock"])
def test_a_lock_names_exact_versions_and_hashes_and_no_index(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    requirements = [each for each in re.split(r"\n(?=\S)", text) if not each.startswith("#")]

    assert len(requirements) > 20
    assert [each.split()[0] for each in requirements if "==" not in each or "--hash=sha256:" not in each] == []
    assert _INDEX.search(text) is None


def test_what_is_installed_to_run_is_what_was_tested() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.\[\]-]+==\S+", (ROOT / name).read_text("utf-8"), re.MULTILINE))

    assert pins("requirements-runtime.lock") < pins("requirements.lock")


def test_the_command_line_answers_without_loading_what_is_heavy() -> None:
    code = f"import sys, bot.__main__; print([name for name in {_HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert loaded.strip() == "[]"
