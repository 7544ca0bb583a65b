// Send the form of a one-time link at once. Who only fetches the page, to show a preview of it, runs no scripts.
document.querySelector("form[data-at-once]")?.requestSubmit();
