// Narrow the list as one types, keep the preview current beside its button, and leave single contacts out in place.
// Without this script the same forms do the same, a page at a time.
const SETTLED_AFTER = 250;
const ROW = 6; // about what a row takes, in rem

const choice = document.querySelector("#choice");

function paragraphs(texts) {
  return texts.map((text) => {
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    return paragraph;
  });
}

function begin() {
  const narrow = document.querySelector("#narrow");
  const preview = document.querySelector("#preview");
  const counts = document.querySelector("#counts");
  const changed = document.querySelector("#changed");
  const nobody = document.querySelector("#nobody");
  const confirmed = choice.elements.namedItem("confirmed");
  const inFigures = new Intl.NumberFormat(document.documentElement.lang);
  const searched = new WeakMap();
  let waiting;
  let asking;

  const rows = () => [...choice.querySelectorAll("li")];
  const box = (row) => row.querySelector("input");

  function filled(text, values) {
    return text.replace(/\{(\w+)\}/g, (_, name) => inFigures.format(values[name]));
  }

  function words(row) {
    if (!searched.has(row)) {
      const names = [...row.querySelectorAll("bdi")].map((name) => name.textContent.toLowerCase());
      searched.set(row, names);
    }
    return searched.get(row);
  }

  function count() {
    let chosen = 0;
    let shown = 0;
    let hidden = 0;
    for (const row of rows()) {
      const ticked = box(row).checked;
      chosen += ticked;
      shown += !row.hidden;
      hidden += ticked && row.hidden;
    }
    const said = [filled(choice.dataset.chosen, { chosen, shown })];
    if (hidden) said.push(filled(choice.dataset.hidden, { hidden }));
    counts.textContent = said.join(" · ");
    nobody.hidden = shown > 0;
  }

  function filter() {
    const kind = narrow.elements.namedItem("show").value;
    const wanted = narrow.elements.namedItem("q").value.trim().toLowerCase().replace(/^@/, "");
    for (const row of rows()) {
      const fits = kind === "all" || (kind === "unsure" ? "unsure" in row.dataset : row.dataset.standing === kind);
      row.hidden = !(fits && words(row).some((name) => name.includes(wanted)));
    }
    // A list that is out of sight takes the room that it is expected to need: none, when nothing of it is shown.
    for (const list of choice.querySelectorAll(".contacts")) {
      const shown = [...list.children].filter((row) => !row.hidden).length;
      list.hidden = !shown;
      list.style.containIntrinsicBlockSize = `${shown * ROW}rem`;
    }
    count();
  }

  async function ask() {
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    try {
      const body = new URLSearchParams(new FormData(choice));
      const answer = await fetch("/contacts/preview", { method: "POST", body, signal });
      if (!answer.ok) throw new Error(answer.statusText);
      const { lines } = await answer.json();
      preview.replaceChildren(...paragraphs(lines));
      // Whoever has read the preview needs no page that shows it again.
      confirmed.value = "yes";
    } catch {
      if (!signal.aborted) preview.replaceChildren(...paragraphs([choice.dataset.failed]));
    }
  }

  function chosenAnew() {
    confirmed.value = "";
    asking?.abort();
    clearTimeout(waiting);
    waiting = setTimeout(ask, SETTLED_AFTER);
    count();
  }

  async function change(button) {
    const row = button.closest("li");
    const body = new URLSearchParams({ csrf: choice.elements.namedItem("csrf").value, one: button.value });
    try {
      const answer = await fetch(button.formAction, {
        method: "POST",
        body,
        headers: { accept: "application/json" },
      });
      if (!answer.ok) throw new Error(answer.statusText);
      const given = await answer.json();
      const parsed = document.createElement("template");
      parsed.innerHTML = given.rows;
      const next = parsed.content.querySelector("li");
      if (next) {
        row.replaceWith(next);
        next.querySelector("button").focus();
      } else {
        row.remove();
      }
      changed.replaceChildren(...paragraphs(given.words.split("\n")));
      chosenAnew();
    } catch {
      changed.replaceChildren(...paragraphs([choice.dataset.unchanged]));
    }
  }

  choice.addEventListener("change", chosenAnew);
  // Enter in a box would send the whole form: it ticks the box, as the space bar does.
  choice.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.type !== "checkbox") return;
    event.preventDefault();
    event.target.click();
  });
  choice.addEventListener("submit", (event) => {
    if (event.submitter?.name !== "one") return;
    event.preventDefault();
    change(event.submitter);
  });
  for (const button of choice.querySelectorAll("[data-tick]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      for (const row of rows()) if (!row.hidden) box(row).checked = button.dataset.tick === "all";
      chosenAnew();
    });
  }
  // A list that the server has narrowed holds only a part of the rows: the server narrows it anew.
  if (!("narrowed" in narrow.dataset)) {
    narrow.addEventListener("input", filter);
    narrow.addEventListener("submit", (event) => event.preventDefault());
    narrow.querySelector("button").hidden = true;
  }
  counts.hidden = false;
  // The server's preview is of what it ticked itself; a browser may have kept other ticks from an earlier visit.
  if (rows().some((row) => box(row).checked !== box(row).defaultChecked)) chosenAnew();
  else confirmed.value = "yes";
  count();
}

if (choice) begin();
