"""The only endless loops: pause, back off, log, stop."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from bot.inbox import Inbox
from bot.networks import Network
from bot.networks.errors import Refused, Unavailable
from bot.outage import Outage
from bot.outbox import KEEPING, Outbox

_log = structlog.get_logger()

_LONGEST_PAUSE: Final = 300.0
# A network or a database that is down is asked nearly as often as one that is well: so it is noticed at once when it
# answers again.
_LONGEST_SILENCE: Final = 5.0
# A promise rings a bell, in this process and on PostgreSQL in all; this is for a bell that was not heard.
_IDLE_SECONDS: Final = 15.0


class Wake:
    """A bell: whoever waits for it goes on as soon as it is rung, or after a while."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever waits, now or next."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Wait for the bell, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        finally:
            self._event.clear()


async def listen(inbox: Inbox, network: Network, poll_seconds: float, outage: Outage) -> None:
    """Hear one network for as long as the process lives.

    Also when there was something: to look again at once would use up the requests that are allowed when most is to be said.
    """

    async def turn() -> None:
        await inbox.turn()
        await network.wait(poll_seconds)

    await forever(f"listening to {network.name}", turn, outage)


async def perform(outbox: Outbox, wake: Wake, clock: Callable[[], int], outage: Outage) -> None:
    """Keep promises for as long as the process lives."""

    async def turn() -> None:
        _, due_at = await outbox.begin()
        idle = _IDLE_SECONDS if due_at is None else (due_at - clock()) / 1000
        await wake.wait(min(_IDLE_SECONDS, max(0.01, idle)))

    await forever(KEEPING, turn, outage)


async def forever(what: str, turn: Callable[[], Awaitable[None]], outage: Outage) -> None:
    """Take one turn after the other; after a failure, wait longer each time, but as long as the network said."""
    failures = 0
    while True:
        try:
            await turn()
        except Unavailable as error:
            failures += 1
            pause = error.retry_in if error.retry_in is not None else _pause(failures, _LONGEST_SILENCE)
            _log.warning("unavailable", what=what, why=str(error), pause_s=round(pause, 1))
            await asyncio.sleep(pause)
        except Refused as error:
            failures += 1
            _log.error("refused", what=what, why=str(error))
            await asyncio.sleep(_pause(failures + 4))
        except Exception as error:  # noqa: BLE001  # one bad turn must not end the process
            failures += 1
            pause = _pause(failures, _LONGEST_SILENCE)
            if not outage.met(what, error, pause_s=round(pause, 1)):
                pause = _pause(failures)
                _log.exception("turn failed", what=what, error=type(error).__name__)
            await asyncio.sleep(pause)
        else:
            failures = 0
            outage.passed(what)


def _pause(failures: int, at_most: float = _LONGEST_PAUSE) -> float:
    longest: float = min(at_most, 0.5 * 2 ** min(failures, 12))
    return longest / 2 + random.random() * longest / 2  # noqa: S311  # spreads load, guards nothing
