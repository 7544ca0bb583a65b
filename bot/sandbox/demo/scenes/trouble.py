"""What is not as it should be: a claim that is wrong, one that two people make, a door that is closed."""

from bot.sandbox.demo import said
from bot.sandbox.demo.play import Play

_SHARED_HANDLE = "okafor_duo_old"


async def impostor(play: Play) -> None:
    """Viktor claims Iris's account and sends a post of his own: the author whom X names decides."""
    viktor, iris = play.line("Viktor"), play.lead("Iris")
    his_own = play.stage.x_accounts[viktor.resident.x_id]
    answer = await play.moves.prove(viktor, x_account=his_own, x_handle=iris.x_handle)
    play.true(answer.phrase is said.NOT_THE_AUTHOR, "Viktor's claim to Iris's account is refused")


async def contest(play: Play) -> None:
    """Ada and Ben posted from one account on X, and both can prove it: it is frozen, and both are told."""
    ada, ben = play.line("Ada"), play.line("Ben")
    shared = play.stage.x.create_account(_SHARED_HANDLE)
    first = await play.moves.prove(ada, x_account=shared)
    play.true(first.phrase is said.PROVED, "Ada proves that the shared account was hers")
    second = await play.moves.prove(ben, x_account=shared)
    play.true(second.phrase is said.FROZEN, "Ben proves the same: the claim is frozen, and he is told")
    await ada.hears(said.FROZEN)
    play.true(said.FROZEN.find(ada.text_since(0)), "Ada is told as well")


async def closed_door(play: Play) -> None:
    """Greta takes no DMs: her thread says what to do; she does it, and goes on."""
    greta = play.line("Greta")
    person = play.stage.bluesky_person(greta.resident)
    await person.allow_incoming("none")
    await greta.ask(f"claim {greta.resident.x_handle}", said.DM_CLOSED, public=True)
    play.true([effect.kind for effect in greta.received] == ["post"], "Greta reads the remedy in her thread")
    await person.allow_incoming("all")
    await greta.ask("start", said.HELLO_AGAIN)
    proved = await play.moves.prove(greta)
    await play.moves.hand_over(greta, proved.text)
    play.true(play.moves.diary.of(greta.resident).proved, "Greta has opened her door, and proved who she was")
