// Show how far a batch is, as the server tells it. The page says the same to whoever only reloads it.
const AGAIN_AFTER = 30_000;

const shown = document.querySelector("#progress");
const bar = shown.querySelector("progress");
const lines = shown.querySelector("#lines");
const news = shown.querySelector("#news");
const heading = document.querySelector("h1");
const goesOn = document.querySelector("#goes-on");
let announced = quarters(bar.value, bar.max);

function quarters(done, total) {
  return Math.floor((4 * done) / Math.max(total, 1));
}

function paragraphs(texts) {
  return texts.map((text) => {
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    return paragraph;
  });
}

function show(progress) {
  bar.max = Math.max(progress.total, 1);
  bar.value = progress.total ? progress.done : 1;
  lines.replaceChildren(...paragraphs(progress.lines));
  // A screen reader is told of every quarter, not of every follow.
  const reached = progress.over ? 4 : quarters(progress.done, progress.total);
  if (reached !== announced) {
    announced = reached;
    news.replaceChildren(...paragraphs(progress.lines));
  }
  goesOn.hidden = progress.over;
  if (progress.over) {
    document.title = document.title.replace(heading.textContent, shown.dataset.over);
    heading.textContent = shown.dataset.over;
  }
}

function watch() {
  const source = new EventSource(shown.dataset.source);
  source.onmessage = (event) => {
    const progress = JSON.parse(event.data);
    show(progress);
    if (progress.over) source.close();
  };
  // A lost connection is taken up again by the browser; one that was refused, because there are too many, is not.
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(watch, AGAIN_AFTER);
  };
}

watch();
