"""A grant key is lost for good: what it encrypted is given up, everybody else's stays, and keys can be rotated again."""

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from bot.app import make_keys
from bot.operating import give_up_lost_keys, rotate_keys
from storage import deliveries, lanes, messages, sessions
from storage.deliveries import Promise
from storage.keys import Keys
from storage.messages import Heard
from storage.records import DeliveryKind, MessageState, NetworkName
from storage.tables import consent_grant
from storage.unreadable import count_unreadable
from tests.conftest import OwnClock
from tests.flock import Flock, open_flock
from tests.reunion import friends_of, reborn
from tests.test_handlers_consents import NO_PAGES, address, asks, connects


def has_keys(flock: Flock, *keys: str) -> None:
    """Write other grant keys into the configuration, the newest first."""
    secrets = flock.config.secrets.model_copy(update={"grant_keys": SecretStr(",".join(keys))})
    flock.config = flock.config.model_copy(update={"secrets": secrets})


async def unreadable(flock: Flock) -> tuple[int, int]:
    async with flock.app.events.database.reading() as connection:
        return await count_unreadable(connection, make_keys(flock.config))


async def fails(flock: Flock) -> None:
    """Let a handler have crashed over a message, which is kept."""
    keys, heard = make_keys(flock.config), Heard("mastodon:1", NetworkName.MASTODON, "somebody", "thread")
    async with flock.app.events.database.transaction() as connection:
        await messages.remember(connection, keys, [heard], flock.clock())
        await messages.mark(connection, heard.id, MessageState.FAILED, secret=keys.encrypt("a message"))


async def is_to_end(flock: Flock) -> None:
    """Let a consent be about to be ended at its server."""
    ending = Promise(
        kind=DeliveryKind.REVOKE,
        key="an ending",
        lane=lanes.act_lane("somebody"),
        payload={"secret": make_keys(flock.config).encrypt("tokens").decode()},
        network=NetworkName.MASTODON,
    )
    async with flock.app.events.database.transaction() as connection:
        await deliveries.promise(connection, [ending], flock.clock())


async def rotates_as_usual(flock: Flock, key: str) -> None:
    """Let an ordinary rotation follow, from a key to a new one, after which the new one opens all that is stored."""
    newest = Keys.generate()[1]
    has_keys(flock, newest, key)
    await rotate_keys(flock.config)
    has_keys(flock, newest)
    stored, lost = await unreadable(flock)
    assert stored
    assert not lost


async def test_whose_consent_is_lost_is_told_so_when_somebody_is_to_be_followed(
    database_url: str, clock: OwnClock
) -> None:
    async with open_flock(database_url, clock) as flock:
        alice, _ = await friends_of(flock, "mastodon", ["bob"])
        found = Keys.generate()[1]
        has_keys(flock, found)
        await give_up_lost_keys(flock.config)
        async with reborn(flock):
            await alice.write("follow all")
            said = await alice.write("yes")
            assert "your consent there has ended" in said
            assert "To give it anew, send me: connect" in said
            assert not alice.person.follows
        await rotates_as_usual(flock, found)


async def test_what_was_under_way_when_its_key_was_lost_is_begun_anew(database_url: str, clock: OwnClock) -> None:
    async with open_flock(database_url, clock, web=NO_PAGES) as flock:
        alice, bob, carol = (flock.mastodon.create_account(name) for name in ("alice", "bob", "carol"))
        await connects(flock, alice)
        former_code = await bob.approve(address(await asks(flock, bob, "connect")))
        unheard_code = await carol.approve(address(await asks(flock, carol, "connect")))
        carol.dm(flock.mastodon_bot, unheard_code)
        await flock.app.inboxes[NetworkName.MASTODON].turn()  # heard, and its code not yet handed over
        found = Keys.generate()[1]
        has_keys(flock, found)
        await give_up_lost_keys(flock.config)
        async with reborn(flock):
            heard = len(carol.received_dms(flock.mastodon_bot))
            assert "I did not ask for this consent" in await asks(flock, bob, former_code)
            _handed_over, told = carol.received_dms(flock.mastodon_bot)[heard:]
            assert "I did not ask for this consent" in told.text
            assert "I no longer follow as alice@" in await asks(flock, alice, "disconnect")
            assert "I may follow for you as alice@" in await connects(flock, alice)
            await rotates_as_usual(flock, found)


async def test_what_is_lost_and_what_is_not_is_said_with_what_everybody_has_to_do(
    database_url: str, clock: OwnClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_flock(database_url, clock) as flock:
        former = flock.config.secrets.grant_keys.get_secret_value()
        await friends_of(flock, "mastodon", ["bob"])
        await fails(flock)
        await is_to_end(flock)
        found = Keys.generate()[1]
        has_keys(flock, found, former)
        async with flock.app.events.database.transaction() as connection:
            await sessions.save(connection, make_keys(flock.config), "a session", "that is not lost")
        has_keys(flock, found)
        capsys.readouterr()
        await give_up_lost_keys(flock.config)
        said = capsys.readouterr().out
        assert "2 secrets encrypted anew." in said  # the session, and what keys are tried on
        assert "consents that people gave: 1. " in said
        assert "and it is given anew with: connect" in said
        assert "consents that were to be ended: 1. " in said
        assert "messages that failed: 1. " in said
        await give_up_lost_keys(flock.config)
        assert "Nothing was lost" in capsys.readouterr().out
        await rotate_keys(flock.config)
        async with flock.app.events.database.reading() as connection:
            assert await sessions.load(connection, make_keys(flock.config), "a session") == "that is not lost"
            assert await connection.scalar(sa.select(consent_grant.c.secret)) == b""
            (failed,) = await messages.failed(connection)
            assert failed.secret is None
