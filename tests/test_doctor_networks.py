"""`reflock doctor` at the networks: logins, passwords, tokens, and what servers can and cannot do."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonSandbox
from bot.sandbox.mastodon.quirks import CHARACTERS, TAKAHE, Quirks
from storage import tables
from tests.surgery import Surgery, open_surgery

APPLICATION = "/api/v1/apps/verify_credentials"
POLICY = "/api/v2/notifications/policy"
ENOUGH = "read write:accounts write:notifications write:statuses"


@pytest.fixture
async def surgery(tmp_path: Path) -> AsyncIterator[Surgery]:
    async with open_surgery(tmp_path, f"sqlite:///{tmp_path / 'reflock.sqlite3'}") as opened:
        yield opened


# Bluesky.


async def test_a_wrong_password_has_a_line_and_the_rest_of_bluesky_waits_for_it(surgery: Surgery) -> None:
    surgery.secrets["REFLOCK_BLUESKY_APP_PASSWORD"] = "a wrong password"
    visit = await surgery.asks()

    assert visit.wrong == ["Bluesky login"]
    line = visit.about("Bluesky login")
    assert f"{surgery.sky.url} refuses @reflock.test: Invalid identifier or password." in line
    assert "make a new app password for REFLOCK_BLUESKY_APP_PASSWORD" in line
    assert [name for name in visit.not_checked if name.startswith("Bluesky")] == [
        "Bluesky direct messages",
        "Bluesky bot label",
        "Bluesky messages from everybody",
        "Bluesky directory",
    ]


async def test_an_app_password_without_the_chat_has_a_line(surgery: Surgery) -> None:
    surgery.secrets["REFLOCK_BLUESKY_APP_PASSWORD"] = surgery.bot.add_app_password(chat=False)
    visit = await surgery.asks()

    assert visit.wrong == ["Bluesky direct messages"]
    assert "tick the box that allows access to your direct messages" in visit.about("Bluesky direct messages")


async def test_a_chat_service_that_is_down_is_no_matter_of_the_password(surgery: Surgery) -> None:
    surgery.sky.faults.plan(Fault("chat.bsky.convo.listConvos", status=502))
    visit = await surgery.asks()

    assert visit.wrong == ["Bluesky direct messages"]
    assert "Is the chat service up" in visit.about("Bluesky direct messages")


@pytest.mark.parametrize(
    ("path", "name"), [("createSession", "Bluesky login"), ("accounts/verify_credentials", "Mastodon login")]
)
async def test_a_network_that_asks_us_to_wait_is_no_matter_of_the_address(
    surgery: Surgery, path: str, name: str
) -> None:
    for server in (surgery.sky, surgery.town):
        server.faults.plan(Fault(path, status=429, headers={"retry-after": "90"}, body=b'{"error":"Too many"}'))
    visit = await surgery.asks()

    assert visit.wrong == [name]
    assert "we are asked to wait" in visit.about(name)
    assert "Try again in 90 seconds." in visit.about(name)
    assert "right?" not in visit.about(name)


async def test_an_account_that_is_closed_has_a_line(surgery: Surgery) -> None:
    surgery.bot.deactivate()
    visit = await surgery.asks()

    assert visit.wrong == ["Bluesky login"]
    assert "the account @reflock.test is deactivated" in visit.about("Bluesky login")


async def test_who_never_said_who_may_write_is_told_what_that_means(surgery: Surgery) -> None:
    del surgery.sky.world.accounts[surgery.bot.did].repo["chat.bsky.actor.declaration"]
    visit = await surgery.asks(fix=True, answers="y\n")

    assert "allowIncoming is following" in visit.text
    assert visit.exit_code == 0
    assert surgery.bot.allow_incoming == "all"


async def test_a_directory_that_does_not_know_the_bot_has_a_line(surgery: Surgery) -> None:
    surgery.sections["bluesky"]["plc_url"] = surgery.town.url
    visit = await surgery.asks()

    assert visit.wrong == ["Bluesky directory"]
    assert "[bluesky] plc_url right?" in visit.about("Bluesky directory")


async def test_a_look_leaves_the_running_bots_session_alone(surgery: Surgery) -> None:
    await surgery.prepare()
    for _ in range(2):
        assert (await surgery.asks()).exit_code == 0
    assert surgery.sky.sessions.count(surgery.bot.did) == 0

    async def kept(connection: AsyncConnection) -> int:
        return len((await connection.execute(sa.select(tables.session))).all())

    assert await surgery.database(kept) == 0


# Mastodon.


async def test_a_revoked_token_has_a_line(surgery: Surgery) -> None:
    surgery.town.oauth.tokens[surgery.toot.token].revoked = True
    visit = await surgery.asks()

    assert visit.wrong == ["Mastodon login"]
    line = visit.about("Mastodon login")
    assert "does not take the access token: The access token was revoked" in line
    assert "copy its access token to REFLOCK_MASTODON_ACCESS_TOKEN" in line
    assert visit.about("Mastodon server").startswith("ok")


@pytest.mark.parametrize("status", [200, 401, 403, 404])
async def test_an_address_at_which_there_are_pages_only_is_no_matter_of_the_token(
    surgery: Surgery, status: int
) -> None:
    surgery.town.faults.plan(Fault("/api/", status=status, body=b"<html>welcome</html>", times=99))
    visit = await surgery.asks()

    assert visit.wrong == ["Mastodon server"]
    line = visit.about("Mastodon server")
    assert f"{surgery.town.url} is no Mastodon-API server" in line
    assert "is [mastodon] base_url right?" in line
    assert "token" not in visit.text.partition("Mastodon server")[2].partition("Pages")[0]


async def test_a_server_of_another_kind_is_no_mastodon_api_server(surgery: Surgery) -> None:
    surgery.sections["mastodon"]["base_url"] = surgery.sky.url
    visit = await surgery.asks()

    assert visit.wrong == ["Mastodon server"]
    assert f"{surgery.sky.url} is no Mastodon-API server" in visit.about("Mastodon server")


async def test_a_server_that_is_down_has_one_line_and_one_remedy(surgery: Surgery) -> None:
    surgery.sections["mastodon"]["base_url"] = "http://127.0.0.1:9"
    visit = await surgery.asks()

    assert visit.wrong == ["Mastodon server"]
    assert visit.text.count("base_url") == 1
    assert visit.about("Clock (127.0.0.1:9)").startswith("-    Clock (127.0.0.1:9): not checked: no useful answer")


async def test_a_server_that_is_in_trouble_is_a_mastodon_api_server_all_the_same(surgery: Surgery) -> None:
    surgery.town.faults.plan(Fault("/api/", status=503, body=b"<html>later</html>", times=99))
    visit = await surgery.asks()

    assert visit.wrong == ["Mastodon server"]
    assert "no useful answer: " in visit.about("Mastodon server")
    assert "no Mastodon-API server" not in visit.text


@pytest.mark.parametrize(
    ("scopes", "lacking"),
    [
        (ENOUGH, ""),
        ("read:accounts read:search read:statuses read:follows write", "read:notifications"),
        ("read:accounts read:notifications read:statuses read:follows write", "read:search"),
        ("read:accounts read:notifications read:search read:statuses follow write", ""),
    ],
)
async def test_what_a_token_may_not_read_is_tried(surgery: Surgery, scopes: str, lacking: str) -> None:
    surgery.secrets["REFLOCK_MASTODON_ACCESS_TOKEN"] = surgery.toot.token_for(scopes)
    visit = await surgery.asks()

    assert visit.wrong == (["Mastodon scopes"] if lacking else [])
    line = visit.about("Mastodon scopes")
    assert (
        f"the token does not cover {lacking}." if lacking else "this server does not tell whether it may write"
    ) in line
    assert ("Mastodon private mentions" in visit.not_checked) is (lacking == "read:notifications")


@pytest.mark.parametrize(
    ("scopes", "lacking"),
    [
        (ENOUGH, ""),
        ("read write", ""),
        ("read write:statuses", "write:accounts, write:notifications"),
        ("read", "write:accounts, write:notifications, write:statuses"),
    ],
)
async def test_where_the_server_tells_the_scopes_those_for_writing_are_seen_too(
    surgery: Surgery, scopes: str, lacking: str
) -> None:
    body = json.dumps({"name": "the bot", "website": None, "scopes": scopes.split()}).encode()
    surgery.town.faults.plan(Fault(APPLICATION, status=200, body=body))
    visit = await surgery.asks()

    line = visit.about("Mastodon scopes")
    assert visit.wrong == (["Mastodon scopes"] if lacking else [])
    assert (f"the token does not cover {lacking}." if lacking else "read and write all that is needed") in line


async def test_a_server_without_a_notification_policy_needs_none(surgery: Surgery) -> None:
    surgery.town.faults.plan(Fault(POLICY, status=404, body=b'{"error":"Not Found"}'))
    visit = await surgery.asks()

    assert visit.exit_code == 0
    assert "not needed: this server has no notification policy" in visit.about("Mastodon private mentions")


async def test_a_server_that_says_nothing_of_itself_is_no_trouble(surgery: Surgery) -> None:
    for path in ("/.well-known/nodeinfo", "/api/v1/instance", "/api/v2/instance"):
        surgery.town.faults.plan(Fault(path, status=404, body=b"<html>nothing here</html>", times=9))
    visit = await surgery.asks()

    assert visit.exit_code == 0, visit.text
    assert "does not say what software it is" in visit.about("Mastodon server")
    assert "asked every 15 seconds; it does not say that it streams" in visit.about("Mastodon news")


async def test_without_nodeinfo_the_version_is_told(surgery: Surgery) -> None:
    surgery.town.faults.plan(Fault("/.well-known/nodeinfo", status=404))
    visit = await surgery.asks()

    assert "is a server of version 4.3.0" in visit.about("Mastodon server")


async def test_the_version_is_found_on_servers_that_are_strict_about_addresses(surgery: Surgery) -> None:
    for path in ("/.well-known/nodeinfo", "/api/v1/instance/", "/api/v2/instance"):
        surgery.town.faults.plan(Fault(path, status=404, body=b"<html>nothing here</html>", times=9))
    visit = await surgery.asks()

    assert "is a server of version 4.3.0" in visit.about("Mastodon server")


async def test_a_server_without_server_sent_events_is_polled(surgery: Surgery) -> None:
    surgery.town.faults.plan(Fault("/api/v1/streaming/health", status=404))
    visit = await surgery.asks()

    assert visit.exit_code == 0
    assert "it has no stream of server-sent events" in visit.about("Mastodon news")


async def test_where_streaming_is_off_nobody_asks_for_it(surgery: Surgery) -> None:
    surgery.sections["mastodon"] |= {"streaming": False, "poll_seconds": 20}
    visit = await surgery.asks()

    assert "asked every 20 seconds; [mastodon] streaming is off" in visit.about("Mastodon news")


@pytest.mark.parametrize("quirks", CHARACTERS, ids=lambda quirks: quirks.name)
async def test_what_other_software_does_otherwise_is_not_taken_for_a_mistake(surgery: Surgery, quirks: Quirks) -> None:
    async with MastodonSandbox(quirks=quirks) as town:
        bot = town.create_account("reflock", bot=True)
        bot.allow_private_mentions(allowed=True)
        surgery.sections["mastodon"]["base_url"] = town.url
        surgery.secrets["REFLOCK_MASTODON_ACCESS_TOKEN"] = bot.token
        visit = await surgery.asks()

        assert (visit.exit_code, visit.wrong) == (0, []), visit.text
        mentions, news = visit.about("Mastodon private mentions"), visit.about("Mastodon news")
        assert ("everybody may write" if quirks.notification_policy else "not needed") in mentions
        assert (quirks.streaming == "sse") is ("streamed from" in news)


async def test_a_mark_that_the_server_does_not_keep_is_not_said_to_be_set(surgery: Surgery) -> None:
    async with MastodonSandbox(quirks=TAKAHE) as town:
        surgery.sections["mastodon"]["base_url"] = town.url
        surgery.secrets["REFLOCK_MASTODON_ACCESS_TOKEN"] = town.create_account("reflock").token
        visit = await surgery.asks(fix=True, yes=True)

    assert visit.exit_code == 1
    assert "Mastodon bot flag: could not be set: not kept: the server keeps no such mark" in visit.text
    assert "say it in the profile's text" in visit.text


async def test_whoever_types_nothing_more_has_changed_nothing_more(surgery: Surgery) -> None:
    surgery.toot.account.bot = False

    visit = await surgery.asks(fix=True, answers="")

    assert visit.exit_code == 130
    assert not surgery.toot.account.bot


async def test_a_machine_is_told_what_could_not_be_set_and_why(surgery: Surgery) -> None:
    surgery.toot.account.bot = False
    surgery.town.faults.plan(Fault("update_credentials", status=403, body=b'{"error":"Not for you"}'))

    visit = await surgery.asks(fix=True, yes=True, to_machine=True)

    told = json.loads(visit.text)
    assert told["mended"] == []
    assert "not kept" in told["refused"]["Mastodon bot flag"]
