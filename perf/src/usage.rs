//! What a piece of work costs the thread that does it.
#![allow(unsafe_code)]

use std::time::Instant;

use serde::Serialize;

/// Seconds and page faults of one thread, or of several beside each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Of the slowest thread; everything else is summed.
    pub wall_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    /// Ready to go on, and every processor was taken by somebody else.
    pub queued_s: f64,
    /// Asleep until something came, which is the disk where there is nothing else to wait for.
    pub waiting_s: f64,
    /// Pages that were touched for the first time.
    pub page_faults: f64,
}

impl Usage {
    /// Does the work and says what it cost this thread.
    pub fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (start, before) = (Instant::now(), Thread::now());
        let result = work();
        let (wall_s, after) = (start.elapsed().as_secs_f64(), Thread::now());
        let (user_s, system_s) = (after.user_s - before.user_s, after.system_s - before.system_s);
        let queued_s = after.queued_s - before.queued_s;
        let waiting_s = (wall_s - user_s - system_s - queued_s).max(0.0);
        let page_faults = after.page_faults - before.page_faults;
        (result, Self { wall_s, user_s, system_s, queued_s, waiting_s, page_faults })
    }

    /// With what the same thread does afterwards.
    pub fn then(self, other: Self) -> Self {
        Self { wall_s: self.wall_s + other.wall_s, ..self.beside(other) }
    }

    /// With that of a thread beside this one.
    pub fn beside(self, other: Self) -> Self {
        Self {
            wall_s: self.wall_s.max(other.wall_s),
            user_s: self.user_s + other.user_s,
            system_s: self.system_s + other.system_s,
            queued_s: self.queued_s + other.queued_s,
            waiting_s: self.waiting_s + other.waiting_s,
            page_faults: self.page_faults + other.page_faults,
        }
    }
}

/// The kernel's account of the calling thread.
struct Thread {
    user_s: f64,
    system_s: f64,
    queued_s: f64,
    page_faults: f64,
}

impl Thread {
    fn now() -> Self {
        // SAFETY: an all-zero rusage is a valid one, and the kernel fills it.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            let result = libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
            assert_eq!(result, 0, "RUSAGE_THREAD is known since Linux 2.6.26");
            usage
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Self {
            user_s: seconds(usage.ru_utime),
            system_s: seconds(usage.ru_stime),
            queued_s: queued_ns().unwrap_or(0) as f64 / 1e9,
            page_faults: usage.ru_minflt as f64,
        }
    }
}

/// What the calling thread has waited for a processor, if the kernel counts it.
fn queued_ns() -> Option<u64> {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    schedstat.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_pages_and_waiting_are_counted() {
        let pages = 1000;
        let work = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::hint::black_box(vec![1_u8; pages * 4096]).len()
        };
        let (bytes, usage) = Usage::of(work);
        assert_eq!(bytes, pages * 4096);
        assert!(usage.page_faults >= 1.0 && usage.waiting_s > 0.0, "{usage:?}");
        assert!(usage.wall_s >= usage.waiting_s, "{usage:?}");
    }

    #[test]
    fn threads_beside_each_other_take_as_long_as_the_slowest() {
        let one = Usage { wall_s: 2.0, user_s: 1.0, ..Usage::default() };
        let other = Usage { wall_s: 3.0, user_s: 2.0, ..Usage::default() };
        let both = one.beside(other);
        assert_eq!((both.wall_s, both.user_s), (3.0, 3.0));
        assert_eq!(one.then(other).wall_s, 5.0);
    }
}
