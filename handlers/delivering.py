"""What is said publicly of a DM: that it was sent, or why not and what to do. Nothing personal stands in it."""

from handlers.texts import N_, Texts
from storage.records import NetworkName


def sent(texts: Texts) -> str:
    """Say in the public thread that the answer went by DM."""
    return texts.text(N_("I have answered you by direct message."))


def remedy(texts: Texts, network: NetworkName, reason: str) -> str:
    """Say in the public thread why the DM could not be delivered, and what its reader can do."""
    if reason == "blocked":
        return texts.text(
            N_(
                "I could not send you a direct message: one of us blocks the other. Lift the block, then write to me again."
            )
        )
    if network is NetworkName.BLUESKY:
        return texts.text(
            N_(
                "I could not send you a direct message. Follow me, or allow messages from everyone (Chat, then "
                "Settings), then send me: start"
            )
        )
    return texts.text(
        N_(
            "I could not send you a direct message. Follow me, or allow private mentions from people you do not "
            "follow (Notifications, then Filters), then send me: start"
        )
    )


def still_trying(texts: Texts) -> str:
    """Say that what was asked for is not forgotten while X does not answer."""
    return texts.text(
        N_("X does not answer me just now. I keep trying, and tell you as soon as I have seen your post.")
    )
