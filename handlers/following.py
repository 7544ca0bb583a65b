"""Plan follows, and promise what was planned: which account of mine follows which of theirs, and what stands already."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from handlers.context import Context
from handlers.matching import Contact
from storage import budgets, deliveries, follows, grants, lanes
from storage.deliveries import Promise
from storage.follows import Followed, How
from storage.lanes import RANKS
from storage.records import Account, DeliveryKind, DeliveryState, Grant, NetworkName
from storage.tids import tid

# The reason of a follow that was refused for want of a consent only: a new consent opens it again.
GRANT_LOST: Final = "grant_lost"


@dataclass(frozen=True, slots=True)
class Step:
    """One account that follows another; `before` is what was last done about that."""

    mine: str
    theirs: Account
    contact: Contact
    before: Followed | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be done about some contacts.

    `standing` contacts are followed already, or will be, wherever they can be; `unreached` ones are only on networks
    for which there is no consent; `granted` are the networks for which there is one.
    """

    steps: list[Step]
    standing: list[Contact]
    unreached: list[Contact]
    granted: set[NetworkName]

    @property
    def contacts(self) -> list[Contact]:
        """Return those who are to be followed, each once."""
        return list({step.contact.person_id: step.contact for step in self.steps}.values())

    def on(self, network: NetworkName) -> list[Step]:
        """Return the steps on one network."""
        return [step for step in self.steps if step.theirs.network is network]


async def plan(ctx: Context, contacts: Iterable[Contact], *, retry: bool) -> Plan:
    """Work out what has to be done about contacts; with `retry` also what was refused before."""
    return planned(await grants.active(ctx.connection, ctx.person.id), contacts, retry=retry)


def planned(active: Sequence[Grant], contacts: Iterable[Contact], *, retry: bool) -> Plan:
    """Work out what has to be done about contacts by somebody's consents."""
    granted = {grant.network for grant in active}
    steps: list[Step] = []
    standing: list[Contact] = []
    unreached: list[Contact] = []
    for contact in contacts:
        if not granted & {each.network for each in contact.accounts}:
            unreached.append(contact)
            continue
        # A bridge's copy is followed only where the contact has no account of their own that could be.
        own = [each for each in contact.native if each.network in granted]
        theirs = own or [each for each in contact.accounts if each.network in granted]
        known = {(each.account_id, each.target): each for each in contact.follows}
        new = [
            Step(grant.account_id, each, contact, before)
            for grant in active
            for each in theirs
            if grant.network is each.network and _is_open(before := known.get((grant.account_id, each.id)), retry=retry)
        ]
        steps += new
        if not new:
            standing.append(contact)
    return Plan(steps, standing, unreached, granted)


def _is_open(before: Followed | None, *, retry: bool) -> bool:
    """Tell whether a pair of accounts is still, or again, to be followed."""
    if before is None:
        return True
    # For want of a consent is no refusal of theirs.
    lost = before.state is DeliveryState.REFUSED and before.outcome == GRANT_LOST
    if (lost or before.state is DeliveryState.CANCELLED) and not before.undone:
        return True
    return retry and (before.undone or before.state is DeliveryState.REFUSED)


async def promise_steps(ctx: Context, steps: Sequence[Step], how: How) -> int:
    """Promise follows as one batch, mutuals first; return the batch."""
    batch_id = await deliveries.new_batch(ctx.connection, ctx.person.id, ctx.now)
    await deliveries.promise(ctx.connection, _promises(ctx, batch_id, steps, how), ctx.now)
    return batch_id


async def promise_of_each(contexts: Sequence[Context], steps: Mapping[int, Sequence[Step]], how: How) -> None:
    """Promise follows of several persons, given by their ids, as one batch each."""
    acting = [ctx for ctx in contexts if steps.get(ctx.person.id)]
    if not acting:
        return
    connection, now = acting[0].connection, acting[0].now
    batch_ids = await deliveries.new_batches(connection, [ctx.person.id for ctx in acting], now)
    promises = [
        each
        for ctx, batch_id in zip(acting, batch_ids, strict=True)
        for each in _promises(ctx, batch_id, steps[ctx.person.id], how)
    ]
    await deliveries.promise(connection, promises, now)


def _promises(ctx: Context, batch_id: int, steps: Sequence[Step], how: How) -> list[Promise]:
    rank = RANKS[DeliveryKind.FOLLOW]
    promises = []
    for place, step in enumerate(steps):
        begun = step.before if step.before is not None and step.before.begun else None
        payload: dict[str, Any] = {"actor": step.theirs.id, "handle": step.theirs.handle}
        if step.theirs.network is NetworkName.BLUESKY:
            payload["rkey"] = begun.rkey if begun else tid(ctx.now, place)
        promises.append(
            Promise(
                kind=DeliveryKind.FOLLOW,
                key=follows.key_of(how, step.mine, step.theirs.id, batch_id),
                lane=lanes.act_lane(step.mine),
                payload=payload,
                network=step.theirs.network,
                person_id=ctx.person.id,
                account_id=step.mine,
                contact_id=step.contact.person_id,
                rank=rank if step.contact.mutual else rank + 1,
                batch_id=batch_id,
                begun=begun is not None,
            )
        )
    return promises


def how_long(ctx: Context, wait: int) -> str:
    """Say how long so many milliseconds of following are."""
    if wait < 60_000:
        return ctx.text("That takes less than a minute.")
    return ctx.text(
        "At a pace that the networks accept it takes about {time}, and goes on by itself.", time=ctx.texts.span(wait)
    )


async def time_for(ctx: Context, steps: Sequence[Step] = ()) -> int:
    """Return the milliseconds until these steps, and what is promised before them, will have been done."""
    ahead = await follows.pending(ctx.connection, ctx.person.id)
    for step in steps:
        by: tuple[str, NetworkName | None] = (step.mine, step.theirs.network)
        ahead[by] = ahead.get(by, 0) + 1
    waits = [
        await budgets.wait_for(ctx.connection, f"follow:{account_id}", ctx.settings.follow.get(network, ()), n, ctx.now)
        for (account_id, network), n in ahead.items()
        if network is not None
    ]
    return max(waits, default=0)
