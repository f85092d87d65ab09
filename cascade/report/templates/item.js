// One item: its line in the list, and all that is known of it once it is opened.

const SIGNS = { right: "✓", wrong: "✗", unread: "?", failed: "!" };
const sign = (state, tag = "span") => make(tag, { class: `state ${state}`, role: "img", "aria-label": state, title: state }, SIGNS[state]);
const badge = (kind, text) => make("span", { class: `badge ${kind}` }, text);
const block = (text, more = "") => theirs(text, "div", { class: `text block ${more}` });
const part = (title, ...inside) => make("div", {}, make("h4", {}, title), ...inside);

function fold(title, ...inside) {
  return make("details", { class: "fold" }, make("summary", {}, title), ...inside);
}

function line(item) {
  const answer = item.choice ? theirs(item.choice) : make("i", {}, { failed: "no reply", unread: "no choice" }[item.st] ?? "nothing");
  const gold = item.st === "right" ? [] : [" · gold: ", theirs(item.gold)];
  const why = item.why && item.why !== "unknown" ? [" ", badge(item.why, item.why)] : [];
  const head = make(
    "button",
    { class: "head", type: "button", "aria-expanded": "false", on: { click: () => toggle(item) } },
    sign(item.st),
    make("span", {}, theirs(item.q, "span", { class: "q" }), make("br"), make("span", { class: "choice" }, make("b", {}, answer), ...gold, ...why)),
    make("span", { class: "tags" }, theirs(item.id), make("br"), theirs([item.modality, item.sub ?? item.layer].filter(Boolean).join(" · "))),
  );
  item.head = head;
  item.node = make("li", { class: "item" }, make("h3", {}, head));
  return item.node;
}

async function open(item) {
  if (item.body) return;
  const shown = await details(item).catch(() => null);
  if (item.body) return;
  if (!shown) return void (byId("tally").textContent = "This browser is too old to unpack the items.");
  const asked = shown.replies.flatMap(({ rounds }) => rounds ?? []).flatMap(({ findings }) => findings);
  const parts = asked.filter(({ end }) => end !== undefined).map(({ start, end, request }) => ({ start, end, text: request }));
  const clip = player(item.clip, [...shown.captions, { slot: "asked", times: parts }]);
  item.body = make(
    "div",
    { class: "body", role: "region", "aria-label": `item ${item.id}` },
    clip.node,
    part("Choices", choices(item, shown), benchmark(shown), permalink(item)),
    part(shown.captions.some((one) => "clip" in one) ? "What the model was given" : "Captions", ...(shown.captions.length ? shown.captions.map((one) => slot(one, clip.seek)) : ["There are none: the clip was not captioned."])),
    make("div", { class: "wide" }, item.vote ? make("p", { class: "facts" }, make("span", {}, "the samples' vote ", theirs(item.vote, "b"))) : null, ...shown.replies.map((one) => reply(one, shown.replies.length > 1, clip.seek)), ...(shown.replies.length ? [] : [make("p", { class: "note" }, "This item has not been asked yet.")])),
    index.runs.length > 1 ? others(item, shown) : null,
  );
  item.node.append(item.body);
  item.node.classList.add("open");
  item.head.setAttribute("aria-expanded", "true");
}

function shut(item) {
  item.body?.querySelector("audio")?.pause();
  item.body?.remove();
  item.body = null;
  item.node.classList.remove("open");
  item.head.setAttribute("aria-expanded", "false");
}

function choices(item, shown) {
  const marked = shown.choices.map((choice) => {
    const gold = choice === item.gold, chosen = choice === item.choice;
    const elsewhere = shown.others.flatMap((one, at) => (one.choice === choice ? [index.runs[at + 1]] : []));
    const marks = [gold ? badge("gold", "gold") : null, chosen ? badge(item.st === "right" ? "model" : "off", "model") : null];
    const runs = elsewhere.length ? make("small", { title: elsewhere.join("\n") }, `${elsewhere.length} other run${elsewhere.length > 1 ? "s" : ""}`) : null;
    return make("li", { class: gold ? "gold" : chosen ? "off" : null }, theirs(choice), ...marks, runs);
  });
  const loose = item.loose ? make("p", { class: "facts" }, "The official matcher and strict equality differ here.") : null;
  return make("div", {}, make("ul", { class: "choices" }, ...marked), loose);
}

function benchmark(shown) {
  if (!shown.cue.length && !shown.thinking) return null;
  return fold("What the benchmark says of the clip", block([shown.cue.join(" · "), shown.thinking].filter(Boolean).join("\n\n")));
}

function permalink(item) {
  return make("p", { class: "facts" }, make("a", { href: `#${new URLSearchParams({ item: item.id })}` }, "link to this item"));
}

function slot(one, seek) {
  const about = [one.engine, one.language, one.truncated ? "cut off at the end" : "", one.seconds === undefined ? "" : `${one.seconds.toFixed(2)} s to hear`].filter(Boolean).join(" · ");
  const head = make("h5", {}, theirs(one.slot), make("small", {}, theirs(about)));
  if (one.failure) return make("div", { class: "slot" }, head, make("p", { class: "note" }, theirs(one.failure)));
  if ("clip" in one) return make("div", { class: "slot" }, head, ...sent(one));
  const text = one.text.trim() ? theirs(one.text, "p", { class: "text" }) : make("p", { class: "empty" }, "nothing");
  const tone = tones(one.times);
  const times = one.times.length ? make("div", { class: "times" }, ...one.times.slice(0, 60).map((time) => moment(time, seek, tone))) : null;
  const listed = one.times.length > 4 ? fold(`${one.times.length} times`, times) : times;
  const aside = one.answers ? make("p", { class: "facts" }, "set aside, not shown to the model: ", theirs(one.answers, "b")) : null;
  return make("div", { class: "slot" }, head, text, aside, listed);
}

// What was sent of a clip, beside a player of that clip, which is another item's where captions are mismatched.
function sent(one) {
  const clip = index.clips[one.clip];
  const audio = clip?.src ? make("audio", { controls: true, preload: "none", src: source(one.clip), "aria-label": `clip as sent ${clip.name}` }) : null;
  return [theirs(one.text, "p", { class: "text" }), audio];
}

function moment({ start, end, text, dropped }, seek, tone) {
  const said = [`${start.toFixed(1)}–${end.toFixed(1)} s `, theirs(text)];
  const props = { class: dropped ? "dropped" : tone.name(text), title: dropped ? `dropped: ${dropped}` : "play from here" };
  return make("button", { type: "button", disabled: !seek, ...props, on: { click: () => seek(start) } }, ...said);
}

// What the model asked for in each round, and what it was shown.
function exchange(rounds, seek) {
  const rows = rounds.flatMap(({ text, findings }, at) => [
    make("li", {}, make("b", {}, `Round ${at + 1}`), text ? block(text) : null),
    ...findings.map((finding) => make(
      "li",
      {},
      finding.end === undefined ? theirs(finding.request, "b") : make("div", { class: "times" }, moment({ ...finding, text: finding.request }, seek, tones([]))),
      make("small", {}, ` ${finding.seconds.toFixed(2)} s`),
      theirs(finding.text, "p", { class: "text" }),
    )),
  ]);
  return make("ol", { class: "rounds" }, ...rows);
}

function reply(one, several, seek) {
  const name = several ? `Sample ${one.sample + 1}` : "Reply";
  const facts = [
    ["read by", one.how], ["as", one.choice], ["tokens", tokensOf(one)], ["seconds", one.seconds?.toFixed(2)], ["finish", one.finish],
    ["audio as sent", one.audio],
    ["cost", one.cost ? `$${one.cost.toFixed(5)}` : ""],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  return make(
    "div",
    {},
    make("h4", {}, name),
    one.rounds ? exchange(one.rounds, seek) : null,
    one.failure ? make("p", { class: "note" }, "Failed. ", theirs(one.failure)) : one.text ? block(one.text) : make("p", { class: "note" }, "An empty reply."),
    make("p", { class: "facts" }, ...facts.map(([what, value]) => make("span", {}, `${what} `, theirs(value, "b")))),
    one.reasoning ? fold(`Reasoning (${one.reasoning.length.toLocaleString("en")} characters)`, block(one.reasoning)) : null,
    one.prompt ? fold("The prompt, as it was sent", ...prompt(one)) : null,
  );
}

function tokensOf(one) {
  if (one.in === undefined && one.out === undefined) return "";
  return `${one.in ?? "?"} in, ${one.out ?? "?"} out${one.thought ? `, ${one.thought} of them thought` : ""}`;
}

function prompt(one) {
  const changed = one.same ? [] : [make("p", { class: "note" }, "Rendered again, this is not the prompt whose digest the log has.")];
  return [...changed, ...one.prompt.map(({ role, content }) => make("div", {}, make("h4", {}, role), block(content, "mono")))];
}

function others(item, shown) {
  const rows = shown.others.map((one, at) => {
    const state = item.o[at];
    const cells = state
      ? [make("td", {}, sign(state)), make("td", {}, one.choice ? theirs(one.choice) : make("i", {}, "none"), make("br"), make("small", {}, theirs(one.how))), make("td", {}, make("small", {}, theirs(one.end)))]
      : [make("td", { colspan: 3 }, make("small", {}, "not among its items"))];
    return make("tr", {}, make("th", { scope: "row" }, theirs(index.runs[at + 1])), ...cells);
  });
  return make("div", { class: "wide" }, make("h4", {}, "The other runs"), make("div", { class: "scroll" }, make("table", { class: "others" }, make("tbody", {}, ...rows))));
}
