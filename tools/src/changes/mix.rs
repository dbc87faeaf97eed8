//! How often each kind of change is sent.

use std::str::FromStr;

/// A kind of change, as it is named in `--mix`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A new id.
    Store,
    /// An id that was used before, forgotten since or not.
    Replace,
    Forget,
    /// A store that was sent before, with the same idempotency key.
    Repeat,
    /// A memory space is created or dropped.
    Space,
}

impl Kind {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Store, "store"),
        (Self::Replace, "replace"),
        (Self::Forget, "forget"),
        (Self::Repeat, "repeat"),
        (Self::Space, "space"),
    ];
}

/// Weights of the kinds, in the order of [`Kind::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mix([u32; Kind::ALL.len()]);

impl Mix {
    pub(super) const DEFAULT: &'static str = "store=40,replace=20,forget=20,repeat=19,space=1";

    /// A kind, drawn by weight.
    pub(super) fn draw(&self, rng: &mut fastrand::Rng) -> Kind {
        let sum: u32 = self.0.iter().sum();
        let mut at = rng.u32(..sum);
        for ((kind, _), weight) in Kind::ALL.into_iter().zip(self.0) {
            if at < weight {
                return kind;
            }
            at -= weight;
        }
        unreachable!("what is drawn is less than the sum of the weights")
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = [0; Kind::ALL.len()];
        for part in text.split(',') {
            let named = part.split_once('=').and_then(|(name, weight)| {
                let nth = Kind::ALL.iter().position(|(_, known)| *known == name)?;
                Some((nth, weight.parse::<u16>().ok()?))
            });
            let (nth, weight) = named.ok_or_else(|| {
                format!(
                    "'{part}' is no share; give some of store, replace, forget, repeat and space \
                     with a weight of 0 to {}, e.g. {}",
                    u16::MAX,
                    Self::DEFAULT
                )
            })?;
            weights[nth] = weight.into();
        }
        if weights[0] == 0 {
            return Err("the weight of store is 0: then there is nothing to change; give it at \
                        least 1"
                .to_owned());
        }
        Ok(Self(weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_drawn_by_weight() {
        let mix: Mix = "forget=1,store=3".parse().unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let drawn: Vec<Kind> = (0..4000).map(|_| mix.draw(&mut rng)).collect();
        let stores = drawn.iter().filter(|kind| **kind == Kind::Store).count();
        assert!((2800..3200).contains(&stores), "{stores}");
        assert!(drawn.iter().all(|kind| matches!(kind, Kind::Store | Kind::Forget)));
    }

    #[test]
    fn a_bad_mix_says_what_is_wrong() {
        let error = |text: &str| text.parse::<Mix>().unwrap_err();
        assert!(error("store=1,delete=1").contains("'delete=1'"));
        assert!(error("store").contains("'store'"));
        assert!(error("store=1.5").contains("0 to 65535"));
        assert!(error("forget=1").contains("at least 1"));
        assert!(Mix::DEFAULT.parse::<Mix>().is_ok());
    }
}
