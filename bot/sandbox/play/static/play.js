// Keep the page as the networks are, and send its forms without leaving it.

const lost = document.getElementById("lost");
document.getElementById("without-scripts").remove();

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template;
}

// Whoever holds a button that goes is handed the first one that comes.
function replace(part, html) {
  const template = parsed(html);
  if (template.innerHTML === part.innerHTML.trim()) return;
  const held = part.contains(document.activeElement) ? document.activeElement : null;
  part.replaceChildren(template.content);
  if (held) {
    const buttons = [...part.querySelectorAll("button")];
    (buttons.find((button) => button.value === held.value) ?? buttons[0] ?? part).focus();
  }
}

// A new connection tells everything from the beginning: what stands there already is left alone.
function append(list, start, items) {
  const fresh = items.slice(list.children.length - start);
  if (!fresh.length) return;
  list.append(...fresh.map((item) => parsed(item).content));
  list.parentElement.scrollTop = list.parentElement.scrollHeight;
}

for (const list of document.querySelectorAll("[data-log]")) list.parentElement.scrollTop = list.parentElement.scrollHeight;

const source = new EventSource("/events");
source.addEventListener("open", () => (lost.textContent = ""));
source.addEventListener("error", () => (lost.textContent = lost.dataset.words));
source.addEventListener("message", (event) => {
  const { parts, logs } = JSON.parse(event.data);
  for (const [name, html] of Object.entries(parts)) replace(document.querySelector(`[data-part="${name}"]`), html);
  for (const [name, { start, items }] of Object.entries(logs)) append(document.querySelector(`[data-log="${name}"]`), start, items);
});

document.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const body = new URLSearchParams(new FormData(form, event.submitter));
  try {
    const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
    if (answer.type === "opaqueredirect") form.reset();
    else location.assign("/"); // this browser plays nobody any more
  } catch {
    lost.textContent = lost.dataset.words;
  }
});
