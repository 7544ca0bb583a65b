// Read a list of X handles: one a line, all in one line, or a table with a column of them.

import { Problem } from "./problem.js";

const HANDLE = /^@?([A-Za-z0-9_]{1,15})$/;
const PROFILE = /^(?:https?:\/\/)?(?:www\.|mobile\.)?(?:x|twitter)\.com\/@?([A-Za-z0-9_]{1,15})\/?(?:\?\S*)?$/i;
const COLUMNS = ["screen_name", "screen name", "username", "user name", "handle", "twitter", "x", "account"];
const CELL = /("[^"]*(?:""[^"]*)*"|[^,\r\n]*)(,|\r\n|\n|\r|$)/gy;
const LONGEST = 2 * 2 ** 20; // what is longer is no list of handles

// Return the handle that a word is, in lower case; null for a word that is none.
export function handleOf(word) {
  const found = PROFILE.exec(word) ?? HANDLE.exec(word);
  return found && found[1].toLowerCase();
}

// Return the handles of a text, and how many of its words were skipped because they are none.
export function handlesOf(text) {
  const rows = text.length > LONGEST ? [] : rowsOf(text);
  const header = rows.length ? rows[0].map((cell) => cell.toLowerCase().replace(/^#+/, "").trim()) : [];
  const named = COLUMNS.map((column) => header.indexOf(column)).find((place) => place >= 0);
  const column = named ?? 0;
  const listed = named === undefined ? rows : rows.slice(1);
  const cells = named === undefined && rows.length === 1 ? rows[0] : listed.filter((row) => row.length > column).map((row) => row[column]);
  const handles = new Set();
  let skipped = 0;
  for (const cell of cells) {
    const words = cell.split(/[\s;]+/).filter(Boolean);
    for (const word of words) {
      const isProse = words.length > 1 && !word.startsWith("@") && !word.includes("/");
      const handle = isProse ? null : handleOf(word);
      if (handle === null) skipped++;
      else handles.add(handle);
    }
  }
  if (!handles.size || skipped > handles.size) throw new Problem("unreadable");
  return { handles: [...handles], skipped };
}

// Take a table apart (RFC 4180); a cell in quotes may hold commas, line breaks, and doubled quotes.
function rowsOf(text) {
  const rows = [];
  let row = [];
  for (const [, cell, end] of text.matchAll(CELL)) {
    row.push((cell.startsWith('"') && cell.endsWith('"') && cell.length > 1 ? cell.slice(1, -1).replaceAll('""', '"') : cell).trim());
    if (end === ",") continue;
    if (row.length > 1 || row[0]) rows.push(row);
    row = [];
  }
  return rows;
}
