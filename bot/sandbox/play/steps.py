"""Which messages make sense next, so that a click sends them; the first one is the next step."""

from collections.abc import Iterator
from typing import Final

from bot.sandbox.demo import said
from bot.sandbox.demo.lines import Line
from bot.sandbox.play.player import Player

# What the bot asks, to be answered with yes or no.
_QUESTIONS: Final = (said.SHALL_I, said.SHALL_I_LATER, said.UNDO_ASKED, said.FORGET_ASKED)
# The first word sets the language of the answers; these have all commands in English, and every language's yes.
_START: Final = {"fr": "bonjour"}
_YES: Final = {"fr": "oui"}


def next_words(player: Player, line: Line) -> list[str]:
    """Return what somebody might write now on a network, the best first; nothing when the next step is elsewhere."""
    return list(dict.fromkeys(_words(player, line)))


def _words(player: Player, line: Line) -> Iterator[str]:
    language = player.texts.language
    if line.asked and line.finds(*_QUESTIONS, since=line.asked[-1].mark):
        yield _YES.get(language, "yes")
    code = player.link_code(line)
    joined = len(player.lines) == 1 or player.times_heard(said.JOINED)
    if not joined and code is not None:
        yield f"link {code}"
    elif not line.asked:
        yield _START.get(language, "start")
    elif not joined:
        # Two accounts that are not one person yet would contest each other's claim.
        if not player.times_heard(said.SEND_FROM_OTHER):
            yield "link"
    elif player.times_heard(said.PROVED):
        yield from _after_the_proof(player)
    elif player.posted:
        yield player.posted[-1].url
    elif player.farewell() is None:
        yield f"claim {player.resident.x_handle}"


def _after_the_proof(player: Player) -> Iterator[str]:
    if not player.times_heard(said.ALREADY_HERE, said.NOBODY_HERE):
        yield "import"
    elif player.times_heard(said.GRANTED) < len(player.lines):
        yield "connect"
    if not player.times_heard(said.HERE_WE_GO):
        yield "follow all"
    if not player.times_heard(said.AUTO_ON):
        yield "auto on"
    yield "contacts"
    yield "status"
