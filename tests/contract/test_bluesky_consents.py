"""Consent on Bluesky: asked for, given, given in part, refused, renewed, replayed, revoked and withdrawn."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bot.networks.consent import ConsentExpired, ConsentRefused, GrantLost
from bot.networks.errors import GRANT_LOST, Refused, Unavailable
from bot.networks.oauth_atproto import FOLLOW_SCOPE, AtprotoConsent, AtprotoOauth
from tests.contract.bluesky import HOME, Scene, brought_back, order, undoing, unique


async def confidential(scene: Scene, *, ahead: float = 0.0) -> AtprotoOauth:
    """Return a client with a public address of its own and a key, of which servers can learn."""
    client = scene.client(f"https://reflock.home.arpa/{unique('client')}", new_key(), ahead=ahead)
    await scene.sky.know_client(client.client_metadata())
    return client


def new_key() -> str:
    """Make a signing key, as an operator would with openssl."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()


async def test_a_consent_that_was_given_says_to_whom_and_for_what(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    asked, url = await bluesky.oauth.start(f"@{alice.handle.upper()}")
    back = await alice.approve(url)
    tokens = await bluesky.oauth.finish(AtprotoConsent.from_json(asked.to_json()), brought_back(back))
    assert back.startswith(f"{HOME}/connect/bluesky/callback?")
    assert asked.verifier not in url
    assert (tokens.did, tokens.pds_url, tokens.issuer) == (alice.did, bluesky.sky.url, bluesky.sky.url)
    assert set(tokens.scope.split()) == set(FOLLOW_SCOPE.split())
    assert tokens.follow_actions == {"create", "delete"}
    assert not tokens.stale(bluesky.clock() / 1000)
    assert tokens.stale(bluesky.clock() / 1000 + 3600)  # no access token lives longer (atproto.com/specs/oauth)


async def test_a_did_is_as_good_as_a_handle(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    asked, _ = await bluesky.oauth.start(alice.did)
    assert (asked.did, asked.handle) == (alice.did, alice.handle)


async def test_a_refusal_is_heard(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    asked, url = await bluesky.oauth.start(alice.handle)
    with pytest.raises(ConsentRefused, match="rejected"):
        await bluesky.oauth.finish(asked, brought_back(await alice.approve(url, allow=False)))


async def test_a_consent_in_part_allows_only_its_part(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice, scope="atproto")
    assert grant.tokens.scope == "atproto"
    assert grant.tokens.follow_actions == frozenset()
    with pytest.raises(Refused) as refusal:
        await bluesky.follow(bot, grant, [order(bob)])
    assert refusal.value.reason == GRANT_LOST
    assert await bluesky.followed_by(alice) == []


async def test_a_code_serves_once(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    asked, url = await bluesky.oauth.start(alice.handle)
    answer = brought_back(await alice.approve(url))
    tokens = await bluesky.oauth.finish(asked, answer)
    with pytest.raises(ConsentExpired):
        await bluesky.oauth.finish(asked, answer)
    with pytest.raises(GrantLost):  # whoever brings a code twice may have stolen it: the session is over
        await bluesky.oauth.refresh(tokens)


async def test_a_made_up_code_is_worth_nothing(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    asked, url = await bluesky.oauth.start(alice.handle)
    answer = brought_back(await alice.approve(url))
    for forged in ("cod-0", f"{answer['code'][:-4]}0000", ""):
        with pytest.raises(Refused):
            await bluesky.oauth.finish(asked, {**answer, "code": forged})


async def test_the_wrong_account_is_noticed(bluesky: Scene) -> None:
    alice, mallory = await bluesky.people(2)
    await bluesky.sky.settle()
    asked, url = await bluesky.oauth.start(alice.handle)
    with pytest.raises(ConsentRefused):
        await bluesky.oauth.finish(asked, brought_back(await mallory.approve(url)))


async def test_tokens_are_renewed_and_kept_before_they_are_used(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    before = grant.tokens
    bluesky.clock.run_ahead(3600 - 30)
    outcomes = await bluesky.follow(bot, grant, [order(bob)])
    assert outcomes[0].state == "done"
    assert grant.saved == [grant.use.secret]
    assert grant.tokens.refresh != before.refresh
    assert await bluesky.followed_by(alice) == [bob.did]


async def test_a_refresh_token_that_is_used_again_ends_the_session(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    stolen = grant.tokens
    renewed = await bluesky.oauth.refresh(stolen)
    with pytest.raises(GrantLost):
        await bluesky.oauth.refresh(stolen)
    with pytest.raises(GrantLost):
        await bluesky.oauth.refresh(renewed)
    grant.use.secret = renewed.to_json()
    with pytest.raises(Refused) as refusal:
        await bluesky.follow(bot, grant, [order(bob)])
    assert refusal.value.reason == GRANT_LOST


async def test_a_revoked_consent_is_over_and_may_be_revoked_again(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob, carol = await bluesky.people(3)
    grant = await bluesky.consent(alice)
    wanted = [order(bob)]
    outcomes = await bluesky.follow(bot, grant, wanted)
    await bot.revoke(grant.use.secret)
    await bot.revoke(grant.use.secret)
    for attempt, orders in ((bot.follow, [order(carol)]), (bot.unfollow, undoing(wanted, outcomes))):
        with pytest.raises(Refused) as refusal:
            await attempt(grant.use, orders)
        assert refusal.value.reason == GRANT_LOST
    assert await bluesky.followed_by(alice) == [bob.did]


async def test_a_consent_that_its_owner_withdrew_at_the_server_is_lost(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    await alice.withdraw_consents()
    with pytest.raises(Refused) as refusal:
        await bluesky.follow(bot, grant, [order(bob)])
    assert refusal.value.reason == GRANT_LOST
    await bot.revoke(grant.use.secret)


async def test_a_consent_outlives_a_change_of_name(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    await alice.rename(f"n{alice.handle.partition('.')[0]}")
    assert (await bluesky.follow(bot, grant, [order(bob)]))[0].state == "done"
    assert (await bluesky.oauth.refresh(grant.tokens)).did == alice.did


async def test_two_consents_of_one_account_live_side_by_side(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob, carol = await bluesky.people(3)
    first, second = await bluesky.consent(alice), await bluesky.consent(alice)
    await bot.revoke(first.use.secret)
    assert (await bluesky.follow(bot, second, [order(bob)]))[0].state == "done"
    with pytest.raises(Refused):
        await bluesky.follow(bot, first, [order(carol)])


async def test_the_consent_of_an_account_that_was_closed_waits_until_it_is_open_again(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    await alice.deactivate()
    with pytest.raises(Unavailable, match="closed for the time being"):
        await bluesky.follow(bot, grant, [order(bob)])
    await alice.reactivate()
    assert (await bluesky.follow(bot, grant, [order(bob)]))[0].state == "done"


async def test_nobody_consents_for_an_account_that_was_taken_down(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    grant = await bluesky.consent(alice)
    await alice.take_down()
    with pytest.raises(Refused) as refusal:
        await bluesky.follow(bot, grant, [order(bob)])
    assert refusal.value.reason == GRANT_LOST
    with pytest.raises(GrantLost):
        await bluesky.oauth.refresh(grant.tokens)


async def test_a_confidential_client_proves_itself_with_its_key(bluesky: Scene) -> None:
    bot = await bluesky.start()
    alice, bob = await bluesky.people(2)
    ours = await confidential(bluesky)
    grant = await bluesky.consent(alice, client=ours)
    assert (await bluesky.follow(bot, grant, [order(bob)]))[0].state == "done"
    renewed = await ours.refresh(grant.tokens)
    assert renewed.did == alice.did
    await ours.revoke(renewed)
    with pytest.raises(GrantLost):
        await ours.refresh(renewed)


@pytest.mark.parametrize("ahead", [25, -25])
async def test_clocks_may_differ(bluesky: Scene, ahead: float) -> None:
    alice = await bluesky.person("alice")
    for client in (await confidential(bluesky, ahead=ahead), bluesky.client(HOME, ahead=ahead)):
        grant = await bluesky.consent(alice, client=client)
        assert (await client.refresh(grant.tokens)).did == alice.did


async def test_an_address_that_can_be_nobodys_is_told_to_its_operator(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    ours = bluesky.client("https://reflock.example", new_key())
    with pytest.raises(Unavailable, match="does not recognise this Reflock"):
        await ours.start(alice.handle)


async def test_somebody_elses_key_is_no_proof(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    ours = await confidential(bluesky)
    grant = await bluesky.consent(alice, client=ours)
    document = ours.client_metadata()
    thief = bluesky.client(document["client_uri"], new_key())
    with pytest.raises(Unavailable, match="does not recognise this Reflock"):
        await thief.start(alice.handle)
    with pytest.raises(Unavailable, match="does not recognise this Reflock"):
        await thief.refresh(grant.tokens)
    assert (await ours.refresh(grant.tokens)).did == alice.did


async def test_the_development_client_needs_no_document(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    await bluesky.sky.settle()
    _, url = await bluesky.oauth.start(alice.handle)
    query = parse_qs(urlsplit(url).query)
    assert query["client_id"] == [bluesky.oauth.client_id]
    assert query["client_id"][0].startswith("http://localhost?")


async def test_several_consents_at_once_do_not_mix(bluesky: Scene) -> None:
    people = await bluesky.people(4)
    await bluesky.sky.settle()
    asked = await asyncio.gather(*(bluesky.oauth.start(each.handle) for each in people))
    backs = [await each.approve(url) for each, (_, url) in zip(people, asked, strict=True)]
    tokens = await asyncio.gather(
        *(bluesky.oauth.finish(consent, brought_back(back)) for (consent, _), back in zip(asked, backs, strict=True))
    )
    assert [each.did for each in tokens] == [each.did for each in people]
    with pytest.raises(ConsentRefused):
        await bluesky.oauth.finish(asked[0][0], brought_back(backs[1]))


async def test_who_is_nobody_cannot_be_asked(bluesky: Scene) -> None:
    for nobody in ("nobodyatall.test", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "not a name"):
        with pytest.raises(Refused) as refusal:
            await bluesky.identities.resolve(nobody)
        assert refusal.value.reason == "gone"
