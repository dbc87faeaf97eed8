//! `/metrics`: what `EG.STATS` tells, as Prometheus reads it.
//!
//! Counters end in `_total`, times are in seconds and sizes in bytes; everything a shard measures
//! has its number as the label `shard`, so that sums are the reader's. Histograms have fixed
//! buckets, which are cut from the shards' own finer ones. `CONFIG RESETSTAT` begins counters anew,
//! which readers of counters know how to take.

use std::fmt::{Display, Write as _};
use std::sync::PoisonError;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use engram_lanes::inbox::{Depth, Rank};

use super::bounds::{REQUESTS_MAX, WATCHES_MAX};
use super::problem::Problem;
use super::service::{Service, Shared};
use crate::metrics::{Lane, Latency, REFUSAL_CODES};
use crate::server::Report;

const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Upper ends of the buckets, in nanoseconds and as they are written in seconds.
const BUCKETS: [(u64, &str); 20] = [
    (5_000, "0.000005"),
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
];

/// A figure of a shard.
struct Figure {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: fn(&Report) -> f64,
}

const fn gauge(name: &'static str, help: &'static str, of: fn(&Report) -> f64) -> Figure {
    Figure { name, kind: "gauge", help, of }
}

const fn counter(name: &'static str, help: &'static str, of: fn(&Report) -> f64) -> Figure {
    Figure { name, kind: "counter", help, of }
}

/// What each shard tells in one number.
const FIGURES: [Figure; 58] = [
    gauge("episodes", "Live episodes.", |it| it.stats.episodes as f64),
    gauge("rows", "Rows, dead ones included.", |it| it.stats.rows as f64),
    gauge("rows_dead", "Rows whose episode is gone.", |it| it.stats.rows_dead as f64),
    gauge("rows_in_tails", "Rows in no columns file.", |it| it.stats.rows_in_tails as f64),
    gauge("idempotency_keys", "Keys that are remembered.", |it| it.stats.keys as f64),
    gauge("memory_bytes", "Memory in use.", |it| it.stats.memory_bytes as f64),
    gauge("memory_max_bytes", "Memory that may be used.", |it| it.stats.memory_bytes_max as f64),
    gauge("pressure_ratio", "Share of the memory in use.", |it| f64::from(it.stats.pressure)),
    gauge("read_only", "1 while no writes are taken.", |it| f64::from(it.stats.is_read_only)),
    gauge("durable_sequence", "Last write on disk.", |it| it.stats.durable as f64),
    gauge("recalls_open", "Recalls under way.", |it| it.open_recalls as f64),
    gauge("connections", "Connections of RESP.", |it| it.metrics.connections_open as f64),
    counter("connections_opened_total", "Connections so far.", |it| {
        it.metrics.connections_opened as f64
    }),
    counter("commands_total", "Commands.", |it| it.metrics.commands as f64),
    counter("stores_total", "Episodes to store.", |it| it.metrics.stores as f64),
    counter("links_total", "Links made or removed.", |it| it.metrics.links as f64),
    counter("recalls_total", "Recalls on this shard.", |it| it.metrics.recalls as f64),
    counter("recalled_logged_total", "Episodes told whose recall was logged.", |it| {
        it.stats.recalls.logged as f64
    }),
    counter("recalled_lost_total", "Episodes told whose recall was not logged.", |it| {
        it.stats.recalls.lost as f64
    }),
    counter("episodes_expired_total", "Episodes whose time to live was over.", |it| {
        it.stats.lapses.expired as f64
    }),
    counter("episodes_faded_total", "Episodes forgotten because they had faded.", |it| {
        it.stats.lapses.faded as f64
    }),
    counter("spreads_total", "Exchanges of spreads.", |it| it.metrics.spreads as f64),
    counter("reads_total", "Episodes read by id.", |it| it.metrics.reads as f64),
    gauge("streams_open", "Observe streams.", |it| it.metrics.streams_open as f64),
    counter("observations_total", "Episodes that came over streams.", |it| {
        it.metrics.observations as f64
    }),
    gauge("watches_open", "Watches.", |it| it.open_watches as f64),
    counter("watches_cut_total", "Watches that the daemon ended.", |it| {
        it.metrics.watches_cut as f64
    }),
    counter("episodes_pushed_total", "Episodes sent to watches.", |it| {
        it.metrics.episodes_pushed as f64
    }),
    gauge("works_offline", "Whether anything is done offline.", |it| {
        f64::from(u8::from(it.works_offline))
    }),
    counter("dream_replays_total", "Episodes replayed.", |it| it.metrics.dream_replays as f64),
    counter("dream_links_total", "Links that replays wrote.", |it| it.metrics.dream_links as f64),
    counter("gist_looks_total", "Episodes whose gist was looked after.", |it| {
        it.metrics.gist_looks as f64
    }),
    counter("gists_made_total", "Gists that were found and kept.", |it| {
        it.metrics.gists_made as f64
    }),
    counter("gist_links_total", "Links that keep gists, made or removed.", |it| {
        it.metrics.gist_links as f64
    }),
    counter("protocol_errors_total", "Connections that sent no commands.", |it| {
        it.metrics.protocol_errors as f64
    }),
    counter("log_frames_total", "Frames logged.", |it| it.stats.log.frames as f64),
    counter("log_batches_total", "Batches logged.", |it| it.stats.log.batches as f64),
    counter("log_flushes_total", "Flushes of the log.", |it| it.stats.log.flushes as f64),
    counter("log_bytes_total", "Bytes logged.", |it| it.stats.log.bytes as f64),
    counter("log_segments_released_total", "Segments removed.", |it| {
        it.stats.log.segments_released as f64
    }),
    counter("spread_edges_total", "Links visited.", |it| it.metrics.spreading.edges as f64),
    counter("spread_nodes_total", "Nodes reached.", |it| it.metrics.spreading.nodes as f64),
    counter("spread_turns_total", "Nodes that passed on.", |it| it.metrics.spreading.turns as f64),
    counter("spread_predictions_total", "Times predicted.", |it| {
        it.metrics.spreading.predictions as f64
    }),
    counter("spread_predictions_close_total", "Of those, within a fifth.", |it| {
        it.metrics.spreading.predictions_within as f64
    }),
    counter("spread_pool_hits_total", "Memory found ready.", |it| it.pools.hits as f64),
    counter("spread_pool_misses_total", "Memory that was taken.", |it| it.pools.misses as f64),
    counter("spread_pool_refused_total", "Memory refused.", |it| it.pools.refused as f64),
    gauge("spread_pool_bytes", "Memory kept for spreads.", |it| it.pools.bytes as f64),
    counter("consolidations_published_total", "Consolidations.", |it| {
        it.consolidation.published as f64
    }),
    counter("consolidations_failed_total", "Those given up.", |it| it.consolidation.failed as f64),
    gauge("consolidation_under_way", "1 while consolidating.", |it| {
        f64::from(it.consolidation.stage.is_some())
    }),
    counter("consolidation_rows_total", "Rows written to columns.", |it| {
        it.consolidation.rows_written as f64
    }),
    counter("consolidation_bytes_total", "Bytes written to columns.", |it| {
        it.consolidation.bytes_written as f64
    }),
    gauge("columns_rows", "Rows in columns files.", |it| it.consolidation.rows as f64),
    gauge("columns_bytes", "Bytes of columns files.", |it| it.consolidation.bytes as f64),
    gauge("columns_files", "Columns files.", |it| it.consolidation.files as f64),
    gauge("columns_damaged_blocks", "Blocks known to be damaged.", |it| {
        it.consolidation.blocks_damaged as f64
    }),
];

/// A figure of each of a shard's lanes.
struct LaneFigure {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: fn(&Lane, Depth) -> u64,
}

const LANE_FIGURES: [LaneFigure; 5] = [
    LaneFigure {
        name: "lane_depth_units",
        kind: "gauge",
        help: "Units of a lane that are taken; a unit is 16 KiB.",
        of: |_, depth| depth.units.into(),
    },
    LaneFigure {
        name: "lane_capacity_units",
        kind: "gauge",
        help: "Units that a lane has.",
        of: |_, depth| depth.capacity.into(),
    },
    LaneFigure {
        name: "lane_depth_max_units",
        kind: "gauge",
        help: "Units that were taken at most.",
        of: |lane, _| lane.depth_max.into(),
    },
    LaneFigure {
        name: "lane_served_total",
        kind: "counter",
        help: "Requests that came through a lane.",
        of: |lane, _| lane.wait.count(),
    },
    LaneFigure {
        name: "lane_refused_total",
        kind: "counter",
        help: "Requests of the shard's connections that found a lane full, here or elsewhere.",
        of: |lane, _| lane.refused,
    },
];

/// Answers the path. While the logs are replayed there are the edge's own figures alone.
pub async fn answer(service: Shared) -> Result<Response, Problem> {
    let mut page = Page::default();
    let serves = service.check_serves().is_ok();
    page.family("ready", "gauge", "1 when the shards serve.");
    page.sample("ready", &[], u8::from(serves));
    page.family("build_info", "gauge", "The version, as a label.");
    page.sample("build_info", &[("version", &env!("CARGO_PKG_VERSION"))], 1);
    if serves {
        // Whoever comes meanwhile waits: no shard is asked twice at a time.
        let _turn = service.scrape.acquire().await;
        page.shards(&service.shards.reports().await?);
    }
    page.edge(&service);
    let mut response = Response::new(Body::from(page.0));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    Ok(response)
}

/// A page as it is written.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP engram_{name} {help}\n# TYPE engram_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let _ = write!(self.0, "engram_{name}");
        for (nth, (label, value)) in labels.iter().enumerate() {
            let before = if nth == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{value}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    fn shards(&mut self, reports: &[Report]) {
        for Figure { name, kind, help, of } in FIGURES {
            self.family(name, kind, help);
            for report in reports {
                self.sample(name, &[("shard", &report.shard)], of(report));
            }
        }
        for LaneFigure { name, kind, help, of } in LANE_FIGURES {
            self.family(name, kind, help);
            for report in reports {
                for rank in Rank::ALL {
                    let (lane, depth) =
                        (&report.metrics.lanes[rank as usize], report.lanes[rank as usize]);
                    let labels: [(&str, &dyn Display); 2] =
                        [("shard", &report.shard), ("lane", &rank.name())];
                    self.sample(name, &labels, of(lane, depth));
                }
            }
        }
        self.family("refusals_total", "counter", "Requests refused, by code.");
        for report in reports {
            for (code, times) in REFUSAL_CODES.iter().zip(report.metrics.refusals) {
                self.sample("refusals_total", &[("shard", &report.shard), ("code", code)], times);
            }
        }
        let Some(first) = reports.first() else { return };
        for (nth, (name, _)) in first.metrics.latencies().iter().enumerate() {
            let name = format!("{name}_seconds");
            self.family(&name, "histogram", "See the stages in PROTOCOL.md.");
            for report in reports {
                let (_, latency) = report.metrics.latencies()[nth];
                self.histogram(&name, &[("shard", &report.shard)], latency);
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &dyn Display)], latency: &Latency) {
        let bucket = format!("{name}_bucket");
        let counts = latency.count_up_to(&BUCKETS.map(|(ns, _)| ns));
        for ((_, end), count) in BUCKETS.iter().zip(counts) {
            let labels: Vec<(&str, &dyn Display)> =
                labels.iter().copied().chain([("le", end as &dyn Display)]).collect();
            self.sample(&bucket, &labels, count);
        }
        let labels_of_all: Vec<(&str, &dyn Display)> =
            labels.iter().copied().chain([("le", &"+Inf" as &dyn Display)]).collect();
        self.sample(&bucket, &labels_of_all, latency.count());
        self.sample(&format!("{name}_sum"), labels, latency.sum_seconds());
        self.sample(&format!("{name}_count"), labels, latency.count());
    }

    fn edge(&mut self, service: &Service) {
        let open = REQUESTS_MAX - service.requests.available_permits();
        self.family("http_requests_open", "gauge", "Requests of HTTP under way.");
        self.sample("http_requests_open", &[], open);
        let watches = WATCHES_MAX - service.watches.available_permits();
        self.family("http_watches_open", "gauge", "Watches of HTTP, which are requests too.");
        self.sample("http_watches_open", &[], watches);
        self.family("http_bodies_bytes", "gauge", "Bodies of requests that are kept.");
        self.sample("http_bodies_bytes", &[], service.room.bytes());
        let counters = service.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in [
            ("http_connections_total", "Connections of HTTP.", counters.connections),
            ("batches_total", "Batches.", counters.batches),
            ("batch_operations_total", "Operations of batches.", counters.batch_operations),
        ] {
            self.family(name, "counter", help);
            self.sample(name, &[], value);
        }
        self.family("http_responses_total", "counter", "Answers of HTTP, by status.");
        for (status, times) in &counters.by_status {
            self.sample("http_responses_total", &[("status", status)], times);
        }
        self.family("http_request_seconds", "histogram", "Until an answer began.");
        self.histogram("http_request_seconds", &[], &counters.latency);
    }
}
