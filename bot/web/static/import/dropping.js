// Take files, and what is in folders, from a drop.

const DEEPEST = 3; // the lists are in <archive>/data
const MOST = 20_000;

// Return the files that were dropped. Call it within the event: afterwards the browser forgets them.
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const loose = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return loose;
  const found = [];
  for (const entry of entries) await gather(entry, 0, found);
  return found;
}

async function gather(entry, depth, found) {
  if (entry.isFile) {
    found.push(await new Promise((done, failed) => entry.file(done, failed)));
    return;
  }
  if (depth === DEEPEST) return;
  const reader = entry.createReader();
  // A folder is read a hundred entries at a time, until none are left.
  for (let some; found.length < MOST && (some = await new Promise((done, failed) => reader.readEntries(done, failed))).length; ) {
    for (const each of some) await gather(each, depth + 1, found);
  }
}
