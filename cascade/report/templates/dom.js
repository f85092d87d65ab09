"use strict";
// Nodes are made one by one, and text of runs and models only ever becomes text in them.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, inside) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...inside.flat().filter((part) => part !== null && part !== undefined && part !== ""));
  return node;
}

const make = (tag, props = {}, ...inside) => fill(document.createElement(tag), props, inside);
const draw = (tag, props = {}, ...inside) => fill(document.createElementNS(SVG, tag), props, inside);
// A text of theirs: its direction is its own, and ends with it.
const theirs = (text, tag = "bdi", props = {}) => make(tag, { dir: "auto", ...props }, String(text));
const byId = (id) => document.getElementById(id);

const index = JSON.parse(byId("index").textContent);
const items = index.items;
const packed = [...document.querySelectorAll("script.chunk")];
const unpacked = [];

function bytes(base64) {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}

// The details of so many items, as a promise that is kept.
function chunk(place) {
  unpacked[place] ??= (async () => {
    const stream = new Blob([bytes(packed[place].textContent)]).stream();
    return JSON.parse(await new Response(stream.pipeThrough(new DecompressionStream("deflate-raw"))).text());
  })();
  return unpacked[place];
}

async function details(item) {
  return (await chunk(Math.floor(item.at / index.chunk)))[item.at % index.chunk];
}
