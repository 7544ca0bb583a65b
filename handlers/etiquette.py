"""Know when to keep silent: beyond the caps of a thread and of a day."""

from dataclasses import replace
from enum import Enum
from typing import Final

from handlers.context import Context
from storage import messages

_DAY: Final = 86_400_000


class Cap(Enum):
    """What is used up: the answers in one public thread, or those to one account in a day."""

    THREAD = "thread"
    DAY = "day"


async def cap_reached(context: Context, thread_key: str, *, public: bool) -> Cap | None:
    """Tell whether this message is beyond what is answered in one public thread, or to one account in a day.

    The message itself is counted already. A DM is no thread others would have to scroll through.
    """
    since = context.now - _DAY
    connection, settings = context.connection, context.settings
    today = await messages.handled_since(connection, since, account_id=context.account.id, thread_key=None)
    if today > settings.replies_per_day:
        return Cap.DAY
    if public:
        in_thread = await messages.handled_since(connection, since, account_id=None, thread_key=thread_key)
        if in_thread > settings.replies_per_thread:
            return Cap.THREAD
    return None


def hush(context: Context, cap: Cap) -> None:
    """Take back what would be too much: nothing more in the thread or, for today, no answer at all.

    What is told to others stays.
    """
    if cap is Cap.DAY:
        context.speeches[:] = [each for each in context.speeches if each.notice]
    else:
        context.speeches[:] = [replace(each, acknowledge=False) for each in context.speeches if not each.public]
