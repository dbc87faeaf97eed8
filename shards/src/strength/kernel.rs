//! Powers of time as sums of exponentials, so that a trace has a bound.
//!
//! The exact base level needs the time of every presentation. Here it is
//!
//! ```text
//! t^−d ≈ Σⱼ wⱼ(d) · exp(−sⱼ t)          sⱼ = exp(1.8 − 1.7 j), 15 of them and one for the rest
//! ```
//!
//! the trapezoidal rule on the integral that Euler's gamma function is, after the substitution that
//! spaces its nodes evenly in the logarithm (Beylkin and Monzón, "Approximation by exponential sums
//! revisited", 2010; McLean, "Exponential sum approximations for t^−β", 2018). The rates do not
//! depend on `d`, so presentations that fade at different speeds share one set of sums; and what
//! holds for each of them holds for their sum: the base level is off by no more than
//! [`BOUND`] for every history whatever, of any length.
//!
//! Nodes beyond the slowest are summed up as one, whose rate is the mean of theirs.

use std::sync::LazyLock;

/// Sums of a trace.
pub const SUMS: usize = 16;
/// What ln Σ t^−d is off by at most, for ages from one second to thirty years and exponents from
/// [`EXPONENT_MIN`] to [`EXPONENT_MAX`]: 3.5 parts in a hundred of the sum.
pub const BOUND: f64 = 0.035;
/// The exponent of a first presentation: `a` of Pavlik and Anderson.
pub const EXPONENT_MIN: f64 = 0.177;
/// What is presented again and again within seconds fades like this: a tenth is left after ten
/// seconds.
pub const EXPONENT_MAX: f64 = 1.0;
/// How much of the base level at a presentation becomes its exponent: `c` of Pavlik and Anderson.
pub const EXPONENT_SCALE: f64 = 0.217;

/// Between the logarithms of two rates.
const STEP: f64 = 1.7;
/// The logarithm of the fastest rate, per second.
const TOP: f64 = 1.8;
/// The exponent for which the rate of what is beyond the slowest is the mean of theirs.
const REST_EXPONENT: f64 = 0.2;

/// The logarithm of a rate.
#[allow(clippy::cast_precision_loss)]
fn node(nth: usize) -> f64 {
    TOP - STEP * nth as f64
}

/// By how much the sums decay, per second.
pub static RATES: LazyLock<[f64; SUMS]> = LazyLock::new(|| {
    std::array::from_fn(|nth| {
        let rate = node(nth).exp();
        if nth + 1 < SUMS {
            return rate;
        }
        // Of two geometric series, the rates of the rest by their weights.
        let rest = |exponent: f64| 1.0 - (-exponent * STEP).exp();
        rate * rest(REST_EXPONENT) / rest(REST_EXPONENT + 1.0)
    })
});

/// The weights of a presentation that fades with an exponent: what it is after one second is 1.
pub fn weights(exponent: f64) -> [f64; SUMS] {
    let mut weights: [f64; SUMS] = std::array::from_fn(|nth| (exponent * node(nth)).exp());
    weights[SUMS - 1] /= 1.0 - (-exponent * STEP).exp();
    let after_one: f64 =
        weights.iter().zip(&*RATES).map(|(weight, rate)| weight * (-rate).exp()).sum();
    weights.map(|weight| weight / after_one)
}

/// With which exponent a presentation fades that comes when the others are at an intensity.
pub fn exponent(intensity: f64) -> f64 {
    (EXPONENT_SCALE * intensity + EXPONENT_MIN).min(EXPONENT_MAX)
}
