"""The wheel: three packages, their data, one command, and nothing of the tests."""

import configparser
import email
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_VERSION = re.compile(r"^## \[(\d+\.\d+\.\d+[^\]]*)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def _part(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (each for each in wheel.namelist() if each.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def test_the_wheel_holds_three_packages_and_its_description(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    (described,) = (top for top in tops if top.endswith(".dist-info"))

    assert tops == {"bot", "handlers", "storage", described}
    assert described.startswith("reflock-")


def test_no_test_is_shipped(wheel: zipfile.ZipFile) -> None:
    shipped = [name for name in wheel.namelist() if re.search(r"(^|/)(tests?|bench)/|(^|/)(test_|conftest)", name)]

    assert shipped == []


def test_every_source_and_every_data_file_is_shipped(wheel: zipfile.ZipFile) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in ("bot", "handlers", "storage")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }

    assert expected - set(wheel.namelist()) == set()


@pytest.mark.parametrize(
    "kind",
    [
        r"handlers/locales/ar/LC_MESSAGES/reflock\.po",
        r"handlers/locales/fr/LC_MESSAGES/reflock\.po",
        r"bot/web/templates/\w+\.html",
        r"bot/web/static/\w+\.css",
        r"bot/web/static/import/\w+\.js",
        r"bot/sandbox/play/templates/\w+\.html",
        r"bot/sandbox/play/static/\w+\.js",
        r"storage/migrations/env\.py",
        r"storage/migrations/versions/0002_\w+\.py",
    ],
)
def test_what_is_read_at_run_time_is_there(wheel: zipfile.ZipFile, kind: str) -> None:
    assert [name for name in wheel.namelist() if re.fullmatch(kind, name)]


def test_it_brings_one_command(wheel: zipfile.ZipFile) -> None:
    points = configparser.ConfigParser()
    points.read_string(_part(wheel, "entry_points.txt"))

    assert dict(points["console_scripts"]) == {"reflock": "bot.__main__:main"}


def test_its_version_is_the_newest_of_the_changelog(wheel: zipfile.ZipFile) -> None:
    metadata = email.message_from_string(_part(wheel, "METADATA"))
    newest = _VERSION.findall((ROOT / "CHANGELOG.md").read_text("utf-8"))[0]

    assert metadata["Name"] == "reflock"
    assert metadata["Version"] == newest
    assert metadata["License-Expression"] == "MIT"
    assert "LICENSE" in metadata.get_all("License-File", [])


def test_it_asks_for_nothing_that_only_developers_need(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    developers = {re.split(r"[=<>]", each)[0] for each in project["dependency-groups"]["dev"]}
    metadata = email.message_from_string(_part(wheel, "METADATA"))
    needed = {re.split(r"[=<>\[;]", each)[0].strip() for each in metadata.get_all("Requires-Dist", [])}

    assert needed
    assert needed & developers == set()
