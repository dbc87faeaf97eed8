//! What the daemon tells about itself: `INFO`, `EG.STATS`.

use std::fmt::Write as _;
use std::rc::Rc;

use engram_lanes::inbox::{Depth, RANKS, Rank};
use engram_shards::io::IoFacts;
use engram_shards::shard::{ConsolidationStats, ShardStats};
use engram_shards::spreading::PoolFigures;

use super::commands::Encoded;
use super::core::{Core, Inner};
use super::outgoing::EncodedReply;
use super::request::{Answer, Request};
use super::spaces;
use crate::metrics::{Latency, Metrics, REFUSAL_CODES};
use crate::protocol::Encoder;
use crate::recovery::Recovery;

/// The figures of one shard.
#[derive(Debug, Clone)]
pub struct Report {
    pub shard: usize,
    pub stats: ShardStats,
    pub consolidation: ConsolidationStats,
    /// Why the last consolidation was given up, if it was.
    pub consolidation_failure: Option<String>,
    /// Edges of a slice of a spread.
    pub batch_edges: u64,
    /// Memory for spreads.
    pub pools: PoolFigures,
    /// In the order of [`Rank::ALL`].
    pub lanes: [Depth; RANKS],
    pub metrics: Metrics,
    pub open_recalls: u64,
    pub open_watches: u64,
    pub works_offline: bool,
    pub io: IoFacts,
    /// Why the shard takes no writes, if it does not.
    pub read_only_reason: Option<String>,
}

impl Inner {
    /// The figures of this shard.
    pub(super) fn report(&self) -> Report {
        let (consolidation, failure) = self.shard.consolidation();
        Report {
            shard: self.number,
            stats: self.shard.stats(),
            consolidation,
            consolidation_failure: failure.map(str::to_owned),
            batch_edges: self.jobs.batch_edges(),
            pools: self.shard.spread_pools().figures(),
            lanes: Rank::ALL.map(|rank| self.lanes.inbox.depth(rank)),
            metrics: self.metrics.clone(),
            open_recalls: self.jobs.len() as u64,
            open_watches: self.followers.watches() as u64,
            works_offline: self.works_offline,
            io: self.shard.io().facts(),
            read_only_reason: self.shard.read_only_reason().map(str::to_owned),
        }
    }
}

pub(super) async fn reports(core: &Rc<Core>) -> Vec<Report> {
    let answers = core.call_all(0..core.shards(), || Request::Report).await;
    let report = |answer| match answer {
        Answer::Report(report) => Some(*report),
        // A shard whose lane is full has no time to report.
        _ => None,
    };
    answers.into_iter().filter_map(report).collect()
}

/// What is summed over shards, by the names it has everywhere.
fn counters(reports: &[Report], metrics: &Metrics) -> Vec<(&'static str, u64)> {
    let sum = |of: fn(&ShardStats) -> u64| reports.iter().map(|report| of(&report.stats)).sum();
    vec![
        ("episodes", sum(|stats| stats.episodes)),
        ("rows", sum(|stats| stats.rows)),
        ("rows_dead", sum(|stats| stats.rows_dead)),
        ("rows_in_tails", sum(|stats| stats.rows_in_tails)),
        ("idempotency_keys", sum(|stats| stats.keys)),
        ("memory_bytes", sum(|stats| stats.memory_bytes)),
        ("memory_bytes_max", sum(|stats| stats.memory_bytes_max)),
        ("log_frames", sum(|stats| stats.log.frames)),
        ("log_batches", sum(|stats| stats.log.batches)),
        ("log_flushes", sum(|stats| stats.log.flushes)),
        ("log_bytes", sum(|stats| stats.log.bytes)),
        ("log_segments_released", sum(|stats| stats.log.segments_released)),
        ("read_only_shards", sum(|stats| u64::from(stats.is_read_only))),
        ("commands", metrics.commands),
        ("stores", metrics.stores),
        ("links", metrics.links),
        ("recalls", metrics.recalls),
        ("recalls_logged", sum(|stats| stats.recalls.logged)),
        ("recalls_lost", sum(|stats| stats.recalls.lost)),
        ("episodes_expired", sum(|stats| stats.lapses.expired)),
        ("episodes_faded", sum(|stats| stats.lapses.faded)),
        ("spreads", metrics.spreads),
        ("reads", metrics.reads),
        ("connections_opened", metrics.connections_opened),
        ("connections_open", metrics.connections_open),
        ("protocol_errors", metrics.protocol_errors),
        ("streams_open", metrics.streams_open),
        ("observations", metrics.observations),
        ("watches_open", reports.iter().map(|report| report.open_watches).sum()),
        ("watches_cut", metrics.watches_cut),
        ("episodes_pushed", metrics.episodes_pushed),
        ("offline_shards", reports.iter().filter(|report| report.works_offline).count() as u64),
        ("dream_replays", metrics.dream_replays),
        ("dream_links", metrics.dream_links),
        ("gist_looks", metrics.gist_looks),
        ("gists_made", metrics.gists_made),
        ("gist_links", metrics.gist_links),
    ]
}

/// What consolidation came to and what it does, by the names it has everywhere.
fn consolidation(stats: &ConsolidationStats) -> [(&'static str, u64); 10] {
    [
        ("published", stats.published),
        ("failed", stats.failed),
        ("rows_written", stats.rows_written),
        ("bytes_written", stats.bytes_written),
        ("rows_under_way", stats.rows_under_way),
        ("bytes_under_way", stats.bytes_under_way),
        ("columns_rows", stats.rows),
        ("columns_bytes", stats.bytes),
        ("columns_files", stats.files),
        ("columns_damaged", stats.blocks_damaged),
    ]
}

/// The same over all shards, and how many of them are at it.
fn consolidations(reports: &[Report]) -> Vec<(&'static str, u64)> {
    let under_way = reports.iter().filter(|report| report.consolidation.stage.is_some()).count();
    let mut sums = vec![("under_way", under_way as u64)];
    sums.extend(consolidation(&ConsolidationStats::default()));
    for report in reports {
        let own = consolidation(&report.consolidation);
        sums[1..].iter_mut().zip(own).for_each(|((_, sum), (_, value))| *sum += value);
    }
    sums
}

/// What spreads came to and the memory for them, by the names it has everywhere.
fn spreading(reports: &[Report], metrics: &Metrics) -> [(&'static str, u64); 17] {
    let sum = |of: fn(&PoolFigures) -> u64| reports.iter().map(|report| of(&report.pools)).sum();
    let spreading = &metrics.spreading;
    [
        ("edges", spreading.edges),
        ("nodes", spreading.nodes),
        ("turns", spreading.turns),
        ("turns_prefetched", spreading.turns_ahead),
        ("slices", spreading.slices),
        ("slice_edges", spreading.slice_edges),
        ("slice_edges_max", spreading.slice_edges_max),
        ("batch_edges", reports.iter().map(|report| report.batch_edges).max().unwrap_or(0)),
        ("predictions", spreading.predictions),
        ("predictions_within_20_percent", spreading.predictions_within),
        ("predictions_off_percent", spreading.predictions_off_percent),
        ("pool_hits", sum(|pools| pools.hits)),
        ("pool_misses", sum(|pools| pools.misses)),
        ("pool_refused", sum(|pools| pools.refused)),
        ("pool_dropped", sum(|pools| pools.dropped)),
        ("pool_bytes", sum(|pools| pools.bytes)),
        ("pool_bytes_high_water", sum(|pools| pools.bytes_high_water)),
    ]
}

/// The lanes of all shards together, by the names they have everywhere: units that are taken now,
/// that can be, and that were taken at most in one shard; what was served and what was refused.
fn lanes(reports: &[Report], metrics: &Metrics, rank: Rank) -> [(&'static str, u64); 5] {
    let lane = &metrics.lanes[rank as usize];
    let sum = |of: fn(&Depth) -> u32| {
        reports.iter().map(|report| u64::from(of(&report.lanes[rank as usize]))).sum()
    };
    [
        ("depth", sum(|depth| depth.units)),
        ("capacity", sum(|depth| depth.capacity)),
        ("depth_max", u64::from(lane.depth_max)),
        ("served", lane.wait.count()),
        ("refused", lane.refused),
    ]
}

/// Quantiles of a spread's latency on a shard.
fn spread_quantiles(metrics: &Metrics) -> [(&'static str, f64); 3] {
    [("latency_p50_us", 0.5), ("latency_p95_us", 0.95), ("latency_p99_us", 0.99)]
        .map(|(name, quantile)| (name, metrics.spread.quantile_us(quantile)))
}

/// Why the last consolidation of some shard was given up, if one was.
fn consolidation_failure(reports: &[Report]) -> Option<String> {
    let failure = |report: &Report| {
        let failure = report.consolidation_failure.as_ref()?;
        Some(format!("shard {}: {failure}", report.shard))
    };
    reports.iter().find_map(failure)
}

fn total(reports: &[Report]) -> Metrics {
    let mut total = Metrics::default();
    reports.iter().for_each(|report| total.add(&report.metrics));
    total
}

/// `EG.STATS`: of the whole daemon, or of one space.
pub(super) async fn stats(core: &Rc<Core>, space: Option<String>) -> Encoded {
    if let Some(name) = space {
        let (number, settings, route) = core.space(&name)?;
        let stats = spaces::stats(core, number).await?;
        return Ok(EncodedReply::new(move |encoder| {
            encoder.map(10);
            pair(encoder, "space", settings.name.as_bytes());
            count(encoder, "dim", u64::from(settings.dimensions));
            count(encoder, "shards", route.span() as u64);
            count(encoder, "episodes", stats.episodes);
            count(encoder, "rows", stats.rows);
            count(encoder, "rows_dead", stats.rows_dead);
            count(encoder, "rows_in_tails", stats.rows_in_tails);
            count(encoder, "rows_in_columns", stats.rows - stats.rows_in_tails);
            count(encoder, "superseded", stats.superseded);
            count(encoder, "columns_bytes", stats.columns_bytes);
        }));
    }
    let reports = reports(core).await;
    let bytes = reports.iter().map(|report| size_of::<Report>() + report.metrics.bytes()).sum();
    Ok(EncodedReply::new(move |encoder| encode_stats(encoder, &reports)).weighing(bytes))
}

/// `CONFIG RESETSTAT`: what is measured begins anew on all shards.
pub(super) async fn reset(core: &Rc<Core>) -> Encoded {
    for answer in core.call_all(0..core.shards(), || Request::ResetMetrics).await {
        match answer {
            Answer::Done(done) => done?,
            other => unreachable!("a reset was answered with {other:?}"),
        }
    }
    Ok(EncodedReply::new(|encoder| encoder.simple("OK")))
}

fn encode_stats(encoder: &mut Encoder<'_>, reports: &[Report]) {
    let metrics = total(reports);
    let counters = counters(reports, &metrics);
    encoder.map(counters.len() + 7);
    for (name, value) in counters {
        count(encoder, name, value);
    }
    encoder.bulk(b"pressure");
    encoder.double_f32(reports.iter().map(|report| report.stats.pressure).fold(0.0, f32::max));
    encoder.bulk(b"refusals");
    encoder.map(REFUSAL_CODES.len());
    for (code, times) in REFUSAL_CODES.iter().zip(metrics.refusals) {
        count(encoder, code, times);
    }
    encoder.bulk(b"latency_us");
    encode_latencies(encoder, &metrics);
    encoder.bulk(b"lanes");
    encoder.map(RANKS);
    for rank in Rank::ALL {
        encoder.bulk(rank.name().as_bytes());
        let figures = lanes(reports, &metrics, rank);
        encoder.map(figures.len());
        figures.iter().for_each(|(name, value)| count(encoder, name, *value));
    }
    encoder.bulk(b"spreading");
    let (figures, quantiles) = (spreading(reports, &metrics), spread_quantiles(&metrics));
    encoder.map(figures.len() + quantiles.len());
    figures.iter().for_each(|(name, value)| count(encoder, name, *value));
    for (name, us) in quantiles {
        encoder.bulk(name.as_bytes());
        encoder.double(us);
    }
    encoder.bulk(b"consolidation");
    let failure = consolidation_failure(reports);
    let figures = consolidations(reports);
    encoder.map(figures.len() + usize::from(failure.is_some()));
    figures.iter().for_each(|(name, value)| count(encoder, name, *value));
    failure.iter().for_each(|failure| pair(encoder, "last_failure", failure.as_bytes()));
    encoder.bulk(b"per_shard");
    encoder.array(reports.len());
    for report in reports {
        encoder.map(9);
        count(encoder, "shard", report.shard as u64);
        count(encoder, "episodes", report.stats.episodes);
        count(encoder, "durable_sequence", report.stats.durable);
        count(encoder, "log_segment", report.stats.log_segment);
        count(encoder, "log_offset", report.stats.log_offset);
        count(encoder, "memory_bytes", report.stats.memory_bytes);
        count(encoder, "open_recalls", report.open_recalls);
        encoder.bulk(b"latency_us");
        encode_latencies(encoder, &report.metrics);
        encode_consolidation(encoder, report);
    }
}

fn encode_consolidation(encoder: &mut Encoder<'_>, report: &Report) {
    let stats = &report.consolidation;
    let failure = report.consolidation_failure.as_deref();
    encoder.bulk(b"consolidation");
    encoder.map(13 + usize::from(failure.is_some()));
    pair(encoder, "stage", stats.stage.unwrap_or("none").as_bytes());
    count(encoder, "through_seq", stats.through_sequence);
    count(encoder, "rows_in_tails", report.stats.rows_in_tails);
    for (name, value) in consolidation(stats) {
        count(encoder, name, value);
    }
    failure.iter().for_each(|failure| pair(encoder, "last_failure", failure.as_bytes()));
}

fn encode_latencies(encoder: &mut Encoder<'_>, metrics: &Metrics) {
    let latencies = metrics.latencies();
    encoder.map(latencies.len());
    for (name, latency) in latencies {
        encoder.bulk(name.as_bytes());
        encode_latency(encoder, latency);
    }
}

/// A map of its quantiles, in microseconds.
pub(super) fn encode_latency(encoder: &mut Encoder<'_>, latency: &Latency) {
    encoder.map(5);
    count(encoder, "count", latency.count());
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        encoder.bulk(name.as_bytes());
        encoder.double(latency.quantile_us(quantile));
    }
    encoder.bulk(b"max");
    encoder.double(latency.max_us());
}

fn count(encoder: &mut Encoder<'_>, name: &str, value: u64) {
    encoder.bulk(name.as_bytes());
    encoder.count(value);
}

fn pair(encoder: &mut Encoder<'_>, name: &str, value: &[u8]) {
    encoder.bulk(name.as_bytes());
    encoder.bulk(value);
}

/// `INFO`: text for people and for what parses Redis's `INFO`.
pub(super) async fn info(core: &Rc<Core>, sections: Vec<String>) -> Encoded {
    let reports = reports(core).await;
    let text = render(core.recovery(), &reports, &sections);
    let bytes = text.len();
    Ok(EncodedReply::new(move |encoder| encoder.verbatim(&text)).weighing(bytes))
}

/// `INFO` while the logs are replayed: what can be told without the shards.
pub(super) fn before_shards_serve(recovery: &Recovery, sections: &[String]) -> String {
    render(recovery, &[], sections)
}

fn render(recovery: &Recovery, reports: &[Report], sections: &[String]) -> String {
    let wanted = |name: &str| {
        let all = |section: &String| matches!(section.as_str(), "all" | "default" | "everything");
        sections.is_empty() || sections.iter().any(|section| section == name || all(section))
    };
    let mut text = String::new();
    let mut section = |name: &str, lines: &[(String, String)]| {
        if wanted(&name.to_ascii_lowercase()) {
            let _ = write!(text, "# {name}\r\n");
            for (key, value) in lines {
                let _ = write!(text, "{key}:{value}\r\n");
            }
            text.push_str("\r\n");
        }
    };
    section("Server", &server(recovery, reports));
    let facts = recovery.facts();
    let lines: Vec<_> = facts.iter().map(|(name, value)| line(name, value)).collect();
    section("Recovery", &lines);
    if reports.is_empty() {
        return text;
    }
    let metrics = total(reports);
    let counters = counters(reports, &metrics);
    let lines: Vec<_> = counters.iter().map(|(name, value)| line(name, value)).collect();
    section("Stats", &lines);
    let refusals = REFUSAL_CODES.iter().zip(metrics.refusals);
    let lines: Vec<_> = refusals
        .map(|(code, times)| line(&format!("refused_{}", code.to_lowercase()), &times))
        .collect();
    section("Refusals", &lines);
    let of_lane = |rank: Rank| {
        let named = |(name, value)| line(&format!("{}_{name}", rank.name()), &value);
        lanes(reports, &metrics, rank).map(named)
    };
    section("Lanes", &Rank::ALL.map(of_lane).concat());
    let figures = spreading(reports, &metrics);
    let mut lines: Vec<_> = figures.iter().map(|(name, value)| line(name, value)).collect();
    let quantiles = spread_quantiles(&metrics).into_iter();
    lines.extend(quantiles.map(|(name, us)| line(name, &format!("{us:.1}"))));
    section("Spreading", &lines);
    let figures = consolidations(reports);
    let mut lines: Vec<_> = figures.iter().map(|(name, value)| line(name, value)).collect();
    lines.extend(consolidation_failure(reports).map(|failure| line("last_failure", &failure)));
    section("Consolidation", &lines);
    let lines: Vec<_> = metrics
        .latencies()
        .into_iter()
        .map(|(name, latency)| line(&format!("{name}_us"), &latency_text(latency)))
        .collect();
    section("Latency", &lines);
    let lines: Vec<_> = reports
        .iter()
        .map(|report| {
            let stats = &report.stats;
            let text = format!(
                "episodes={},rows_in_tails={},columns_rows={},durable_sequence={},\
                 consolidated_sequence={},log_segment={},log_offset={},memory_bytes={},\
                 pressure={:.4},read_only={}",
                stats.episodes,
                stats.rows_in_tails,
                report.consolidation.rows,
                stats.durable,
                report.consolidation.through_sequence,
                stats.log_segment,
                stats.log_offset,
                stats.memory_bytes,
                stats.pressure,
                stats.is_read_only,
            );
            line(&format!("shard{}", report.shard), &text)
        })
        .collect();
    section("Shards", &lines);
    text
}

fn line(key: &str, value: &dyn ToString) -> (String, String) {
    (key.to_owned(), value.to_string())
}

/// The section about the process. What only shards know is left out while none has reported.
fn server(recovery: &Recovery, reports: &[Report]) -> Vec<(String, String)> {
    let mut lines = vec![
        line("engramd_version", &env!("CARGO_PKG_VERSION")),
        line("process_id", &std::process::id()),
        line("shards", &recovery.shards()),
        line("kernels", &engram_shards::kernels::kernels().name()),
    ];
    if !reports.is_empty() {
        let all = |is_so: fn(&Report) -> bool| reports.iter().all(is_so);
        lines.push(line("log_direct_io", &all(|report| report.io.is_direct)));
        lines.push(line("log_registered_buffers", &all(|report| report.io.has_registered_buffers)));
    }
    let of_shards = || reports.iter().find_map(|report| report.read_only_reason.as_deref());
    if let Some(reason) = recovery.read_only_reason().or_else(of_shards) {
        lines.push(line("read_only_reason", &reason));
    }
    lines
}

fn latency_text(latency: &Latency) -> String {
    format!(
        "count={},p50={:.1},p99={:.1},p999={:.1},max={:.1}",
        latency.count(),
        latency.quantile_us(0.5),
        latency.quantile_us(0.99),
        latency.quantile_us(0.999),
        latency.max_us(),
    )
}
