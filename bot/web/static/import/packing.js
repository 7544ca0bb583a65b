// Pack lists for the way: a line of JSON, then the ids as little-endian numbers of eight bytes.

export function packed(lists) {
  const header = {
    key: fresh(),
    account_id: lists.accountId,
    handle: lists.handle,
    following: lists.following?.length ?? null,
    followers: lists.followers?.length ?? null,
    handles: lists.handles,
    partial: lists.partial,
    skipped: lists.skipped,
  };
  return new Blob([`${JSON.stringify(header)}\n`, bytesOf(lists.following ?? []), bytesOf(lists.followers ?? [])]);
}

function bytesOf(ids) {
  const view = new DataView(new ArrayBuffer(ids.length * 8));
  ids.forEach((id, place) => view.setBigUint64(place * 8, id, true));
  return view.buffer;
}

// By this the same lists are known again, should they arrive twice. (randomUUID is not there on plain HTTP.)
function fresh() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
