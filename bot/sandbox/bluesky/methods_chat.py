"""chat.bsky.convo: direct messages, behind the PDS's proxy header."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from bot.sandbox.bluesky.chat import Chat, Convo
from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.ids import Json
from bot.sandbox.bluesky.xrpc import Call, Method

# chat.bsky.convo.sendMessageBatch: items maxLength 100.
_MOST_MESSAGES = 100


def _other(call: Call) -> str:
    """Return the one member besides the caller."""
    others = {did for did in call.many("members", 10) if did != call.me.did}
    if len(others) != 1:
        raise XrpcError("InvalidRequest", "members must name exactly one other account")
    return others.pop()


def _convo(chat: Chat, call: Call) -> Convo:
    return chat.convo(call.me, call.text("convoId"))


def _view(chat: Chat, call: Call, convo: Convo) -> Json:
    return {"convo": chat.view(convo, call.me)}


def _get_log(chat: Chat, call: Call) -> Json:
    logs, cursor = chat.log(call.me, call.params.get("cursor"))
    return {"logs": logs, "cursor": cursor}


def _list_convos(chat: Chat, call: Call) -> Json:
    return _page(chat, call, "convos", call.params.get("status"))


def _list_requests(chat: Chat, call: Call) -> Json:
    return _page(chat, call, "requests", "request")


def _page(chat: Chat, call: Call, name: str, status: str | None) -> Json:
    limit = call.number("limit", 50, 1, 100)
    unread = call.params.get("readState") == "unread"
    found = chat.page(call.me, status=status, unread=unread, limit=limit, cursor=call.params.get("cursor"))
    view: Json = {name: [chat.view(convo, call.me) for convo in found]}
    return view | {"cursor": found[-1].rev} if len(found) == limit else view


def _get_convo(chat: Chat, call: Call) -> Json:
    return _view(chat, call, _convo(chat, call))


def _get_convo_for_members(chat: Chat, call: Call) -> Json:
    return _view(chat, call, chat.open(call.me, _other(call)))


def _get_convo_availability(chat: Chat, call: Call) -> Json:
    other = _other(call)
    convo = chat.between(call.me, other)
    try:
        chat.check(call.me, other, convo)
    except XrpcError:
        return {"canChat": False}
    return {"canChat": True, **(_view(chat, call, convo) if convo and convo.messages else {})}


def _get_messages(chat: Chat, call: Call) -> Json:
    convo, limit = _convo(chat, call), call.number("limit", 50, 1, 100)
    cursor = call.params.get("cursor")
    end = next((i for i, message in enumerate(convo.messages) if message.rev == cursor), len(convo.messages))
    page = convo.messages[max(0, end - limit) : end]
    view: Json = {"messages": [message.view() for message in reversed(page)]}
    return view | {"cursor": page[0].rev} if end > limit else view


def _send_message(chat: Chat, call: Call) -> Json:
    return _send(chat, call, call.body)


def _send_message_batch(chat: Chat, call: Call) -> Json:
    items = call.body.get("items")
    if not isinstance(items, list) or len(items) > _MOST_MESSAGES:
        raise XrpcError("InvalidRequest", f"Input/items must have at most {_MOST_MESSAGES} elements")
    return {"items": [_send(chat, call, item) for item in items]}


def _send(chat: Chat, call: Call, item: Json) -> Json:
    message = item.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("text"), str):
        raise XrpcError("InvalidRequest", 'Input/message must have the property "text"')
    convo = chat.convo(call.me, str(item.get("convoId")))
    return chat.send(call.me, convo, message["text"], message.get("facets")).view()


def _accept_convo(chat: Chat, call: Call) -> Json:
    rev = chat.accept(call.me, _convo(chat, call))
    return {"rev": rev} if rev else {}


def _update_read(chat: Chat, call: Call) -> Json:
    convo = _convo(chat, call)
    chat.read(call.me, convo, call.body.get("messageId"))
    return _view(chat, call, convo)


_METHODS: dict[str, tuple[Literal["GET", "POST"], Callable[[Chat, Call], Json]]] = {
    "chat.bsky.convo.getLog": ("GET", _get_log),
    "chat.bsky.convo.listConvos": ("GET", _list_convos),
    "chat.bsky.convo.listConvoRequests": ("GET", _list_requests),
    "chat.bsky.convo.getConvo": ("GET", _get_convo),
    "chat.bsky.convo.getConvoForMembers": ("GET", _get_convo_for_members),
    "chat.bsky.convo.getConvoAvailability": ("GET", _get_convo_availability),
    "chat.bsky.convo.getMessages": ("GET", _get_messages),
    "chat.bsky.convo.sendMessage": ("POST", _send_message),
    "chat.bsky.convo.sendMessageBatch": ("POST", _send_message_batch),
    "chat.bsky.convo.acceptConvo": ("POST", _accept_convo),
    "chat.bsky.convo.updateRead": ("POST", _update_read),
}


def methods(chat: Chat) -> dict[str, Method[Call]]:
    """Return the methods of one chat service."""
    return {nsid: Method(verb, "user", partial(answer, chat)) for nsid, (verb, answer) in _METHODS.items()}
