//! Which episodes have faded so far that their memory space forgets them.
//!
//! A space may say below which retention it forgets. Nothing is kept for that: a *pass* looks at
//! all rows from time to time, a few at once. An episode that was presented once is retained by
//! when it happened, and presentations only add to that. So a block of rows whose oldest has not
//! had the time to fade is passed over by its zone, and the others are looked at one by one.
//!
//! What a pass found is judged again by the frame that is to end it, when that is applied: what was
//! strengthened or pinned meanwhile stays. A replay judges by the same time and comes to the same.

use super::part::Part;
use super::{Changed, Space};
use crate::arena::Arena;
use crate::episode::FadingPolicy;
use crate::limits::BLOCK_ROWS;
use crate::strength::{Decay, first_retention};

/// Blocks that one step passes over at most, and rows that it looks at.
const STEP_BLOCKS: usize = 512;
const STEP_ROWS: usize = 256;

/// How far a pass has come.
#[derive(Debug, Clone, Copy)]
pub struct FadingPass {
    /// How often parts had been replaced: rows are not where they were after that.
    publications: u64,
    part: usize,
    block: usize,
    /// What happened later than so many µs ago has not faded.
    fades_us: i64,
}

/// Whether a policy holds for a row at a time.
pub(super) fn has_faded(
    changed: Changed<'_>,
    policy: FadingPolicy,
    part: Part<'_>,
    row: u32,
    now_us: i64,
) -> bool {
    let kept_us = i64::from(policy.after_s) * 1_000_000;
    now_us.saturating_sub(part.record(row).recorded_at_us) >= kept_us
        && changed.retention(part.origin(row), now_us) < policy.below()
}

/// After how many µs one presentation has fallen below a retention; `i64::MAX` if it never does.
pub(super) fn fades_us(decay: Decay, below: f32) -> i64 {
    let (mut least, mut most) = (0, i64::MAX);
    if first_retention(decay, 0, most) >= below {
        return i64::MAX;
    }
    while most - least > 1 {
        let middle = least + (most - least) / 2;
        match first_retention(decay, 0, middle) < below {
            true => most = middle,
            false => least = middle,
        }
    }
    most
}

impl Space {
    /// Begins a pass; `None` where the space forgets nothing by itself.
    pub fn begin_fading(&self) -> Option<FadingPass> {
        let policy = self.settings.lifetime.forget?;
        let fades_us = fades_us(self.settings.decay, policy.below());
        Some(FadingPass { publications: self.publications(), part: 0, block: 0, fades_us })
    }

    /// Looks at some more rows, and lists those that have faded by the sequences that they were
    /// stored with; whether all were seen. Where parts were replaced, the pass begins anew.
    pub fn find_faded(
        &self,
        arena: &Arena,
        pass: &mut FadingPass,
        now_us: i64,
        mut found: impl FnMut(u64),
    ) -> bool {
        if pass.publications != self.publications() {
            (pass.publications, pass.part, pass.block) = (self.publications(), 0, 0);
        }
        let since_us = now_us.saturating_sub(pass.fades_us);
        let mut rows_left = STEP_ROWS;
        for _ in 0..STEP_BLOCKS {
            let Some(part) = self.parts(arena).nth(pass.part) else { return true };
            if pass.block >= part.blocks() {
                (pass.part, pass.block) = (pass.part + 1, 0);
                continue;
            }
            if part.block(pass.block).zone.happened_min_us <= since_us {
                let Some(left) = rows_left.checked_sub(BLOCK_ROWS) else { return false };
                rows_left = left;
                let first = u32::try_from(pass.block * BLOCK_ROWS).expect("rows are u32");
                let rows = (first..part.rows()).take(BLOCK_ROWS);
                rows.filter(|row| self.has_faded_row(part, *row, now_us))
                    .for_each(|row| found(part.record(row).sequence));
            }
            pass.block += 1;
        }
        false
    }

    /// Whether the episode that was stored with a sequence is one to be forgotten at a time.
    pub fn has_faded(&self, arena: &Arena, stored: u64, now_us: i64) -> bool {
        let mut parts = self.parts(arena);
        let found = parts.find_map(|part| Some((part, part.find_sequence(stored)?)));
        found.is_some_and(|(part, row)| self.has_faded_row(part, row, now_us))
    }

    fn has_faded_row(&self, part: Part<'_>, row: u32, now_us: i64) -> bool {
        let policy = self.settings.lifetime.forget.filter(|_| part.deaths().is_alive(row));
        policy.is_some_and(|policy| has_faded(self.changed(), policy, part, row, now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_presentation_fades_when_its_retention_says() {
        let models = [Decay::Power, Decay::TwoComponent, Decay::Exponential { half_life_s: 60 }];
        for (decay, below) in models.into_iter().flat_map(|own| [(own, 0.3), (own, 0.6)]) {
            let at_us = fades_us(decay, below);
            let at = first_retention(decay, 0, at_us);
            assert!(at_us > 1_000_000 && at < below, "{decay}: {at} after {at_us} µs, {below}");
            assert!(first_retention(decay, 0, at_us - 1) >= below, "{decay}");
        }
        // Half of what is retained at first, 0.9502, is 3 half-lives and 0.3 less.
        let half_life = Decay::Exponential { half_life_s: 10 };
        let expected_s = 10.0 * (3.0 / 2_f64.ln()).log2();
        let got_s = fades_us(half_life, 0.5) as f64 / 1e6;
        assert!((got_s - expected_s).abs() < 1e-3, "{got_s} s");
        assert_eq!(fades_us(Decay::None, 0.9999), i64::MAX);
    }
}
