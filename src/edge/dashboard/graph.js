// A recall and its associations as a graph: what was asked with, what came, how it is linked, and
// by which path most of its activation came.

import { draw, find } from "/dashboard/dom.js";
import { layOut } from "/dashboard/layout.js";

const BEYOND_MAX = 24;
const BEYOND_MAX_NARROW = 5;
const NARROW_PX = 500;
const NAME_LETTERS_MAX = 20;
const NAME_LETTERS_MAX_NARROW = 13;
const KINDS = { cue: "asked with", similar: "similar", associated: "associated", beyond: "linked" };

const shortened = (id, max) => (id.length > max ? `${id.slice(0, max - 1)}…` : id);

/** The nodes and edges of a recall; `paths` are those of a spread, by the id they lead to. */
export function associations(cue, hits, paths, isNarrow) {
  const letters_max = isNarrow ? NAME_LETTERS_MAX_NARROW : NAME_LETTERS_MAX;
  const nodes = new Map();
  const edges = new Map();
  const add = (id, kind, hit = null) => {
    if (!nodes.has(id)) nodes.set(id, { id, kind, hit, name: shortened(id, letters_max) });
    return nodes.get(id);
  };
  const join = (from, to, kind, pull, text = "") => {
    const [source, target] = [nodes.get(from), nodes.get(to)];
    const key = [from, to].sort().join("\n");
    if (source === target || (edges.has(key) && kind !== "path")) return;
    edges.set(key, { source, target, kind, pull, text });
  };
  add(cue, "cue", hits.find(({ id }) => id === cue) ?? null);
  for (const hit of hits) add(hit.id, hit.activation > 0 ? "associated" : "similar", hit);
  for (const hit of hits) {
    for (const { from, to, kind } of paths.get(hit.id) ?? []) {
      add(from, "beyond");
      add(to, "beyond");
      join(from, to, "path", 1, kind);
    }
  }
  let room = isNarrow ? BEYOND_MAX_NARROW : BEYOND_MAX;
  for (const hit of [...nodes.values()].map((node) => node.hit)) {
    for (const { id, kind } of hit?.links ?? []) {
      if (!nodes.has(id) && room > 0) {
        room -= 1;
        add(id, "beyond");
      }
      if (nodes.has(id)) join(hit.id, id, "link", 0.8, kind);
    }
  }
  for (const { id, similarity } of hits) join(cue, id, "alike", 0.15 + similarity * 0.4);
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

export class Graph {
  constructor(choose) {
    this.svg = find("graph");
    this.choose = choose;
    this.shown = null;
    [this.width, this.height] = [0, 0];
    new ResizeObserver(() => {
      if (this.svg.clientWidth !== this.width || this.svg.clientHeight !== this.height) {
        this.redraw();
      }
    }).observe(this.svg);
  }

  show(cue, hits, paths) {
    this.shown = { cue, hits, paths };
    this.redraw();
  }

  clear() {
    this.shown = null;
    this.svg.replaceChildren();
  }

  redraw() {
    const { clientWidth: width, clientHeight: height } = this.svg;
    [this.width, this.height] = [width, height];
    if (this.shown === null || width === 0) return;
    const { cue, hits, paths } = this.shown;
    const { nodes, edges } = associations(cue, hits, paths, width < NARROW_PX);
    layOut(nodes, edges, width, height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.edges = edges.map((edge) => ({ edge, line: lineOf(edge) }));
    const heads = edges.filter(({ kind }) => kind !== "alike").map(headOf);
    this.groups = new Map(nodes.map((node) => [node.id, this.groupOf(node)]));
    const order = (kind) => ["alike", "link", "path"].indexOf(kind);
    const lines = this.edges.toSorted((a, b) => order(a.edge.kind) - order(b.edge.kind));
    this.svg.replaceChildren(...lines.map(({ line }) => line), ...heads, ...this.groups.values());
    if (this.chosen !== undefined) this.mark(this.chosen);
  }

  groupOf(node) {
    const { id, kind, hit, name, x, y } = node;
    const radius = kind === "cue" ? 11 : hit === null ? 5 : 6 + 4 * Math.min(hit.score, 1);
    const chosen = () => this.choose(id);
    const heard = (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      chosen();
    };
    const attributes = {
      class: kind,
      role: "button",
      tabindex: 0,
      "aria-label": `${id}, ${KINDS[kind]}`,
      transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
      on: { click: chosen, keydown: heard },
    };
    const reach = draw("circle", { r: 18, class: "reach" });
    const dot = draw("circle", { r: radius.toFixed(1), class: "dot" });
    return draw("g", attributes, reach, dot, draw("text", { y: radius + 13 }, name));
  }

  /** Marks the node that is looked at, and its edges. */
  mark(id) {
    this.chosen = id;
    for (const [name, group] of this.groups ?? []) group.classList.toggle("chosen", name === id);
    for (const { edge, line } of this.edges ?? []) {
      line.classList.toggle("near", [edge.source.id, edge.target.id].includes(id));
    }
  }
}

function lineOf({ source, target, kind, text }) {
  const [x1, y1, x2, y2] = [source.x, source.y, target.x, target.y].map((at) => at.toFixed(1));
  const title = draw("title", {}, [source.id, text, target.id].filter(Boolean).join(" – "));
  return draw("line", { class: kind, x1, y1, x2, y2 }, title);
}

/** The arrow in the middle of an edge that has a direction. */
function headOf({ source, target, kind }) {
  const degrees = (Math.atan2(target.y - source.y, target.x - source.x) * 180) / Math.PI;
  const [x, y] = [(source.x + target.x) / 2, (source.y + target.y) / 2];
  const transform = `translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${degrees.toFixed(1)})`;
  return draw("polygon", { class: kind, points: "5,0 -4,4 -4,-4", transform });
}
