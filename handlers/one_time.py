"""Make the one-time links that lead from a conversation to a page."""

from handlers.context import Context
from storage import codes
from storage.codes import Purpose
from storage.keys import new_token


async def link(ctx: Context, purpose: Purpose) -> str | None:
    """Make a fresh one-time link to the page of a purpose; None where Reflock has no web address."""
    if ctx.settings.public_url is None:
        return None
    token = new_token()
    await codes.issue(
        ctx.connection,
        ctx.world.keys,
        token,
        purpose,
        person_id=ctx.person.id,
        account_id=ctx.account.id,
        now=ctx.now,
        lifetime=ctx.settings.link_lifetime,
    )
    return f"{ctx.settings.public_url}/{purpose.value}/{token}"
