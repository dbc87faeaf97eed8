//! When the next request of a connection is due.
//!
//! **Closed loop**: a request is due as soon as fewer than `window` wait for their reply. Such a
//! client slows down with the server, so that a stall of one second shows as one slow request per
//! window instead of as the thousands that would have been sent meanwhile.
//!
//! **Open loop**: request `i` is due at `start + i / rate`, whatever the server does, and its
//! latency counts from that time, not from when it was sent. A stall therefore shows in full, as
//! clients that do not wait for each other would feel it (Tene's correction of coordinated
//! omission, by construction instead of by arithmetic).
//!
//! Waking a thread for every request can cost more than the request. With bursts of `burst_ns` the
//! schedule itself is made coarser: due times are rounded up to multiples of it, so that requests
//! come together, and are meant to. Latency still counts from the due time.
//!
//! Time comes in as nanoseconds since the run's start: no clock is read here.

/// Requests that may wait for their reply in an open loop. Beyond it requests wait unsent, which
/// their latency includes.
const OPEN_OUTSTANDING_MAX: usize = 16_384;

#[derive(Debug, Clone)]
pub(super) enum Pace {
    Closed {
        window: usize,
    },
    Open {
        /// Between two requests of this connection.
        interval_ns: f64,
        /// When the first is due.
        first_ns: f64,
        /// Due times are multiples of this; 0 leaves them as they are.
        burst_ns: u64,
        /// Requests taken.
        taken: u64,
    },
}

impl Pace {
    pub(super) fn closed(window: usize) -> Self {
        Self::Closed { window }
    }

    /// The share of connection `index` in `rate` requests per second over all connections, shifted
    /// so that the connections take turns.
    pub(super) fn open(rate: f64, burst_ns: u64, connections: usize, index: usize) -> Self {
        let interval_ns = 1e9 * connections as f64 / rate;
        let first_ns = interval_ns * index as f64 / connections as f64;
        Self::Open { interval_ns, first_ns, burst_ns, taken: 0 }
    }

    /// Takes the next request if it is due, and due before `stop_ns`, and returns when it was meant
    /// to be sent.
    pub(super) fn take(&mut self, now_ns: u64, stop_ns: u64, outstanding: usize) -> Option<u64> {
        match self {
            Self::Closed { window } => {
                (now_ns < stop_ns && outstanding < *window).then_some(now_ns)
            }
            Self::Open { .. } => {
                let due_ns = self.next_due_ns(outstanding)?;
                (due_ns <= now_ns && due_ns < stop_ns).then(|| self.count(due_ns))
            }
        }
    }

    fn count(&mut self, due_ns: u64) -> u64 {
        if let Self::Open { taken, .. } = self {
            *taken += 1;
        }
        due_ns
    }

    /// Requests that were due before `stop_ns` and not taken: the server was too slow for the rate.
    pub(super) fn missed(mut self, stop_ns: u64) -> u64 {
        if matches!(self, Self::Closed { .. }) {
            return 0;
        }
        std::iter::from_fn(|| self.take(u64::MAX, stop_ns, 0)).count() as u64
    }

    /// When to look again although nothing arrived; `None`: only a reply makes a request due.
    pub(super) fn next_due_ns(&self, outstanding: usize) -> Option<u64> {
        match self {
            Self::Open { interval_ns, first_ns, burst_ns, taken }
                if outstanding < OPEN_OUTSTANDING_MAX =>
            {
                let due_ns = (first_ns + interval_ns * *taken as f64) as u64;
                Some(if *burst_ns > 0 { due_ns.next_multiple_of(*burst_ns) } else { due_ns })
            }
            Self::Open { .. } | Self::Closed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP_NS: u64 = u64::MAX;

    /// Every request taken at `now_ns`, by the time it was meant for.
    fn take_all(pace: &mut Pace, now_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| pace.take(now_ns, STOP_NS, 0)).collect()
    }

    #[test]
    fn an_open_loop_keeps_its_schedule_through_a_stall() {
        let mut pace = Pace::open(1000.0, 0, 1, 0);
        assert_eq!(take_all(&mut pace, 0), [0]);
        assert_eq!(pace.next_due_ns(0), Some(1_000_000));
        assert_eq!(take_all(&mut pace, 999_999), [0; 0]);
        assert_eq!(take_all(&mut pace, 1_000_000), [1_000_000]);
        let behind_a_stall = take_all(&mut pace, 5_500_000);
        assert_eq!(behind_a_stall, [2_000_000, 3_000_000, 4_000_000, 5_000_000]);
        assert_eq!(pace.clone().missed(9_000_000), 3, "those due at 6, 7 and 8 ms");
        assert_eq!(pace.take(9_000_000, 6_000_000, 0), None, "due when the run was over");
    }

    #[test]
    fn connections_share_the_rate_and_take_turns() {
        let mut due: Vec<u64> = (0..4)
            .flat_map(|index| take_all(&mut Pace::open(4000.0, 0, 4, index), 1_999_999))
            .collect();
        due.sort_unstable();
        assert_eq!(due, (0..8).map(|i| i * 250_000).collect::<Vec<u64>>());
    }

    #[test]
    fn bursts_are_meant_to_come_together() {
        let mut pace = Pace::open(4000.0, 1_000_000, 1, 0);
        assert_eq!(take_all(&mut pace, 999_999), [0]);
        assert_eq!(take_all(&mut pace, 1_000_000), [1_000_000; 4]);
        assert_eq!(pace.next_due_ns(0), Some(2_000_000));
    }

    #[test]
    fn the_schedule_does_not_drift() {
        let mut pace = Pace::open(30_000.0, 0, 8, 3);
        let last = take_all(&mut pace, 100_000_000_000).last().copied().unwrap();
        let expected = 3.0 / 30_000.0 + 374_999.0 * 8.0 / 30_000.0;
        assert!((last as f64 / 1e9 - expected).abs() < 1e-6, "{last} {expected}");
    }

    #[test]
    fn an_open_loop_bounds_what_waits() {
        let mut pace = Pace::open(1e9, 0, 1, 0);
        assert_eq!(pace.take(1_000_000, STOP_NS, OPEN_OUTSTANDING_MAX), None);
        assert_eq!(pace.next_due_ns(OPEN_OUTSTANDING_MAX), None);
    }

    #[test]
    fn a_closed_loop_fills_its_window() {
        let mut pace = Pace::closed(2);
        assert_eq!(pace.take(5, 10, 1), Some(5));
        assert_eq!(pace.take(6, 10, 2), None);
        assert_eq!(pace.take(10, 10, 0), None, "the run is over");
        assert_eq!(pace.next_due_ns(2), None);
    }
}
