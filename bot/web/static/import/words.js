// Say things in the page's language: the sentences stand in its <template id="words">, with {fields} to be filled in.

const language = document.documentElement.lang;
const rules = new Intl.PluralRules(language);
const digits = new Intl.NumberFormat(language, { numberingSystem: "latn" });
const sentences = document.getElementById("words").content;

// Show a sentence in an element; values are strings or elements. Each, with an @ before it, keeps its own direction
// within the sentence, whatever that one's is.
export function show(element, name, values = {}) {
  const sentence = sentences.querySelector(`[data-says="${name}"]`).textContent;
  const pieces = sentence.split(/(@?\{\w+\})/).map((piece, place) => (place % 2 ? isolated(piece, values) : piece));
  element.replaceChildren(...pieces);
}

// Count things: the page holds one sentence for each kind of number that its language tells apart.
export function counted(name, n) {
  const samples = [...sentences.querySelectorAll(`[data-counts="${name}"] [data-n]`)];
  const fits = samples.find((each) => rules.select(Number(each.dataset.n)) === rules.select(n)) ?? samples.at(-1);
  return fits.textContent.replace(fits.dataset.n, digits.format(n));
}

export function said(name, values) {
  const element = document.createElement("span");
  show(element, name, values);
  return element;
}

// Join strings and elements as the language does.
export function listed(items) {
  const places = items.map((_, place) => String(place));
  const element = document.createElement("span");
  for (const { type, value } of new Intl.ListFormat(language, { type: "unit" }).formatToParts(places)) {
    element.append(type === "element" ? items[Number(value)] : value);
  }
  return element;
}

function isolated(piece, values) {
  const [, at, field] = /(@?)\{(\w+)\}/.exec(piece);
  const element = document.createElement("bdi");
  element.append(at, values[field] ?? "");
  return element;
}
