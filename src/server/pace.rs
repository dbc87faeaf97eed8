//! How long a shard's thread does what nobody waits for, before it looks at its sockets again.
//!
//! A consolidation gives memory back. Where memory is short it hurries, at the cost of stores: they
//! would be refused otherwise, all of them.

use engram_shards::limits::DEGRADED_FROM;

/// The longest stretch of computing, but for work that hurries.
pub(super) const STRETCH_NS_MAX: u64 = 400_000;
/// The shortest stretch of work.
const WORK_NS: u64 = 50_000;
/// Of the time that the rest took since, work goes on for one part in so many: usually, from where
/// answers say `degraded` on, and where stores are refused.
const SHARE: u64 = 4;
const SHARE_DEGRADED: u64 = 2;
const SHARE_FULL: u64 = 1;
/// So many times the longest stretch it may go on when it hurries.
const HURRIED_STRETCHES: u64 = 4;

/// How long the work goes on, after the rest took so long, with such a share of the memory in use.
pub(super) fn work_stretch_ns(away_ns: u64, memory_share: f32) -> u64 {
    let (share, max_ns) = match memory_share {
        full if full >= 1.0 => (SHARE_FULL, HURRIED_STRETCHES * STRETCH_NS_MAX),
        high if high >= DEGRADED_FROM => (SHARE_DEGRADED, HURRIED_STRETCHES * STRETCH_NS_MAX),
        _ => (SHARE, STRETCH_NS_MAX),
    };
    (away_ns / share).clamp(WORK_NS, max_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_hurries_as_memory_gets_short_and_keeps_its_bounds() {
        let away_ns = 1_000_000;
        let shares = [0.0, 0.79, DEGRADED_FROM, 0.99, 1.0];
        let stretches = shares.map(|share| work_stretch_ns(away_ns, share));
        assert_eq!(stretches, [250_000, 250_000, 500_000, 500_000, 1_000_000]);
        for share in shares {
            assert_eq!(work_stretch_ns(0, share), WORK_NS);
            assert!(work_stretch_ns(u64::MAX, share) <= HURRIED_STRETCHES * STRETCH_NS_MAX);
        }
        assert_eq!(work_stretch_ns(u64::MAX, 0.5), STRETCH_NS_MAX);
    }
}
