// What a page can do without: every link, form and fold works when this does not run.
"use strict";

const LIVE_MS = 2000;
const WAIT_MS = 1000;

// "/" goes to the search, as long as nobody is writing.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "")) return;
  event.preventDefault();
  document.getElementById("find")?.select();
});

// The local time of a time that is pointed at.
document.addEventListener("mouseover", (event) => {
  const time = event.target instanceof Element ? event.target.closest("time") : null;
  if (!time || time.dataset.local) return;
  time.dataset.local = "1";
  time.title = `${new Date(time.dateTime).toLocaleString()} here\n${time.dateTime}`;
});

// A payload as it was recorded, into the clipboard.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const answer = await fetch(button.dataset.copy);
    await navigator.clipboard.writeText(await answer.text());
    button.textContent = "Copied";
  });
}

// A list that is live shows what came in; one that is read or away rests.
async function refresh() {
  const rows = document.getElementById("rows");
  if (!rows?.querySelector("[data-live]")) return;
  if (!document.hidden && !rows.querySelector("details[open]")) {
    try {
      const answer = await fetch(location.href);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("rows");
      if (answer.ok && fresh) {
        const focused = rows.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
        rows.replaceChildren(...fresh.childNodes);
        if (focused) rows.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
      }
    } catch { /* the view has ended, or will be there again */ }
  }
  setTimeout(refresh, LIVE_MS);
}
setTimeout(refresh, LIVE_MS);

// A verification that runs is waited for.
const waiting = document.querySelector("[data-wait]");
async function wait() {
  try {
    const { verification } = await (await fetch(waiting.dataset.wait)).json();
    if (!verification.running_since) return location.reload();
  } catch { return; }
  setTimeout(wait, WAIT_MS);
}
if (waiting) setTimeout(wait, WAIT_MS);
