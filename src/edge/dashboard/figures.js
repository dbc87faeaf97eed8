// From two looks at the daemon to what happened in between.
//
// Counters and buckets only grow, so what happened is the difference. They begin anew when the
// daemon does or when someone resets them: then what is there now is what happened. A look after
// a pause, when the page was hidden, is no second's worth; it begins a new row of looks.

import { readMetrics } from "/dashboard/wire.js";

const GAP_MS = 5000;

/** One look: the samples of /metrics and the map of /v1/stats. */
export class Look {
  constructor(metrics, stats) {
    this.at_ms = performance.now();
    this.samples = readMetrics(metrics);
    this.stats = stats;
  }

  of(name) {
    return this.samples.get(name) ?? [];
  }

  sum(name) {
    return this.of(name).reduce((sum, { value }) => sum + value, 0);
  }

  /** The figure of one shard. */
  ofShard(name, shard) {
    return this.of(name).find(({ labels }) => labels.shard === shard)?.value ?? 0;
  }

  /** Sums by the value of a label. */
  by(name, label) {
    const sums = new Map();
    for (const { labels, value } of this.of(name)) {
      sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
    }
    return sums;
  }

  /** Cumulative counts of a stage over all shards; the ends of its buckets in seconds. */
  buckets(stage) {
    const counts = this.by(`${stage}_seconds_bucket`, "le");
    const ends_s = [...counts.keys()].map((end) => (end === "+Inf" ? Infinity : Number(end)));
    return { ends_s, cumulative: [...counts.values()] };
  }
}

/** What happened between two looks. */
export class Step {
  constructor(before, after) {
    this.after = after;
    this.before = before !== null && after.at_ms - before.at_ms < GAP_MS ? before : null;
    this.seconds = this.before === null ? 0 : (after.at_ms - before.at_ms) / 1000;
  }

  /** By how much a counter grew; `null` without a look before. */
  grown(of) {
    if (this.before === null) return null;
    const [before, after] = [of(this.before), of(this.after)];
    return after < before ? after : after - before;
  }

  perSecond(name) {
    const grown = this.grown((look) => look.sum(name));
    return grown === null ? null : grown / this.seconds;
  }

  /** How many took how long: a count for each bucket. */
  latency(stage) {
    const { ends_s, cumulative } = this.after.buckets(stage);
    if (this.before === null) return { ends_s, counts: null };
    let base = this.before.buckets(stage).cumulative;
    const isAnew = cumulative.some((count, nth) => count < (base[nth] ?? 0));
    if (isAnew || base.length !== cumulative.length) base = cumulative.map(() => 0);
    const grown = cumulative.map((count, nth) => count - base[nth]);
    return { ends_s, counts: grown.map((count, nth) => count - (grown[nth - 1] ?? 0)) };
  }
}

/** The end of the bucket in which a share of all is reached; `null` of none. */
export function quantile({ ends_s, counts }, share) {
  const all = counts?.reduce((sum, count) => sum + count, 0) ?? 0;
  if (all === 0) return null;
  let seen = 0;
  return ends_s[counts.findIndex((count) => (seen += count) >= all * share)];
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const number = (value) => (value < 1e6 ? whole : compact).format(value);
export const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
export const rate = (value) => (value === null ? "–" : `${number(value)}/s`);

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), units.length - 1);
  const scaled = value / 1024 ** power;
  return `${scaled.toFixed(power > 0 && scaled < 100 ? 1 : 0)} ${units[power]}`;
}

export function duration(seconds) {
  if (seconds === null) return "–";
  if (seconds === Infinity) return "more than 10 s";
  const [scale, unit] = seconds < 1e-3 ? [1e6, "µs"] : seconds < 1 ? [1e3, "ms"] : [1, "s"];
  return `${Number((seconds * scale).toPrecision(3))} ${unit}`;
}

/** A latency that is known to its bucket. */
export const atMost = (seconds) =>
  seconds === null || seconds === Infinity ? duration(seconds) : `≤ ${duration(seconds)}`;
