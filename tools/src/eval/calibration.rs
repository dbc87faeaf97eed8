//! Does what the daemon states come true as often as it says?
//!
//! Every episode that answers a question is a forecast that it is evidence, and what it comes with
//! is taken for the probability of that: its score, as far as that lies in [0, 1], or the point of
//! its confidence. With `f` what is stated, `o` 1 if it came true and else 0, over all `N` answers,
//! and over the `n` of each of ten equal bins of `f` the means `fᵢ` and `oᵢ`:
//!
//! ```text
//! Brier       = Σ (f − o)² / N
//! reliability = Σ nᵢ (fᵢ − oᵢ)² / N         0 is best
//! resolution  = Σ nᵢ (oᵢ − ō)² / N          the more the better
//! uncertainty = ō (1 − ō)
//! within bins = Brier − (reliability − resolution + uncertainty)
//! ECE         = Σ nᵢ |fᵢ − oᵢ| / N
//! coverage    = share of answers in whose stated interval the oᵢ of their bin lies
//! ```
//!
//! Brier 1950, "Verification of forecasts expressed in terms of probability"; its partition, Murphy
//! 1973, "A new vector partition of the probability score", which is exact where all forecasts of a
//! bin are alike: what they differ by is *within bins* (Stephenson, Coelho and Jolliffe 2008). ECE:
//! Naeini, Cooper and Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian
//! binning". Intervals are of the bootstrap that draws questions, for answers to one question are
//! not independent.

use serde::Serialize;

use super::measures::{Bootstrap, Estimate};
use crate::render::{self, Align, grouped};

const BINS: usize = 10;

/// What an answer came with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    pub(super) score: f64,
    /// Point, low, high.
    pub(super) confidence: [f64; 3],
}

/// That an answer is evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Forecast {
    /// A probability.
    pub(super) stated: f64,
    /// The interval that it came with, if it did.
    pub(super) interval: Option<(f64, f64)>,
    pub(super) is_true: bool,
}

/// One bin of what was stated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Bin {
    from: f64,
    to: f64,
    forecasts: u64,
    /// The mean of what was stated, and the share that came true.
    stated: f64,
    observed: Estimate,
}

/// See the top of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Calibration {
    forecasts: u64,
    came_true: u64,
    brier: Estimate,
    reliability: f64,
    resolution: f64,
    uncertainty: f64,
    within_bins: f64,
    ece: Estimate,
    /// `null` where nothing came with an interval.
    coverage: Option<f64>,
    /// Those that have forecasts.
    bins: Vec<Bin>,
}

/// Sums over the forecasts of a bin.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: f64,
    stated: f64,
    came_true: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.stated += other.stated;
        self.came_true += other.came_true;
        self.squares += other.squares;
    }

    fn mean_stated(&self) -> f64 {
        self.stated / self.count
    }

    fn observed(&self) -> f64 {
        self.came_true / self.count
    }
}

type Table = [Sums; BINS];

fn bin_of(stated: f64) -> usize {
    ((stated * BINS as f64) as usize).min(BINS - 1)
}

fn table(forecasts: &[Forecast]) -> Table {
    let mut table = Table::default();
    for Forecast { stated, is_true, .. } in forecasts {
        let came_true = f64::from(u8::from(*is_true));
        let squares = (stated - came_true).powi(2);
        table[bin_of(*stated)].add(&Sums { count: 1.0, stated: *stated, came_true, squares });
    }
    table
}

fn total<'a>(tables: impl Iterator<Item = &'a Table>) -> Table {
    let mut sum = Table::default();
    for table in tables {
        sum.iter_mut().zip(table).for_each(|(sum, own)| sum.add(own));
    }
    sum
}

fn filled(table: &Table) -> impl Iterator<Item = &Sums> {
    table.iter().filter(|bin| bin.count > 0.0)
}

/// The Brier score and the expected calibration error.
fn errors(table: &Table) -> (f64, f64) {
    let sum = |of: &dyn Fn(&Sums) -> f64| filled(table).map(of).sum::<f64>();
    let count = sum(&|bin| bin.count);
    let apart = sum(&|bin| (bin.stated - bin.came_true).abs());
    (sum(&|bin| bin.squares) / count, apart / count)
}

impl Calibration {
    /// Of the forecasts for each question; `None` without any.
    pub(super) fn of(questions: &[Vec<Forecast>], bootstrap: Bootstrap) -> Option<Self> {
        let tables: Vec<Table> = questions.iter().map(|own| table(own)).collect();
        let whole = total(tables.iter());
        let count: f64 = whole.iter().map(|bin| bin.count).sum();
        if count == 0.0 {
            return None;
        }
        let came_true: f64 = whole.iter().map(|bin| bin.came_true).sum();
        let base = came_true / count;
        let weighted = |of: &dyn Fn(&Sums) -> f64| {
            filled(&whole).map(|bin| bin.count * of(bin)).sum::<f64>() / count
        };
        let reliability = weighted(&|bin| (bin.mean_stated() - bin.observed()).powi(2));
        let resolution = weighted(&|bin| (bin.observed() - base).powi(2));
        let uncertainty = base * (1.0 - base);
        // The Brier score and the calibration error, then the share of each bin, of every resample.
        let statistics = |table: &Table| -> Vec<Option<f64>> {
            let has_any = table.iter().any(|bin| bin.count > 0.0);
            let (brier, ece) = errors(table);
            let bins = table.iter().map(|bin| (bin.count > 0.0).then(|| bin.observed()));
            [has_any.then_some(brier), has_any.then_some(ece)].into_iter().chain(bins).collect()
        };
        let own = statistics(&whole);
        let estimates = bootstrap.of_statistics(&own, questions.len(), |drawn| {
            statistics(&total(drawn.iter().map(|question| &tables[*question])))
        });
        let bins = whole.iter().enumerate().filter_map(|(nth, bin)| {
            Some(Bin {
                from: nth as f64 / BINS as f64,
                to: (nth + 1) as f64 / BINS as f64,
                forecasts: bin.count as u64,
                stated: bin.mean_stated(),
                observed: estimates[2 + nth]?,
            })
        });
        let brier = estimates[0]?;
        Some(Self {
            forecasts: count as u64,
            came_true: came_true as u64,
            brier,
            reliability,
            resolution,
            uncertainty,
            within_bins: brier.mean - (reliability - resolution + uncertainty),
            ece: estimates[1]?,
            coverage: coverage(questions, &whole),
            bins: bins.collect(),
        })
    }

    /// A line of figures, and a table of the bins.
    pub(super) fn text(&self, what: &str) -> String {
        let Self { brier, ece, reliability, resolution, uncertainty, within_bins, .. } = self;
        let coverage = self.coverage.map_or(String::new(), |coverage| {
            format!(", intervals cover {:.1} %", coverage * 100.0)
        });
        let header = [
            ("stated", Align::Left),
            ("n", Align::Right),
            ("mean", Align::Right),
            ("came true", Align::Right),
            ("", Align::Left),
        ];
        let row = |bin: &Bin| {
            let Estimate { mean, low, high } = bin.observed;
            vec![
                format!("{:.1} to {:.1}", bin.from, bin.to),
                grouped(bin.forecasts),
                format!("{:.3}", bin.stated),
                format!("{mean:.3}"),
                format!("{low:.3} to {high:.3}"),
            ]
        };
        let rows: Vec<_> = self.bins.iter().map(row).collect();
        format!(
            "{what}: {} answers, {} evidence\nBrier {:.4} ({:.4} to {:.4}) = reliability \
             {reliability:.4} − resolution {resolution:.4} + uncertainty {uncertainty:.4} + within \
             bins {within_bins:.4}\nECE {:.4} ({:.4} to {:.4}){coverage}\n{}",
            grouped(self.forecasts),
            grouped(self.came_true),
            brier.mean,
            brier.low,
            brier.high,
            ece.mean,
            ece.low,
            ece.high,
            render::table(&header, &rows, render::terminal_width()),
        )
    }
}

fn coverage(questions: &[Vec<Forecast>], whole: &Table) -> Option<f64> {
    let stated = questions.iter().flatten();
    let with = stated.filter_map(|own| Some((own.interval?, whole[bin_of(own.stated)])));
    let (mut covered, mut count) = (0_u64, 0_u64);
    for ((low, high), bin) in with {
        covered += u64::from((low..=high).contains(&bin.observed()));
        count += 1;
    }
    (count > 0).then(|| covered as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 400, seed: 3 };

    /// So many forecasts for one question, of which the first few come true.
    fn forecasts(stated: f64, count: usize, came_true: usize) -> Vec<Forecast> {
        let forecast = |nth| Forecast { stated, interval: None, is_true: nth < came_true };
        (0..count).map(forecast).collect()
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn what_comes_true_as_often_as_it_is_stated_is_reliable() {
        let questions = [forecasts(0.8, 10, 8), forecasts(0.3, 10, 3)];
        let own = Calibration::of(&questions, BOOTSTRAP).unwrap();
        assert_eq!((own.forecasts, own.came_true, own.coverage), (20, 11, None));
        // (10 · (.8 · .04 + .2 · .64) + 10 · (.3 · .49 + .7 · .09)) / 20 = .185, by hand.
        assert!(close(own.brier.mean, 0.185), "{own:?}");
        assert!(close(own.reliability, 0.0) && close(own.ece.mean, 0.0), "{own:?}");
        assert!(close(own.uncertainty, 0.55 * 0.45) && close(own.resolution, 0.0625), "{own:?}");
        assert!(close(own.within_bins, 0.0), "{own:?}");
        let bins: Vec<_> = own.bins.iter().map(|bin| (bin.from, bin.forecasts)).collect();
        assert_eq!(bins, [(0.3, 10), (0.8, 10)]);
        assert!(close(own.bins[1].observed.mean, 0.8) && close(own.bins[1].stated, 0.8));
    }

    #[test]
    fn who_is_always_certain_and_half_the_time_right_is_not() {
        let questions: Vec<_> = (0..40).map(|nth| forecasts(1.0, 1, nth % 2)).collect();
        let own = Calibration::of(&questions, BOOTSTRAP).unwrap();
        assert!(close(own.brier.mean, 0.5) && close(own.ece.mean, 0.5), "{own:?}");
        assert!(close(own.reliability, 0.25) && close(own.resolution, 0.0), "{own:?}");
        // Questions are drawn: with 40 the share has a standard error of .079.
        assert!((own.ece.low - 0.345).abs() < 0.04 && (own.ece.high - 0.655).abs() < 0.04);
        assert_eq!(Calibration::of(&questions, BOOTSTRAP), Some(own), "the same seed");
        assert_eq!(Calibration::of(&[Vec::new(), Vec::new()], BOOTSTRAP), None);
    }

    #[test]
    fn what_forecasts_of_a_bin_differ_by_is_within_it() {
        // .72 and .78 are of one bin, and only the second comes true: knowing that is worth
        // something that the partition by bins does not see.
        let questions = [forecasts(0.72, 1, 0), forecasts(0.78, 1, 1)];
        let own = Calibration::of(&questions, BOOTSTRAP).unwrap();
        assert!(close(own.brier.mean, (0.72_f64.powi(2) + 0.22_f64.powi(2)) / 2.0), "{own:?}");
        assert!(close(own.reliability, 0.0625) && close(own.uncertainty, 0.25), "{own:?}");
        let sum = own.reliability - own.resolution + own.uncertainty + own.within_bins;
        assert!(close(sum, own.brier.mean) && own.within_bins < 0.0, "{own:?}");
        assert_eq!(own.bins.len(), 1);
        assert_eq!((bin_of(0.0), bin_of(1.0), bin_of(0.999)), (0, 9, 9));
    }

    #[test]
    fn an_interval_covers_what_is_observed_or_does_not() {
        let with = |low, high, own: Vec<Forecast>| -> Vec<Forecast> {
            own.into_iter().map(|own| Forecast { interval: Some((low, high)), ..own }).collect()
        };
        let questions = [
            with(0.5, 0.9, forecasts(0.65, 4, 3)),
            with(0.6, 0.7, forecasts(0.65, 4, 3)),
            with(0.0, 0.2, forecasts(0.15, 2, 0)),
        ];
        // In the bin of .6 to .7 six of eight come true: the first interval has .75 in it.
        let own = Calibration::of(&questions, BOOTSTRAP).unwrap();
        assert_eq!(own.coverage, Some(0.6));
    }
}
