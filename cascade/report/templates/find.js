// Which items are shown, in what order, and how many there would be: all of it from `state`, which the address keeps.

const state = {};
const SORTS = {
  "": ["as asked", (a, b) => a.at - b.at],
  id: ["id", (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)],
  modality: ["modality", (a, b) => (a.modality ?? "").localeCompare(b.modality ?? "") || a.at - b.at],
  result: ["result", (a, b) => RANK[a.st] - RANK[b.st] || a.at - b.at],
  hardest: ["fewest runs right", (a, b) => runsRight(a) - runsRight(b) || a.at - b.at],
  tokens: ["most tokens out", (a, b) => b.tok - a.tok || a.at - b.at],
  seconds: ["longest to answer", (a, b) => b.s - a.s || a.at - b.at],
};
const RANK = { failed: 0, unread: 1, wrong: 2, right: 3 };
const runsRight = (item) => [item.st, ...item.o].filter((one) => one === "right").length;
if (index.runs.length === 1) delete SORTS.hardest;

// What an item counts as, for each filter.
const VALUES = {
  st: (item) => [item.st],
  why: (item) => [item.why],
  modality: (item) => [item.modality],
  layer: (item) => [item.layer],
  sub: (item) => [item.sub],
  flag: flags,
  captions: (item) => [
    ...item.empty.map((slot) => `empty:${slot}`),
    ...(item.empty.length ? ["empty"] : []),
    ...(item.lost.length ? ["lost"] : []),
  ],
  vs: (item) => item.o.flatMap((one, at) => versus(item.st === "right", one, at)),
};

function flags(item) {
  const others = item.o.some((one) => one === "right");
  const names = [];
  if (item.st === "right" && !others) names.push("only");
  if (item.st !== "right" && !others) names.push("none");
  if (index.blind !== null && item.st === "right" && item.o[index.blind] === "right") names.push("blind");
  if (index.audio !== null && item.st !== "right" && item.o[index.audio] === "right") names.push("audio");
  return names;
}

function versus(right, other, at) {
  if (!other || right === (other === "right")) return [];
  return [`${right ? "won" : "lost"}:${at}`];
}

items.forEach((item, at) => {
  item.at = at;
  item.has = Object.fromEntries(index.facets.map(({ key }) => [key, VALUES[key](item)]));
  item.words = [item.id, item.q, item.choice, item.gold, item.modality, item.layer, item.sub].join("\n").toLowerCase();
});

const wordsOf = (text) => (text ?? "").toLowerCase().split(/\s+/).filter(Boolean);

// [items that pass, for each facet how many each of its options would leave]
function filtered() {
  const chosen = index.facets.filter(({ key }) => state[key]);
  const words = wordsOf(state.q);
  const counts = Object.fromEntries(index.facets.map(({ key }) => [key, new Map()]));
  const passed = [];
  for (const item of items) {
    if (!words.every((word) => item.words.includes(word) || item.deep?.includes(word))) continue;
    const failing = chosen.filter(({ key }) => !item.has[key].includes(state[key]));
    if (!failing.length) passed.push(item);
    if (failing.length > 1) continue;
    for (const { key } of failing.length ? failing : index.facets) {
      for (const value of item.has[key]) counts[key].set(value, (counts[key].get(value) ?? 0) + 1);
    }
  }
  return [passed.sort((SORTS[state.sort] ?? SORTS[""])[1]), counts];
}

function wilson(right, n) {
  const z = 1.959963984540054, share = right / n, spread = (z * z) / n;
  const centre = (share + spread / 2) / (1 + spread);
  const half = (z * Math.sqrt((share * (1 - share)) / n + spread / (4 * n))) / (1 + spread);
  return [right === 0 ? 0 : centre - half, right === n ? 1 : centre + half];
}

// The address

const KEYS = [...index.facets.map(({ key }) => key), "q", "sort", "item"];

function fragment(over = {}) {
  const fragment = new URLSearchParams();
  for (const key of KEYS) if ((over[key] ?? state[key])) fragment.set(key, over[key] ?? state[key]);
  return `#${fragment}`;
}

function takeFragment() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  for (const key of KEYS) state[key] = fragment.get(key) ?? "";
  for (const { key, options } of index.facets) {
    if (!options.some(([value]) => value === state[key])) state[key] = "";
  }
  if (!(state.sort in SORTS)) state.sort = "";
}

// The controls

const controls = [];

function chips({ key, label, options }) {
  const buttons = options.map(([value, name]) => {
    const count = make("small");
    const act = () => change(key, state[key] === value ? "" : value);
    const button = make("button", { type: "button", "aria-pressed": "false", on: { click: act } }, name, " ", count);
    return { value, button, count };
  });
  controls.push((counts) => {
    for (const { value, button, count } of buttons) {
      const n = counts[key].get(value) ?? 0;
      count.textContent = n;
      button.setAttribute("aria-pressed", String(state[key] === value));
      button.classList.toggle("zero", !n);
    }
  });
  const inside = make("div", { class: "chips" }, ...buttons.map(({ button }) => button));
  return make("div", { class: "group", role: "group", "aria-label": label }, make("span", {}, label), inside);
}

function picker({ key, label, options }, counted = true) {
  const made = options.map(([value, name]) => [value, name, make("option", { value }, name)]);
  const any = counted ? [make("option", { value: "" }, "any")] : [];
  const act = () => change(key, select.value);
  const select = make("select", { id: `pick-${key}`, on: { change: act } }, ...any, ...made.map(([, , option]) => option));
  controls.push((counts) => {
    for (const [value, name, option] of counted ? made : []) {
      option.textContent = `${name} (${counts[key].get(value) ?? 0})`;
    }
    select.value = state[key] ?? "";
  });
  return make("div", { class: "pick" }, make("label", { for: `pick-${key}` }, label), select);
}

function searchBox() {
  const box = make("input", {
    type: "search", id: "q", autocomplete: "off", spellcheck: "false",
    placeholder: "words in questions, captions, replies, ids",
    on: { input: () => change("q", box.value) },
  });
  controls.push(() => { if (box.value !== state.q) box.value = state.q; });
  return make("div", { class: "search" }, make("label", { for: "q" }, "find"), box);
}

function buildControls() {
  const sorts = Object.entries(SORTS).map(([value, [name]]) => [value, name]);
  const reset = make("button", { type: "button", class: "reset", on: { click: clearAll } }, "Show all");
  byId("controls").append(
    searchBox(),
    ...index.facets.map((facet) => (facet.kind === "chips" ? chips(facet) : picker(facet))),
    picker({ key: "sort", label: "sorted by", options: sorts }, false),
    reset,
  );
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", clearAll);
}
