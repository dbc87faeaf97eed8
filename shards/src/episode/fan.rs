//! The fan of a memory space: how the number of an episode's links weakens each of them.
//!
//! It is chosen when a space is created and kept with it, so it has an exact form: the strength S
//! of associations in hundredths, from 1 to 800. What comes of it when activation spreads stands at
//! [`crate::spread::operator`].

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::spread::operator::{Fan, STRENGTH_MAX};

/// S is given in these steps.
const HUNDREDTHS: f32 = 100.0;
const HUNDREDTHS_MAX: u16 = 800;

// What a space can be created with, a push can be made with.
const _: () = assert!(HUNDREDTHS_MAX as f32 / HUNDREDTHS == STRENGTH_MAX);

/// How the number of an episode's links weakens each of them. It is written as `degree`, or as the
/// number S.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpaceFan {
    /// What leaves an episode is divided between its links by weight.
    #[default]
    Degree,
    /// Each link carries S − ln(fan), if that is above 0, times its weight over the average one:
    /// the associative strength of ACT-R (Anderson and Reder, "The fan effect", 1999).
    Strength {
        /// 100 · S, from 1 to 800.
        hundredths: u16,
    },
}

impl SpaceFan {
    /// S in hundredths, 0 for [`SpaceFan::Degree`].
    pub fn hundredths(self) -> u16 {
        match self {
            Self::Degree => 0,
            Self::Strength { hundredths } => hundredths,
        }
    }

    /// What has so many hundredths; `None` beyond the bound.
    pub fn of_hundredths(hundredths: u16) -> Option<Self> {
        match hundredths {
            0 => Some(Self::Degree),
            1..=HUNDREDTHS_MAX => Some(Self::Strength { hundredths }),
            _ => None,
        }
    }

    /// As a push takes it.
    pub fn spread(self) -> Fan {
        match self {
            Self::Degree => Fan::Degree,
            Self::Strength { hundredths } => Fan::Strength(f32::from(hundredths) / HUNDREDTHS),
        }
    }
}

impl fmt::Display for SpaceFan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spread() {
            Fan::Degree => f.write_str("degree"),
            // The nearest f32 to so few decimals is shown with no others.
            Fan::Strength(strength) => write!(f, "{strength}"),
        }
    }
}

/// Why a text is no fan. The sentence goes on where the setting was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be degree, or a strength from 0.01 to {STRENGTH_MAX} in steps of 0.01")]
pub struct FanError;

impl FromStr for SpaceFan {
    type Err = FanError;

    /// `degree` in any case, or a number without sign and exponent that has up to two decimals.
    fn from_str(text: &str) -> Result<Self, FanError> {
        if text.eq_ignore_ascii_case("degree") {
            return Ok(Self::Degree);
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
        let is_complete = !whole.is_empty() && matches!(decimals.len(), 1 | 2);
        if !is_complete || !is_number(whole) || !is_number(decimals) {
            return Err(FanError);
        }
        let hundredths: u16 = format!("{whole}{decimals:0<2}").parse().map_err(|_| FanError)?;
        match Self::of_hundredths(hundredths) {
            Some(Self::Degree) | None => Err(FanError),
            Some(strength) => Ok(strength),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::operator::{Operator, Settings};

    #[test]
    fn every_fan_is_read_as_it_is_written_and_can_be_spread_with() {
        for hundredths in 0..=HUNDREDTHS_MAX {
            let fan = SpaceFan::of_hundredths(hundredths).unwrap();
            assert_eq!((fan.hundredths(), fan.to_string().parse()), (hundredths, Ok(fan)));
            let settings = Settings { fan: fan.spread(), depth_max: 1, ..Settings::default() };
            assert_eq!(Operator::new(settings).map(|made| made.settings().fan), Ok(fan.spread()));
        }
        assert_eq!(SpaceFan::of_hundredths(HUNDREDTHS_MAX + 1), None);
        assert_eq!(SpaceFan::default(), SpaceFan::Degree);
    }

    #[test]
    fn numbers_are_exact() {
        let strength = |hundredths| Ok(SpaceFan::Strength { hundredths });
        for (text, fan, shown) in [
            ("DEGREE", Ok(SpaceFan::Degree), "degree"),
            ("0.01", strength(1), "0.01"),
            ("0.29", strength(29), "0.29"),
            ("1.5", strength(150), "1.5"),
            ("2", strength(200), "2"),
            ("02.30", strength(230), "2.3"),
            ("8.00", strength(800), "8"),
        ] {
            assert_eq!(text.parse(), fan, "{text}");
            assert_eq!(text.parse::<SpaceFan>().unwrap().to_string(), shown);
        }
        assert_eq!(SpaceFan::Strength { hundredths: 157 }.spread(), Fan::Strength(1.57));
    }

    #[test]
    fn what_is_no_fan_is_refused() {
        for text in [
            "",
            ".",
            "0",
            "0.00",
            "0.001",
            "8.01",
            "9",
            "1.234",
            "1.500",
            "1.",
            ".5",
            "-1",
            "-0.5",
            "+1",
            "1e0",
            "0x1",
            "NaN",
            "inf",
            " 1",
            "1 ",
            "1,5",
            "1.+5",
            "1.2.3",
            "½",
            "1.½",
            "degrees",
            "65537",
            "655.37",
            "99999999999999999999",
        ] {
            assert_eq!(text.parse::<SpaceFan>(), Err(FanError), "{text}");
        }
        assert_eq!(
            FanError.to_string(),
            "must be degree, or a strength from 0.01 to 8 in steps of 0.01"
        );
    }
}
