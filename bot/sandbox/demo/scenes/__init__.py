"""The scenes of the story, in their order."""

from collections.abc import Awaitable, Callable
from typing import Final

from bot.sandbox.demo.play import Play
from bot.sandbox.demo.scenes import arriving, leaving, meeting, trouble

Scene = tuple[str, Callable[[Play], Awaitable[None]]]

SCENES: Final[tuple[Scene, ...]] = (
    ("Somebody mentions the bot", meeting.mention),
    ("Accounts on both networks are one person", meeting.two_accounts),
    ("A farewell on X proves who one was", meeting.proof),
    ("The list of an archive, and who of it is here already", meeting.lists),
    ("Consent, given on one's own server", meeting.consent),
    ("A preview, a yes, and they are reconnected", meeting.reconnection),
    ("Somebody claims an account that was never theirs", trouble.impostor),
    ("Two people claim the same account", trouble.contest),
    ("Somebody whose door is closed", trouble.closed_door),
    ("A newcomer, and those who waited", arriving.newcomer),
    ("Questions, and words that make no sense", arriving.questions),
    ("Taking it back", arriving.undo),
    ("A consent is withdrawn at the server", leaving.revoked),
    ("Silence", leaving.stop),
    ("Everything that is held, and nothing any more", leaving.farewell),
)
