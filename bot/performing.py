"""How each kind of delivery is performed and settled: speaking, and acting on somebody's behalf."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bot.events import Events
from bot.lines import Line
from bot.networks import FollowOrder, FollowOutcome, GrantInUse, Network, Say
from bot.networks.errors import EXPOSED, GRANT_LOST, NetworkError, PartlyDone, Refused, Unavailable
from bot.performer import Performed, Performer
from handlers import batches, consents, delivering
from storage import accounts, codes, deliveries, follows, grants, lanes
from storage.budgets import Allowance
from storage.deliveries import Promise
from storage.keys import LostSecretError
from storage.records import Delivery, DeliveryKind, DeliveryState, Grant, GrantState, NetworkName
from storage.tables import delivery as deliveries_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Allowances = Mapping[NetworkName, tuple[Allowance, ...]]


class Speaking(Performer):
    """Bring a reply, a public post or a notice to its reader."""

    def __init__(self, events: Events, allowances: Allowances) -> None:
        self._events = events
        self.lines = [said_on(network, each) for network, each in allowances.items()]
        self._line_on: Final = dict(zip(allowances, self.lines, strict=True))

    def budget(self, first: Delivery) -> tuple[str, tuple[Allowance, ...]] | None:
        """Draw on what the bot itself may say on the network."""
        line = self._line_on[_network_of(first)]
        return line.budget, line.allowances[deliveries.is_urgent(first)]

    async def may_not(self, connection: "AsyncConnection", due: Sequence[Delivery]) -> Mapping[int, str]:
        """Keep silent to those who said stop meanwhile; the answer to a message itself is always allowed."""
        (delivery,) = due
        if delivery.kind is DeliveryKind.NOTICE:
            return await batches.may_not(connection, self._events.world, due, self._events.clock())
        if delivery.person_id is None or json.loads(delivery.payload).get("prompt", True):
            return {}
        person = (await accounts.persons(connection, [delivery.person_id])).get(delivery.person_id)
        return {delivery.id: "stopped"} if person is not None and person.stopped else {}

    async def perform(self, due: list[Delivery]) -> Performed:
        """Say it, looking first where an earlier attempt may have said it."""
        (delivery,) = due
        payload = json.loads(delivery.payload)
        network = self._events.networks[_network_of(delivery)]
        actor = payload["actor"]
        uri = await network.say(
            Say(
                key=delivery.key,
                actor=actor,
                handle=payload["handle"],
                text=payload["text"],
                public=payload["public"],
                thread=payload["thread"],
                language=payload["language"],
                again=delivery.attempts > 1,
                first_at=delivery.first_at or 0,
            )
        )

        async def settle(connection: "AsyncConnection") -> None:
            now = self._events.clock()
            await deliveries.settle(connection, delivery, DeliveryState.DONE, now, result=uri)
            if delivery.kind is DeliveryKind.NOTICE and delivery.person_id is not None:
                await accounts.count_unanswered(connection, delivery.person_id)
            if payload["ack"]:
                text = delivering.sent(self._events.catalogue.texts(payload["language"]))
                await self._acknowledge(connection, delivery, payload, text)

        return Performed(settle, promises_nothing=not payload["ack"])

    async def refused(self, connection: "AsyncConnection", delivery: Delivery, reason: str) -> None:
        """Say publicly what to do when the answer to a public message could not be brought by DM.

        Were others shown the answer, then the links in it too, which open the door to whoever has them.
        """
        if reason == EXPOSED and delivery.person_id is not None:
            await codes.void(connection, delivery.person_id, delivery.first_at or 0)
        payload = json.loads(delivery.payload)
        if payload["ack"]:
            texts = self._events.catalogue.texts(payload["language"])
            text = delivering.remedy(texts, _network_of(delivery), reason)
            await self._acknowledge(connection, delivery, payload, text)

    async def _acknowledge(
        self, connection: "AsyncConnection", delivery: Delivery, payload: Mapping[str, Any], text: str
    ) -> None:
        await deliveries.promise(
            connection,
            [
                Promise(
                    kind=DeliveryKind.POST,
                    key=f"{delivery.key}:ack",
                    lane=delivery.lane,
                    payload={**payload, "text": text, "public": True, "ack": False},
                    network=delivery.network,
                    person_id=delivery.person_id,
                    account_id=delivery.account_id,
                )
            ],
            self._events.clock(),
        )


class Acting(Performer):
    """Follow, or cease to follow, on behalf of one account; its lane's lease is the lock of its grant."""

    ordered = False

    def __init__(self, events: Events, allowances: Allowances, batch: int) -> None:
        self._events = events
        self._allowances: Final = allowances
        self.batch = batch

    def at_once(self, first: Delivery) -> int:
        """Act on Mastodon for one after the other: nothing there tells whose a follow is, if that was not written down."""
        return 1 if first.network is NetworkName.MASTODON else self.batch

    def budget(self, first: Delivery) -> tuple[str, tuple[Allowance, ...]] | None:
        """Draw on what may be done on behalf of this account."""
        return f"follow:{first.account_id}", self._allowances[_network_of(first)]

    async def may_not(self, connection: "AsyncConnection", due: Sequence[Delivery]) -> Mapping[int, str]:
        """Check that both sides still want it."""
        return await batches.may_not(connection, self._events.world, due, self._events.clock())

    async def perform(self, due: list[Delivery]) -> Performed:
        """Ask the network with the grant's tokens; what was done counts, even when the rest could not be."""
        outcomes, cause = await self._act(due)
        rest = due[len(outcomes) :]
        if isinstance(cause, Unavailable):
            # On Mastodon it is but one; of a batch on Bluesky all, or none, may have come through.
            untried = len(rest) - cause.begun if due[0].network is NetworkName.MASTODON else 0
            return Performed(self._settle(due, outcomes, None), cause, rest, untried)
        return Performed(self._settle(due, outcomes, cause.reason if isinstance(cause, Refused) else None))

    async def _act(self, due: list[Delivery]) -> tuple[Sequence[FollowOutcome], NetworkError | None]:
        """Return the outcomes of the first deliveries, and what kept the others from having one."""
        first = due[0]
        network = self._events.networks[_network_of(first)]
        act = network.follow if first.kind is DeliveryKind.FOLLOW else network.unfollow
        try:
            return await act(await self._grant(first), [_order(each) for each in due]), None
        except PartlyDone as partly:
            return partly.outcomes, partly.cause
        except (Refused, Unavailable) as cause:
            return [], cause

    def _settle(self, due: list[Delivery], outcomes: Sequence[FollowOutcome], refusal: str | None) -> Any:
        async def settle(connection: "AsyncConnection") -> None:
            now = self._events.clock()
            for each, outcome in zip(due, outcomes, strict=False):
                state = DeliveryState.REFUSED if outcome.state == "refused" else DeliveryState.DONE
                reason = outcome.reason if outcome.state == "refused" else outcome.state
                await deliveries.settle(connection, each, state, now, result=outcome.uri, reason=reason)
            rest = due[len(outcomes) :]
            if refusal == GRANT_LOST and due[0].kind is DeliveryKind.FOLLOW:
                await self._call_off(connection, rest)
            elif refusal is not None:
                for each in rest:
                    await deliveries.settle(connection, each, DeliveryState.REFUSED, now, reason=refusal)
                if refusal == GRANT_LOST:
                    await self._lost(connection, due[0])
            await self._batch_progress(connection, due)

        return settle

    async def _call_off(self, connection: "AsyncConnection", rest: Sequence[Delivery]) -> None:
        """Cancel follows for want of a consent, which is no refusal of theirs: with a new one they may be made."""
        for each in rest:  # refused for certain: what may have come through was attempted before
            await deliveries.postpone(connection, [each], each.due_at, performed=False)
        await self._lost(connection, rest[0])
        now, ids = self._events.clock(), [each.id for each in rest]
        await deliveries.cancel(connection, now, deliveries_table.c.id.in_(ids))

    async def refused(self, connection: "AsyncConnection", delivery: Delivery, _reason: str) -> None:
        """Finish the batch of which something was given up."""
        await follows.keep_begun(connection, delivery)
        await self._batch_progress(connection, [delivery])

    async def cancelled(self, connection: "AsyncConnection", delivery: Delivery) -> None:
        """Finish the batch of which something was called off at the last moment."""
        await follows.keep_begun(connection, delivery)
        await self._batch_progress(connection, [delivery])

    async def _grant(self, delivery: Delivery) -> GrantInUse:
        async with self._events.database.reading() as connection:
            grant = await grants.of_account(connection, str(delivery.account_id))
        if grant is None or grant.state is not GrantState.ACTIVE:
            raise Refused(GRANT_LOST, "there is no consent (any more)")
        held = grant
        try:
            secret = self._events.world.keys.decrypt(grant.secret)
        except LostSecretError as error:
            raise Refused(GRANT_LOST, "the kept consent cannot be read") from error
        return GrantInUse(grant.account_id, secret, lambda renewed: self._save(held, renewed))

    async def _save(self, grant: Grant, secret: str) -> None:
        """Keep renewed tokens; of a consent that was ended meanwhile they are ended too, and not used."""
        renewed = self._events.world.keys.encrypt(secret)
        async with self._events.database.transaction() as connection:
            if await grants.save_secret(connection, grant.id, renewed):
                return
            await consents.give_back(connection, grant.network, renewed, self._events.clock())
        self._events.on_promise()
        raise Refused(GRANT_LOST, "the consent was taken back while it was being renewed")

    async def _lost(self, connection: "AsyncConnection", delivery: Delivery) -> None:
        context = await self._events.context(connection, f"{delivery.key}:lost", str(delivery.account_id))
        await consents.lost(context, str(delivery.account_id))
        await self._events.promise_speeches(connection, context.speeches)

    async def _batch_progress(self, connection: "AsyncConnection", due: list[Delivery]) -> None:
        for batch_id in {each.batch_id for each in due if each.batch_id is not None}:
            context = await self._events.context(connection, f"batch:{batch_id}:{due[0].id}", str(due[0].account_id))
            await batches.batch_progress(context, batch_id, [each.id for each in due])
            await self._events.promise_speeches(connection, context.speeches)


class Revoking(Performer):
    """End a grant at its issuer."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def perform(self, due: list[Delivery]) -> Performed:
        """Revoke; a grant that has ended already is fine."""
        (delivery,) = due
        network: Network = self._events.networks[_network_of(delivery)]
        try:
            secret = self._events.world.keys.decrypt(json.loads(delivery.payload)["secret"].encode())
        except LostSecretError as error:
            raise Refused(GRANT_LOST, str(error)) from None
        await network.revoke(secret)

        async def settle(connection: "AsyncConnection") -> None:
            await deliveries.settle(connection, delivery, DeliveryState.DONE, self._events.clock())

        return Performed(settle)


def said_on(network: NetworkName, allowances: tuple[Allowance, ...]) -> Line:
    """Return the line of what is said on a network: what nobody waits for leaves half of a burst to answers."""
    left = tuple(each.leaving(each.burst // 2) for each in allowances)
    return Line(lanes.speaking_on(network), f"say:{network}", {True: allowances, False: left})


def _network_of(delivery: Delivery) -> NetworkName:
    if delivery.network is None:
        raise ValueError(f"Delivery {delivery.id} ({delivery.kind}) names no network.")
    return delivery.network


def _order(delivery: Delivery) -> FollowOrder:
    payload = json.loads(delivery.payload)
    return FollowOrder(
        key=payload.get("rkey") or delivery.key,
        actor=payload["actor"],
        handle=payload["handle"],
        uri=payload.get("uri"),
        again=delivery.attempts > 1,
        in_doubt=delivery.reason == deliveries.IN_DOUBT,
    )
