"""Know when to keep silent: beyond the caps of a thread and of a day."""

from typing import Final

from handlers.context import Context
from storage import messages

_DAY: Final = 86_400_000


async def too_much(context: Context, thread_key: str, *, public: bool) -> bool:
    """Tell whether this message is beyond what is answered in one public thread, or to one account in a day.

    The message itself is counted already. A DM is no thread others would have to scroll through.
    """
    since = context.now - _DAY
    connection, settings = context.connection, context.settings
    if public:
        in_thread = await messages.handled_since(connection, since, account_id=None, thread_key=thread_key)
        if in_thread > settings.replies_per_thread:
            return True
    today = await messages.handled_since(connection, since, account_id=context.account.id, thread_key=None)
    return today > settings.replies_per_day
