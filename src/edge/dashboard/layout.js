// Where the nodes of a graph go.
//
// Nodes push each other away and edges pull, as in Fruchterman and Reingold, "Graph drawing by
// force-directed placement" (1991), with steps that get shorter. They begin on a spiral around the
// first node, so the same graph always looks the same. Then the picture is stretched to its frame,
// and names that cover each other are pushed apart.

const STEPS = 300;
const UNTANGLING_STEPS = 400;
const GOLDEN_ANGLE = Math.PI * (3 - Math.sqrt(5));
const LETTER_PX = 6.6;
const NODE_HEIGHT_PX = 36;

/** Gives each node an `x` and a `y` in a frame; an edge's `pull` is 0 to 1. */
export function layOut(nodes, edges, width, height) {
  nodes.forEach((node, nth) => {
    node.x = Math.sqrt(nth) * Math.cos(nth * GOLDEN_ANGLE);
    node.y = Math.sqrt(nth) * Math.sin(nth * GOLDEN_ANGLE);
  });
  for (let step = 0; step < STEPS; step += 1) relax(nodes, edges, 1 - step / STEPS);
  stretch(nodes, width, height);
  for (let step = 0; step < UNTANGLING_STEPS; step += 1) {
    if (!untangle(nodes, width, height)) break;
  }
}

function relax(nodes, edges, heat) {
  for (const node of nodes) [node.dx, node.dy] = [-node.x * 0.05, -node.y * 0.05];
  nodes.forEach((one, nth) => {
    for (const other of nodes.slice(nth + 1)) {
      const [x, y] = [one.x - other.x, one.y - other.y];
      const force = 1 / Math.max(x * x + y * y, 0.01);
      one.dx += x * force;
      one.dy += y * force;
      other.dx -= x * force;
      other.dy -= y * force;
    }
  });
  for (const { source, target, pull } of edges) {
    const [x, y] = [target.x - source.x, target.y - source.y];
    const force = pull * Math.hypot(x, y) * 0.5;
    source.dx += x * force;
    source.dy += y * force;
    target.dx -= x * force;
    target.dy -= y * force;
  }
  for (const node of nodes) {
    const length = Math.max(Math.hypot(node.dx, node.dy), 1e-9);
    const step = Math.min(length, 0.4 * heat) / length;
    node.x += node.dx * step;
    node.y += node.dy * step;
  }
}

/** Half of what a node takes in width, its name included. */
const half = (node) => Math.max(14, (node.name.length * LETTER_PX) / 2 + 3);

function stretch(nodes, width, height) {
  const margin = Math.min(60, width / 7);
  for (const [axis, size, before, after] of [["x", width, margin, margin], ["y", height, 24, 34]]) {
    const places = nodes.map((node) => node[axis]);
    const [least, most] = [Math.min(...places), Math.max(...places)];
    const scale = most > least ? (size - before - after) / (most - least) : 0;
    for (const node of nodes) {
      node[axis] = scale === 0 ? size / 2 : before + (node[axis] - least) * scale;
    }
  }
}

/** Pushes apart what overlaps; whether there was anything. */
function untangle(nodes, width, height) {
  let isTangled = false;
  nodes.forEach((one, nth) => {
    for (const other of nodes.slice(nth + 1)) {
      const x = half(one) + half(other) - Math.abs(one.x - other.x);
      const y = NODE_HEIGHT_PX - Math.abs(one.y - other.y);
      if (x <= 0 || y <= 0) continue;
      isTangled = true;
      const [axis, by] = y <= x ? ["y", y / 2] : ["x", x / 2];
      const side = one[axis] < other[axis] ? -1 : 1;
      one[axis] += side * by * 0.6;
      other[axis] -= side * by * 0.6;
    }
  });
  for (const node of nodes) {
    const side = Math.min(half(node), width / 2);
    node.x = Math.min(Math.max(node.x, side), width - side);
    node.y = Math.min(Math.max(node.y, 18), height - 26);
  }
  return isTangled;
}
