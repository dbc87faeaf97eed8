//! A link between two nodes, and the eight bytes it takes at rest.

use half::f16;
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The smallest and the largest weight: what a half-precision float holds at full precision.
pub const WEIGHT_MIN: f32 = 1.0 / 16_384.0;
pub const WEIGHT_MAX: f32 = 65_504.0;
/// The kind of what is no link, but similar.
pub const KIND_SIMILAR: u16 = u16::MAX - 1;
/// Links that may leave one node.
pub const LINKS_PER_NODE_MAX: u32 = (1 << 24) - 1;

// The sum of the weights of a node is exact: it cannot overflow.
const _: () =
    assert!((LINKS_PER_NODE_MAX as u128) * ((2047_u64 << 29) as u128) <= u64::MAX as u128);

/// Why something is not a link.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum LinkError {
    #[error("the weight of a link must be from 0.0000611 to 65504, but is {0}: scale the weights")]
    Weight(f32),
    #[error("node {node} does not exist: there are {nodes}")]
    Node { node: u32, nodes: u32 },
    #[error("node {node} has {LINKS_PER_NODE_MAX} links, which is the most: remove some first")]
    TooManyOfNode { node: u32 },
    #[error("there are {links} links, and at most {} fit: use more shards", u32::MAX)]
    TooMany { links: usize },
}

/// A weight as it is stored: a positive half-precision float that is neither tiny nor infinite.
///
/// Eleven bits are more than anybody knows about an association. Because the exponents are few, the
/// sum of a node's weights fits into an integer: it is exact, it depends on no order, and a weight
/// that goes takes away what it had brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Weight(u16);

impl Weight {
    pub const ONE: Self = Self(0x3C00);

    /// Rounds to the nearest that can be stored; refuses what is no number or outside the bounds.
    pub fn new(weight: f32) -> Result<Self, LinkError> {
        match (WEIGHT_MIN..=WEIGHT_MAX).contains(&weight) {
            true => Ok(Self(f16::from_f32(weight).to_bits())),
            false => Err(LinkError::Weight(weight)),
        }
    }

    /// The nearest that can be stored; the smallest for what is no number.
    pub fn clamped(weight: f32) -> Self {
        let weight = if weight > 0.0 { weight } else { WEIGHT_MIN };
        Self::new(weight.clamp(WEIGHT_MIN, WEIGHT_MAX)).expect("it is in the bounds")
    }

    /// The value. It is finite and positive whatever the bits are, also of a damaged file.
    #[inline]
    pub fn get(self) -> f32 {
        // The exponent's bias is 112 less than that of a single-precision float.
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        f32::from_bits(u32::from(self.0) << 13) * REBIAS
    }

    /// The value in units of 2⁻²⁴, which every weight is a multiple of.
    pub fn units(self) -> u64 {
        let (exponent, fraction) = (u64::from(self.0 >> 10), u64::from(self.0 & 0x3FF));
        (1024 + fraction) << (exponent.clamp(1, 30) - 1)
    }

    /// Whether [`Weight::new`] could have made it.
    pub fn is_valid(self) -> bool {
        (0x0400..0x7C00).contains(&self.0)
    }
}

/// A link as it is stored behind its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Edge {
    pub target: u32,
    pub weight: Weight,
    /// What kind of association; its meaning is nobody's business here.
    pub kind: u16,
}

impl Edge {
    /// What tells the links of a node apart and orders them: the target, then the kind.
    #[inline]
    pub fn key(self) -> u64 {
        key(self.target, self.kind)
    }
}

#[inline]
pub(super) fn key(target: u32, kind: u16) -> u64 {
    u64::from(target) << 16 | u64::from(kind)
}

/// A directed link with a kind. There is one for each source, target and kind; a node may link to
/// itself, and mass that goes along such a link comes back like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub source: u32,
    pub edge: Edge,
}

impl Link {
    pub fn new(source: u32, target: u32, kind: u16, weight: f32) -> Result<Self, LinkError> {
        Ok(Self { source, edge: Edge { target, weight: Weight::new(weight)?, kind } })
    }
}

/// What a push needs to know about the links of a node together.
#[derive(Debug, Clone, Copy, PartialEq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Scale {
    /// How many there are.
    pub fan: u32,
    /// One over the sum of their weights; 0 when there are none.
    pub inverse_sum: f32,
    /// The natural logarithm of the fan; 0 when there are none.
    pub ln_fan: f32,
}

impl Scale {
    pub(crate) fn of(fan: u32, units: u64) -> Self {
        if fan == 0 {
            return Self::default();
        }
        // Both roundings are those of IEEE 754, so every machine gets the same bits.
        let inverse_sum = ((1 << 24) as f64 / units as f64) as f32;
        Self { fan, inverse_sum, ln_fan: f64::from(fan).ln() as f32 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_weight_is_refused_with_its_value() {
        for weight in [f32::NAN, f32::INFINITY, -1.0, 0.0, -0.0, WEIGHT_MIN / 2.0, 65_505.0] {
            let refused = Weight::new(weight).unwrap_err();
            assert!(refused.to_string().contains(&weight.to_string()), "{refused}");
        }
        for weight in [WEIGHT_MIN, 0.5, 1.0, WEIGHT_MAX] {
            assert_eq!(Weight::new(weight).unwrap().get(), weight);
        }
        assert_eq!(Weight::ONE.get(), 1.0);
    }

    #[test]
    fn what_is_outside_the_bounds_is_clamped_to_them() {
        for weight in [f32::NAN, f32::NEG_INFINITY, -1.0, 0.0, -0.0, 1e-30] {
            assert_eq!(Weight::clamped(weight).get(), WEIGHT_MIN, "{weight}");
        }
        for weight in [1e30, f32::INFINITY] {
            assert_eq!(Weight::clamped(weight).get(), WEIGHT_MAX, "{weight}");
        }
        assert_eq!(Weight::clamped(0.3), Weight::new(0.3).unwrap());
    }

    #[test]
    fn any_bits_of_a_weight_are_a_positive_number() {
        for bits in 0..=u16::MAX {
            let weight = Weight(bits);
            assert!(weight.get().is_finite() && weight.get() >= 0.0 && weight.units() > 0);
            if weight.is_valid() {
                assert_eq!(weight.get(), f16::from_bits(bits).to_f32());
                assert_eq!(weight.units() as f64, f64::from(weight.get()) * f64::from(1 << 24));
            }
        }
    }

    proptest! {
        #[test]
        fn a_weight_keeps_eleven_bits(weight in WEIGHT_MIN..WEIGHT_MAX) {
            let stored = Weight::new(weight).unwrap();
            prop_assert!(stored.is_valid());
            prop_assert!((stored.get() - weight).abs() <= weight / 2048.0);
        }
    }
}
