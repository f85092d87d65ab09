// A clip: its player, its waveform, and under it the times of each source.

const LEVELS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
let playing = null;

function source(place) {
  const copy = byId(`copy-${place}`);
  if (!copy) return index.clips[place].src;
  const clip = index.clips[place];
  clip.url ??= URL.createObjectURL(new Blob([bytes(copy.textContent)], { type: "audio/webm" }));
  return clip.url;
}

// {node, seek}: what is shown of a clip, and what jumps to a second of it.
function player(place, captions) {
  const clip = index.clips[place];
  if (clip.missing) return { node: make("p", { class: "note" }, "The clip is missing. ", theirs(clip.missing)), seek: null };
  const audio = make("audio", { controls: true, preload: "none", src: source(place), "aria-label": `clip ${clip.name}` });
  audio.addEventListener("play", () => {
    if (playing && playing !== audio) playing.pause();
    playing = audio;
  });
  const trouble = make("p", { class: "note", hidden: true }, "The clip cannot be played from here: ", theirs(clip.src));
  audio.addEventListener("error", () => { trouble.hidden = false; });
  const seconds = clip.seconds ?? Math.max(0, ...captions.flatMap(({ times }) => (times ?? []).map(({ end }) => end)));
  const seek = (at) => {
    const go = () => { audio.currentTime = at; audio.play(); };
    if (audio.readyState) return go();
    audio.addEventListener("loadedmetadata", go, { once: true });
    audio.load();
  };
  const parts = [audio, trouble];
  if (clip.damage) parts.push(make("p", { class: "note" }, theirs(clip.damage)));
  if (clip.peaks) parts.push(lane(clock(seconds), wave(clip, audio, seconds, seek)));
  if (seconds) parts.push(...captions.filter(({ times }) => times?.length).map((one) => lane(one.slot, bands(one.times, seconds))));
  return { node: make("div", { class: "wide" }, ...parts), seek };
}

const lane = (name, picture) => make("div", { class: "lane" }, theirs(name), picture);

function wave(clip, audio, seconds, seek) {
  const bars = [...clip.peaks].map((char) => LEVELS.indexOf(char) / (LEVELS.length - 1));
  const path = bars.map((bar, at) => `M${at} ${20 - 19 * bar}h.72v${Math.max(0.6, 38 * bar)}h-.72z`).join("");
  const cursor = draw("line", { class: "cursor", x1: 0, x2: 0, y1: 0, y2: 40, visibility: "hidden" });
  const picture = draw(
    "svg",
    { class: "wave", viewBox: `0 0 ${bars.length} 40`, preserveAspectRatio: "none", height: 56, "aria-hidden": "true" },
    draw("path", { class: "peaks", d: path }),
    cursor,
  );
  audio.addEventListener("timeupdate", () => {
    const at = (bars.length * audio.currentTime) / seconds;
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, at);
    cursor.setAttribute("visibility", "visible");
  });
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    seek((seconds * (event.clientX - box.left)) / box.width);
  });
  return picture;
}

// A colour and a row for each of a few labels; sentences that are all different share one of each.
function tones(times) {
  const names = [...new Set(times.map(({ text }) => text))];
  const few = names.length <= 4 && names.length < times.length;
  return { rows: few ? names.length : 1, row: (text) => (few ? names.indexOf(text) : 0), name: (text) => (few ? `a${names.indexOf(text)}` : null) };
}

function bands(times, seconds) {
  const tone = tones(times), high = tone.rows > 1 ? 6 : 10;
  const place = (row) => ({ y: 2 + row * (high + 2), height: high, rx: 2 });
  const rects = times.map(({ start, end, text, dropped }) =>
    draw(
      "rect",
      { class: dropped ? "dropped" : tone.name(text), x: `${(100 * start) / seconds}%`, ...place(tone.row(text)),
        width: `${Math.max(0.3, (100 * (Math.min(end, seconds) - start)) / seconds)}%` },
      draw("title", {}, `${start.toFixed(1)}–${end.toFixed(1)} s: ${text}`),
    ),
  );
  const back = Array.from({ length: tone.rows }, (_, row) => draw("rect", { class: "back", width: "100%", ...place(row) }));
  return draw("svg", { width: "100%", height: 4 + tone.rows * (high + 2) - 2, "aria-hidden": "true" }, ...back, ...rects);
}
