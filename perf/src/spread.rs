//! A figure that was measured in several rounds.

use std::fmt;

use serde::Serialize;

/// The median of the rounds and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// # Panics
    ///
    /// When there are no rounds.
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let middle = rounds.len() / 2;
        let median = if rounds.len().is_multiple_of(2) {
            f64::midpoint(rounds[middle - 1], rounds[middle])
        } else {
            rounds[middle]
        };
        Self { median, min: rounds[0], max: rounds[rounds.len() - 1] }
    }

    pub fn map(self, of: impl Fn(f64) -> f64) -> Self {
        Self::of([self.median, self.min, self.max].map(of))
    }
}

/// `median (min–max)`, right-aligned, with the precision that the format asks for.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, width) = (f.precision().unwrap_or(2), f.width().unwrap_or(0));
        let text =
            format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max);
        write!(f, "{text:>width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between_the_extremes() {
        let odd = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(odd, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }

    #[test]
    fn rates_of_times_keep_their_order() {
        let rates = Spread::of([1.0, 2.0, 4.0]).map(|seconds| 8.0 / seconds);
        assert_eq!(rates, Spread { median: 4.0, min: 2.0, max: 8.0 });
    }

    #[test]
    fn a_spread_is_printed_with_its_extremes() {
        let spread = Spread::of([0.5, 0.25, 1.0]);
        assert_eq!(format!("{spread:>20.1}"), "       0.5 (0.2–1.0)");
    }
}
