"""What goes wrong on the networks during the story; none of it may lose or double anything."""

from bot.sandbox.demo.play import Play
from bot.sandbox.faults import Fault


def x_is_down(play: Play) -> None:
    """Have X answer neither of the two ways to look a post up, once."""
    for path in ("/tweet-result", "/oembed"):
        play.stage.x.faults.plan(Fault(path, status=500))
    play.screen.note("X answers the next look-up with an error")


async def cut_follows(play: Play) -> None:
    """Cut the connection after follows were made, so that the bot cannot know whether they were."""
    await play.stage.bluesky.plan(Fault("com.atproto.repo.applyWrites", kind="cut", after=True))
    play.stage.mastodon.faults.plan(Fault("/follow", kind="cut", after=True, method="POST"))
    play.screen.note("both networks cut a connection after a follow was made, before they say so")


async def cut_messages(play: Play) -> None:
    """Cut the connection after a message was sent, on either network."""
    await play.stage.bluesky.plan(Fault("chat.bsky.convo.sendMessage", kind="cut", after=True))
    play.stage.mastodon.faults.plan(Fault("/api/v1/statuses", kind="cut", after=True, method="POST"))
    play.screen.note("both networks cut a connection after a message was sent, before they say so")


async def stumble(play: Play) -> None:
    """Have both networks fail at being listened to, and Mastodon ask for patience."""
    await play.stage.bluesky.plan(Fault("chat.bsky.convo.getLog", status=500))
    await play.stage.bluesky.plan(Fault("app.bsky.notification.listNotifications", kind="malformed"))
    play.stage.mastodon.faults.plan(
        Fault(
            "/api/v1/statuses", status=429, headers={"retry-after": "1"}, method="POST", body=b'{"error":"Throttled"}'
        )
    )
    play.screen.note("Bluesky answers with an error and with half a JSON, Mastodon with “too many requests”")
