"""From a first word to the first reconnection."""

import asyncio

from bot.sandbox.demo import said
from bot.sandbox.demo.faults import cut_follows, x_is_down
from bot.sandbox.demo.phrases import number
from bot.sandbox.demo.play import Play
from storage.records import NetworkName

# What PRODUCT promises: from hello to the first reconnection a person writes this often at most.
JOURNEY_MESSAGES = 5


async def mention(play: Play) -> None:
    """Mention the bot: it answers in public, with nothing personal; what is longer goes by DM."""
    camille, amir = play.line("Camille"), play.line("Amir")
    await camille.ask("bonjour !", said.SHORT, public=True)
    answer = camille.received[0]
    play.true(answer.kind == "post" and answer.reply_to == camille.asked[0].uri, "Camille was answered in her thread")
    asked = await amir.send("guide", said.GUIDE, public=True)
    await amir.answer(asked)
    await amir.hears(said.SENT_BY_DM, since=asked.mark)
    private = [effect.kind for effect in amir.received if said.GUIDE.find(effect.text) is not None]
    play.true(private == ["dm"], "Amir got the guide by DM, and his thread says so")


async def two_accounts(play: Play) -> None:
    """Noor has an account on either network; a code makes them one person, whom newcomers are followed for."""
    here, there = play.line("Noor"), play.line("Noor", NetworkName.MASTODON)
    await here.ask("hello", said.HELLO)
    await play.moves.join(here, there)
    proved = await play.moves.prove(here)
    await play.moves.hand_over(here, proved.text)
    await play.moves.consent(here, proved.text)
    offered = await here.ask("connect", said.CONNECT_HERE)
    await play.moves.consent(here, offered.text, on=there)
    await play.moves.auto_on(here)
    play.true(len(play.moves.diary.of(here.resident).granted) == 2, "Noor has consented on both networks")


async def proof(play: Play) -> None:
    """Camille and Amir say who they were; X does not answer at first, and nothing is lost by it."""
    camille, amir = play.line("Camille"), play.line("Amir")
    x_is_down(play)
    answers = [await play.moves.prove(camille), await play.moves.prove(amir)]
    play.true(all(answer.phrase is said.PROVED for answer in answers), "Camille and Amir have proved who they were")


async def lists(play: Play) -> None:
    """They hand their lists over, and learn at once who is here."""
    early = [play.lead(name) for name in ("Noor", "Paul", "Ludo", "Boris")]
    diary = play.moves.diary
    await play.until(lambda: all(diary.of(each).proved for each in early), "some of their friends are here before them")
    for name, whole in (("Camille", True), ("Amir", False)):
        line = play.line(name)
        answer = await play.moves.hand_over(line, line.text_since(0), whole_archive=whole)
        play.true(answer.phrase is said.ALREADY_HERE, f"{name} is told who is here already")
        play.true("noorjansen" in answer.text or number(answer.fields["n"]) > 5, f"{name} is told by name")


async def consent(play: Play) -> None:
    """They consent on their own servers: Bluesky with DPoP, Mastodon with an app registered there."""
    for name in ("Camille", "Amir"):
        line = play.line(name)
        await play.moves.consent(line, line.text_since(0))
        play.true(line.network in play.moves.diary.of(line.resident).granted, f"{name} has consented on {line.network}")


async def reconnection(play: Play) -> None:
    """Say yes to a preview; connections that are cut on the way make nothing twice."""
    stage, diary = play.stage, play.moves.diary
    camille, amir = play.line("Camille"), play.line("Amir")
    ludo, boris = stage.mastodon_person(play.lead("Ludo")), stage.mastodon_person(play.lead("Boris"))
    await cut_follows(play)
    await asyncio.gather(play.moves.follow_all(camille), play.moves.follow_all(amir))
    await play.until(lambda: stage.is_followed(camille, play.lead("Noor")), "Camille follows Noor again, on Bluesky")
    sent = len(camille.asked) - play.moves.begun_anew[camille]
    play.true(sent <= JOURNEY_MESSAGES, f"from hello to the first reconnection Camille wrote {sent} messages")
    await play.until(lambda: stage.is_followed(amir, play.lead("Noor")), "Amir follows Noor again, on Mastodon")
    await amir.hears(said.REQUESTED)
    ludo.accept(stage.mastodon_person(amir.resident))
    play.true(stage.is_followed(amir, play.lead("Ludo")), "Ludo's account is locked: he was asked, and agreed")
    await amir.hears(said.REFUSED)
    play.true(boris.actor not in amir.person.follows, "Boris blocks Amir: Amir is told, and Boris left alone")
    diary.apart.add((amir.resident, play.lead("Boris")))
