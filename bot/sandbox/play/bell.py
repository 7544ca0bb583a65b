"""Wake whoever waits for something to change."""

import asyncio


class Bell:
    """Rung at every change; who looks and then waits, without a pause in between, misses none."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def heard(self) -> None:
        """Return when it rings."""
        await self._rung.wait()
