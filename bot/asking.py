"""How questions to third parties are performed: posts on X are looked up, consents are begun and finished."""

import json
from typing import TYPE_CHECKING, Final

from bot.consents import UNKNOWN, Consents
from bot.events import Events
from bot.networks.errors import Refused, Unavailable
from bot.performer import Performed, Performer
from bot.proof import NotAPost, Post, PostGone, PostLookup
from handlers import claims, consents, delivering
from handlers.claims import LookedUp
from storage import deliveries
from storage.keys import LostSecretError
from storage.records import Delivery, DeliveryState, NetworkName

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# After so many attempts somebody who waits is told that it takes longer.
_PATIENCE: Final = 2
# Somebody waits for a consent page, and may have mistyped the server: after so many attempts it is no use.
_TRIES: Final = 4


class LookingUp(Performer):
    """Look up the post that proves a claim, and let the claim's handler judge it."""

    def __init__(self, events: Events, lookup: PostLookup) -> None:
        self._events = events
        self._lookup = lookup

    async def perform(self, due: list[Delivery]) -> Performed:
        """Ask X; a post that is gone or none at all is an answer too."""
        (delivery,) = due
        post: Post | None = None
        problem: str | None = None
        try:
            post = await self._lookup.look_up(json.loads(delivery.payload)["url"])
        except PostGone:
            problem = "gone"
        except NotAPost:
            problem = "not_a_post"
        except Unavailable as unavailable:
            return Performed(lambda connection: self._say_it_takes_longer(connection, delivery), unavailable, due)
        seen = LookedUp(post.author_handle, post.author_id, post.text) if post else None
        return Performed(lambda connection: self._judge(connection, delivery, seen, problem))

    async def refused(self, connection: "AsyncConnection", delivery: Delivery, reason: str) -> None:
        """Tell that X could not be asked, after days of trying."""
        await self._answer(connection, delivery, None, reason)

    async def _judge(
        self, connection: "AsyncConnection", delivery: Delivery, post: LookedUp | None, problem: str | None
    ) -> None:
        await deliveries.settle(connection, delivery, DeliveryState.DONE, self._events.clock(), reason=problem)
        await self._answer(connection, delivery, post, problem)

    async def _answer(
        self, connection: "AsyncConnection", delivery: Delivery, post: LookedUp | None, problem: str | None
    ) -> None:
        context = await self._events.context(connection, delivery.key, str(delivery.account_id))
        if answer := await claims.looked_up(context, post, problem):
            context.say(answer)
        await self._events.promise_speeches(connection, context.speeches)

    async def _say_it_takes_longer(self, connection: "AsyncConnection", delivery: Delivery) -> None:
        if delivery.attempts == _PATIENCE:
            context = await self._events.context(connection, f"{delivery.key}:waiting", str(delivery.account_id))
            context.say(delivering.still_trying(context.texts))
            await self._events.promise_speeches(connection, context.speeches)


class Consenting(Performer):
    """Begin or finish a consent for somebody who has no web page of ours to go through."""

    def __init__(self, events: Events, asked: Consents) -> None:
        self._events = events
        self._asked = asked

    async def perform(self, due: list[Delivery]) -> Performed:
        """Ask the authorization server; what the user has to mend is said to them."""
        (delivery,) = due
        payload = json.loads(delivery.payload)
        try:
            if payload["step"] == "begin":
                url = await self._asked.begin(
                    NetworkName(payload["network"]),
                    int(delivery.person_id or 0),
                    delivery.account_id,
                    payload["server"],
                )
                return Performed(lambda connection: self._begun(connection, delivery, url))
            granted = await self._asked.finish_code(int(delivery.person_id or 0), self._code(payload["code"]))
        except (Refused, Unavailable) as problem:
            if isinstance(problem, Unavailable) and delivery.attempts < _TRIES:
                raise
            reason = problem.reason if isinstance(problem, Refused) else "unreachable"
            return Performed(lambda connection: self._refused(connection, delivery, reason))
        return Performed(lambda connection: self._granted(connection, delivery, granted))

    async def refused(self, connection: "AsyncConnection", delivery: Delivery, reason: str) -> None:
        """Tell that the server could not be asked, after days of trying."""
        context = await self._events.context(connection, delivery.key, str(delivery.account_id))
        context.say(await consents.refused(context, reason))
        await self._events.promise_speeches(connection, context.speeches)

    def _code(self, encrypted: str) -> str:
        try:
            return self._events.world.keys.decrypt(encrypted.encode())
        except LostSecretError as error:  # and so is what the consent was begun with
            raise Refused(UNKNOWN, str(error)) from None

    async def _begun(self, connection: "AsyncConnection", delivery: Delivery, url: str) -> None:
        await self._settle(connection, delivery)
        context = await self._events.context(connection, delivery.key, str(delivery.account_id))
        context.say(await consents.begun(context, url))
        await self._events.promise_speeches(connection, context.speeches)

    async def _granted(self, connection: "AsyncConnection", delivery: Delivery, granted: consents.Granted) -> None:
        await self._settle(connection, delivery)
        context = await self._events.context(connection, delivery.key, str(delivery.account_id))
        context.say((await consents.granted(context, granted)).text)
        await self._events.promise_speeches(connection, context.speeches)

    async def _refused(self, connection: "AsyncConnection", delivery: Delivery, reason: str) -> None:
        await self._settle(connection, delivery)
        await self.refused(connection, delivery, reason)

    async def _settle(self, connection: "AsyncConnection", delivery: Delivery) -> None:
        await deliveries.settle(connection, delivery, DeliveryState.DONE, self._events.clock())
