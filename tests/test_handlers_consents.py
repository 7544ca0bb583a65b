"""Consent as people meet it: given by a code, taken back, lost, given again."""

import sqlalchemy as sa

from bot.sandbox.faults import Fault
from bot.sandbox.mastodon import MastodonPerson
from handlers import consents
from storage import accounts, deliveries, grants, lanes, rotation
from storage.database import Database
from storage.deliveries import Promise
from storage.keys import Keys
from storage.records import DeliveryKind, DeliveryState, GrantState, NetworkName
from storage.tables import consent, consent_grant, delivery
from tests.conftest import OwnClock
from tests.flock import Flock, flock, open_flock

__all__ = ["flock"]  # fixtures

NO_PAGES: dict[str, object] = {"public_url": ""}


async def asks(flock: Flock, person: MastodonPerson, words: str) -> str:
    """Write to the bot, and return everything it has answered to that."""
    before = len(person.received_dms(flock.mastodon_bot))
    person.dm(flock.mastodon_bot, words)
    await flock.settle()
    return "\n".join(each.text for each in person.received_dms(flock.mastodon_bot)[before:])


def address(answer: str) -> str:
    return next(word for word in answer.split() if "/oauth/authorize" in word)


async def state_of(flock: Flock, actor: str) -> GrantState | None:
    async with flock.app.events.database.reading() as connection:
        state = await connection.scalar(sa.select(consent_grant.c.state).where(consent_grant.c.account_id == actor))
    return None if state is None else GrantState(state)


async def connects(flock: Flock, person: MastodonPerson) -> str:
    """Consent by the code that one's server shows; return the last answer."""
    code = await person.approve(address(await asks(flock, person, "connect")))
    return await asks(flock, person, code)


async def test_without_a_web_address_a_code_is_pasted(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        answer = await asks(flock, alice, "connect")
        code = await alice.approve(address(answer))
        mistyped = await asks(flock, alice, code[:-4] + "AAAA")
        assert "mistyped" in mistyped
        assert "I may follow for you as alice@" in await asks(flock, alice, f"connect {code}")
        assert await state_of(flock, alice.actor) is GrantState.ACTIVE
        async with flock.app.events.database.reading() as connection:
            payloads = list(await connection.scalars(sa.select(delivery.c.payload)))
        assert not any(code in payload for payload in payloads)


async def test_a_pasted_code_that_was_not_asked_for_and_a_bad_server_get_a_clear_sentence(
    database_url: str, clock: OwnClock
) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        assert "did not ask for this consent" in await asks(flock, alice, f"connect {'x' * 43}")
        assert "not the name of a server" in await asks(flock, alice, "connect local.host.internal")
        assert "web address of my own" in await asks(flock, alice, "connect alice.bsky.social")
        bob = flock.bluesky.create_account("bob.test")
        bob.dm(flock.bluesky_bot, "connect")
        await flock.settle()
        assert "For Mastodon it works" in bob.received_dms(flock.bluesky_bot)[-1].text


async def test_nobody_is_sent_to_a_server_that_was_found_to_mix_consents_up(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        flock.mastodon.faults.plan(Fault("oauth-authorization-server", status=404))
        assert address(await asks(flock, alice, "connect"))  # and the app is kept
        mixing = b'{"software": {"name": "snac", "version": "2.94"}}'
        flock.mastodon.faults.plan(Fault("/nodeinfo/2.0", status=200, body=mixing))
        assert "does not keep people's consents apart" in await asks(flock, alice, "connect")


async def test_a_consent_taken_back_ends_at_once_here_and_at_its_issuer(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        assert "nothing to end" in await asks(flock, alice, "disconnect")
        await connects(flock, alice)
        (token,) = [each for each in flock.mastodon.oauth.tokens.values() if "write:follows" in each.scopes]
        assert "nothing to end there" in await asks(flock, alice, "disconnect bluesky")
        assert "je ne m’abonne plus à personne avec alice@" in await asks(flock, alice, "déconnecter mastodon")
        assert await state_of(flock, alice.actor) is GrantState.ENDED
        assert token.revoked
        async with flock.app.events.database.reading() as connection:
            assert await connection.scalar(sa.select(consent_grant.c.secret)) == b""
        assert "I may follow for you as alice@" in await connects(flock, alice)
        assert await state_of(flock, alice.actor) is GrantState.ACTIVE


async def test_a_token_given_a_second_time_is_not_ended_by_an_earlier_goodbye(
    database_url: str, clock: OwnClock
) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        await connects(flock, alice)
        flock.mastodon.faults.plan(Fault(path="/oauth/revoke", status=503))
        await asks(flock, alice, "disconnect")
        await connects(flock, alice)
        await flock.pass_seconds(3600)
        (token,) = [each for each in flock.mastodon.oauth.tokens.values() if "write:follows" in each.scopes]
        assert not token.revoked
        assert await state_of(flock, alice.actor) is GrantState.ACTIVE


async def test_a_lost_consent_is_told_once_and_what_was_to_come_is_cancelled(
    database_url: str, clock: OwnClock
) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice = flock.mastodon.create_account("alice")
        await connects(flock, alice)
        events = flock.app.events
        follow = Promise(
            kind=DeliveryKind.FOLLOW,
            key="follow:somebody",
            lane=lanes.act_lane(alice.actor),
            network=NetworkName.MASTODON,
            account_id=alice.actor,
            due_at=clock() + 1_000_000,
        )
        before = len(alice.received_dms(flock.mastodon_bot))
        for attempt in ("first", "second"):
            async with events.event(attempt, alice.actor) as ctx:
                await deliveries.promise(ctx.connection, [follow], ctx.now)
                await consents.lost(ctx, alice.actor)
        await flock.settle()
        (told,) = alice.received_dms(flock.mastodon_bot)[before:]
        assert "no longer lets me follow as alice@" in told.text
        assert "1 follow waits for it" in told.text
        assert await state_of(flock, alice.actor) is GrantState.LOST
        async with events.database.reading() as connection:
            state = await connection.scalar(sa.select(delivery.c.state).where(delivery.c.key == "follow:somebody"))
        assert state == DeliveryState.CANCELLED


def given_by(flock: Flock, person_id: int, asker: str, actor: str, handle: str) -> consents.Granted:
    return consents.Granted(
        person_id=person_id,
        account_id=asker,
        network=NetworkName.BLUESKY,
        actor=actor,
        handle=handle,
        issuer=flock.bluesky.url,
        scope="atproto",
        secret='{"access":"a"}',
        may_follow=True,
        may_undo=False,
    )


async def test_an_account_nobody_has_spoken_from_becomes_ones_own_by_consenting(flock: Flock) -> None:
    alice, other = flock.mastodon.create_account("alice"), flock.bluesky.create_account("alice.test")
    await asks(flock, alice, "hello")
    async with flock.app.events.event("consent", alice.actor) as ctx:
        taken = await consents.granted(ctx, given_by(flock, ctx.person.id, alice.actor, other.did, other.handle))
        assert taken.kept
        assert "undo will not work" in taken.text
        both = (await accounts.accounts_of(ctx.connection, [ctx.person.id]))[ctx.person.id]
        assert {each.id for each in both} == {alice.actor, other.did}
        (grant,) = await grants.active(ctx.connection, ctx.person.id)
        assert (grant.account_id, grant.person_id) == (other.did, ctx.person.id)


async def test_a_consent_by_somebody_elses_link_joins_nobody_and_is_given_back(flock: Flock) -> None:
    mallory, alice = flock.mastodon.create_account("mallory"), flock.bluesky.create_account("alice.test")
    await asks(flock, mallory, "hello")
    alice.dm(flock.bluesky_bot, "hello")
    await flock.settle()
    async with flock.app.events.event("consent", mallory.actor) as ctx:
        taken = await consents.granted(ctx, given_by(flock, ctx.person.id, mallory.actor, alice.did, alice.handle))
        assert not taken.kept
        assert "send me link" in taken.text
        mine = (await accounts.accounts_of(ctx.connection, [ctx.person.id]))[ctx.person.id]
        assert [each.id for each in mine] == [mallory.actor]
        assert await grants.of_account(ctx.connection, alice.did) is None
        revoked = sa.select(sa.func.count()).where(delivery.c.kind == DeliveryKind.REVOKE.value)
        assert await ctx.connection.scalar(revoked) == 1


async def test_secrets_are_encrypted_anew_with_the_newest_key(database: Database, clock: OwnClock) -> None:
    pseudonym, old = Keys.generate()
    _, new = Keys.generate()
    before, both, after = Keys(pseudonym, [old]), Keys(pseudonym, [new, old]), Keys(pseudonym, [new])
    async with database.transaction() as connection:
        account, person = await accounts.meet(connection, NetworkName.BLUESKY, "did:plc:alice", "alice.test", clock())
        await grants.keep(
            connection,
            before,
            person_id=person.id,
            account_id=account.id,
            network=account.network,
            issuer="https://pds.test",
            scope="atproto",
            secret="tokens",
            now=clock(),
        )
        await grants.begin(
            connection,
            before,
            state="state",
            person_id=person.id,
            network=account.network,
            secret="verifier",
            now=clock(),
            lifetime=1000,
        )
        revoke = Promise(
            kind=DeliveryKind.REVOKE,
            key="revoke",
            lane="act:somebody",
            payload={"secret": before.encrypt("gone").decode()},
            network=account.network,
        )
        await deliveries.promise(connection, [revoke], clock())
        assert await rotation.rotate(connection, both) == 3
        grant = await grants.of_account(connection, account.id)
        assert grant is not None
        assert after.decrypt(grant.secret) == "tokens"
        assert after.decrypt(await connection.scalar(sa.select(consent.c.secret)) or b"") == "verifier"
        ((_, _, secret),) = await grants.revocations(connection, ["act:somebody"])
        assert after.decrypt(secret) == "gone"
