"""`reflock init`: the two files of a new installation, and what stands in them."""

import stat
from pathlib import Path

from click.testing import CliRunner

from bot.__main__ import main
from bot.config import load
from bot.installing import write_files
from bot.networks.dpop import jwk_of_pem
from storage.keys import Keys

_SECRETS = {"REFLOCK_NONE_OF_OURS": "1"}  # an environment without secrets of ours
_EMPTY = ("REFLOCK_BLUESKY_APP_PASSWORD", "REFLOCK_MASTODON_ACCESS_TOKEN")


def test_both_files_are_written_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "place"

    said = list(write_files(folder))

    assert said[:2] == [f"{folder / 'config.toml'} written.", f"{folder / '.env'} written."]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "config.toml": 0o600,
        ".env": 0o600,
    }


def test_what_exists_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REFLOCK_PSEUDONYM_KEY=precious\n")

    said = list(write_files(tmp_path))

    assert said[1] == f"{tmp_path / '.env'} exists already and was left as it is."
    assert (tmp_path / ".env").read_text() == "REFLOCK_PSEUDONYM_KEY=precious\n"
    assert (tmp_path / "config.toml").exists()


def test_where_nothing_was_written_nothing_is_to_be_filled_in(tmp_path: Path) -> None:
    list(write_files(tmp_path))

    said = list(write_files(tmp_path))

    assert said[2] == (
        "Nothing was written. To see what new ones look like, or for a new key: reflock init --directory new"
    )
    assert len(said) == 3


def test_the_fresh_keys_can_be_used(tmp_path: Path) -> None:
    list(write_files(tmp_path))

    secrets = load(tmp_path / "config.toml", _SECRETS).secrets

    keys = Keys(secrets.pseudonym_key.get_secret_value(), [secrets.grant_keys.get_secret_value()])
    assert keys.decrypt(keys.encrypt("a token")) == "a token"
    assert '"P-256"' in jwk_of_pem(secrets.client_key.get_secret_value())


def test_no_two_installations_get_the_same_keys(tmp_path: Path) -> None:
    for name in ("one", "other"):
        list(write_files(tmp_path / name))

    def values(name: str) -> set[str]:
        lines = (tmp_path / name / ".env").read_text().splitlines()
        return {line.partition("=")[2] for line in lines if "=" in line and not line.startswith("#")} - {""}

    assert len(values("one")) == 3
    assert values("one").isdisjoint(values("other"))


def test_what_comes_next_is_said_and_what_is_still_missing_a_line_each(tmp_path: Path) -> None:
    runner = CliRunner()
    made = runner.invoke(main, ["init", "--directory", str(tmp_path)])
    ran = runner.invoke(main, ["run", "--config", str(tmp_path / "config.toml")], env=dict.fromkeys(_EMPTY, ""))

    assert made.exit_code == 0
    first, second, then = made.output.splitlines()
    assert [first, second] == [f"{tmp_path / 'config.toml'} written.", f"{tmp_path / '.env'} written."]
    assert f"reflock run --config {tmp_path / 'config.toml'}" in then
    assert then.endswith(f"reflock doctor --config {tmp_path / 'config.toml'}")
    assert ran.exit_code == 2
    assert [line.split(" is ")[0] for line in ran.output.splitlines()] == [
        "reflock: [bluesky] handle",
        "reflock: REFLOCK_BLUESKY_APP_PASSWORD",
        "reflock: [mastodon] base_url",
        "reflock: REFLOCK_MASTODON_ACCESS_TOKEN",
    ]
