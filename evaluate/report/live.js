"use strict";
// Follows the runs: fetches the table and the selected run every other second, and replaces what has changed.
const INTERVAL = 2000;
const connection = document.querySelector("#connection");
const parts = { overview: document.querySelector("#overview"), run: document.querySelector("#run") };
const tags = {};
let answeredAt = null;
let selected = null;

const selectedKey = () => /^#run-([0-9a-f]+)$/.exec(location.hash)?.[1] ?? null;

async function refresh(name, address) {
  const response = await fetch(address, { cache: "no-store", headers: tags[address] ? { "If-None-Match": tags[address] } : {} });
  if (response.status === 304) return;
  if (!response.ok) throw new Error(`${response.status}`);
  tags[address] = response.headers.get("ETag");
  const html = await response.text();
  const element = parts[name];
  const isFirst = element.dataset.address !== address;
  element.dataset.address = address;
  const open = new Set([...element.querySelectorAll("details[open]")].map((d) => d.closest(".card").id));
  const sorted = element.querySelector("th[aria-sort]");
  const column = sorted ? [sorted.cellIndex, sorted.getAttribute("aria-sort")] : null;
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.run : undefined;
  element.innerHTML = html;
  element.querySelectorAll("table.data").forEach(makeSortable);
  for (const details of element.querySelectorAll("details")) {
    const card = details.closest(".card");
    details.open = isFirst ? card.clientWidth >= 860 : open.has(card.id);  // there is room beside the plot
  }
  if (column !== null) {
    const button = element.querySelectorAll("thead button")[column[0]];
    button?.click();
    if (column[1] === "ascending") button?.click();
  }
  if (focused !== undefined) element.querySelector(`[data-run="${focused}"]`)?.focus();
}

async function follow() {
  try {
    await refresh("overview", "/overview");
    selected = selectedKey() ?? parts.overview.querySelector("[data-run]")?.dataset.run ?? null;
    for (const link of parts.overview.querySelectorAll("[data-run]")) {
      link.closest("tr").toggleAttribute("data-selected", link.dataset.run === selected);
    }
    if (selected !== null) await refresh("run", `/runs/${selected}`);
    answeredAt = new Date();
    connection.textContent = `following; ${answeredAt.toLocaleTimeString()}`;
  } catch {
    connection.textContent = answeredAt === null
      ? "the server does not answer"
      : `the server does not answer; figures of ${answeredAt.toLocaleTimeString()}`;
  }
}

let timer = null;
async function loop() {
  clearTimeout(timer);
  if (!document.hidden) await follow();
  timer = setTimeout(loop, INTERVAL);
}
addEventListener("hashchange", () => { if (selectedKey() !== null) { delete tags[`/runs/${selectedKey()}`]; loop(); } });
document.addEventListener("visibilitychange", loop);
loop();
