// A heat map of a latency: a column for each second, a row for each bucket, and the darker or
// brighter the more there were. The scale is logarithmic: one slow commit among thousands shows.
// A look that came late stands for all the seconds since the one before, and is as wide.

import { find } from "/dashboard/dom.js";
import { atMost, duration, number, quantile } from "/dashboard/figures.js";

const COLUMN_PX = 6;
const COLUMNS_MAX = 600;
const LEFT_PX = 52;
const BOTTOM_PX = 20;
const TOP_PX = 4;
/** Rows that have their end written beside them, in seconds. */
const LABELLED = [0.00001, 0.0001, 0.001, 0.01, 0.1, 1, 10];

function mixed(from, to, share) {
  const parse = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const [a, b] = [parse(from), parse(to)];
  return `rgb(${a.map((part, nth) => Math.round(part + (b[nth] - part) * share)).join(" ")})`;
}

/** Colours of the palette in force. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

export class HeatMap {
  constructor(id, stages, stage) {
    this.canvas = find(id);
    this.says = find(`${id}-says`);
    this.title = find(`${id}-title`);
    this.stage = stage;
    this.stages = stages;
    /** All stages are kept, so that another can be chosen with its past. */
    this.columns = new Map(stages.map(([name]) => [name, []]));
    this.pointed = null;
    const select = find(`${id}-stage`);
    select.append(...stages.map(([name, text]) => new Option(text, name, false, name === stage)));
    select.addEventListener("change", () => {
      this.stage = select.value;
      this.title.textContent = `${select.selectedOptions[0].text} latency`;
      this.draw();
    });
    this.canvas.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.canvas.addEventListener("pointerdown", (event) => this.point(event.offsetX));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  take(step) {
    for (const [name, columns] of this.columns) {
      const slots = Math.max(1, Math.round(step.seconds));
      columns.push({ at: new Date(), slots, ...step.latency(name) });
      columns.splice(0, columns.length - COLUMNS_MAX);
    }
    this.draw();
  }

  point(x) {
    this.pointed = x;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (width === 0) return;
    const density = devicePixelRatio;
    this.canvas.width = width * density;
    this.canvas.height = height * density;
    const context = this.canvas.getContext("2d");
    context.scale(density, density);
    const room = Math.floor((width - LEFT_PX) / COLUMN_PX);
    const columns = this.placed(room);
    const ends_s = columns.at(-1)?.ends_s ?? [];
    const rows = Math.max(ends_s.length, 1);
    const row_px = (height - BOTTOM_PX - TOP_PX) / rows;
    const top = (row) => TOP_PX + (rows - 1 - row) * row_px;
    const area = { width, height, room, row_px, top };
    this.drawAxes(context, area, ends_s);
    this.drawCells(context, area, columns);
    this.describe(columns);
  }

  /** The columns that there is room for, each with its `slot`. */
  placed(room) {
    const all = this.columns.get(this.stage);
    const last = all.at(-1)?.at ?? 0;
    const slotOf = ({ at, slots }) => room - Math.round((last - at) / 1000) - slots;
    return all.map((one) => ({ ...one, slot: slotOf(one) })).filter(({ slot }) => slot >= 0);
  }

  drawAxes(context, { width, height, room, top }, ends_s) {
    const color = palette();
    context.fillStyle = color("cold");
    context.fillRect(LEFT_PX, TOP_PX, room * COLUMN_PX, height - BOTTOM_PX - TOP_PX);
    context.fillStyle = color("faint");
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.strokeStyle = color("line");
    for (const end_s of LABELLED) {
      const row = ends_s.indexOf(end_s);
      if (row < 0) continue;
      const y = Math.round(top(row)) + 0.5;
      context.fillText(duration(end_s), LEFT_PX - 6, Math.max(y, 8));
      context.beginPath();
      context.moveTo(LEFT_PX, y);
      context.lineTo(LEFT_PX + room * COLUMN_PX, y);
      context.stroke();
    }
    context.textBaseline = "alphabetic";
    context.fillText("now", width - 2, height - 5);
    context.textAlign = "left";
    context.fillText(`${room} s ago`, LEFT_PX, height - 5);
    context.textAlign = "center";
    context.fillStyle = color("mark");
    context.fillText("– p99", LEFT_PX + (room * COLUMN_PX) / 2, height - 5);
  }

  drawCells(context, { row_px, top }, columns) {
    const color = palette();
    const [cold, mild, hot] = ["cold", "mild", "hot"].map(color);
    const perSecond = ({ slots, counts }) => (counts ?? []).map((count) => count / slots);
    const most = Math.max(1, ...columns.flatMap(perSecond));
    for (const column of columns) {
      const { ends_s, counts, slot, slots } = column;
      if (counts === null) continue;
      const [x, wide] = [LEFT_PX + slot * COLUMN_PX, slots * COLUMN_PX];
      perSecond(column).forEach((count, row) => {
        if (count === 0) return;
        const heat = 0.25 + (0.75 * Math.log1p(count)) / Math.log1p(most);
        context.fillStyle =
          heat < 0.6 ? mixed(cold, mild, heat / 0.6) : mixed(mild, hot, (heat - 0.6) / 0.4);
        context.fillRect(x, top(row) + 0.5, wide - 1, row_px - 1);
      });
      const p99 = quantile({ ends_s, counts }, 0.99);
      if (p99 === null) continue;
      context.fillStyle = color("mark");
      context.fillRect(x - 0.5, top(ends_s.indexOf(p99)) - 0.5, wide, 2);
    }
  }

  /** Says in words what is seen in the last column, or in the one that is pointed at. */
  describe(columns) {
    const at = this.pointed === null ? null : Math.floor((this.pointed - LEFT_PX) / COLUMN_PX);
    const isPointed = ({ slot, slots }) => at !== null && slot <= at && at < slot + slots;
    const pointed = columns.find(isPointed);
    const column = pointed ?? columns.at(-1);
    const counts = column?.counts ?? null;
    const when = pointed?.at.toLocaleTimeString() ?? "last second";
    const all = counts?.reduce((sum, count) => sum + count, 0) ?? 0;
    const [p50, p99, max] = [0.5, 0.99, 1].map((share) =>
      atMost(counts === null ? null : quantile(column, share)),
    );
    const figures = all === 0 ? "none" : `${number(all)} · p50 ${p50} · p99 ${p99} · max ${max}`;
    this.says.textContent = `${when}: ${figures}`;
    const name = this.stages.find(([stage]) => stage === this.stage)[1];
    this.canvas.setAttribute("aria-label", `${name} latency by time`);
  }
}
