//! What a run measured, for people and as JSON.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use redis::Value;
use serde::Serialize;

use super::books::Measured;
use super::workload::Operation;
use crate::render::{self, Align, grouped};
use crate::reply;

#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) workload: &'static str,
    /// `closed` or `open`.
    pub(super) loop_mode: &'static str,
    pub(super) connections: usize,
    /// Closed loop: requests in flight per connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<usize>,
    /// Open loop: requests per second that were meant to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_intended: Option<f64>,
    /// Open loop: requests are due together every so often; 0 spreads them evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) burst_us: Option<u64>,
    pub(super) batch: usize,
    pub(super) dimensions: usize,
    pub(super) text_bytes: usize,
    pub(super) vectors: String,
    pub(super) seed: u64,
    /// Measured, without warm-up.
    pub(super) seconds: f64,
    pub(super) latency_counts_from: String,
    pub(super) operations: Vec<OperationReport>,
    pub(super) episodes_stored: u64,
    pub(super) episodes_stored_per_second: f64,
    pub(super) hits_per_recall: f64,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) busy: u64,
    pub(super) unanswered: u64,
    pub(super) unsent: u64,
    pub(super) sent_bytes_per_second: f64,
    pub(super) received_bytes_per_second: f64,
    pub(super) client_cpu_us_per_request: f64,
    /// The reply to `EG.STATS` after the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) daemon: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct OperationReport {
    operation: &'static str,
    /// Due in the measured time and answered, then or later; with corrected histograms, those that
    /// were held back as well.
    requests: u64,
    /// Answers that came in the measured time.
    per_second: f64,
    latency_us: Quantiles,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p99_9: f64,
    max: f64,
}

impl Quantiles {
    fn of(latencies_ns: &Histogram<u64>) -> Self {
        let us = |ns: u64| ns as f64 / 1e3;
        Self {
            p50: us(latencies_ns.value_at_quantile(0.5)),
            p90: us(latencies_ns.value_at_quantile(0.9)),
            p99: us(latencies_ns.value_at_quantile(0.99)),
            p99_9: us(latencies_ns.value_at_quantile(0.999)),
            max: us(latencies_ns.max()),
        }
    }
}

impl Report {
    /// Takes over the figures of all connections.
    pub(super) fn fill(&mut self, measured: &Measured, cpu_seconds: f64) {
        let per_second = |count: u64| count as f64 / self.seconds.max(1e-9);
        self.operations = Operation::ALL
            .into_iter()
            .filter(|operation| !measured.latencies[*operation as usize].is_empty())
            .map(|operation| OperationReport {
                operation: operation.name(),
                requests: measured.latencies[operation as usize].len(),
                per_second: per_second(measured.answered[operation as usize]),
                latency_us: Quantiles::of(&measured.latencies[operation as usize]),
            })
            .collect();
        let answered: u64 = measured.answered.iter().sum();
        let recalls = measured.answered[Operation::Recall as usize];
        self.episodes_stored_per_second = per_second(measured.episodes_stored);
        self.sent_bytes_per_second = per_second(measured.sent_bytes);
        self.received_bytes_per_second = per_second(measured.received_bytes);
        self.episodes_stored = measured.episodes_stored;
        self.hits_per_recall = measured.hits as f64 / recalls.max(1) as f64;
        self.busy = measured.errors.get("BUSY").copied().unwrap_or(0);
        self.errors.clone_from(&measured.errors);
        self.unanswered = measured.unanswered;
        self.unsent = measured.unsent;
        self.client_cpu_us_per_request = cpu_seconds * 1e6 / answered.max(1) as f64;
    }

    pub(super) fn text(&self, daemon: Option<Value>) -> String {
        let mut lines = vec![self.heading(), String::new(), self.latency_table(), String::new()];
        if self.episodes_stored > 0 {
            let per_second = grouped(self.episodes_stored_per_second as u64);
            lines.push(format!(
                "stored      {} episodes, {per_second}/s",
                grouped(self.episodes_stored)
            ));
        }
        if self.operations.iter().any(|report| report.operation == Operation::Recall.name()) {
            lines.push(format!("recalled    {:.1} episodes per recall", self.hits_per_recall));
        }
        lines.push(format!("errors      {}", self.error_list()));
        lines.push(format!(
            "bytes       {} sent, {} received",
            rate(self.sent_bytes_per_second),
            rate(self.received_bytes_per_second)
        ));
        lines.push(format!("client CPU  {:.2} us per request", self.client_cpu_us_per_request));
        if let Some(daemon) = daemon {
            lines.push(String::new());
            lines.push("the daemon's own figures since it started (EG.STATS)".to_owned());
            let daemon = without(daemon, "per_shard");
            let outline = render::outline(daemon);
            lines.extend(outline.lines().map(|line| format!("  {line}")));
        }
        lines.join("\n")
    }

    fn heading(&self) -> String {
        let pace = match (self.rate_intended, self.window) {
            (Some(rate), _) => match self.burst_us.unwrap_or(0) {
                0 => format!("open loop at {}/s", grouped(rate as u64)),
                us => format!("open loop at {}/s in bursts every {us} us", grouped(rate as u64)),
            },
            (None, window) => format!("closed loop, {} in flight on each", window.unwrap_or(1)),
        };
        format!(
            "{}: {} connections, {pace}, {:.1} s measured\n{} dimensions, {} bytes of text, \
             batches of {}, {}\nlatency counts from {}",
            self.workload,
            self.connections,
            self.seconds,
            self.dimensions,
            self.text_bytes,
            self.batch,
            self.vectors,
            self.latency_counts_from,
        )
    }

    fn latency_table(&self) -> String {
        let header = ["operation", "requests", "per s", "p50 us", "p90", "p99", "p99.9", "max"];
        let columns: Vec<(&str, Align)> = header
            .into_iter()
            .enumerate()
            .map(|(at, name)| (name, if at == 0 { Align::Left } else { Align::Right }))
            .collect();
        let rows: Vec<Vec<String>> = self
            .operations
            .iter()
            .map(|report| {
                let us = |value: f64| grouped(value.round() as u64);
                let latency = &report.latency_us;
                vec![
                    report.operation.to_owned(),
                    grouped(report.requests),
                    grouped(report.per_second as u64),
                    us(latency.p50),
                    us(latency.p90),
                    us(latency.p99),
                    us(latency.p99_9),
                    us(latency.max),
                ]
            })
            .collect();
        render::table(&columns, &rows, render::terminal_width())
    }

    fn error_list(&self) -> String {
        let mut parts: Vec<String> =
            self.errors.iter().map(|(code, count)| format!("{code} {}", grouped(*count))).collect();
        if self.unanswered > 0 {
            parts.push(format!("unanswered {}", grouped(self.unanswered)));
        }
        if self.unsent > 0 {
            let unsent = grouped(self.unsent);
            parts.push(format!("due and never sent {unsent}: the rate is beyond the daemon"));
        }
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    }
}

/// The daemon's statistics as JSON.
pub(super) fn daemon_json(stats: &Value) -> serde_json::Value {
    reply::to_json(stats)
}

/// The map without one of its entries.
fn without(map: Value, key: &str) -> Value {
    match map {
        Value::Map(mut entries) => {
            entries.retain(|(name, _)| reply::text(name).as_deref() != Some(key));
            Value::Map(entries)
        }
        other => other,
    }
}

fn rate(bytes_per_second: f64) -> String {
    if bytes_per_second >= 1e9 {
        format!("{:.2} GB/s", bytes_per_second / 1e9)
    } else {
        format!("{:.1} MB/s", bytes_per_second / 1e6)
    }
}
