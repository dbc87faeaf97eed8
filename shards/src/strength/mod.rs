//! How strong a memory is: what time and use make of an episode.
//!
//! Every presentation of an episode (that it happened, that it was recalled, that somebody asked to
//! strengthen it) leaves a trace. What is left of the traces after a while is the *intensity* of
//! the memory, a sum over its presentations `i`, each `t − tᵢ` seconds ago:
//!
//! ```text
//! r(t) = Σ κᵢ(t − tᵢ)            κ decays: the model of the memory space, see Decay
//! p(t) = 1 − exp(−μ r(t))        retention, in [0, 1]
//! B(t) = ln r(t)                 base-level activation, where κ is a power of time
//! ```
//!
//! That intensities add and that retention is one minus the exponential of the negative intensity
//! is the Memory Chain Model (Chessa and Murre, "A memory model for internet hits after media
//! exposure", 2004; Murre and Chessa, 2011). `B` is the base level of ACT-R (Anderson and Schooler,
//! "Reflections of the environment in memory", 1991), and how fast the trace of a presentation
//! fades under the power model follows Pavlik and Anderson, "Practice and forgetting effects on
//! vocabulary memory", 2005: `dᵢ = c · exp(Bᵢ) + a`, with the base level at the moment of the
//! presentation, `c` = .217 and `a` = .177. What is presented again while it is still fresh
//! therefore fades sooner: the spacing effect.
//!
//! Nothing here is ever rewritten because time has passed: [`Trace`] is of the moment of the last
//! presentation, and what has decayed since is computed when it is read. A trace has the same few
//! bytes after one presentation and after a million: see [`kernel`].

pub mod kernel;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use kernel::{RATES, SUMS};

/// μ of the power model: the one figure that was fitted to Ebbinghaus' savings, to a root mean
/// square error of .023.
pub const POWER_GAIN: f64 = 2.86;
/// μ of the two-component model is part of its components; of the exponential one it makes
/// 95 of 100 that are retained at first.
pub const EXPONENTIAL_GAIN: f64 = 3.0;
/// Share and time constant, in seconds, of the two components: fitted to the same data, to .027.
pub const COMPONENTS: [(f64, f64); 2] = [(0.7, 2981.0), (0.4, 4_197_000.0)];

/// How the memories of a space fade. It is written as `power`, `two`, `none`, or as the half-life
/// in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decay {
    /// By a power of time.
    #[default]
    Power,
    /// By two exponentials, one that is gone in hours and one that takes months.
    TwoComponent,
    /// The intensity halves each half-life.
    Exponential {
        /// At least 1.
        half_life_s: u32,
    },
    /// Not at all: retention is 1.
    None,
}

/// Why a text is no model of decay. The sentence goes on where the setting was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be power, two, none, or a half-life from 1 to 4294967295 whole seconds")]
pub struct DecayError;

impl Decay {
    /// As the log has it: the model, and the half-life where it has one.
    pub fn to_parts(self) -> (u8, u32) {
        match self {
            Self::Power => (0, 0),
            Self::TwoComponent => (1, 0),
            Self::Exponential { half_life_s } => (2, half_life_s),
            Self::None => (3, 0),
        }
    }

    /// What the log has so; `None` for what no model is written as.
    pub fn of_parts(parts: (u8, u32)) -> Option<Self> {
        match parts {
            (0, 0) => Some(Self::Power),
            (1, 0) => Some(Self::TwoComponent),
            (2, half_life_s @ 1..) => Some(Self::Exponential { half_life_s }),
            (3, 0) => Some(Self::None),
            _ => None,
        }
    }

    /// μ, by which intensities become retention.
    fn gain(self) -> f64 {
        match self {
            Self::Power => POWER_GAIN,
            Self::TwoComponent => 1.0,
            Self::Exponential { .. } | Self::None => EXPONENTIAL_GAIN,
        }
    }

    /// The retention that an intensity comes to.
    #[allow(clippy::cast_possible_truncation)]
    fn retention(self, intensity: f64) -> f32 {
        match self {
            Self::None => 1.0,
            // In single precision what rounds up to 1 is 1.
            _ => (-(-self.gain() * intensity).exp_m1()) as f32,
        }
    }
}

impl fmt::Display for Decay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power => f.write_str("power"),
            Self::TwoComponent => f.write_str("two"),
            Self::Exponential { half_life_s } => write!(f, "{half_life_s}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Decay {
    type Err = DecayError;

    /// A name in any case, or decimal digits.
    fn from_str(text: &str) -> Result<Self, DecayError> {
        for named in [Self::Power, Self::TwoComponent, Self::None] {
            if text.eq_ignore_ascii_case(&named.to_string()) {
                return Ok(named);
            }
        }
        let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
        let half_life_s = text.parse().ok().filter(|seconds| is_number && *seconds > 0);
        half_life_s.map(|half_life_s| Self::Exponential { half_life_s }).ok_or(DecayError)
    }
}

/// What the presentations of an episode have left, as of the last of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trace {
    /// Of each rate of the model what is left of all presentations.
    pub sums: [f32; SUMS],
    /// Of the last presentation, µs since 1970-01-01 UTC.
    pub last_us: i64,
    pub presentations: u32,
}

impl Trace {
    /// The trace of an episode that was presented once.
    pub fn first(decay: Decay, at_us: i64) -> Self {
        let mut trace = Self { sums: [0.0; SUMS], last_us: at_us, presentations: 0 };
        trace.add(decay, 0.0);
        trace
    }

    /// Adds a presentation. One that comes before the last counts as at the same time.
    pub fn present(&mut self, decay: Decay, at_us: i64) {
        let at_us = at_us.max(self.last_us);
        // Looked at as it is when the next can come: see `intensity`.
        let intensity = self.intensity(decay, at_us);
        #[allow(clippy::cast_possible_truncation)]
        for (sum, rate) in self.sums.iter_mut().zip(rates(decay)) {
            *sum *= (-rate * seconds(self.last_us, at_us)).exp() as f32;
        }
        self.last_us = at_us;
        self.add(decay, intensity);
    }

    #[allow(clippy::cast_possible_truncation)]
    fn add(&mut self, decay: Decay, intensity: f64) {
        self.presentations = self.presentations.saturating_add(1);
        match decay {
            Decay::Power => {
                let exponent = kernel::exponent(intensity);
                let weights = kernel::weights(exponent);
                self.sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight as f32);
            }
            Decay::TwoComponent => {
                let weights = COMPONENTS.map(|(share, _)| share as f32);
                self.sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            }
            Decay::Exponential { .. } => self.sums[0] += 1.0,
            Decay::None => {}
        }
    }

    /// The sum of what is left of all presentations at a time. A presentation is not looked at
    /// sooner than a second after it came: before that, powers of time have no bound.
    pub fn intensity(&self, decay: Decay, now_us: i64) -> f64 {
        let elapsed = seconds(self.last_us, now_us).max(1.0);
        if self.presentations == 1 {
            return first_intensity(decay, elapsed);
        }
        let left = self.sums.iter().zip(rates(decay));
        left.map(|(sum, rate)| f64::from(*sum) * (-rate * elapsed).exp()).sum()
    }

    /// The probability that the episode is retained at a time.
    pub fn retention(&self, decay: Decay, now_us: i64) -> f32 {
        decay.retention(self.intensity(decay, now_us))
    }
}

/// What is left of one presentation, exactly.
fn first_intensity(decay: Decay, elapsed_s: f64) -> f64 {
    match decay {
        Decay::Power => elapsed_s.powf(-kernel::EXPONENT_MIN),
        Decay::TwoComponent => {
            COMPONENTS.iter().map(|(share, seconds)| share * (-elapsed_s / seconds).exp()).sum()
        }
        Decay::Exponential { half_life_s } => (-elapsed_s / f64::from(half_life_s)).exp2(),
        Decay::None => 0.0,
    }
}

/// The probability that an episode is retained at a time that was presented once: most are, and
/// it takes no trace to tell.
pub fn first_retention(decay: Decay, first_us: i64, now_us: i64) -> f32 {
    decay.retention(first_intensity(decay, seconds(first_us, now_us).max(1.0)))
}

/// The rates by which the sums of a trace decay, per second.
fn rates(decay: Decay) -> impl Iterator<Item = f64> {
    let (power, [fast, slow]) = (&RATES, COMPONENTS.map(|(_, seconds)| 1.0 / seconds));
    let used = match decay {
        Decay::Power => SUMS,
        Decay::TwoComponent => 2,
        Decay::Exponential { .. } => 1,
        Decay::None => 0,
    };
    (0..used).map(move |nth| match decay {
        Decay::Power => power[nth],
        Decay::TwoComponent => [fast, slow][nth],
        Decay::Exponential { half_life_s } => std::f64::consts::LN_2 / f64::from(half_life_s),
        Decay::None => 0.0,
    })
}

/// From one time to another, 0 if that is earlier.
#[allow(clippy::cast_precision_loss)]
fn seconds(from_us: i64, to_us: i64) -> f64 {
    to_us.saturating_sub(from_us).max(0) as f64 / 1e6
}
