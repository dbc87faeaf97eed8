// What the daemon does now: totals, latencies, shards, lanes, consolidation, refusals.

import { bar, fillTable, find, level, make } from "/dashboard/dom.js";
import { atMost, bytes, number, percent, quantile, rate } from "/dashboard/figures.js";
import { HeatMap } from "/dashboard/heat.js";

const STAGES = [
  ["commit", "Commit"],
  ["commit_wait", "Commit: wait"],
  ["commit_write", "Commit: write"],
  ["commit_flush", "Commit: flush"],
  ["recall", "Recall"],
  ["spread", "Spread"],
  ["queue_wait", "Queue wait"],
  ["wait_high", "High lane wait"],
  ["wait_normal", "Normal lane wait"],
  ["wait_low", "Low lane wait"],
  ["work", "Unit of work"],
  ["http_request", "HTTP answer"],
];

export class Now {
  constructor() {
    this.heats = [
      new HeatMap("heat-0", STAGES, "commit"),
      new HeatMap("heat-1", STAGES, "recall"),
    ];
  }

  take(step) {
    for (const heat of this.heats) heat.take(step);
    drawTiles(step);
    drawShards(step);
    drawLanes(step);
    drawConsolidation(step.after);
    drawRefusals(step);
  }
}

function tile(name, value, aside) {
  const shown = make("dd", { class: "value" }, value);
  const beside = make("dd", { class: "aside" }, aside);
  return make("div", { class: "tile" }, make("dl", {}, make("dt", {}, name), shown, beside));
}

function drawTiles(step) {
  const look = step.after;
  const memory = look.sum("memory_bytes");
  const memory_max = look.sum("memory_max_bytes");
  const pressure = Math.max(0, ...look.of("pressure_ratio").map(({ value }) => value));
  const p99 = (stage) => atMost(quantile(step.latency(stage), 0.99));
  const share = memory_max > 0 ? memory / memory_max : 0;
  const label = `${percent(share)} of the memory in use`;
  find("tiles").replaceChildren(
    tile("Episodes", number(look.sum("episodes")), `${number(look.sum("rows_dead"))} rows dead`),
    tile("Stores", rate(step.perSecond("stores_total")), `p99 ${p99("commit")}`),
    tile("Recalls on shards", rate(step.perSecond("recalls_total")), `p99 ${p99("recall")}`),
    tile("Memory", bytes(memory), bar(share, label, level(share))),
    tile("Pressure", percent(pressure), bar(pressure, "pressure", level(pressure))),
    tile("Refused", rate(step.perSecond("refusals_total")),
      `${number(look.sum("refusals_total"))} since the start`),
    tile("Connections of RESP", number(look.sum("connections")),
      `${number(look.sum("http_requests_open"))} open over HTTP`),
    tile("Log", rate_bytes(step.perSecond("log_bytes_total")),
      `${rate(step.perSecond("log_flushes_total"))} flushes`),
  );
}

const rate_bytes = (value) => (value === null ? "–" : `${bytes(value)}/s`);

function drawShards({ after: look }) {
  const shards = look.of("episodes").map(({ labels }) => labels.shard);
  const rows = shards.map((shard) => {
    const of = (name) => look.ofShard(name, shard);
    const [memory, memory_max] = [of("memory_bytes"), of("memory_max_bytes")];
    const pressure = of("pressure_ratio");
    const isReadOnly = of("read_only") === 1;
    const state = make("span", { class: isReadOnly ? "bad" : "good" },
      isReadOnly ? "read only" : "serves");
    return [
      `shard ${shard}`, state, number(of("episodes")), number(of("rows_in_tails")),
      number(of("columns_rows")),
      [bytes(memory), bar(memory_max > 0 ? memory / memory_max : 0, "memory", level(pressure))],
      [percent(pressure), bar(pressure, "pressure", level(pressure))],
    ];
  });
  fillTable(find("shards"),
    ["", "state", "episodes", "in tails", "in columns", "memory", "pressure"], rows);
}

function drawLanes(step) {
  const lanes = Object.entries(step.after.stats.lanes ?? {});
  const rows = lanes.map(([name, { depth, capacity, depth_max, refused }]) => {
    const share = capacity > 0 ? depth / capacity : 0;
    const served = step.grown((look) => look.stats.lanes?.[name]?.served ?? 0);
    const wait = step.latency(`wait_${name}`);
    return [
      name,
      [`${number(depth)} of ${number(capacity)}`, bar(share, `${name} lane`, level(share))],
      number(depth_max),
      rate(served === null ? null : served / step.seconds),
      atMost(quantile(wait, 0.5)), atMost(quantile(wait, 0.99)),
      make("td", { class: refused > 0 ? "warn" : "" }, number(refused)),
    ];
  });
  fillTable(find("lanes"),
    ["", "depth", "deepest", "served", "wait p50", "wait p99", "refused"], rows);
}

function pairs(entries) {
  const items = entries.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  return make("dl", { class: "pairs" }, ...items);
}

function drawConsolidation(look) {
  const all = look.stats.consolidation ?? {};
  const in_columns = look.sum("columns_rows");
  const rows = in_columns + look.sum("rows_in_tails");
  const share = rows > 0 ? in_columns / rows : 0;
  const stages = (look.stats.per_shard ?? [])
    .filter(({ consolidation }) => consolidation.stage !== "none")
    .map(({ shard, consolidation: { stage, rows_under_way, bytes_under_way } }) => [
      `Shard ${shard}: ${stage}`,
      `${number(rows_under_way)} rows, ${bytes(bytes_under_way)} written`,
    ]);
  const failed = all.last_failure ?? "";
  find("consolidation").replaceChildren(
    make("p", { class: "note" }, rows === 0 ? "There is nothing to consolidate." :
      `${percent(share)} of ${number(rows)} rows are in columns files.`),
    bar(share, "share of the rows in columns"),
    pairs([
      ...stages,
      ["Under way", all.under_way > 0 ? `on ${all.under_way} shards` : "no"],
      ["Published", number(all.published ?? 0)],
      ["Given up", `${number(all.failed ?? 0)}${failed === "" ? "" : `: ${failed}`}`],
      ["Columns", `${number(all.columns_files ?? 0)} files, ${bytes(all.columns_bytes ?? 0)}`],
      ["Damaged blocks", number(all.columns_damaged ?? 0)],
    ]),
  );
}

function drawRefusals(step) {
  const codes = [...step.after.by("refusals_total", "code")].filter(([, times]) => times > 0);
  if (codes.length === 0) {
    const none = make("p", { class: "note" }, "None since the start.");
    find("refusals").replaceChildren(none);
    return;
  }
  codes.sort(([, one], [, other]) => other - one);
  const rows = codes.map(([code, times]) => {
    const grown = step.grown((look) => look.by("refusals_total", "code").get(code) ?? 0);
    return [code, number(times), rate(grown === null ? null : grown / step.seconds)];
  });
  const table = make("table");
  fillTable(table, ["code", "since the start", "now"], rows);
  find("refusals").replaceChildren(table);
}
