//! How far a consolidation is, and what stores may take of the memory meanwhile.
//!
//! Stores that come faster than a consolidation gives memory back would fill what is left at once,
//! and then all be refused until it ends, which may take seconds. So what they may take grows with
//! the work that is done: those that are too many are refused one by one, and the others go on all
//! the time. Log-structured stores delay writes for the same reason (RocksDB's write stalls).
//!
//! The work of a consolidation is counted in units, and how many there will be is told from how
//! many the former ones took a row. Units of one stage take longer than those of another, so what
//! counts is the share of the time that the former ones had taken when as many were done. What is
//! stored meanwhile is what the next one begins with: it gets half of the memory, so that they all
//! take their time alike.

/// Units a row until there was a consolidation to tell it from: rows of an index take about 5.
const UNITS_PER_ROW: f64 = 5.0;
/// Consolidations of fewer rows say little of what a row takes.
const TELLING_ROWS: u64 = 1024;
/// The part of the memory, one in so many, that stores may take at once, beyond half of it or what
/// is taken.
pub(crate) const AHEAD_SHARE: u64 = 32;

/// Parts that the units of a consolidation are divided into, to see which of them take how long.
const PARTS: usize = 32;

/// The share of its time that a consolidation takes until so many parts of its units are done.
type Shares = [f64; PARTS + 1];

/// What the consolidations so far say of the next ones.
#[derive(Debug)]
pub(super) struct Pace {
    units_per_row: f64,
    shares: Shares,
}

/// A consolidation that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    units: u64,
    /// How many there will be.
    expected: f64,
    shares: Shares,
    /// The moments at which so many parts were done, ns, as far as it is.
    moments_ns: [u64; PARTS + 1],
    parts_done: usize,
    /// Memory of the tails when it began.
    began_bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        let shares = std::array::from_fn(|part| part as f64 / PARTS as f64);
        Self { units_per_row: UNITS_PER_ROW, shares }
    }
}

#[allow(clippy::cast_precision_loss)]
impl Pace {
    /// Begins with so many rows to write, and such tails.
    pub(super) fn begin(&self, rows: u64, began_bytes: u64, now_ns: u64) -> Progress {
        let expected = (self.units_per_row * rows as f64).max(1.0);
        let moments_ns = [now_ns; PARTS + 1];
        Progress { units: 0, expected, shares: self.shares, moments_ns, parts_done: 0, began_bytes }
    }

    /// Takes account of a consolidation that is over; the more recent ones count more.
    pub(super) fn end(&mut self, mut progress: Progress, rows: u64, now_ns: u64) {
        if rows < TELLING_ROWS {
            return;
        }
        let own = progress.units as f64 / rows as f64;
        self.units_per_row = f64::midpoint(self.units_per_row, own);
        progress.moments_ns[progress.parts_done + 1..].fill(now_ns);
        let began_ns = progress.moments_ns[0];
        let all_ns = now_ns.saturating_sub(began_ns);
        if all_ns > 0 {
            for (share, moment_ns) in self.shares.iter_mut().zip(progress.moments_ns) {
                let own = moment_ns.saturating_sub(began_ns) as f64 / all_ns as f64;
                *share = f64::midpoint(*share, own);
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
impl Progress {
    pub(super) fn count_unit(&mut self, now_ns: impl FnOnce() -> u64) {
        self.units += 1;
        let parts_done = (self.parts() as usize).min(PARTS);
        if parts_done > self.parts_done {
            self.moments_ns[self.parts_done + 1..=parts_done].fill(now_ns());
            self.parts_done = parts_done;
        }
    }

    fn parts(&self) -> f64 {
        self.units as f64 / self.expected * PARTS as f64
    }

    /// The share of its time that it has taken, as far as the former ones tell.
    fn done(&self) -> f64 {
        let parts = self.parts().min(PARTS as f64);
        let (before, behind) = (parts.floor() as usize, parts.ceil() as usize);
        let [before, behind] = [before, behind].map(|part| self.shares[part]);
        before + (behind - before) * parts.fract()
    }

    /// Bytes that tails may have now, of so many that they may have at all.
    pub(super) fn tails_bytes_max(&self, left: u64) -> u64 {
        let (half, ahead) = (left / 2, left / AHEAD_SHARE);
        let end = (self.began_bytes + half + ahead).min(left);
        let start = (self.began_bytes.max(half) + ahead).min(end);
        start + ((end - start) as f64 * self.done()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: u64 = 3200;
    const ROWS: u64 = TELLING_ROWS;

    /// After so many units, each of which took so many ns.
    fn counted(mut progress: Progress, units: u64, unit_ns: impl Fn(u64) -> u64) -> Progress {
        let mut now_ns = 0;
        for unit in 0..units {
            now_ns += unit_ns(unit);
            progress.count_unit(|| now_ns);
        }
        progress
    }

    #[test]
    fn what_stores_may_take_grows_with_the_work() {
        let begun = Pace::default().begin(ROWS, LEFT / 2, 0);
        let at = |part| counted(begun, part * ROWS, |_| 0).tails_bytes_max(LEFT);
        assert_eq!([0, 1, 2, 5, 9].map(at), [1700, 2000, 2300, 3200, 3200]);
    }

    #[test]
    fn what_the_next_one_begins_with_is_half_of_the_memory() {
        let pace = Pace::default();
        for began in (0..=LEFT).step_by(100) {
            let begun = pace.begin(ROWS, began, 0);
            let [first, last] = [0, 5 * ROWS].map(|units| {
                let most = counted(begun, units, |_| 0).tails_bytes_max(LEFT);
                assert!(most >= began && most <= LEFT, "{began}: {most}");
                most
            });
            assert!(first <= last && last - began <= LEFT / 2 + LEFT / AHEAD_SHARE, "{began}");
            assert!(first >= LEFT / 2, "{began}: {first}");
        }
    }

    #[test]
    fn the_next_ones_know_what_a_row_took_and_small_ones_say_nothing() {
        let mut pace = Pace::default();
        for (units, rows) in [(3 * ROWS, ROWS), (2 * ROWS, ROWS), (1_000_000, ROWS - 1)] {
            pace.end(counted(pace.begin(rows, 0, 0), units, |_| 0), rows, 0);
        }
        assert!((pace.units_per_row - 3.0).abs() < 1e-9, "{}", pace.units_per_row);
    }

    #[test]
    fn stores_get_even_shares_of_the_time_when_units_take_uneven_ones() {
        let mut pace = Pace::default();
        let units = 5 * ROWS;
        // The first eighth of the units takes half of the time.
        let unit_ns = |unit| if unit < units / 8 { 7 } else { 1 };
        let all_ns = units / 8 * 14;
        let halfway = |pace: &Pace| {
            let progress = counted(pace.begin(ROWS, LEFT / 2, 0), units / 8, unit_ns);
            progress.tails_bytes_max(LEFT) - (LEFT / 2 + LEFT / AHEAD_SHARE)
        };
        assert_eq!(halfway(&pace), 1500 / 8);
        for _ in 0..10 {
            pace.end(counted(pace.begin(ROWS, LEFT / 2, 0), units, unit_ns), ROWS, all_ns);
        }
        let got = halfway(&pace);
        assert!((745..=755).contains(&got), "{got} of 1500");
    }
}
