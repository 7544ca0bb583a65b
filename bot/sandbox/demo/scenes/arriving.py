"""Who comes later, what one may ask, and how it is taken back."""

import asyncio

from bot.sandbox.demo import said
from bot.sandbox.demo.community import Resident
from bot.sandbox.demo.faults import cut_messages, stumble
from bot.sandbox.demo.lines import Line
from bot.sandbox.demo.phrases import number
from bot.sandbox.demo.play import Play
from storage.records import NetworkName


def was_told(line: Line, newcomer: Resident) -> bool:
    """Tell whether somebody was told of a newcomer by name, in a notice."""
    return any(said.ARRIVED.find(effect.text) and newcomer.slug in effect.text for effect in line.received)


async def newcomer(play: Play) -> None:
    """Iris arrives: those who waited are told by name, and who has auto on follows her on both networks."""
    iris, stage = play.lead("Iris"), play.stage
    here, there = play.line("Iris"), play.line("Iris", NetworkName.MASTODON)
    camille, amir, noor = play.line("Camille"), play.line("Amir"), play.line("Noor")
    await cut_messages(play)
    await play.moves.join(here, there)
    await stumble(play)
    proved = await play.moves.prove(here)
    await play.until(lambda: was_told(camille, iris), "Camille, who waited on Bluesky, is told that Iris has arrived")
    await play.until(lambda: was_told(amir, iris), "Amir, who waited on Mastodon, is told too")
    noors = (noor, play.line("Noor", NetworkName.MASTODON))
    await play.until(
        lambda: all(stage.is_followed(line, iris) for line in noors), "Noor follows Iris on both networks by itself"
    )
    await play.moves.hand_over(here, proved.text)


async def questions(play: Play) -> None:
    """Ask what may be asked; what makes no sense gets a clear sentence."""
    amir = play.line("Amir")
    await amir.ask("status", said.STATUS)
    await amir.ask("contacts", said.CONTACTS)
    await amir.ask(f"why {play.lead('Noor').x_handle}", said.WHY_HERE)
    await amir.ask(f"skip {play.lead('Camille').x_handle}", said.LEFT_OUT)
    play.screen.true("Amir asked for his status, his contacts, a reason, and left somebody out")
    nearest = await amir.ask("folow all", said.UNKNOWN_NEAREST)
    play.true(nearest.fields["command"] == "follow all", "“folow all” gets the nearest command")
    await amir.ask("qwxyz vbnmk", said.UNKNOWN)
    await amir.ask("claim not-a-handle!", said.USAGE)
    play.screen.true("words without sense get a clear answer, and a wrong call its usage")


async def undo(play: Play) -> None:
    """Camille takes her batch of follows back."""
    camille, journal = play.line("Camille"), play.stage.journal(NetworkName.BLUESKY)
    play.true(camille.person.follows, f"Camille follows {len(camille.person.follows)} people by now")
    before = len(journal.of("unfollow", by=camille.actor))
    await camille.ask("undo", said.UNDO_ASKED)
    _, undone = await asyncio.gather(camille.ask("oui", said.UNDOING), camille.hears(said.UNDONE))
    gone = number(undone.fields["n"])
    await play.until(
        lambda: len(journal.of("unfollow", by=camille.actor)) == before + gone > before,
        f"{gone} follows are taken back on Bluesky",
    )
