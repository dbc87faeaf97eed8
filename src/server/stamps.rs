//! Times of episodes that are stored without one.

use std::cell::Cell;

/// A clock that is further back than this was set, and is believed.
const BACK_US_MAX: i64 = 1_000_000;

/// Gives each a time of its own, in the order in which the commands are read: the shards that write
/// the episodes down get to them in any order.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    last_us: Cell<i64>,
}

impl Stamps {
    /// µs since 1970-01-01 UTC: `now_us`, or right behind the last where that was not before.
    pub(super) fn next(&self, now_us: i64) -> i64 {
        let last_us = self.last_us.get();
        let is_behind = (0..=BACK_US_MAX).contains(&last_us.saturating_sub(now_us));
        let next_us = if is_behind { last_us + 1 } else { now_us };
        self.last_us.set(next_us);
        next_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_time_of_its_own_and_a_clock_may_be_set_back() {
        let stamps = Stamps::default();
        let given =
            [5_000_000, 5_000_000, 5_000_000, 5_000_001, 5_000_004, 4_999_000, 3_999_999, 0]
                .map(|now| stamps.next(now));
        let own = [5_000_000, 5_000_001, 5_000_002, 5_000_003, 5_000_004, 5_000_005, 3_999_999, 0];
        assert_eq!(given, own);
        assert_eq!([-7, -7, i64::MIN, 9].map(|now| stamps.next(now)), [1, 2, i64::MIN, 9]);
    }
}
