//! How far a consolidation is, and what stores may take of the memory meanwhile.
//!
//! Stores that come faster than a consolidation gives memory back would fill what is left at once,
//! and then all be refused until it ends, which may take seconds. So what they may take grows with
//! the work that is done: those that are too many are refused one by one, and the others go on all
//! the time. Log-structured stores delay writes for the same reason (RocksDB's write stalls).
//!
//! The work of a consolidation is counted in units, and how many there will be is told from how
//! many the former ones took a row. What is stored meanwhile is what the next one begins with: it
//! gets half of the memory, so that they all take their time alike.

/// Units a row until there was a consolidation to tell it from: rows of an index take about 5.
const UNITS_PER_ROW: f64 = 5.0;
/// Consolidations of fewer rows say little of what a row takes.
const TELLING_ROWS: u64 = 1024;
/// The part of the memory, one in so many, that stores may take at once, beyond half of it or what
/// is taken.
pub(crate) const AHEAD_SHARE: u64 = 32;

/// What the consolidations so far say of the next ones.
#[derive(Debug)]
pub(super) struct Pace {
    units_per_row: f64,
}

/// A consolidation that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    units: u64,
    /// How many there will be.
    expected: f64,
    /// Memory of the tails when it began.
    began_bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { units_per_row: UNITS_PER_ROW }
    }
}

#[allow(clippy::cast_precision_loss)]
impl Pace {
    /// Begins with so many rows to write, and such tails.
    pub(super) fn begin(&self, rows: u64, began_bytes: u64) -> Progress {
        let expected = (self.units_per_row * rows as f64).max(1.0);
        Progress { units: 0, expected, began_bytes }
    }

    /// Takes account of a consolidation that is over; the more recent ones count more.
    pub(super) fn end(&mut self, progress: Progress, rows: u64) {
        if rows >= TELLING_ROWS {
            let own = progress.units as f64 / rows as f64;
            self.units_per_row = f64::midpoint(self.units_per_row, own);
        }
    }
}

impl Progress {
    pub(super) fn count_unit(&mut self) {
        self.units += 1;
    }

    /// Bytes that tails may have now, of so many that they may have at all.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn tails_bytes_max(&self, left: u64) -> u64 {
        let done = (self.units as f64 / self.expected).min(1.0);
        let (half, ahead) = (left / 2, left / AHEAD_SHARE);
        let end = (self.began_bytes + half + ahead).min(left);
        let start = (self.began_bytes.max(half) + ahead).min(end);
        start + ((end - start) as f64 * done) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: u64 = 3200;
    const ROWS: u64 = TELLING_ROWS;

    fn counted(mut progress: Progress, units: u64) -> Progress {
        (0..units).for_each(|_| progress.count_unit());
        progress
    }

    #[test]
    fn what_stores_may_take_grows_with_the_work() {
        let begun = Pace::default().begin(ROWS, LEFT / 2);
        let at = |part| counted(begun, part * ROWS).tails_bytes_max(LEFT);
        assert_eq!([0, 1, 2, 5, 9].map(at), [1700, 2000, 2300, 3200, 3200]);
    }

    #[test]
    fn what_the_next_one_begins_with_is_half_of_the_memory() {
        let pace = Pace::default();
        for began in (0..=LEFT).step_by(100) {
            let begun = pace.begin(ROWS, began);
            let [first, last] = [0, 5 * ROWS].map(|units| {
                let most = counted(begun, units).tails_bytes_max(LEFT);
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
            pace.end(counted(pace.begin(rows, 0), units), rows);
        }
        assert!((pace.units_per_row - 3.0).abs() < 1e-9, "{}", pace.units_per_row);
    }
}
