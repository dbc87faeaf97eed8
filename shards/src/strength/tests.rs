//! The curves, against the data and the formulas that they stand for.

use proptest::prelude::*;

use super::kernel::{BOUND, EXPONENT_MAX, EXPONENT_MIN, exponent};
use super::*;

const SECOND_US: i64 = 1_000_000;
const DAY_S: f64 = 86_400.0;
const MODELS: [Decay; 5] = [
    Decay::Power,
    Decay::TwoComponent,
    Decay::Exponential { half_life_s: 1 },
    Decay::Exponential { half_life_s: 604_800 },
    Decay::None,
];

#[allow(clippy::cast_possible_truncation)]
fn us(seconds: f64) -> i64 {
    (seconds * 1e6) as i64
}

/// Savings over time as Ebbinghaus measured them (1885), seconds and share.
const EBBINGHAUS: [(f64, f64); 7] = [
    (20.0 * 60.0, 0.582),
    (64.0 * 60.0, 0.442),
    (526.0 * 60.0, 0.358),
    (DAY_S, 0.337),
    (2.0 * DAY_S, 0.278),
    (6.0 * DAY_S, 0.254),
    (31.0 * DAY_S, 0.211),
];

#[test]
fn one_set_of_parameters_follows_the_savings_of_ebbinghaus() {
    for decay in [Decay::Power, Decay::TwoComponent] {
        let trace = Trace::first(decay, 0);
        let squares = EBBINGHAUS.map(|(after, savings)| {
            (f64::from(trace.retention(decay, us(after))) - savings).powi(2)
        });
        let error = (squares.iter().sum::<f64>() / 7.0).sqrt();
        assert!(error <= 0.03, "{decay}: {error}");
    }
}

#[test]
fn one_presentation_is_computed_exactly_and_another_is_continuous_with_it() {
    for decay in MODELS {
        let trace = Trace::first(decay, 5);
        for seconds in [0.0, 1.0, 60.0, 86_400.0, 1e9] {
            let now = 5 + us(seconds);
            assert_eq!(trace.retention(decay, now), first_retention(decay, 5, now), "{decay}");
            // What a second presentation adds to is what the sums say, within the bound.
            let sums = Trace { presentations: 2, ..trace }.intensity(decay, now);
            let exact = trace.intensity(decay, now);
            assert!(sums == exact || (sums / exact).ln().abs() <= BOUND, "{decay} {seconds}");
        }
    }
}

#[test]
fn retention_never_rises_by_itself_and_is_a_probability() {
    for decay in MODELS {
        let mut trace = Trace::first(decay, 0);
        for presentation in 0..4 {
            let mut before = 1.0;
            // From a microsecond to a hundred years.
            for nth in 0..1000 {
                let after = (f64::from(nth) / 999.0 * (3.2e15_f64).ln()).exp() / 1e6;
                let now = trace.last_us + us(after);
                let retention = trace.retention(decay, now);
                assert!((0.0..=before).contains(&retention), "{decay} {presentation} {after}");
                before = retention;
            }
            assert_eq!(before == 1.0, decay == Decay::None, "{decay}");
            let (last, before) = (trace.last_us + 3600 * SECOND_US, trace);
            trace.present(decay, last);
            let gained = trace.retention(decay, last) - before.retention(decay, last);
            assert!(gained > 0.0 || decay == Decay::None, "{decay}: {gained}");
        }
    }
}

/// `ln Σ (t − tᵢ)^−dᵢ` with the time of every presentation at hand.
struct Exact {
    presentations: Vec<(i64, f64)>,
}

impl Exact {
    fn sum(&self, now_us: i64) -> f64 {
        let last = self.presentations.last().map_or(0, |(at, _)| *at);
        let now = now_us.max(last + SECOND_US);
        self.presentations.iter().map(|(at, d)| seconds(*at, now).powf(-d)).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    // The bound is on sums of given presentations. An exponent depends on the sum before it, so
    // the exact history takes the exponents that the trace has given.
    #[test]
    fn the_base_level_is_the_exact_sum_within_the_bound(
        gaps in proptest::collection::vec(0.0_f64..19.0, 0..40),
        after in 0.0_f64..20.0,
    ) {
        let mut trace = Trace::first(Decay::Power, 0);
        let mut exact = Exact { presentations: vec![(0, EXPONENT_MIN)] };
        for gap in gaps {
            let at = trace.last_us + us(gap.exp());
            let exponent = exponent(trace.intensity(Decay::Power, at));
            prop_assert!((EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent));
            trace.present(Decay::Power, at);
            exact.presentations.push((at, exponent));
        }
        // The oldest is thirty years old at most.
        let now = (trace.last_us + us(after.exp())).min(us(30.0 * 365.25 * DAY_S));
        let error = trace.intensity(Decay::Power, now).ln() - exact.sum(now).ln();
        prop_assert!(trace.last_us > now || error.abs() <= BOUND, "{}", error);
    }
}

/// Retention when something is presented again after a gap, and asked for after an interval.
fn spaced(gap_s: f64, interval_s: f64) -> f32 {
    let mut trace = Trace::first(Decay::Power, 0);
    trace.present(Decay::Power, us(gap_s));
    trace.retention(Decay::Power, us(gap_s + interval_s))
}

#[test]
fn the_best_gap_lies_inside_and_its_share_falls_as_the_interval_grows() {
    let mut before = 1.0;
    for days in [7.0, 35.0, 70.0, 350.0] {
        let interval = days * DAY_S;
        // Shares of the interval from a ten thousandth to twice of it.
        let shares: Vec<f64> =
            (0..400).map(|nth| 1e-4 * 2e4_f64.powf(f64::from(nth) / 399.0)).collect();
        let retained: Vec<f32> =
            shares.iter().map(|share| spaced(share * interval, interval)).collect();
        let best = (0..400).max_by(|a, b| retained[*a].total_cmp(&retained[*b])).unwrap();
        assert!(retained[best] > retained[0] && retained[best] > retained[399], "{days} days");
        assert!(shares[best] < before, "{days} days: {}", shares[best]);
        before = shares[best];
    }
    assert!((0.05..0.4).contains(&before), "{before}");
}

#[test]
fn what_comes_again_at_once_or_before_counts_and_is_bounded() {
    for decay in MODELS {
        let mut trace = Trace::first(decay, 5 * SECOND_US);
        for at in [5, 5, 4, -1_000_000] {
            trace.present(decay, at * SECOND_US);
        }
        assert_eq!((trace.presentations, trace.last_us), (5, 5 * SECOND_US));
        for _ in 0..100_000 {
            trace.present(decay, i64::MIN);
        }
        assert!(trace.sums.iter().all(|sum| sum.is_finite() && *sum >= 0.0), "{decay}");
        for now in [i64::MIN, 0, i64::MAX] {
            assert!((0.0..=1.0).contains(&trace.retention(decay, now)), "{decay} {now}");
        }
    }
    let old = Trace { presentations: u32::MAX, ..Trace::first(Decay::Power, 0) };
    let mut trace = old;
    trace.present(Decay::Power, 1);
    assert_eq!(trace.presentations, u32::MAX);
}

#[test]
fn models_are_read_as_they_are_written() {
    for decay in MODELS {
        assert_eq!(
            (decay.to_string().parse(), Decay::of_parts(decay.to_parts())),
            (Ok(decay), Some(decay))
        );
    }
    assert_eq!(" POWER".trim().parse(), Ok(Decay::Power));
    for text in ["", "0", "-1", "+1", "1.5", "4294967296", "powers", " power", "half", "1e3"] {
        assert_eq!(text.parse::<Decay>(), Err(DecayError), "{text}");
    }
    for parts in [(0, 1), (1, 1), (2, 0), (3, 1), (4, 0)] {
        assert_eq!(Decay::of_parts(parts), None, "{parts:?}");
    }
}
