// Find X's lists, and whose they are, in files that somebody chose; Problem says which file cannot be used, and why.
// `window.YTD.following.part0 = [{"following": {"accountId": "…", "userLink": "…?user_id=…"}}]`, and manifest.js.

import { handleOf, handlesOf } from "./handles.js";
import { Problem } from "./problem.js";
import { entriesOf, isZip, unpacked } from "./zip.js";

// All that is read of one choice, unpacked: some 750,000 accounts, more than anybody may follow.
const LARGEST = 100 * 2 ** 20;
const WANTED = /^(?:.*\/)?(?:(?:following|follower)(?:[-_]part\d+)?|manifest|account)\.js$/is;
const LIST = /(following|follower)s?(?:[-_.]?part[-_]?(\d{1,6}))?(?: ?\(\d+\))?\.(?:js|json)/i;
const WHOLE_LIST = new RegExp(`^${LIST.source}$`, "i");
const HEAD = /window\s*\.\s*YTD\s*\.\s*(\w+?)\s*\.\s*part(\d+)\s*=/i;
const USER_ID = /[?&]user_id=(\d+)/;
const HIGHEST_ID = 2n ** 63n - 1n;

// Return {following, followers, handles, accountId, handle, partial, skipped}. A list is null where no file of its kind
// was there; ids are a sorted BigUint64Array without repetitions.
export async function listsOf(files) {
  const parts = [];
  let left = LARGEST;
  for (const file of relevant(files)) {
    for await (const [name, bytes] of contentsOf(file, () => left)) {
      left -= bytes.length;
      parts.push(partOf(name, bytes));
    }
  }
  const owners = parts.filter((part) => part.kind === "account");
  if (new Set(owners.map((part) => part.accountId)).size > 1) throw new Problem("mixed");
  const lists = {
    following: joined(parts, "following"),
    followers: joined(parts, "followers"),
    handles: [...new Set(parts.flatMap((part) => part.handles ?? []))],
    accountId: owners[0]?.accountId ?? null,
    handle: owners.find((part) => part.handle)?.handle ?? null,
    partial: ["following", "followers"].some((kind) => lacksItsBeginning(parts, kind)),
    skipped: parts.reduce((sum, part) => sum + (part.skipped ?? 0), 0),
  };
  if (!lists.following && !lists.followers && !lists.handles.length) throw new Problem("whose");
  return lists;
}

// Tell whether an entry of X's archive is one of the few that are read, by its path.
export function isWanted(path) {
  return WANTED.test(path) && !path.startsWith("__MACOSX/");
}

// Read one file; its own words count more than its name.
export function partOf(name, bytes) {
  return named(name, () => {
    const text = decoded(bytes);
    if (!text.trim()) throw new Problem("empty");
    const start = text.trimStart().slice(0, 200).toLowerCase();
    if (["<!doctype", "<html", "<?xml"].some((each) => start.startsWith(each))) throw new Problem("page");
    const head = HEAD.exec(text.slice(0, 500));
    if (head) return ofArchive(text, head[1].toLowerCase(), Number(head[2]));
    if (text.slice(0, 500).toLowerCase().includes("__thar_config")) return owner(parsed(text, "{", "}").userInfo);
    if (start.startsWith("[") || start.startsWith("{")) {
      const found = LIST.exec(name);
      return ofArchive(text, found ? found[1].toLowerCase() : "", Number(found?.[2] ?? 0));
    }
    return { kind: "handles", ...handlesOf(text) };
  });
}

// Of a whole folder only the lists count, and whose they are; a single file is always meant.
function relevant(files) {
  const isList = (file) => WHOLE_LIST.test(file.name) || /\.zip$/i.test(file.name);
  if (files.length === 1 || !files.some(isList)) return files;
  const isTyped = (file) => /\.(?:csv|txt)$/i.test(file.name) && !/^readme/i.test(file.name);
  return withOneOwner(files.filter((file) => isList(file) || isWanted(file.name) || isTyped(file)), (file) => file.name);
}

// The manifest says whose archive it is too, without the e-mail address.
function withOneOwner(all, nameOf) {
  const ends = (each, end) => nameOf(each).toLowerCase().endsWith(end);
  return all.some((each) => ends(each, "manifest.js")) ? all.filter((each) => !ends(each, "account.js")) : all;
}

async function* contentsOf(file, left) {
  if (!(await isZip(file))) {
    if (file.size > left()) throw new Problem("unreadable", { name: file.name });
    yield [file.name, new Uint8Array(await file.arrayBuffer())];
    return;
  }
  const entries = withOneOwner(await namedAsync(file.name, entriesOf(file, isWanted)), (entry) => entry.name);
  if (!entries.some((entry) => baseName(entry.name).toLowerCase().includes("follow"))) throw new Problem("listless", { name: file.name });
  for (const entry of entries) {
    yield [baseName(entry.name), await namedAsync(file.name, unpacked(file, entry, left()))];
  }
}

function decoded(bytes) {
  const encoding = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    throw new Problem("binary");
  }
}

function ofArchive(text, table, number) {
  if (table === "following") return { kind: "following", number, ...idsOf(text) };
  if (table === "follower" || table === "followers") return { kind: "followers", number, ...idsOf(text) };
  if (table === "account") return owner(parsed(text, "[", "]")[0]?.account);
  throw new Problem("other", { table: table || "?" });
}

function idsOf(text) {
  const entries = parsed(text, "[", "]");
  const ids = entries.map((entry) => idOf(entry)).filter((id) => id !== null);
  if (entries.length && !ids.length) throw new Problem("idless");
  return { ids, skipped: entries.length - ids.length };
}

// Find the account's id in an entry: plain, one level down, or in the link.
function idOf(entry, deepest = 3) {
  if (entry === null || typeof entry !== "object") return numberOf(entry);
  if (deepest === 0) return null;
  const fields = lowered(entry);
  for (const value of [fields.accountid, fields.following, fields.follower]) {
    const found = value === undefined ? null : idOf(value, deepest - 1);
    if (found !== null) return found;
  }
  const link = USER_ID.exec(String(fields.userlink ?? ""));
  return link && numberOf(link[1]);
}

function numberOf(value) {
  // A number that JavaScript cannot hold exactly would be somebody else's.
  if (!(typeof value === "string" || Number.isSafeInteger(value)) || !/^[0-9]{1,19}$/.test(value)) return null;
  const id = BigInt(value);
  return id >= 1n && id <= HIGHEST_ID ? id : null;
}

function owner(info) {
  const fields = info !== null && typeof info === "object" ? lowered(info) : {};
  const id = idOf(fields.accountid ?? null);
  if (id === null) throw new Problem("ownerless");
  return { kind: "account", accountId: String(id), handle: handleOf(String(fields.username ?? "")) };
}

function lowered(object) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key.toLowerCase(), value]));
}

// Read what stands between the outermost brackets.
function parsed(text, opening, closing) {
  try {
    return JSON.parse(text.slice(text.indexOf(opening), text.lastIndexOf(closing) + 1));
  } catch {
    throw new Problem("cut");
  }
}

function joined(parts, kind) {
  const found = parts.filter((part) => part.kind === kind);
  if (!found.length) return null;
  const sorted = BigUint64Array.from(found.flatMap((part) => part.ids)).sort();
  return sorted.filter((id, place) => place === 0 || id !== sorted[place - 1]);
}

function lacksItsBeginning(parts, kind) {
  const numbers = new Set(parts.filter((part) => part.kind === kind).map((part) => part.number));
  return [...numbers].some((number) => number >= numbers.size);
}

function baseName(path) {
  return path.slice(path.lastIndexOf("/") + 1);
}

// Say of which file a problem is.
function named(name, read) {
  try {
    return read();
  } catch (error) {
    throw error instanceof Problem ? new Problem(error.reason, { name, ...error.values }) : error;
  }
}

async function namedAsync(name, reading) {
  try {
    return await reading;
  } catch (error) {
    throw error instanceof Problem ? new Problem(error.reason, { name, ...error.values }) : error;
  }
}
