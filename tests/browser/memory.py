"""How much memory a tab takes while something happens in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from playwright.async_api import CDPSession, Page

_EVERY_SECONDS = 0.02


@dataclass
class Memory:
    """The most that was seen, in bytes: what scripts hold, the page itself, and buffers."""

    highest: int = 0


@asynccontextmanager
async def tab_memory(page: Page) -> AsyncIterator[Memory]:
    """Watch a tab's memory."""
    devtools = await page.context.new_cdp_session(page)
    memory = Memory()
    watching = asyncio.create_task(_watch(devtools, memory))
    yield memory
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await _look(devtools, memory)
    await devtools.detach()


async def _watch(devtools: CDPSession, memory: Memory) -> None:
    while True:
        await _look(devtools, memory)
        await asyncio.sleep(_EVERY_SECONDS)


async def _look(devtools: CDPSession, memory: Memory) -> None:
    usage = await devtools.send("Runtime.getHeapUsage")
    memory.highest = max(
        memory.highest, int(usage["totalSize"] + usage["embedderHeapUsedSize"] + usage["backingStorageSize"])
    )
