"""One request at a time, with everything in it that came during the one before."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from bot.networks.errors import NetworkError, Unavailable

Item = TypeVar("Item")
Receipt = TypeVar("Receipt")


@dataclass(eq=False, slots=True)
class _Parcel(Generic[Item, Receipt]):
    item: Item
    receipt: Receipt | None = None
    problem: BaseException | None = None
    is_settled: bool = False


class Mailbag(Generic[Item, Receipt]):
    """Hand items over together; nothing waits for company, only for the request that is under way.

    `carry` takes so many items at most to the server, and returns what came of each in their order; what it raises came of
    all of them. Where several went together more will follow: the next request comes so many seconds later (`apart`).
    """

    def __init__(
        self,
        carry: Callable[[list[Item]], Awaitable[Sequence[Receipt | NetworkError]]],
        *,
        at_most: int,
        apart: float = 0.0,
    ) -> None:
        self._carry = carry
        self._at_most = at_most
        self._apart = apart
        self._next_at = 0.0
        self._waiting: deque[_Parcel[Item, Receipt]] = deque()
        self._turn = asyncio.Lock()

    async def put(self, item: Item) -> Receipt:
        """Return what the server gave for the item; NetworkError if it did not take it."""
        mine = _Parcel[Item, Receipt](item)
        self._waiting.append(mine)
        try:
            async with self._turn:
                while not mine.is_settled:  # whoever had the turn before may have taken it along
                    await self._carry_some()
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)  # its owner was called off before it left
        if mine.problem is not None:
            raise mine.problem.with_traceback(None)  # others are told of the same one
        return cast("Receipt", mine.receipt)

    async def _carry_some(self) -> None:
        loop = asyncio.get_running_loop()
        if (pause := self._next_at - loop.time()) > 0:
            await asyncio.sleep(pause)
        bag = [self._waiting.popleft() for _ in range(min(self._at_most, len(self._waiting)))]
        # What holds should the owner of this turn be called off, while the others still want to know.
        problem: BaseException = Unavailable("Whoever asked for it as well was interrupted.")
        receipts: Sequence[Receipt | NetworkError] = []
        try:
            receipts = await self._carry([parcel.item for parcel in bag])
        except Exception as error:  # noqa: BLE001  # it is raised again, to each of them
            problem = error
        finally:
            self._next_at = loop.time() + (self._apart if len(bag) > 1 else 0.0)
            for number, parcel in enumerate(bag):
                receipt = receipts[number] if number < len(receipts) else problem
                parcel.is_settled = True
                if isinstance(receipt, BaseException):
                    parcel.problem = receipt
                else:
                    parcel.receipt = receipt
