"""Recognise a password that was sent by mistake: it is not kept, and its owner is told to revoke it."""

import re
from typing import Final

from handlers.context import Context

# App passwords of Bluesky: four groups of four letters or digits from base32 (atproto's PDS, "createAppPassword").
APP_PASSWORD: Final = re.compile(r"(?<![\w-])[a-z2-7]{4}(?:-[a-z2-7]{4}){3}(?![\w-])")


async def app_password(ctx: Context, _matched: str) -> str:
    """Tell somebody that what they sent looks like a password, and what to do about it now."""
    return ctx.text(
        "This looks like an app password. I never need one, and I have not kept it. Please revoke it now: on Bluesky "
        "under Settings, Privacy and security, App passwords. To let me follow for you, write: connect"
    )
