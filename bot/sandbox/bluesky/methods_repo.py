"""com.atproto.repo: writing and reading records."""

from bot.sandbox.bluesky.errors import XrpcError
from bot.sandbox.bluesky.ids import Json, cid_of, is_record_key
from bot.sandbox.bluesky.limits import WRITE_POINTS, WRITE_RULES
from bot.sandbox.bluesky.world import Account, Action, Record, Write
from bot.sandbox.bluesky.xrpc import Method, PdsCall, missing_scope

# com.atproto.repo.applyWrites takes no more than this (PDS, applyWrites.ts).
_MOST_WRITES = 200
_KINDS: dict[str, Action] = {
    "com.atproto.repo.applyWrites#create": "create",
    "com.atproto.repo.applyWrites#update": "update",
    "com.atproto.repo.applyWrites#delete": "delete",
}


def _own_repo(call: PdsCall) -> Account:
    """Return the caller's account if it is the repository that the request names."""
    account = call.sandbox.world.find(call.text("repo"))
    if account is None:
        raise XrpcError("InvalidRequest", f"Could not find repo: {call.text('repo')}")
    if account is not call.me:
        raise XrpcError("AuthenticationRequired", "Invalid repo", status=401)
    if account.status == "deactivated":
        raise XrpcError("AccountDeactivated", "Account is deactivated", status=401)
    if account.status != "active":
        raise XrpcError("AccountTakedown", "Account has been taken down", status=401)
    return account


def _write(call: PdsCall, writes: list[Write]) -> list[tuple[Record, str]]:
    """Make changes of the caller's own repository, all or none."""
    account = _own_repo(call)
    if call.scopes is not None:
        for write in writes:
            if not call.scopes.allows_write(write.action, write.collection):
                raise missing_scope(f"repo:{write.collection}?action={write.action}")
    return call.sandbox.world.commit(account, writes)


def _spend(call: PdsCall, points: int) -> None:
    """Count a request against the caller's allowance of writes, whatever comes of it."""
    call.spend("repo-write", call.me.did, WRITE_RULES, points)


def _create_record(call: PdsCall) -> Json:
    _spend(call, WRITE_POINTS["create"])
    write = Write("create", call.text("collection"), str(call.body.get("rkey") or ""), call.body.get("record"))
    replaced = call.sandbox.world.replaced_by(call.me, write)
    return _written(call, *_write(call, [*replaced, write])[-1])


def _put_record(call: PdsCall) -> Json:
    _spend(call, WRITE_POINTS["update"])
    collection, rkey = call.text("collection"), call.text("rkey")
    value = call.body.get("record")
    existing = call.me.record(collection, rkey)
    if existing is not None and isinstance(value, dict) and cid_of({"$type": collection, **value}) == existing.cid:
        # Putting what is already there changes nothing; the real PDS makes no commit either.
        _own_repo(call)
        return {"uri": existing.uri, "cid": existing.cid, "validationStatus": "valid"}
    action: Action = "create" if existing is None else "update"
    return _written(call, *_write(call, [Write(action, collection, rkey, value)])[0])


def _delete_record(call: PdsCall) -> Json:
    _spend(call, WRITE_POINTS["delete"])
    collection, rkey = call.text("collection"), call.text("rkey")
    if _own_repo(call).record(collection, rkey) is None:
        # Deleting what is not there succeeds (com.atproto.repo.deleteRecord is idempotent).
        return {}
    _write(call, [Write("delete", collection, rkey)])
    return {"commit": _commit(call)}


def _apply_writes(call: PdsCall) -> Json:
    asked = call.body.get("writes")
    if not isinstance(asked, list):
        raise XrpcError("InvalidRequest", 'Input must have the property "writes"')
    if len(asked) > _MOST_WRITES:
        raise XrpcError("InvalidRequest", f"Too many writes. Max: {_MOST_WRITES}")
    writes = [_asked_write(item) for item in asked]
    _spend(call, sum(WRITE_POINTS[write.action] for write in writes))
    done = _write(call, writes)
    results: list[Json] = []
    for write, (record, status) in zip(writes, done, strict=True):
        result: Json = {"$type": f"com.atproto.repo.applyWrites#{write.action}Result"}
        if write.action != "delete":
            result |= {"uri": record.uri, "cid": record.cid, "validationStatus": status}
        results.append(result)
    return {"commit": _commit(call), "results": results}


def _asked_write(item: object) -> Write:
    kind = _KINDS.get(item.get("$type", "")) if isinstance(item, dict) else None
    if kind is None or not isinstance(item, dict) or not isinstance(item.get("collection"), str):
        raise XrpcError("InvalidRequest", "Input/writes must be a union of create, update and delete")
    rkey = str(item.get("rkey") or "")
    if not rkey and kind != "create":
        raise XrpcError("InvalidRequest", 'Input/writes must have the property "rkey"')
    return Write(kind, item["collection"], rkey, item.get("value"))


def _written(call: PdsCall, record: Record, status: str) -> Json:
    return {"uri": record.uri, "cid": record.cid, "commit": _commit(call), "validationStatus": status}


def _commit(call: PdsCall) -> Json:
    rev = call.sandbox.world.tids.next()
    return {"cid": cid_of(rev), "rev": rev}


def _read_repo(call: PdsCall) -> Account:
    """Return the repository that is asked for; one that is closed is shown to nobody, not even its owner."""
    account = call.sandbox.world.find(call.text("repo"))
    if account is None or account.status != "active":
        raise XrpcError("InvalidRequest", f"Could not find repo: {call.text('repo')}")
    return account


def _get_record(call: PdsCall) -> Json:
    if not is_record_key(call.text("rkey")):
        raise XrpcError("InvalidRequest", f"Invalid record key {call.text('rkey')!r}")
    account = _read_repo(call)
    record = account.record(call.text("collection"), call.text("rkey"))
    if record is None:
        uri = f"at://{account.did}/{call.text('collection')}/{call.text('rkey')}"
        raise XrpcError("RecordNotFound", f"Could not locate record: {uri}")
    return {"uri": record.uri, "cid": record.cid, "value": record.value}


def _list_records(call: PdsCall) -> Json:
    account = _read_repo(call)
    limit, cursor = call.number("limit", 50, 1, 100), call.params.get("cursor")
    oldest_first = call.params.get("reverse") == "true"
    records = account.repo.get(call.text("collection"), {})
    keys = sorted(records, reverse=not oldest_first)
    if cursor:
        keys = [key for key in keys if (key > cursor if oldest_first else key < cursor)]
    page = [records[key] for key in keys[:limit]]
    view: Json = {"records": [{"uri": record.uri, "cid": record.cid, "value": record.value} for record in page]}
    return view | {"cursor": page[-1].rkey} if page else view


METHODS = {
    "com.atproto.repo.createRecord": Method("POST", "user", _create_record),
    "com.atproto.repo.putRecord": Method("POST", "user", _put_record),
    "com.atproto.repo.deleteRecord": Method("POST", "user", _delete_record),
    "com.atproto.repo.applyWrites": Method("POST", "user", _apply_writes),
    "com.atproto.repo.getRecord": Method("GET", "public", _get_record),
    "com.atproto.repo.listRecords": Method("GET", "public", _list_records),
}
