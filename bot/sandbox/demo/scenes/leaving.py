"""How it ends: a consent is withdrawn, somebody wants silence, somebody wants to be forgotten."""

from bot.sandbox.demo import said
from bot.sandbox.demo.browser import Browser, find_form
from bot.sandbox.demo.play import Play
from bot.sandbox.demo.scenes.arriving import was_told
from storage.records import NetworkName


async def revoked(play: Play) -> None:
    """Paul takes his consent back in the settings of his server: the bot finds out, tells him, and he gives it anew."""
    paul, diary = play.line("Paul"), play.moves.diary
    offered = await paul.ask("connect", said.CONNECT_HERE)
    await play.moves.consent(paul, offered.text)
    await play.stage.bluesky_person(paul.resident).withdraw_consents()
    await play.moves.follow_all(paul)
    await paul.hears(said.GRANT_LOST)
    play.true(not paul.person.follows, "Paul is told that his consent has ended, and how to give it anew")
    del diary.of(paul.resident).granted[paul.network]
    offered = await paul.ask("connect", said.CONNECT_HERE)
    await play.moves.consent(paul, offered.text)
    await play.moves.follow_all(paul)
    await play.until(lambda: play.stage.is_followed(paul, play.lead("Noor")), "Paul gave it anew, and follows Noor")


async def stop(play: Play) -> None:
    """Amir says stop; when Tomas arrives, Camille is told and Amir is not."""
    amir, camille, tomas = play.line("Amir"), play.line("Camille"), play.lead("Tomas")
    await amir.ask("stop", said.STOPPED)
    play.moves.diary.of(amir.resident).silent = True
    here = play.line("Tomas")
    await play.moves.join(here, play.line("Tomas", NetworkName.MASTODON))
    await play.moves.prove(here)
    await play.until(lambda: was_told(camille, tomas), "Camille is told that Tomas has arrived")
    play.true(not was_told(amir, tomas), "Amir said stop, and hears nothing")


async def farewell(play: Play) -> None:
    """Camille asks for all that is held about her; Ben has himself forgotten, which frees the contested account."""
    camille, ada, ben = play.line("Camille"), play.line("Ada"), play.line("Ben")
    answer = await camille.ask("export", said.EXPORT)
    held = await _exported(play, answer.text)
    play.true(camille.resident.x_handle in held, "Camille's export names the account that she proved")
    await ben.ask("forget me", said.FORGET_ASKED)
    await ben.ask("yes", said.FORGOTTEN)
    play.moves.diary.of(ben.resident).left = True
    await ada.hears(said.FREE)
    play.screen.true("Ben is forgotten, and nobody contests Ada's account any more")


async def _exported(play: Play, offered: str) -> str:
    match = said.EXPORT_LINK.search(offered)
    browser = Browser(play.stage.http)
    form = find_form(await browser.enter(match[0] if match else ""), lambda form: "csrf" in form.fields)
    return (await browser.post(f"{play.stage.public_url}/me/export", {"csrf": form.fields["csrf"]})).text
