"""The bot's own token on any Mastodon-API server: good, wrong, narrow, taken away."""

import pytest

from bot.networks.errors import LOGIN_REFUSED, Refused, Unavailable
from bot.sandbox.faults import Fault
from tests.contract.mastodon import Scene, dm, unique


async def test_the_bot_knows_who_it_is_and_that_a_short_text_fits(mastodon: Scene) -> None:
    bot = await mastodon.start()
    assert bot.handle.lower() == mastodon.flock.handle.lower()
    assert bot.fits("x" * 400, public=True)
    assert not bot.fits("x" * 1_000_000, public=True)


async def test_the_bot_starts_again_and_again(mastodon: Scene) -> None:
    bot = await mastodon.start()
    await bot.close()
    await bot.start()
    assert bot.handle == (await mastodon.start()).handle


async def test_a_token_that_is_no_good_is_refused_with_a_reason(mastodon: Scene) -> None:
    with pytest.raises(Refused) as refusal:
        await mastodon.start("nonsense")
    assert refusal.value.reason == LOGIN_REFUSED


async def test_a_token_that_covers_too_little_to_speak_refuses_nobody_anything(mastodon: Scene) -> None:
    token = await mastodon.flock.token_for("read")

    async def speak() -> None:
        bot = await mastodon.start(token)
        await bot.say(dm(mastodon.alice, unique()))

    with pytest.raises((Refused, Unavailable)) as trouble:
        await speak()
    assert not isinstance(trouble.value, Refused) or trouble.value.reason == LOGIN_REFUSED


@pytest.mark.parametrize("kind", ["status", "cut", "malformed"])
async def test_a_server_that_is_ill_is_unavailable(mastodon: Scene, kind: str) -> None:
    mastodon.town.plan(Fault("verify_credentials", kind))  # type: ignore[arg-type]  # one of FaultKind
    with pytest.raises(Unavailable):
        await mastodon.start()
    await mastodon.start()
