"""Stories of somebody who finds old friends again: who proves, hands over a list, consents, and follows."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from bot.app import App, open_app
from bot.running import named
from bot.sandbox.journal import Effect
from tests.flock import Flock
from tests.test_journey import Somebody, Traveller, new_person


def traveller(flock: Flock, network: str, name: str) -> Traveller:
    """Return somebody new, who was called `<name>_on_x` before."""
    return Traveller(flock, new_person(flock, network, name), f"{name}_on_x")


async def friends_of(
    flock: Flock, network: str, names: Iterable[str], *, auto: bool = False
) -> tuple[Traveller, list[Traveller]]:
    """Return alice, who consented and has her list handed over, and the friends in it, who all have proved."""
    friends = [traveller(flock, network, name) for name in names]
    for friend in friends:
        await friend.prove()
    alice = traveller(flock, network, "alice")
    proof = await alice.prove()
    await alice.upload(proof, [friend.x.x_id for friend in friends], [])
    await alice.consent(proof)
    if auto:
        await alice.write("auto on")
    return alice, friends


async def conversing(flock: Flock, network: str, name: str = "alice") -> Traveller:
    """Return somebody who has written before, so that the conversation stands."""
    somebody = traveller(flock, network, name)
    await somebody.write("hello")
    return somebody


def bot_dms(flock: Flock, person: Somebody) -> list[Effect]:
    """Return every direct message of the bot's to somebody, as the network received it."""
    sandbox = flock.bluesky if person.actor.startswith("did:") else flock.mastodon
    bot = flock.bluesky_bot.actor if person.actor.startswith("did:") else flock.mastodon_bot.actor
    return sandbox.journal.of("dm", by=bot, to=person.actor)


def said_once(flock: Flock, person: Somebody) -> list[str]:
    """Return what the bot said to somebody, having seen that nothing was said twice."""
    texts = [effect.text for effect in bot_dms(flock, person)]
    assert len(texts) == len(set(texts)), texts
    return texts


async def kill() -> None:
    """End what is being performed without a word, as kill -9 does: nothing is settled, no lease is given back."""
    lanes = [task for task in asyncio.all_tasks() if task.get_name().startswith("lane ")]
    for task in lanes:
        task.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)


@asynccontextmanager
async def reborn(flock: Flock, worker: str = "reflock-1") -> AsyncIterator[App]:
    """Start a second process on the same database, and let the flock go on with it."""
    async with open_app(named(flock.config, worker), flock.clock) as app:
        await app.outbox.recover()
        before, flock.app = flock.app, app
        yield app
        await app.outbox.stop()
        flock.app = before


def code_in(text: str, kind: str = "RF") -> str:
    """Return the code that the bot gave."""
    code = re.search(rf"{kind}-\w{{4}}-\w{{4}}", text)
    assert code, text
    return code[0]


async def begin(flock: Flock) -> None:
    """Hear everything and begin to keep promises, without waiting for what comes of it."""
    for inbox in flock.app.inboxes.values():
        await inbox.turn()
    await flock.app.outbox.begin()


async def until(happened: Callable[[], object]) -> None:
    """Let the others work until something is true."""
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110  # it may become true anywhere, in the network's own books too
            await asyncio.sleep(0.005)
