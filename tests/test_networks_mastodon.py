"""The Mastodon adapter begins on a small Mastodon, and keeps to its limits."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bot.networks.errors import LOGIN_REFUSED, Refused, Unavailable
from bot.networks.mastodon import MastodonNetwork
from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson, MastodonSandbox
from bot.sandbox.mastodon.limits import STATUSES, Rule
from tests.conftest import OwnClock
from tests.mastodon_bot import Start, alice, bot, flock, guard, start, town
from tests.saying import dm_to

__all__ = ["alice", "bot", "flock", "guard", "start", "town"]  # fixtures


# Starting.


async def test_the_bot_knows_who_it_is_says_that_it_is_one_and_lets_everybody_write(
    bot: MastodonNetwork, flock: MastodonPerson
) -> None:
    assert bot.handle == flock.handle
    assert flock.account.bot
    assert flock.account.policy["for_private_mentions"] == "accept"


async def test_a_page_that_repeats_our_token_is_quoted_without_any_part_of_it(
    start: Start, flock: MastodonPerson, town: MastodonSandbox
) -> None:
    for before in range(280, 300, 3):
        page = f"{'x' * before}{flock.token}".encode()
        town.faults.plan(Fault("verify_credentials", status=403, body=page, headers={"content-type": "text/html"}))
        with pytest.raises(Refused) as refusal:
            await start()
        assert flock.token[:4] not in str(refusal.value)
        assert "x" * before in str(refusal.value)


async def test_what_stands_in_a_netrc_does_not_take_our_tokens_place(
    start: Start, alice: MastodonPerson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    alice.post("@flock hello")
    bot = await start()
    assert [message.text for message in (await bot.hear(None)).messages] == ["@flock hello"]


async def test_a_token_that_is_no_good_is_refused_with_a_reason(start: Start, flock: MastodonPerson) -> None:
    with pytest.raises(Refused) as refusal:
        await start("nonsense")
    assert refusal.value.reason == LOGIN_REFUSED
    with pytest.raises(Refused) as narrow:
        await start(flock.token_for("read"))
    assert narrow.value.reason == LOGIN_REFUSED


@pytest.mark.parametrize("status", [401, 404, 503])
async def test_a_server_that_tells_nothing_of_itself_gets_the_usual_limits(
    start: Start, town: MastodonSandbox, status: int
) -> None:
    town.faults.plan(Fault("/instance", status=status, body=b"{}", times=2))
    town.faults.plan(Fault("/notifications/policy", status=404, body=b"{}"))
    bot = await start()
    assert bot.fits("x" * 468, public=True)
    assert not bot.fits("x" * 469, public=True)
    assert bot.handle.endswith(urlsplit(town.url).netloc)


async def test_a_server_that_is_down_is_unavailable(start: Start, town: MastodonSandbox) -> None:
    for fault in (Fault("verify_credentials", "cut"), Fault("verify_credentials", "malformed"), Fault("verify")):
        town.faults.plan(fault)
        with pytest.raises(Unavailable):
            await start()


# Keeping to limits.


async def test_the_last_of_an_allowance_is_left_alone(
    bot: MastodonNetwork, alice: MastodonPerson, flock: MastodonPerson, town: MastodonSandbox, clock: OwnClock
) -> None:
    town.limits.rules[STATUSES] = Rule(20, 3600)
    for number in range(19):
        await bot.say(dm_to(alice, f"message {number}", key=f"k{number}"))
    with pytest.raises(Unavailable) as full:
        await bot.say(dm_to(alice, "one more", key="more"))
    assert full.value.retry_in is not None
    assert len(alice.received_dms(flock)) == 19
    clock.pass_seconds(full.value.retry_in + 1)
    await bot.say(dm_to(alice, "one more", key="more"))


async def test_a_rate_limit_names_its_time(bot: MastodonNetwork, alice: MastodonPerson, town: MastodonSandbox) -> None:
    headers = {"retry-after": "77"}
    town.faults.plan(Fault("/api/v1/statuses", status=429, headers=headers, method="POST"))
    with pytest.raises(Unavailable) as limit:
        await bot.say(dm_to(alice, "Hello!"))
    assert limit.value.retry_in == 77
