// The import page: choose, look, send. Without this script its form sends whole files to the server.

import { dropped } from "./dropping.js";
import { packed } from "./packing.js";
import { Problem } from "./problem.js";
import { Upload } from "./upload.js";
import { counted, listed, said, show } from "./words.js";
import { listsOf } from "./x.js";

const form = document.querySelector("form[data-import]");
const part = (name) => form.querySelector(`[data-part="${name}"]`);
const field = form.elements.files;
const button = part("send");
const status = part("status");
const problem = part("problem");
const progress = part("progress");

let choice = 0; // each choice of files takes the place of the one before it
let lists = null;
let upload = null;
let busy = false;

async function choose(files) {
  const own = ++choice;
  [lists, upload] = [null, null];
  button.hidden = true;
  problem.hidden = true;
  if (!files.length) return status.replaceChildren();
  show(status, "looking");
  try {
    const found = await listsOf(files);
    if (own !== choice) return;
    lists = found;
    show(status, "found", { found: listed(inWords(found)) });
    show(button, "send");
    button.hidden = false;
  } catch (error) {
    if (own !== choice) return;
    field.value = ""; // so that the same file, mended, can be chosen again
    refuse(error);
  }
}

function inWords({ following, followers, handles, handle }) {
  return [
    following && counted("following", following.length),
    followers && counted("followers", followers.length),
    handles.length && counted("handles", handles.length),
    handle && said("owner", { handle }),
  ].filter(Boolean);
}

async function send() {
  if (!lists) return refuse(new Problem("nothing"));
  setBusy(true);
  upload ??= new Upload(packed(lists), form.elements.csrf.value);
  try {
    moved();
    location.assign(await upload.send({ moved, waiting: () => show(status, "waiting") }));
  } catch (error) {
    if (error.reason === "lost") show(button, "again");
    else upload = null;
    setBusy(false);
    refuse(error);
  }
}

function moved() {
  progress.value = upload.share;
  show(status, "sending", { percent: String(Math.floor(upload.share * 100)) });
}

function setBusy(is) {
  busy = is;
  // Not disabled: that would take the focus from it.
  button.setAttribute("aria-disabled", String(is));
  field.disabled = is;
  progress.hidden = !is;
  problem.hidden = true;
}

function refuse(error) {
  status.replaceChildren();
  problem.hidden = false;
  if (error instanceof Problem) return show(problem, error.reason, error.values);
  // A browser cannot read a file that was moved, or changed, since it was chosen.
  if (error instanceof DOMException) return show(problem, "gone");
  show(problem, "crashed");
  reportError(error);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!busy) send();
});
field.addEventListener("change", () => choose([...field.files]));
form.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
form.addEventListener("dragleave", () => form.classList.remove("over"));
form.addEventListener("drop", async (event) => {
  event.preventDefault();
  form.classList.remove("over");
  if (busy) return;
  field.value = ""; // what was chosen before is not what will be sent
  try {
    await choose(await dropped(event.dataTransfer));
  } catch (error) {
    refuse(error);
  }
});

field.required = false;
for (const each of document.querySelectorAll("[data-scripted]")) each.hidden = false;
for (const each of document.querySelectorAll("[data-plain]")) each.hidden = true;
button.hidden = true;
// A file that was chosen before this script was here, or before the page was left and came back.
if (field.files.length) choose([...field.files]);
// Who comes back to the page after sending begins anew.
addEventListener("pageshow", (event) => event.persisted && location.reload());
