"""A stand-in of a Mastodon server on loopback."""

from bot.sandbox.mastodon.errors import ApiError
from bot.sandbox.mastodon.limits import Rule
from bot.sandbox.mastodon.people import MastodonPerson, ReceivedDm
from bot.sandbox.mastodon.quirks import Quirks
from bot.sandbox.mastodon.sandbox import MastodonSandbox

__all__ = ["ApiError", "MastodonPerson", "MastodonSandbox", "Quirks", "ReceivedDm", "Rule"]
