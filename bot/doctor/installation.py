"""What the checks stand on: the configuration, clients for the services it names, and what all checks are."""

import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import httpx

from bot.app import epoch_ms
from bot.config import Config, Loaded
from bot.doctor import Check
from bot.events import Clock
from bot.networks.guard import GuardedClient

_LOOKUP_SECONDS: Final = 15
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  # compared with, not listened on


def free_bytes(folder: Path) -> int:
    """Return how much may still be written in a folder."""
    return shutil.disk_usage(folder).free


class Installation:
    """An installation as its operator sees it, opened for looking; `stack` closes what the checks opened."""

    def __init__(
        self,
        loaded: Loaded,
        clock: Clock = epoch_ms,
        *,
        ssl_context: ssl.SSLContext | None = None,
        mounts: Path = Path("/proc/mounts"),
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.loaded: Final = loaded
        self.clock: Final = clock
        self.mounts: Final = mounts
        self.free: Final = free
        self.stack: Final = AsyncExitStack()
        # What the operator names himself may be on his own machine; what others name may not.
        named = loaded.config.guard.allow_private.union(_named(loaded.config))
        self.guard: Final = GuardedClient(allow_private=named, ssl_context=ssl_context)
        self.http: Final = httpx.AsyncClient(timeout=_LOOKUP_SECONDS)

    async def __aenter__(self) -> Self:
        self.stack.push_async_callback(self.guard.aclose)
        self.stack.push_async_callback(self.http.aclose)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stack.aclose()

    def checks(self) -> list[Check]:
        """Return all checks, in the order in which they are read."""
        from bot.doctor import clock, configuration, database, disk, web, x

        checks = [
            *configuration.checks(self),
            *database.DatabaseChecks(self).checks(),
            *disk.checks(self),
            *clock.checks(self),
        ]
        if self.loaded.config.bluesky.enabled:
            from bot.doctor import bluesky  # the SDKs are slow to load, and here nobody is being timed

            checks += bluesky.BlueskyChecks(self).checks()
        if self.loaded.config.mastodon.enabled:
            from bot.doctor import mastodon

            checks += mastodon.MastodonChecks(self).checks()
        return [*checks, *web.WebChecks(self).checks(), *x.checks(self)]


def host_of(url: str) -> str:
    """Return an address's host, with its port where one is written."""
    return urlsplit(url).netloc


def local_pages(config: Config) -> str:
    """Return where the bot's own pages are to be found on this machine; empty where any free port is taken."""
    if not config.web.port:
        return ""
    host = "127.0.0.1" if config.web.host in _EVERYWHERE else config.web.host
    return f"http://{f'[{host}]' if ':' in host else host}:{config.web.port}"


def _named(config: Config) -> Iterator[str]:
    """Yield host:port of every service that the configuration names."""
    services = [
        config.bluesky.service_url,
        config.bluesky.plc_url,
        config.mastodon.base_url,
        config.x.syndication_url,
        config.x.oembed_url,
        local_pages(config),
    ]
    # The pages' own address must be public, unless all of it is a trial on one machine.
    if urlsplit(config.web.public_url).scheme == "http" and urlsplit(config.web.public_url).hostname in LOOPBACK:
        services.append(config.web.public_url)
    for parts in map(urlsplit, filter(None, services)):
        yield f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
