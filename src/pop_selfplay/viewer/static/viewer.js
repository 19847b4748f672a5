// Keys, copying, cells that open in place, and news of a run that goes on. Everything works without it, by links and forms.
"use strict";

const find = (selector) => document.querySelector(selector);

const tell = (words) => {
  find(".toast").textContent = words;
  setTimeout(() => { find(".toast").textContent = ""; }, 2500);
};

const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    tell("copied");
  } catch {
    tell("the browser does not let this page copy");
  }
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (button) {
    const link = button.dataset.copyLink;
    if (link === undefined) copy(find(`[data-text="${button.dataset.copy}"]`).innerText);
    else copy(new URL(link || location.href, location.href).href);
  }
  const cell = event.target.closest("a.cell");
  if (cell && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    openCell(cell);
  }
});

async function openCell(link) {
  const answer = await fetch(link.href, { redirect: "error" });
  if (!answer.ok) { location.assign(link.href); return; }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  find("#cell").replaceWith(document.adoptNode(page.querySelector("#cell")));
  document.querySelectorAll("a.cell[aria-current]").forEach((each) => each.removeAttribute("aria-current"));
  link.setAttribute("aria-current", "true");
  history.replaceState(null, "", link.href);
  find("#cell").scrollIntoView({ block: "nearest" });
}

const step = (by) => {
  const rows = [...document.querySelectorAll("a.row")];
  const place = rows.indexOf(document.activeElement);
  const next = rows[place < 0 ? (by > 0 ? 0 : rows.length - 1) : place + by];
  if (next) next.focus();
};

const move = (across, down) => {
  const cell = document.activeElement.closest("td");
  if (!cell || !document.activeElement.matches("a.cell")) return false;
  const row = down ? [...cell.closest("tbody").rows][cell.parentElement.rowIndex - 1 + down] : cell.parentElement;
  const next = row && row.cells[cell.cellIndex + across];
  const link = next && next.querySelector("a.cell");
  if (link) link.focus();
  return true;
};

const go = (id) => { const link = document.getElementById(id); if (link) link.click(); return Boolean(link); };
const choose = (value) => { const radio = find(`input[name="better"][value="${value}"]`); if (radio) { radio.checked = true; radio.focus(); } };

const keys = {
  j: () => go("next") || step(1),
  k: () => go("previous") || step(-1),
  u: () => go("up"),
  l: () => go("label"),
  c: () => { const button = find("[data-copy-link]"); if (button) button.click(); },
  "/": () => { const search = find("input[type=search]"); if (search) search.focus(); },
  "?": () => { const help = find("details.help"); help.open = !help.open; },
  a: () => choose("first"),
  b: () => choose("second"),
  t: () => choose("tie"),
  ArrowLeft: () => move(-1, 0),
  ArrowRight: () => move(1, 0),
  ArrowUp: () => move(0, -1),
  ArrowDown: () => move(0, 1),
};

document.addEventListener("keydown", (event) => {
  const writing = event.target.matches("input:not([type=radio]):not([type=checkbox]), textarea, select");
  const arrows = event.key.startsWith("Arrow") && !event.target.matches("a.cell");
  if (writing || arrows || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

const live = document.body.dataset.live;
if (live) {
  setInterval(async () => {
    if (document.hidden) return;
    try {
      const now = await (await fetch(live)).json();
      const { finished, indexed } = document.body.dataset;
      if (now.indexed !== Number(indexed) || now.finished !== Number(finished)) {
        find("#standing").textContent = `${now.finished.toLocaleString("en")} episodes finished${now.working ? "; a process is working on it" : ""}.`;
        find("#fresh").hidden = false;
      }
    } catch { /* the viewer was stopped: the page stays as it is */ }
  }, 2000);
}
