// The page at work.

let shown = [];
let written = 0;

function show() {
  const [passed, counts] = filtered();
  const kept = new Set(passed);
  if (passed.some((item, at) => at && item.place < passed[at - 1].place)) reorder(passed, kept);
  for (const item of items) item.node.hidden = !kept.has(item);
  shown = passed;
  for (const update of controls) update(counts);
  tell(passed);
}

// The list holds its items in the order in which they are shown; the others come after.
function reorder(passed, kept) {
  const all = [...passed, ...items.filter((item) => !kept.has(item))];
  all.forEach((item, place) => { item.place = place; });
  byId("list").append(...all.map((item) => item.node));
}

function tell(passed) {
  const right = passed.filter((item) => item.st === "right").length;
  const percent = (share) => (100 * share).toFixed(1);
  const ends = passed.length ? wilson(right, passed.length).map(percent).join("–") : "";
  const share = passed.length && !state.st && !state.why ? ` · ${percent(right / passed.length)} % right (${ends})` : "";
  const reading = state.q && !complete ? " · still reading replies" : "";
  byId("tally").replaceChildren(make("b", {}, String(passed.length)), ` of ${items.length} items${share}${reading}`);
  byId("nothing").hidden = passed.length > 0;
}

function change(key, value) {
  state[key] = value;
  show();
  keep();
}

function clearAll() {
  for (const key of KEYS) state[key] = "";
  show();
  keep();
}

// Browsers bound how often the address may change; the last change of a moment is the one that counts.
function keep() {
  clearTimeout(written);
  written = setTimeout(() => history.replaceState(null, "", fragment()), 150);
}

async function toggle(item) {
  if (item.body) {
    shut(item);
    if (state.item === item.id) state.item = "";
  } else {
    await open(item);
    state.item = item.id;
  }
  keep();
}

// A link of this page, or one that was shared.
async function arrive() {
  if (!location.hash.includes("=")) return;
  clearTimeout(written);
  takeFragment();
  show();
  const item = items.find(({ id }) => state.item && id === state.item);
  if (item) await open(item);
  const there = item && !item.node.hidden ? item.head : byId("items");
  there.scrollIntoView({ behavior: "instant" });
  there.focus({ preventScroll: true });
}

// Keys

function step(by) {
  const at = shown.findIndex((item) => item.node.contains(document.activeElement));
  const next = shown[at < 0 ? 0 : at + by];
  next?.head.focus();
  next?.head.scrollIntoView({ block: "nearest" });
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const here = event.target;
  if (event.key === "Escape") return leave(here);
  if (here.matches("input, select, textarea, audio")) return;
  const act = { "/": () => byId("q").focus(), j: () => step(1), k: () => step(-1) }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function leave(here) {
  const item = items.find(({ node, body }) => body && node.contains(here));
  if (!item) return;
  toggle(item);
  item.head.focus();
}

// Replies and captions are unpacked when the page stands, so that a search finds the words in them.
let complete = false;

async function readOn() {
  for (let place = 0; place < packed.length; place += 1) {
    const part = await chunk(place);
    part.forEach((shown, at) => { items[place * index.chunk + at].deep = deepWords(shown); });
    await new Promise((go) => setTimeout(go));
  }
  complete = true;
  document.documentElement.dataset.ready = "all";
  if (state.q) show();
}

function deepWords(shown) {
  const captions = shown.captions.map((one) => one.text ?? one.failure);
  const replies = shown.replies.flatMap((one) => [one.text, one.reasoning, one.failure]);
  return [...shown.choices, ...captions, ...replies].filter(Boolean).join("\n").toLowerCase();
}

buildControls();
for (const key of KEYS) state[key] = "";
items.forEach((item, place) => { item.place = place; });
byId("list").append(...items.map(line));
show();
addEventListener("hashchange", arrive);
addEventListener("keydown", press);
document.documentElement.dataset.ready = "yes";
arrive().then(readOn);
