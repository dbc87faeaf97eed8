//! How far the import is: a bar on a terminal, a line now and then anywhere else.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::render::grouped;
use crate::reply::Outcome;

/// How often a line is printed when standard error is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Written by every worker, read by the progress display and the report.
#[derive(Debug, Default)]
pub(super) struct Counters {
    created: AtomicU64,
    existing: AtomicU64,
    replaced: AtomicU64,
    skipped: AtomicU64,
    busy: AtomicU64,
    reconnects: AtomicU64,
    /// Of the input, done.
    bytes: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) created: u64,
    pub(super) existing: u64,
    pub(super) replaced: u64,
    pub(super) skipped: u64,
    pub(super) busy: u64,
    pub(super) reconnects: u64,
    pub(super) bytes: u64,
}

impl Counters {
    /// `bytes` of the input were done by an earlier run.
    pub(super) fn new(bytes: u64) -> Self {
        Self { bytes: AtomicU64::new(bytes), ..Self::default() }
    }

    pub(super) fn add_outcome(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Created => &self.created,
            Outcome::Existing => &self.existing,
            Outcome::Replaced => &self.replaced,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a bad line and returns how many there were before.
    pub(super) fn add_skipped(&self) -> u64 {
        self.skipped.fetch_add(1, Relaxed)
    }

    pub(super) fn add_busy(&self, episodes: u64) {
        self.busy.fetch_add(episodes, Relaxed);
    }

    pub(super) fn add_reconnect(&self) {
        self.reconnects.fetch_add(1, Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            created: self.created.load(Relaxed),
            existing: self.existing.load(Relaxed),
            replaced: self.replaced.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            busy: self.busy.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

#[derive(Debug)]
pub(super) struct Progress {
    display: Display,
    start: Instant,
    total_bytes: u64,
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Lines { printed: Instant },
    None,
}

impl Progress {
    pub(super) fn new(total_bytes: u64, quiet: bool) -> Self {
        let display = if quiet {
            Display::None
        } else if std::io::stderr().is_terminal() {
            let style =
                ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}  {eta} left")
                    .expect("the template is valid")
                    .progress_chars("█▌·");
            Display::Bar(ProgressBar::new(total_bytes).with_style(style))
        } else {
            Display::Lines { printed: Instant::now() }
        };
        Self { display, start: Instant::now(), total_bytes }
    }

    pub(super) fn draw(&mut self, counters: &Counters) {
        let totals = counters.totals();
        let stored = totals.created + totals.existing + totals.replaced;
        let rate = stored as f64 / self.start.elapsed().as_secs_f64().max(1e-9);
        let message = format!("{} episodes, {}/s", grouped(stored), grouped(rate as u64));
        match &mut self.display {
            Display::Bar(bar) => {
                bar.set_position(totals.bytes);
                bar.set_message(message);
            }
            Display::Lines { printed } if printed.elapsed() >= LINE_INTERVAL => {
                *printed = Instant::now();
                let percent = 100 * totals.bytes / self.total_bytes.max(1);
                eprintln!("{percent:>3} %  {message}");
            }
            Display::Lines { .. } | Display::None => {}
        }
    }

    pub(super) fn finish(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}
