//! Which batches are acknowledged, and up to which line there is no gap.

use std::collections::BTreeMap;

use super::source::Position;

/// Batches finish in any order, because several connections share the input. Holds at most one
/// entry for each batch in flight beyond the first gap.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Every batch below this number is acknowledged.
    next: u64,
    acknowledged: Position,
    /// Acknowledged beyond a gap, by batch number.
    beyond: BTreeMap<u64, Position>,
}

impl Ledger {
    pub(super) fn new(start: Position) -> Self {
        Self { next: 0, acknowledged: start, beyond: BTreeMap::new() }
    }

    /// The position up to which every line is acknowledged.
    pub(super) fn acknowledged(&self) -> Position {
        self.acknowledged
    }

    /// Every line of the batch that ends at `end` is acknowledged or was skipped.
    pub(super) fn complete(&mut self, batch: u64, end: Position) {
        self.beyond.insert(batch, end);
        while let Some(end) = self.beyond.remove(&self.next) {
            self.acknowledged = end;
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(lines: u64) -> Position {
        Position { lines, ..Position::default() }
    }

    proptest! {
        #[test]
        fn the_position_never_passes_a_gap(
            order in Just((0..50_u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut ledger = Ledger::new(position(0));
            let mut done = Vec::new();
            for batch in order {
                ledger.complete(batch, position(10 * (batch + 1)));
                done.push(batch);
                let gapless = (0..).take_while(|batch| done.contains(batch)).count() as u64;
                prop_assert_eq!(ledger.acknowledged().lines, 10 * gapless);
            }
            prop_assert!(ledger.beyond.is_empty());
        }
    }
}
