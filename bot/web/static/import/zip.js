// Read a zip's directory, and single entries of it. The archive itself is never loaded: it may be larger than the memory.
// The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (the numbers below are its sections).

import { Problem } from "./problem.js";

const LOCAL_HEADER = 0x04034b50; // 4.3.7
const DIRECTORY_ENTRY = 0x02014b50; // 4.3.12
const ZIP64_END = 0x06064b50; // 4.3.14
const ZIP64_LOCATOR = 0x07064b50; // 4.3.15
const END = 0x06054b50; // 4.3.16
const LONGEST_COMMENT = 0xffff;
const IN_ZIP64_FIELD = 0xffffffff;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 0x2041; // by a password, strongly, or with a directory that is itself encrypted: bits 0, 6 and 13

// The directory is read in pieces, each longer than any one entry; so more entries than any archive has do no harm.
const PIECE = 2 ** 20;
const MOST_ENTRIES = 2_000_000;

// Tell by its first bytes whether a file is a zip, be it a broken one.
export async function isZip(file) {
  const head = await view(file, 0, Math.min(4, file.size));
  return head.byteLength === 4 && [LOCAL_HEADER, END].includes(head.getUint32(0, true));
}

// Return the entries whose names are wanted.
export async function entriesOf(file, isWanted) {
  return damagedUnlessRead(async () => {
    const { start, size, shift } = await directoryOf(file);
    const entries = [];
    let seen = 0;
    for (let at = start; at < start + size; ) {
      const piece = await view(file, at, Math.min(PIECE, start + size - at));
      let next = 0;
      while (next + 46 <= piece.byteLength) {
        const length = 46 + piece.getUint16(next + 28, true) + piece.getUint16(next + 30, true) + piece.getUint16(next + 32, true);
        if (next + length > piece.byteLength) break;
        if (piece.getUint32(next, true) !== DIRECTORY_ENTRY) throw damaged();
        if (++seen > MOST_ENTRIES) throw new Problem("large");
        const name = nameAt(piece, next);
        if (isWanted(name)) entries.push(entryAt(piece, next, name, shift));
        next += length;
      }
      if (next === 0) throw damaged();
      at += next;
    }
    return entries;
  });
}

// Return what is in an entry: at most `most` bytes, whatever the directory says of its size.
export async function unpacked(file, entry, most) {
  if (entry.flags & ENCRYPTED) throw new Problem("locked");
  if (![STORED, DEFLATED].includes(entry.method)) throw new Problem("method");
  if (entry.size > most) throw new Problem("large");
  return damagedUnlessRead(async () => {
    const head = await view(file, entry.at, 30);
    if (head.getUint32(0, true) !== LOCAL_HEADER) throw damaged();
    const start = entry.at + 30 + head.getUint16(26, true) + head.getUint16(28, true);
    if (start + entry.packed > file.size) throw damaged();
    const packed = file.slice(start, start + entry.packed);
    return await filled(entry.method === STORED ? packed.stream() : inflated(packed), entry.size);
  });
}

function inflated(packed) {
  let stream;
  try {
    stream = new DecompressionStream("deflate-raw");
  } catch {
    throw new Problem("browser"); // it is older than 2023
  }
  return packed.stream().pipeThrough(stream);
}

// Read a stream that must have exactly so many bytes; one that has more is not read to its end.
async function filled(stream, size) {
  const content = new Uint8Array(size);
  const reader = stream.getReader();
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > size) {
      await reader.cancel();
      throw damaged();
    }
    content.set(value, length);
    length += value.length;
  }
  if (length !== size) throw damaged();
  return content;
}

// Find the directory. `shift` is how many bytes stand before the zip itself.
async function directoryOf(file) {
  const from = Math.max(0, file.size - LONGEST_COMMENT - 22);
  const tail = await view(file, from, file.size - from);
  let end = tail.byteLength - 22;
  while (end >= 0 && !(tail.getUint32(end, true) === END && end + 22 + tail.getUint16(end + 20, true) <= tail.byteLength)) end--;
  if (end < 0) throw damaged();
  let [size, offset] = [tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  let closing = from + end;
  if (closing >= 20) {
    const locator = await view(file, closing - 20, 20);
    if (locator.getUint32(0, true) === ZIP64_LOCATOR) {
      // Its place is told relative to the zip's beginning; where something stands before the zip, it is right here.
      const record = await zip64End(file, number64(locator, 8), closing - 20);
      [size, offset, closing] = [number64(record.view, 40), number64(record.view, 48), record.at];
    }
  }
  const shift = closing - size - offset;
  if (shift < 0) throw damaged();
  return { start: offset + shift, size, shift };
}

async function zip64End(file, told, before) {
  for (const at of [told, before - 56]) {
    if (at < 0 || at + 56 > before) continue;
    const record = await view(file, at, 56);
    if (record.getUint32(0, true) === ZIP64_END) return { view: record, at };
  }
  throw damaged();
}

function nameAt(piece, at) {
  return new TextDecoder().decode(new Uint8Array(piece.buffer, piece.byteOffset + at + 46, piece.getUint16(at + 28, true)));
}

function entryAt(piece, at, name, shift) {
  const entry = {
    name,
    flags: piece.getUint16(at + 8, true),
    method: piece.getUint16(at + 10, true),
    packed: piece.getUint32(at + 20, true),
    size: piece.getUint32(at + 24, true),
    at: piece.getUint32(at + 42, true),
  };
  const extra = at + 46 + piece.getUint16(at + 28, true);
  readZip64(piece, extra, extra + piece.getUint16(at + 30, true), entry);
  return { ...entry, at: entry.at + shift };
}

// Fill in, in this order, the numbers that did not fit into the entry itself (4.5.3).
function readZip64(piece, start, end, entry) {
  const missing = ["size", "packed", "at"].filter((field) => entry[field] === IN_ZIP64_FIELD);
  if (!missing.length) return;
  for (let at = start; at + 4 <= end; at += 4 + piece.getUint16(at + 2, true)) {
    if (piece.getUint16(at, true) !== 1) continue;
    if (piece.getUint16(at + 2, true) < 8 * missing.length) throw damaged();
    missing.forEach((field, place) => (entry[field] = number64(piece, at + 4 + 8 * place)));
    return;
  }
}

function number64(piece, at) {
  const number = Number(piece.getBigUint64(at, true));
  if (!Number.isSafeInteger(number)) throw damaged();
  return number;
}

async function view(file, start, length) {
  if (start < 0 || start + length > file.size) throw damaged();
  return new DataView(await file.slice(start, start + length).arrayBuffer());
}

function damaged() {
  return new Problem("damaged");
}

// What the browser's own unpacker, or a number that leads nowhere, says of bytes that make no sense.
async function damagedUnlessRead(read) {
  try {
    return await read();
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) throw damaged();
    throw error;
  }
}
