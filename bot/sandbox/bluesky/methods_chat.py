"""chat.bsky.convo: direct messages, behind the PDS's proxy header."""

from bot.sandbox.bluesky.chat import Convo
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


def _convo(call: Call) -> Convo:
    return call.sandbox.chat.convo(call.me, call.text("convoId"))


def _view(call: Call, convo: Convo) -> Json:
    return {"convo": call.sandbox.chat.view(convo, call.me)}


def _get_log(call: Call) -> Json:
    logs, cursor = call.sandbox.chat.log(call.me, call.params.get("cursor"))
    return {"logs": logs, "cursor": cursor}


def _list_convos(call: Call) -> Json:
    return _page(call, "convos", call.params.get("status"))


def _list_requests(call: Call) -> Json:
    return _page(call, "requests", "request")


def _page(call: Call, name: str, status: str | None) -> Json:
    chat = call.sandbox.chat
    limit = call.number("limit", 50, 1, 100)
    unread = call.params.get("readState") == "unread"
    found = chat.page(call.me, status=status, unread=unread, limit=limit, cursor=call.params.get("cursor"))
    view: Json = {name: [chat.view(convo, call.me) for convo in found]}
    return view | {"cursor": found[-1].rev} if len(found) == limit else view


def _get_convo(call: Call) -> Json:
    return _view(call, _convo(call))


def _get_convo_for_members(call: Call) -> Json:
    return _view(call, call.sandbox.chat.open(call.me, _other(call)))


def _get_convo_availability(call: Call) -> Json:
    other = _other(call)
    convo = call.sandbox.chat.between(call.me, other)
    try:
        call.sandbox.chat.check(call.me, other, convo)
    except XrpcError:
        return {"canChat": False}
    return {"canChat": True, **(_view(call, convo) if convo and convo.messages else {})}


def _get_messages(call: Call) -> Json:
    convo, limit = _convo(call), call.number("limit", 50, 1, 100)
    cursor = call.params.get("cursor")
    end = next((i for i, message in enumerate(convo.messages) if message.rev == cursor), len(convo.messages))
    page = convo.messages[max(0, end - limit) : end]
    view: Json = {"messages": [message.view() for message in reversed(page)]}
    return view | {"cursor": page[0].rev} if end > limit else view


def _send_message(call: Call) -> Json:
    return _send(call, call.body)


def _send_message_batch(call: Call) -> Json:
    items = call.body.get("items")
    if not isinstance(items, list) or len(items) > _MOST_MESSAGES:
        raise XrpcError("InvalidRequest", f"Input/items must have at most {_MOST_MESSAGES} elements")
    return {"items": [_send(call, item) for item in items]}


def _send(call: Call, item: Json) -> Json:
    message = item.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("text"), str):
        raise XrpcError("InvalidRequest", 'Input/message must have the property "text"')
    chat = call.sandbox.chat
    convo = chat.convo(call.me, str(item.get("convoId")))
    return chat.send(call.me, convo, message["text"], message.get("facets")).view()


def _accept_convo(call: Call) -> Json:
    rev = call.sandbox.chat.accept(call.me, _convo(call))
    return {"rev": rev} if rev else {}


def _update_read(call: Call) -> Json:
    convo = _convo(call)
    call.sandbox.chat.read(call.me, convo, call.body.get("messageId"))
    return _view(call, convo)


METHODS = {
    "chat.bsky.convo.getLog": Method("GET", "user", _get_log),
    "chat.bsky.convo.listConvos": Method("GET", "user", _list_convos),
    "chat.bsky.convo.listConvoRequests": Method("GET", "user", _list_requests),
    "chat.bsky.convo.getConvo": Method("GET", "user", _get_convo),
    "chat.bsky.convo.getConvoForMembers": Method("GET", "user", _get_convo_for_members),
    "chat.bsky.convo.getConvoAvailability": Method("GET", "user", _get_convo_availability),
    "chat.bsky.convo.getMessages": Method("GET", "user", _get_messages),
    "chat.bsky.convo.sendMessage": Method("POST", "user", _send_message),
    "chat.bsky.convo.sendMessageBatch": Method("POST", "user", _send_message_batch),
    "chat.bsky.convo.acceptConvo": Method("POST", "user", _accept_convo),
    "chat.bsky.convo.updateRead": Method("POST", "user", _update_read),
}
