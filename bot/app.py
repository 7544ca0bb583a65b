"""The composition root: the one file that names every concrete class."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.announcing import Announcing
from bot.asking import Consenting, LookingUp
from bot.config import ConfigError, Loaded
from bot.consents import Consents
from bot.events import Clock, Events
from bot.inbox import Inbox
from bot.networks import Network
from bot.networks.bluesky import BlueskyNetwork
from bot.networks.errors import Refused, Unavailable
from bot.networks.guard import GuardedClient
from bot.networks.identity_atproto import IdentityResolver
from bot.networks.mastodon import MastodonNetwork
from bot.networks.oauth_atproto import AtprotoOauth, BadAddressError
from bot.networks.oauth_mastodon import MastodonOauth
from bot.networks.ratelimits import AllowanceUsed, RateLimited
from bot.networks.sessions import DatabaseSessions
from bot.outbox import Outbox
from bot.performer import Performer
from bot.performing import Acting, Revoking, Speaking
from bot.proof import PostLookup
from handlers import router
from handlers.context import World
from handlers.registry import Registry
from handlers.texts import Catalogue
from storage import keys_in_use
from storage.database import CONFIGURED, Database, wait_for
from storage.keys import Keys
from storage.records import DeliveryKind, NetworkName

_log = structlog.get_logger()

_DATABASE_SECONDS: Final = 10
_LOOKUP_SECONDS: Final = 15
# So long is waited for a network that asks us to wait, and does not say how long.
_PAUSE_SECONDS: Final = 60.0
# How many follows are waited for together: Bluesky takes them in one request, Mastodon one after the other.
_BATCH: Final = 25


def epoch_ms() -> int:
    """Return the present in epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class App:
    """A Reflock put together: what the loops turn, and what tests turn step by step."""

    loaded: Loaded
    events: Events
    networks: Mapping[NetworkName, Network]
    inboxes: Mapping[NetworkName, Inbox]
    outbox: Outbox
    announcing: Announcing
    consents: Consents


def make_keys(loaded: Loaded) -> Keys:
    """Return the installation's keys; BadKeyError when they are none."""
    secrets = loaded.secrets
    grant_keys = [key.strip() for key in secrets.grant_keys.get_secret_value().split(",") if key.strip()]
    return Keys(secrets.pseudonym_key.get_secret_value(), grant_keys)


@asynccontextmanager
async def open_database(loaded: Loaded, to: str = "") -> AsyncIterator[Database]:
    """Open the configured database, or the one that a command is given by `--to`, without looking at its revision."""
    url = loaded.from_folder(to) if to else loaded.database_url
    database = Database(url, name=f"reflock {loaded.config.bot.worker}")
    try:
        await wait_for(database, _DATABASE_SECONDS, "--to" if to else CONFIGURED)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def open_app(loaded: Loaded, clock: Clock = epoch_ms, *, log_in: bool = True) -> AsyncIterator[App]:
    """Put a Reflock together and log in; ConfigError, DatabaseError, BadKeyError or NetworkError when it cannot run.

    With `log_in` an empty database is prepared; one of another revision is always refused. What only decides and
    promises needs no network, and works without a log-in while they are down.
    """
    keys = make_keys(loaded)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(loaded))
        with database.refusals_in_words():
            if log_in and await database.is_empty():
                await database.upgrade()
            await database.check_version()
            async with database.transaction() as connection:
                await _refuse_other_keys(connection, keys)
        trust = httpx.create_ssl_context(trust_env=False)  # a megabyte of certificates, so once for all
        guard = GuardedClient(allow_private=loaded.config.guard.allow_private, ssl_context=trust)
        stack.push_async_callback(guard.aclose)
        atproto, mastodon = _oauth(loaded, guard, clock)
        networks = _networks(loaded, database, keys, guard, atproto, mastodon, clock)
        for network in networks.values():
            stack.push_async_callback(network.close)
        try:
            async with asyncio.TaskGroup() as starting:  # it ends the one that waits when the other one cannot start
                for network in networks.values() if log_in else ():
                    starting.create_task(_start(loaded, network, clock))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        settings = loaded.settings({name: network.handle for name, network in networks.items()})
        events = Events(database, World(keys, settings, Registry()), Catalogue(), networks, clock)
        consents = Consents(events, atproto, mastodon)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=_LOOKUP_SECONDS, verify=trust))
        lookup = PostLookup(http, loaded.config.x.syndication_url, loaded.config.x.oembed_url)
        outbox = Outbox(
            events,
            _performers(loaded, events, lookup, consents),
            worker=loaded.config.bot.worker,
            lease_ms=loaded.config.bot.lease_seconds * 1000,
        )
        yield App(
            loaded=loaded,
            events=events,
            networks=networks,
            inboxes={name: Inbox(events, router, network) for name, network in networks.items()},
            outbox=outbox,
            announcing=Announcing(events),
            consents=consents,
        )


async def _refuse_other_keys(connection: AsyncConnection, keys: Keys) -> None:
    """Refuse keys that are not those with which the database was filled."""
    if not await keys_in_use.is_the_same(connection, keys):
        raise ConfigError(
            "REFLOCK_PSEUDONYM_KEY is not the key with which this database was filled: nobody in it would be "
            "found again. Restore the former key, or begin with an empty database."
        )
    if not await keys_in_use.grants_open(connection, keys):
        raise ConfigError(
            "REFLOCK_GRANT_KEYS does not hold the key with which this database's secrets were encrypted. Put the former "
            "key back, behind the newest; if it is lost, give up what it encrypted: reflock db rotate --lost"
        )


async def _start(loaded: Loaded, network: Network, clock: Clock) -> None:
    """Log in, as late as the network asks us to, or say in one line what is wrong and what to do."""
    address = {
        NetworkName.BLUESKY: ("[bluesky] service_url", loaded.config.bluesky.service_url),
        NetworkName.MASTODON: ("[mastodon] base_url", loaded.config.mastodon.base_url),
    }[network.name]
    secret = {
        NetworkName.BLUESKY: "[bluesky] handle and REFLOCK_BLUESKY_APP_PASSWORD",
        NetworkName.MASTODON: "REFLOCK_MASTODON_ACCESS_TOKEN",
    }[network.name]
    while True:
        try:
            return await network.start()
        except Refused as refusal:
            raise ConfigError(f"{address[1]} refused us: {refusal.detail or refusal.reason}. Check {secret}.") from None
        except (RateLimited, AllowanceUsed) as limit:
            pause = _PAUSE_SECONDS if limit.retry_in is None else limit.retry_in
            until = datetime.fromtimestamp(clock() / 1000 + pause, UTC).isoformat(timespec="seconds")
            _log.warning("asked to wait before logging in", server=address[1], why=str(limit), until=until)
            await asyncio.sleep(pause)
        except Unavailable as error:
            raise ConfigError(f"{address[1]} does not answer ({error}). Is it up, and is {address[0]} right?") from None


def _oauth(loaded: Loaded, guard: GuardedClient, clock: Clock) -> tuple[AtprotoOauth | None, MastodonOauth]:
    public_url = loaded.config.web.public_url or None
    atproto = None
    if public_url is not None:
        identities = IdentityResolver(
            guard, plc_url=loaded.config.bluesky.plc_url, resolver_url=loaded.config.bluesky.service_url
        )
        signing_key = loaded.secrets.client_key.get_secret_value() or None
        try:
            atproto = AtprotoOauth(
                guard, identities, public_url=public_url, clock=lambda: clock() / 1000, signing_key=signing_key
            )
        except BadAddressError as error:
            raise ConfigError(
                f"[web] public_url: {error} Put a reverse proxy with TLS before the pages, and write its https address."
            ) from None
        except ValueError as error:
            raise ConfigError(
                f"REFLOCK_CLIENT_KEY cannot be used for Bluesky's consent: {error} One that can be: reflock init "
                "--directory new, then copy its line from new/.env."
            ) from None
    return atproto, MastodonOauth(guard, public_url=public_url, clock=lambda: clock() / 1000)


def _networks(
    loaded: Loaded,
    database: Database,
    keys: Keys,
    guard: GuardedClient,
    atproto: AtprotoOauth | None,
    mastodon: MastodonOauth,
    clock: Clock,
) -> dict[NetworkName, Network]:
    config, secrets = loaded.config, loaded.secrets
    sessions = DatabaseSessions(database, keys)
    networks: dict[NetworkName, Network] = {}
    if config.bluesky.enabled:
        networks[NetworkName.BLUESKY] = BlueskyNetwork(
            service_url=config.bluesky.service_url,
            handle=config.bluesky.handle,
            app_password=secrets.bluesky_app_password.get_secret_value(),
            chat_did=config.bluesky.chat_did,
            oauth=atproto,
            sessions=sessions,
            clock=clock,
            poll_seconds=config.bluesky.poll_seconds,
        )
    if config.mastodon.enabled:
        networks[NetworkName.MASTODON] = MastodonNetwork(
            base_url=config.mastodon.base_url,
            access_token=secrets.mastodon_access_token.get_secret_value(),
            guard=guard,
            oauth=mastodon,
            clock=clock,
            poll_seconds=config.mastodon.poll_seconds,
            streaming=config.mastodon.streaming,
        )
    return networks


def _performers(
    loaded: Loaded, events: Events, lookup: PostLookup, consents: Consents
) -> Mapping[DeliveryKind, Performer]:
    speaking = Speaking(events, {name: loaded.messages(name) for name in loaded.networks()})
    acting = Acting(events, {name: loaded.allowances(name) for name in loaded.networks()}, _BATCH)
    return {
        DeliveryKind.REPLY: speaking,
        DeliveryKind.POST: speaking,
        DeliveryKind.NOTICE: speaking,
        DeliveryKind.FOLLOW: acting,
        DeliveryKind.UNFOLLOW: acting,
        DeliveryKind.LOOKUP: LookingUp(events, lookup),
        DeliveryKind.CONSENT: Consenting(events, consents),
        DeliveryKind.REVOKE: Revoking(events),
    }
