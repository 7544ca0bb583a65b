"""Operators who mistype, and servers that are down: one line, exit code 2, nothing that looks like a crash."""

import asyncio
import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bot.app import make_keys, open_app
from bot.config import ConfigError, Loaded, load, parse
from bot.operating import give_up_lost_keys, rotate_keys
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonSandbox
from bot.web.serving import Server
from storage import sessions
from storage.database import Database, wait_for
from storage.engines import DatabaseError, parse_url
from storage.keys import Keys
from tests.conftest import OwnClock
from tests.flock import open_flock
from tests.test_bot_process import start, write_configuration

SECRET = "swordfish"
# What stands in a URL by mistake: of a shell, of an editor, of a password that was not percent-encoded.
ODD = (
    "",
    "@",
    "/",
    "?",
    ":",
    "#",
    "%",
    "%40",
    "%00",
    "\0",
    "\ud800",
    "%ed%a0%80",
    "[",
    "é",
    " ",
    "\n",
    "a" * 300,
    "=",
    "&",
)
OPTIONS = (
    "host",
    "port",
    "sslmode",
    "ssl",
    "timeout",
    "command_timeout",
    "prepared_statement_cache_size",
    "dsn",
    "loop",
)


@st.composite
def odd_urls(draw: st.DrawFn) -> str:
    """Make up an address that leads to no server but this machine's, or to no file but in the folder `{folder}`."""
    odd, number = st.sampled_from(ODD), st.sampled_from(["", "1", "-1", "0", "99999", "9" * 5000, "abc", "1,2", "٣"])
    query = draw(st.lists(st.tuples(st.sampled_from(OPTIONS), number | odd), max_size=3))
    hidden = draw(st.sampled_from(["", f"&password={SECRET}", f"&sslpassword={SECRET}"]))
    options = "?" + "&".join(f"{name}={value}" for name, value in query) + hidden if query or hidden else ""
    if draw(st.booleans()):
        return f"sqlite://{draw(odd)}/{{folder}}/{draw(odd)}x{draw(odd)}{options}"
    user = draw(st.sampled_from(["", "u", "u@server", "u/x", "u?x"]))
    password = f":{draw(odd)}{SECRET}{draw(odd)}"
    host = draw(
        st.sampled_from(["127.0.0.1", "[::1]", "127.0.0.1,127.0.0.1", "a" * 300, "a..b", "\0", "\ud800", "[", ""])
    )
    return f"postgresql://{user}{password}@{host}:{draw(number) or 1}/{draw(odd)}{options}"


@pytest.mark.parametrize(
    "written",
    [
        "[notices]\ndelay_seconds = inf",
        "[notices]\ntick_seconds = inf",
        "[notices]\ntick_seconds = 1e300",
        "[bluesky]\npoll_seconds = nan",
        "[privacy]\nkeep_days = 1000000000000000",
        "[notices]\nsilence_after = 1000000000000000000000000",
        "[pace]\nbluesky_messages_an_hour = 1000000000000000000000000",
        '[notices]\nopens_at = "9999-12-31T23:59:59-12:00"',
        '[bluesky]\nservice_url = "https://"',
        '[bluesky]\nservice_url = "https://[::1"',
        '[bluesky]\nservice_url = "http://localhost:99999"',
        '[mastodon]\nbase_url = "https://exa mple"',
        '[mastodon]\nbase_url = "https://a..b"',
        f'[web]\npublic_url = "https://{"é" * 80}"',
    ],
)
def test_what_no_clock_and_no_network_can_do_is_refused_before_the_start(written: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(tomllib.loads(written), "config.toml")
    assert "\n" not in str(caught.value)
    assert written.split()[1] in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://reflock.example.org", "http://127.0.0.1:8080", "http://[::1]:80/", "https://é.fr"]
)
def test_addresses_that_lead_somewhere_are_taken(url: str) -> None:
    assert parse({"web": {"public_url": url}}, "config.toml").web.public_url == url.rstrip("/")


def test_secrets_in_another_encoding_are_named_without_being_shown(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    (tmp_path / ".env").write_bytes(b"REFLOCK_BLUESKY_APP_PASSWORD=caf\xe9\n")
    with pytest.raises(ConfigError, match=r"\.env cannot be read") as caught:
        load(tmp_path / "config.toml", {"NONE": "1"})
    assert "caf" not in str(caught.value)


def test_a_configuration_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f"a = {'[' * 5000}")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path / "config.toml", {"NONE": "1"})


@pytest.mark.parametrize("url", ["sqlite:////dev/null/reflock.sqlite3", "postgresql://u@127.0.0.1:port/reflock"])
def test_a_database_that_cannot_be_is_refused_in_words(url: str) -> None:
    with pytest.raises(DatabaseError):
        Database(url)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written=odd_urls())
@example(f"postgresql://u:{SECRET}@127.0.0.1:99999/d")
@example(f"postgresql://u:{SECRET}@127.0.0.1:-1/d")
@example(f"postgresql://u:{SECRET}@127.0.0.1:1/d?port=abc")
@example(f"postgresql://u:{SECRET}@127.0.0.1:1/d?command_timeout=x")
@example(f"postgresql://u:{SECRET}@127.0.0.1:1/d?loop=x")
@example(f"postgresql://u:{SECRET}@{'a' * 300}:1/d")
@example(f"postgresql://u:half@{SECRET}@127.0.0.1:1/d")
@example(f"postgresql://u:half@half/{SECRET}@127.0.0.1:1/d")
@example(f"postgresql://:@{SECRET}?@127.0.0.1:1/")
@example(f"postgresql://u:1?{SECRET}@127.0.0.1:1/d")
@example(f"postgresql://u/x:{SECRET}@127.0.0.1:1/")
@example("sqlite:///{folder}/\0")
@example("sqlite:///{folder}/x?mode=memory&uri=true")
@example("sqlite://host/{folder}/x")
def test_whatever_stands_for_a_database_is_opened_or_refused_in_words_that_keep_its_secret(
    folder: Path, written: str
) -> None:
    async def open_it() -> None:
        database = Database(written.replace("{folder}", str(folder)))
        try:
            await wait_for(database, 1)
        finally:
            await database.close()

    told = "Opened."
    try:
        asyncio.run(open_it())
    except DatabaseError as refused:
        told = str(refused)
    assert SECRET not in told
    assert told.endswith(("?", ".", "reflock.sqlite3"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder for all examples."""
    return tmp_path_factory.mktemp("addresses")


@pytest.mark.parametrize("port", ["0", "-1", "65536", "99999"])
def test_a_port_that_cannot_be_is_named_as_what_is_wrong(port: str) -> None:
    with pytest.raises(DatabaseError, match="port"):
        parse_url(f"postgresql://u@db.example:{port}/reflock")


def test_a_password_that_is_not_written_as_in_a_url_is_told_so_without_being_shown() -> None:
    with pytest.raises(DatabaseError, match="%40") as refused:
        parse_url(f"postgresql://u:half@{SECRET}@db.example/reflock")
    assert SECRET not in str(refused.value)


async def test_an_option_that_the_database_does_not_know_is_refused_in_words(postgres: str) -> None:
    database = Database(f"{postgres}&nonsense=1" if "?" in postgres else f"{postgres}?nonsense=1")
    with pytest.raises(DatabaseError, match="does not answer"):
        await wait_for(database, 5)
    await database.close()


def test_the_url_that_hosters_hand_out_is_understood() -> None:
    assert parse_url("postgresql://u@db.example/reflock?sslmode=require").query == {"ssl": "require"}


def test_a_host_that_is_no_name_is_an_ordinary_error() -> None:
    with pytest.raises(OSError, match="no name of a host"):
        Server(host="é" * 100)


async def test_one_server_down_is_one_line_while_the_other_one_starts(tmp_path: Path) -> None:
    async with MastodonSandbox() as mastodon:
        token = mastodon.create_account("reflock", bot=True).token
        config = write_configuration(tmp_path, "http://127.0.0.1:9")
        config.write_text(
            config.read_text().replace("enabled = false", f'base_url = "{mastodon.url}"\nstreaming = false')
            + '[log]\nlevel = "warning"\n'
        )
        with (tmp_path / ".env").open("a") as secrets:
            secrets.write(f"REFLOCK_MASTODON_ACCESS_TOKEN={token}\n")
        process = await start(config, "run")
        _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert len(error.decode().strip().splitlines()) == 1, error.decode()
    assert "service_url" in error.decode()


async def test_a_wrong_address_is_said_at_once_while_the_other_network_asks_us_to_wait(tmp_path: Path) -> None:
    async with MastodonSandbox() as mastodon:
        limited = {"retry-after": "3600"}
        mastodon.faults.plan(Fault("verify_credentials", status=429, headers=limited, body=b'{"error":"Too many"}'))
        token = mastodon.create_account("reflock", bot=True).token
        config = write_configuration(tmp_path, "http://127.0.0.1:9")
        config.write_text(config.read_text().replace("enabled = false", f'base_url = "{mastodon.url}"'))
        with (tmp_path / ".env").open("a") as secrets:
            secrets.write(f"REFLOCK_MASTODON_ACCESS_TOKEN={token}\n")
        process = await start(config, "run")
        _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert "service_url" in error.decode().splitlines()[-1]


async def test_what_cannot_be_printed_is_not_blamed_on_the_database(tmp_path: Path) -> None:
    config = write_configuration(tmp_path, "http://127.0.0.1:9")
    process = await start(config, "db", "upgrade")
    assert await process.wait() == 0
    full = os.open("/dev/full", os.O_WRONLY)
    process = await start(config, "stats", stdout=full)
    os.close(full)
    _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    (line,) = error.decode().strip().splitlines()
    assert "No space left on device" in line
    assert "database" not in line


@pytest.mark.parametrize("name", ["w" * 65, ""])
async def test_a_worker_whose_name_can_be_none_is_refused_in_words(tmp_path: Path, name: str) -> None:
    process = await start(write_configuration(tmp_path, "http://127.0.0.1:9"), "run", "--worker", name)
    _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    (line,) = error.decode().strip().splitlines()
    assert "--worker: [bot] worker: String should have at" in line


async def test_another_pseudonym_key_is_refused_and_the_former_one_still_works(
    database_url: str, clock: OwnClock
) -> None:
    async with open_flock(database_url, clock) as flock:
        pseudonym, _ = Keys.generate()
        secrets = flock.config.secrets
        changed = secrets.model_copy(update={"pseudonym_key": type(secrets.pseudonym_key)(pseudonym)})
        with pytest.raises(ConfigError, match="REFLOCK_PSEUDONYM_KEY"):
            async with open_app(Loaded(config=flock.config.config, secrets=changed), clock):
                pass
        async with open_app(flock.config, clock) as again:
            assert again.networks


async def test_other_grant_keys_are_refused_until_the_former_ones_are_back_or_given_up(
    database_url: str, clock: OwnClock
) -> None:
    async with open_flock(database_url, clock) as flock:
        secrets = flock.config.secrets
        former, latter = secrets.grant_keys.get_secret_value(), Keys.generate()[1]

        def with_grants(*keys: str) -> Loaded:
            changed = secrets.model_copy(update={"grant_keys": type(secrets.grant_keys)(",".join(keys))})
            return flock.config.model_copy(update={"secrets": changed})

        async def starts(*keys: str) -> None:
            async with open_app(with_grants(*keys), clock) as again:
                assert again.networks

        with pytest.raises(ConfigError, match="REFLOCK_GRANT_KEYS does not hold the key"):
            await starts(latter)
        await starts(latter, former)
        with pytest.raises(ConfigError, match="nothing was done"):
            await rotate_keys(with_grants(latter))
        await rotate_keys(with_grants(latter, former))
        await starts(latter)
        async with flock.app.events.database.transaction() as connection:
            await sessions.save(connection, make_keys(with_grants(latter)), "a session", "whose key is then lost")
        with pytest.raises(ConfigError, match="reflock db rotate --lost"):
            await starts(former)
        await give_up_lost_keys(with_grants(former))
        await starts(former)
        newest = Keys.generate()[1]
        await rotate_keys(with_grants(newest, former))
        await starts(newest)


async def test_other_grant_keys_are_refused_where_an_earlier_reflock_kept_secrets(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    async with database.transaction() as connection:
        await sessions.save(connection, Keys(*_generated()), "a session", "its secret")
    config = write_configuration(tmp_path, "http://127.0.0.1:9")
    with (tmp_path / ".env").open("a") as secrets:
        secrets.write(f"REFLOCK_DATABASE_URL='{database_url}'\n")
    process = await start(config, "run")
    _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    (line,) = error.decode().strip().splitlines()
    assert "REFLOCK_GRANT_KEYS does not hold the key" in line


def _generated() -> tuple[str, list[str]]:
    pseudonym, grant = Keys.generate()
    return pseudonym, [grant]
