"""How one kind of delivery is performed: what the outbox asks for, and what it is told of what came of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.lines import Line
from bot.networks.errors import Unavailable
from storage.budgets import Allowance
from storage.records import Delivery

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Settle = Callable[["AsyncConnection"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Performed:
    """What came of some deliveries: how to write it down, and whether the lane has to wait.

    With `unavailable` the `undone` ones come again later; `settle` is about the others. So many as `untried` says were
    certainly not begun, and draw on no budget; what was drawn for them was at `drawn_at`, or a moment later. `about_all`
    says that no lane would have fared better. With `promises_nothing` nothing is promised by `settle`.
    """

    settle: Settle
    unavailable: Unavailable | None = None
    undone: Sequence[Delivery] = ()
    untried: int = 0
    drawn_at: int = 0
    about_all: bool = False
    promises_nothing: bool = False


class Performer:
    """How one kind of delivery is performed. Subclasses name the budget it draws on and the size of its batches."""

    batch: int = 1
    # Whether what comes later in a lane has to wait for what comes earlier.
    ordered: bool = True
    # The lines of lanes that share a budget and a server, if any do.
    lines: Sequence[Line] = ()

    def at_once(self, _first: Delivery, /) -> int:
        """Return how many may be performed before any is written down: of so many a crash may leave the outcome unknown."""
        return self.batch

    def budget(self, _first: Delivery, /) -> tuple[str, tuple[Allowance, ...]] | None:
        """Name the budget that these deliveries draw on, if any."""
        return None

    async def may_not(self, _connection: "AsyncConnection", _due: Sequence[Delivery], /) -> Mapping[int, str]:
        """Check consent again, at the moment of performing; return why not, by id."""
        return {}

    async def perform(self, due: list[Delivery]) -> Performed:
        """Do it, outside of any transaction. Unavailable and Refused may be raised for all of them."""
        raise NotImplementedError

    async def refused(self, connection: "AsyncConnection", delivery: Delivery, reason: str) -> None:
        """Do what follows from a refusal, in the transaction that settles it."""

    async def cancelled(self, connection: "AsyncConnection", delivery: Delivery) -> None:
        """Do what follows when `may_not` named it, in the transaction that settles it."""
