"""A stand-in of Bluesky that speaks XRPC, chat and OAuth on loopback."""

from bot.sandbox.bluesky.chat import ChatMessage
from bot.sandbox.bluesky.errors import DmRefused
from bot.sandbox.bluesky.people import BlueskyPerson
from bot.sandbox.bluesky.sandbox import BlueskySandbox

__all__ = ["BlueskyPerson", "BlueskySandbox", "ChatMessage", "DmRefused"]
