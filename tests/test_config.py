"""config.toml: everything in it is explained, and what is wrong with it is said in one line."""

import itertools
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot.__main__ import main
from bot.config import Config, ConfigError, Loaded, Secrets, load, parse
from bot.installing import example, write_files
from storage.keys import Keys
from storage.records import NetworkName

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "config.example.toml"
_NO_SECRETS = {"REFLOCK_NONE_OF_OURS": "1"}
_SECRETS = {
    "REFLOCK_PSEUDONYM_KEY": "pseudonym",
    "REFLOCK_GRANT_KEYS": "grant",
    "REFLOCK_BLUESKY_APP_PASSWORD": "password",
    "REFLOCK_MASTODON_ACCESS_TOKEN": "token",
}
_FILLED_IN = '[bluesky]\nhandle = "reflock.example.org"\n[mastodon]\nbase_url = "https://mastodon.example"\n'


def _problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(tomllib.loads(text), "config.toml")
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("config.toml: ")
    return said.removeprefix("config.toml: ")


def _loaded(folder: Path, text: str, secrets: dict[str, str]) -> Loaded:
    (folder / "config.toml").write_text(text)
    return load(folder / "config.toml", {**_NO_SECRETS, **secrets})


def _missing(folder: Path, text: str, secrets: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        _loaded(folder, text, secrets).check_complete()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_committed_example_is_the_one_that_init_writes() -> None:
    assert EXAMPLE.read_text("utf-8") == example(), "write it anew from bot.installing.example()"


def test_the_example_holds_every_key_with_its_default() -> None:
    table = tomllib.loads(EXAMPLE.read_text("utf-8"))

    assert parse(table, "config.example.toml") == Config()
    assert {name: set(section) for name, section in table.items()} == {
        name: set(type(field.default).model_fields) for name, field in Config.model_fields.items()
    }


def test_every_section_and_every_key_says_what_it_is_for() -> None:
    lines = EXAMPLE.read_text("utf-8").splitlines()
    unexplained = [
        line
        for before, line in itertools.pairwise(lines)
        if line and not line.startswith("#") and not before.startswith("# ")
    ]

    assert unexplained == []
    for name, section in Config.model_fields.items():
        for key, field in type(section.default).model_fields.items():
            assert field.description, f"[{name}] {key} has no description"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[bluesky]\nhandel = 'x'", "[bluesky] handel is not a key that Reflock knows"),
        ("[facebook]\nenabled = true", "[facebook] is not a key that Reflock knows"),
        ("port = 8080", "[port] is not a key that Reflock knows"),
        ("[web]\nport = 'eighty'", "[web] port: must be a whole number."),
        ("[web]\nport = 123456", "[web] port: "),
        ("[web]\npublic_url = 'reflock.example'", "[web] public_url: must begin with https://"),
        (
            "[bluesky]\nhandle = 'reflock'",
            "[bluesky] handle: is no handle of Bluesky; write it as in reflock.example.org",
        ),
        ("[bluesky]\nhandle = 'ref lock.example.org'", "[bluesky] handle: is no handle of Bluesky"),
        ("[bluesky]\nhandle = '@reflock.example.org'", "[bluesky] handle: is no handle of Bluesky"),
        ("[pace]\nmastodon_follows_a_day = 381", "[pace] mastodon_follows_a_day: "),
        ("[log]\nlevel = 'loud'", "[log] level: must be 'debug', 'info', 'warning' or 'error'."),
        ("[bluesky]\nenabled = 'perhaps'", "[bluesky] enabled: must be true or false."),
        ("web = 3", "[web]: must be a section of its own"),
        ("[notices]\nopens_at = '2027-01-20T18:00:00'", "[notices] opens_at is not a moment with a time zone"),
        ("[notices]\nopens_at = 'tomorrow'", "[notices] opens_at is not a moment with a time zone"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(text: str, said: str) -> None:
    assert _problem(text).startswith(said)


@pytest.mark.parametrize(
    "key",
    [
        "[bluesky] service_url",
        "[bluesky] plc_url",
        "[mastodon] base_url",
        "[web] public_url",
        "[x] syndication_url",
        "[x] oembed_url",
    ],
)
def test_an_address_with_a_name_or_a_password_in_it_is_refused_without_repeating_it(key: str) -> None:
    for before in ("bot:opensesame", "opensesame", "bot:opensesame@opensesame"):
        said = _problem("{}\n{} = 'https://{}@host.example'".format(*key.split(), before))

        assert said.startswith(f"{key}: must not hold a name or a password")
        assert "opensesame" not in said


@pytest.mark.parametrize("end", ["/reflock", "/a/b/", "?a=b", "/#here"])
def test_an_address_of_pages_below_a_path_is_refused(end: str) -> None:
    said = _problem(f"[web]\npublic_url = 'https://host.example{end}'")

    assert said.startswith("[web] public_url: must have nothing behind the host")


def test_all_keys_that_are_none_are_told_with_where_the_former_ones_may_be(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(_FILLED_IN)
    _, grant = Keys.generate()

    ran = CliRunner().invoke(
        main,
        ["run", "--config", str(tmp_path / "config.toml")],
        env={**_SECRETS, "REFLOCK_GRANT_KEYS": f"{grant},grant"},
    )

    assert ran.exit_code == 2
    pseudonym, second = ran.output.splitlines()
    assert pseudonym.startswith("reflock: REFLOCK_PSEUDONYM_KEY must be 32 bytes in base64. Put the former key back")
    assert second.startswith("reflock: REFLOCK_GRANT_KEYS: key 2 of 2 is not a Fernet key. Put the former key back")
    assert "on a new installation: reflock init --directory new" in second


@pytest.mark.parametrize(
    ("public_url", "blamed", "remedy"),
    [
        ("http://host.example", "[web] public_url", "Put a reverse proxy with TLS before the pages"),
        ("https://host.example", "REFLOCK_CLIENT_KEY", "reflock init --directory new"),
    ],
)
def test_the_address_and_the_client_key_are_blamed_for_their_own_mistakes(
    tmp_path: Path, public_url: str, blamed: str, remedy: str
) -> None:
    (tmp_path / "config.toml").write_text(f'{_FILLED_IN}[web]\npublic_url = "{public_url}"\n')
    pseudonym, grant = Keys.generate()
    keys = {"REFLOCK_PSEUDONYM_KEY": pseudonym, "REFLOCK_GRANT_KEYS": grant, "REFLOCK_CLIENT_KEY": "no key"}

    ran = CliRunner().invoke(main, ["run", "--config", str(tmp_path / "config.toml")], env={**_SECRETS, **keys})

    assert ran.exit_code == 2
    (line,) = ran.output.splitlines()
    assert [name for name in ("[web] public_url", "REFLOCK_CLIENT_KEY") if name in line] == [blamed]
    assert remedy in line
    assert ".." not in line


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tomllib.loads("[bluesky]\nhandel = 'x'\n[web]\nport = 'eighty'"), "config.toml")

    assert [line.split(" ", 3)[1:3] for line in str(caught.value).splitlines()] == [
        ["[bluesky]", "handel"],
        ["[web]", "port:"],
    ]


def test_an_opening_day_with_its_zone_is_understood() -> None:
    config = parse({"notices": {"opens_at": "2027-01-20T18:00:00+01:00"}}, "config.toml")

    assert Loaded(config=config, secrets=Secrets()).settings({}).opens_at == 1_800_464_400_000


def test_a_complete_configuration_is_complete(tmp_path: Path) -> None:
    loaded = _loaded(tmp_path, _FILLED_IN, _SECRETS)

    loaded.check_complete()
    assert set(loaded.networks()) == set(NetworkName)


@pytest.mark.parametrize("name", sorted(_SECRETS))
def test_a_missing_secret_is_named(tmp_path: Path, name: str) -> None:
    others = {key: value for key, value in _SECRETS.items() if key != name}

    assert name in _missing(tmp_path, _FILLED_IN, others)


def test_what_has_to_be_filled_in_is_named(tmp_path: Path) -> None:
    without_handle = _FILLED_IN.replace("reflock.example.org", "")
    without_server = _FILLED_IN.replace("https://mastodon.example", "")
    nothing_on = "[bluesky]\nenabled = false\n[mastodon]\nenabled = false\n"

    assert "[bluesky] handle is empty" in _missing(tmp_path, without_handle, _SECRETS)
    assert "[mastodon] base_url is empty" in _missing(tmp_path, without_server, _SECRETS)
    assert "Both networks are switched off" in _missing(tmp_path, nothing_on, _SECRETS)


def test_a_network_that_is_switched_off_needs_nothing(tmp_path: Path) -> None:
    only_mastodon = '[bluesky]\nenabled = false\n[mastodon]\nbase_url = "https://mastodon.example"\n'
    secrets = {name: value for name, value in _SECRETS.items() if "BLUESKY" not in name}

    loaded = _loaded(tmp_path, only_mastodon, secrets)

    loaded.check_complete()
    assert loaded.networks() == (NetworkName.MASTODON,)


def test_secrets_come_from_the_environment_before_the_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REFLOCK_PSEUDONYM_KEY=of-the-file\nREFLOCK_GRANT_KEYS=of-the-file\n")

    secrets = _loaded(tmp_path, "", {"REFLOCK_GRANT_KEYS": "of-the-environment"}).secrets

    assert secrets.pseudonym_key.get_secret_value() == "of-the-file"
    assert secrets.grant_keys.get_secret_value() == "of-the-environment"


def test_a_database_url_with_a_password_stays_out_of_the_configuration_and_out_of_what_is_printed(
    tmp_path: Path,
) -> None:
    url = "postgresql://reflock:opensesame@db/reflock"

    loaded = _loaded(tmp_path, "", {"REFLOCK_DATABASE_URL": url})

    assert loaded.database_url == url
    assert "opensesame" not in repr(loaded)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Make one with: reflock init"),
        (b"[bluesky\n", "is not TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"[bluesky]\nhandel = 'x'\n", "[bluesky] handel is not a key that Reflock knows"),
    ],
)
def test_the_command_says_it_in_one_line_and_ends_with_2(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)

    ran = CliRunner().invoke(main, ["run", "--config", str(path)])

    assert ran.exit_code == 2
    assert len(ran.output.splitlines()) == 1
    assert ran.output.startswith("reflock: ")
    assert said in ran.output


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.mkdir, "Is a directory"),
        (lambda env: env.symlink_to(env), "symbolic links"),
        (lambda env: env.write_bytes(b"REFLOCK_GRANT_KEYS=\xff"), "not UTF-8"),
    ],
    ids=["folder", "loop", "bytes"],
)
def test_secrets_that_cannot_be_read_are_said_to_be_so(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(tmp_path / ".env")

    with pytest.raises(ConfigError) as caught:
        _loaded(tmp_path, "", {})

    assert str(caught.value).startswith(f"{tmp_path / '.env'} cannot be read: ")
    assert said in str(caught.value)
    assert "reflock init" in str(caught.value)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"REFLOCK_PSEUDONYM_KEY": "short"}, "REFLOCK_PSEUDONYM_KEY must be 32 bytes"),
        ({"REFLOCK_DATABASE_URL": "mysql://db/reflock"}, "in SQLite or PostgreSQL, not in mysql"),
        ({"REFLOCK_DATABASE_URL": "postgresql://reflock:opensesame@127.0.0.1:9/none"}, "does not answer"),
    ],
)
def test_a_real_process_ends_without_a_traceback(tmp_path: Path, spoilt: dict[str, str], said: str) -> None:
    list(write_files(tmp_path))
    (tmp_path / "config.toml").write_text(_FILLED_IN)
    environment = {"PATH": "", **_SECRETS, **spoilt}
    for name in {"REFLOCK_PSEUDONYM_KEY", "REFLOCK_GRANT_KEYS"} - set(spoilt):
        del environment[name]  # those that init made

    command = [sys.executable, "-W", "error", "-m", "bot", "run", "--config", str(tmp_path / "config.toml")]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "opensesame" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("reflock: ")
    assert said in ran.stderr.splitlines()[-1]
