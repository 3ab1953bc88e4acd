"use strict";
// A page works without this script: it then shows all failures, and follows the colours of the system.
const root = document.documentElement;

// Colours: the button and the key t switch between light and dark; a choice equal to the system's is forgotten.
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ?? (systemIsDark.matches ? "dark" : "light")) === "dark";
const themeButton = document.querySelector("#theme");
const labelTheme = () => { if (themeButton) themeButton.textContent = isDark() ? "Light" : "Dark"; };
function switchTheme() {
  const theme = isDark() ? "light" : "dark";
  const isSystem = (theme === "dark") === systemIsDark.matches;
  if (isSystem) delete root.dataset.theme; else root.dataset.theme = theme;
  try {
    if (isSystem) localStorage.removeItem("mathpipe-theme"); else localStorage.setItem("mathpipe-theme", theme);
  } catch { /* a page opened from a file may have no storage */ }
  labelTheme();
}
themeButton?.addEventListener("click", switchTheme);
systemIsDark.addEventListener("change", labelTheme);
labelTheme();

// Tables sort by the column whose name is pressed, and show the rows that hold what is typed above them.
function makeSortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, k) => {
    const cell = row.cells[k];
    const number = cell.dataset.v;
    return number === undefined ? cell.textContent : number === "" ? -Infinity : Number(number);
  };
  heads.forEach((head, k) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a, k), y = value(b, k);
      const order = typeof x === "number" && typeof y === "number" ? x - y || 0 : String(x).localeCompare(String(y));
      return up ? order : -order;
    });
    body.append(...rows);
  }));
  const filter = table.closest("[data-table]")?.querySelector("input.filter");
  filter?.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const row of body.rows) row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
  });
}
document.querySelectorAll("table.data").forEach(makeSortable);

// The table of a plot is open where it has room beside the plot, and on paper.
const folded = [...document.querySelectorAll(".plotted > details")];
for (const details of folded) if (details.parentElement.clientWidth >= 860) details.open = true;
let opened = [];
addEventListener("beforeprint", () => { opened = folded.filter((d) => !d.open); opened.forEach((d) => { d.open = true; }); });
addEventListener("afterprint", () => opened.forEach((d) => { d.open = false; }));

// Failures: filtered, sorted, twelve at a time; #row-12 shows the failure of row 12.
const PAGE = 12;
const form = document.querySelector("#failure-filter");
const cards = [...document.querySelectorAll(".failures > article")];
let limit = PAGE;
const shownCards = () => cards.filter((card) => !card.hidden);

function failureFilter() {
  const values = JSON.parse(document.querySelector("#failure-values").textContent);
  const list = document.querySelector(".failures"), more = document.querySelector("#more");
  const output = form.querySelector("output"), command = form.querySelector("code");
  const texts = [...form.querySelectorAll("select[data-field]")];
  const field = form.elements;
  const ofCard = (card) => values[card.id.slice(4)];
  const rank = new Map(cards.map((card, k) => [card, k]));

  const matches = (card) => {
    const value = ofCard(card);
    if (texts.some((select) => select.value !== "" && String(value[select.dataset.field]) !== select.value)) return false;
    const name = field.covariate.value;
    if (name === "") return true;
    const from = field.from.value === "" ? -Infinity : Number(field.from.value);
    const to = field.to.value === "" ? Infinity : Number(field.to.value);
    return value[name] !== undefined && value[name] >= from && value[name] <= to;
  };
  const compare = (a, b) => {
    const order = field.order.value;
    const first = order.slice(1), key = (card) => ofCard(card)[first];
    if (order === "row") return Number(a.id.slice(4)) - Number(b.id.slice(4));
    if (order === "reason") {
      const typical = (card) => (ofCard(card).reason === "typical" ? 0 : 1);
      return typical(a) - typical(b) || rank.get(a) - rank.get(b);
    }
    if (order === "") return rank.get(a) - rank.get(b);
    if (key(a) === undefined || key(b) === undefined) return (key(a) === undefined) - (key(b) === undefined);
    return (order[0] === "-" ? key(b) - key(a) : key(a) - key(b)) || rank.get(a) - rank.get(b);
  };
  const quote = (text) => (/^[\w./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const commandLine = () => {
    const name = field.covariate.value, order = field.order.value;
    const conditions = texts.filter((s) => s.value !== "").map((s) => `${s.dataset.field}=${s.value}`);
    if (name !== "" && field.from.value !== "") conditions.push(`${name}>=${field.from.value}`);
    if (name !== "" && field.to.value !== "") conditions.push(`${name}<=${field.to.value}`);
    const sort = order === "row" ? " --sort row" : /^[+-]/.test(order) ? ` --sort ${order.slice(1)}` : "";
    const where = conditions.map((condition) => ` --where ${quote(condition)}`).join("");
    return `mathpipe failures ${quote(form.dataset.location)}${where}${sort}${order[0] === "-" ? " --largest" : ""}`;
  };
  const update = () => {
    const matching = cards.filter(matches).sort(compare);
    cards.forEach((card) => { card.hidden = true; });
    matching.forEach((card, k) => { card.hidden = k >= limit; });
    list.append(...matching);
    const count = Math.min(limit, matching.length);
    output.textContent = `${count} shown of ${matching.length} that match, ${cards.length} on this page`;
    more.hidden = matching.length <= limit;
    command.textContent = commandLine();
  };
  const followLink = () => {
    const row = /^#row-(\d+)$/.exec(location.hash)?.[1];
    if (row === undefined) return;
    const card = document.getElementById(`row-${row}`);
    if (card === null) {
      output.textContent = `Row ${row} is not among the failures on this page.`;
      command.textContent = `mathpipe failures ${quote(form.dataset.location)} --row ${row}`;
      form.scrollIntoView();
      return;
    }
    if (!matches(card)) form.reset();
    limit = Math.max(limit, cards.filter(matches).sort(compare).indexOf(card) + 1);
    update();
    card.scrollIntoView({ block: "start" });
    card.focus({ preventScroll: true });
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { limit = PAGE; update(); });
  form.addEventListener("reset", () => setTimeout(() => { limit = PAGE; update(); }));
  more.addEventListener("click", () => { limit += PAGE; update(); });
  addEventListener("hashchange", followLink);
  update();
  followLink();
}
if (form) failureFilter();

// Keys, unless something is being typed.
const keys = document.querySelector("#keys");
document.querySelector("#show-keys")?.addEventListener("click", () => keys.showModal());
function step(direction) {
  const shown = shownCards();
  if (shown.length === 0) return;
  const current = shown.indexOf(document.activeElement?.closest("article"));
  const card = shown[Math.min(Math.max(current + direction, 0), shown.length - 1)];
  history.replaceState(null, "", `#${card.id}`);
  card.scrollIntoView({ block: "start" });
  card.focus({ preventScroll: true });
}
const actions = {
  j: () => step(1),
  k: () => step(-1),
  t: switchTheme,
  "/": () => (form ?? document).querySelector("select, input")?.focus(),
  "?": () => keys?.showModal(),
};
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, select, textarea, dialog");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !(event.key in actions)) return;
  event.preventDefault();
  actions[event.key]();
});
