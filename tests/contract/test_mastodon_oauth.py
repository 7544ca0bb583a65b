"""Consent on any Mastodon-API server: asked for with the least that works, given, refused, mistyped and taken back."""

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from bot.networks.consent import ConsentExpired, ConsentRefused
from bot.networks.errors import GRANT_LOST, Refused
from bot.networks.oauth_mastodon import OUT_OF_BAND
from tests.contract.mastodon import Scene, brought_back, granted, order, unique


async def test_the_bot_makes_itself_known_and_asks_with_state_and_s256(mastodon: Scene) -> None:
    oauth = mastodon.client()
    app = await mastodon.registered(oauth)
    asked, url = oauth.start(app, mastodon.alice.actor)
    query = parse_qs(urlsplit(url).query)
    assert query["state"] == [asked.state]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [oauth.redirect_uri]
    assert asked.verifier not in url
    assert "write" not in app.scopes.replace("write:follows", "").split()


async def test_consent_is_given_in_a_browser_by_the_person_who_is_heard(mastodon: Scene) -> None:
    oauth = mastodon.client()
    app = await mastodon.registered(oauth)
    asked, url = oauth.start(app, mastodon.alice.actor)
    tokens = await oauth.finish(app, asked, brought_back(await mastodon.alice.approve(url)))
    assert tokens.may_follow
    assert tokens.actor == mastodon.alice.actor
    assert f"@{tokens.acct}" == mastodon.alice.handle.lower()
    bot, cursor = await mastodon.attentive()
    await mastodon.alice.post(f"{mastodon.flock.handle} {unique()}")
    (heard,) = await mastodon.heard(bot, cursor)
    assert (heard.actor, heard.handle) == (tokens.actor, f"@{tokens.acct}")
    await mastodon.bob.lock(locked=False)
    (outcome,) = await bot.follow(granted(tokens), [order(mastodon.bob)])
    assert outcome.uri == mastodon.bob.id


async def test_a_code_can_be_pasted_once(mastodon: Scene) -> None:
    oauth = mastodon.pasting
    app = await mastodon.registered(oauth)
    assert app.redirect_uri == OUT_OF_BAND
    asked, url = oauth.start(app, mastodon.alice.actor)
    code = await mastodon.alice.approve(url)
    assert (await oauth.finish_with_code(app, asked, f" {code}\n")).actor == mastodon.alice.actor
    with pytest.raises(ConsentExpired):
        await oauth.finish_with_code(app, asked, code)


async def test_a_mistyped_code_is_told_as_one(mastodon: Scene) -> None:
    oauth = mastodon.pasting
    app = await mastodon.registered(oauth)
    asked, _ = oauth.start(app, mastodon.alice.actor)
    with pytest.raises(ConsentExpired, match="mistyped"):
        await oauth.finish_with_code(app, asked, unique("code"))


async def test_an_answer_that_was_not_asked_for_is_not_taken(mastodon: Scene) -> None:
    oauth = mastodon.client()
    app = await mastodon.registered(oauth)
    asked, _ = oauth.start(app, mastodon.alice.actor)
    with pytest.raises(ConsentRefused, match="does not belong"):
        await oauth.finish(app, asked, {"code": unique("code"), "state": unique("state")})
    with pytest.raises(ConsentRefused, match="on another server"):
        await oauth.finish_with_code(replace(app, server="other.example"), asked, unique("code"))


async def test_no_is_heard(mastodon: Scene) -> None:
    oauth = mastodon.client()
    app = await mastodon.registered(oauth)
    asked, url = oauth.start(app, mastodon.alice.actor)
    with pytest.raises(ConsentRefused):
        await oauth.finish(app, asked, brought_back(await mastodon.alice.approve(url, allow=False)))


async def test_only_the_account_that_was_asked_may_consent(mastodon: Scene) -> None:
    oauth = mastodon.pasting
    app = await mastodon.registered(oauth)
    asked, url = oauth.start(app, mastodon.alice.actor)
    code = await mastodon.bob.approve(url)
    with pytest.raises(ConsentRefused, match=f"given for {mastodon.bob.name}@"):
        await oauth.finish_with_code(app, asked, code)


async def test_a_consent_that_was_taken_back_is_over_and_may_be_taken_back_again(mastodon: Scene) -> None:
    bot, oauth = await mastodon.start(), mastodon.pasting
    app = await mastodon.registered(oauth)
    asked, url = oauth.start(app, mastodon.alice.actor)
    tokens = await oauth.finish_with_code(app, asked, await mastodon.alice.approve(url))
    for _ in range(2):
        await bot.revoke(tokens.to_json())
    with pytest.raises(Refused) as refusal:
        await bot.follow(granted(tokens), [order(mastodon.bob)])
    assert refusal.value.reason == GRANT_LOST
