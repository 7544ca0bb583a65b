"""What a bot on either network is given to say: an answer to what it heard, or a word to somebody alone."""

from bot.networks import Incoming, Say
from bot.sandbox.bluesky import BlueskyPerson
from bot.sandbox.mastodon import MastodonPerson


def reply_to(heard: Incoming, text: str, *, key: str = "k1", public: bool = True, first_at: int = 0) -> Say:
    """Answer what was heard; once more, where `first_at` tells when it was tried first."""
    return Say(
        key,
        heard.actor,
        heard.handle,
        text,
        public=public,
        thread=heard.thread,
        language="en",
        again=first_at > 0,
        first_at=first_at,
    )


def dm_to(person: BlueskyPerson | MastodonPerson, text: str, *, key: str = "k1", first_at: int = 0) -> Say:
    """Write to somebody alone; once more, where `first_at` tells when it was tried first."""
    return Say(
        key,
        person.actor,
        person.handle,
        text,
        public=False,
        thread=None,
        language="en",
        again=first_at > 0,
        first_at=first_at,
    )
