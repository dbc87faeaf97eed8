//! Cues of recalls, kept as a sample of what is asked for.
//!
//! Questions need not look like the episodes that answer them; what a graph takes to answer them is
//! therefore measured with some that were asked.

/// Cues that are kept.
pub const ASKED_MAX: usize = 64;
/// Of the recalls that come when so many are kept, one in so many takes the place of an older.
const STRIDE: u64 = 16;

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Asked {
    cues: Vec<Vec<f32>>,
    seen: u64,
}

impl Asked {
    pub fn note(&mut self, cue: &[f32]) {
        if self.cues.len() < ASKED_MAX {
            self.cues.push(cue.to_vec());
        } else if self.seen.is_multiple_of(STRIDE) {
            let nth = self.seen / STRIDE % ASKED_MAX as u64;
            self.cues[nth as usize].copy_from_slice(cue);
        }
        self.seen += 1;
    }

    /// The cues, once there are enough of them to measure anything.
    pub fn enough(&self) -> Option<&[Vec<f32>]> {
        (self.cues.len() == ASKED_MAX).then_some(&self.cues)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_so_many_and_goes_with_the_time() {
        let mut asked = Asked::default();
        for nth in 0..ASKED_MAX {
            assert_eq!(asked.enough(), None);
            asked.note(&[nth as f32]);
        }
        assert_eq!(asked.enough().unwrap().len(), ASKED_MAX);
        (0..ASKED_MAX as u64 * STRIDE).for_each(|_| asked.note(&[-1.0]));
        assert!(asked.enough().unwrap().iter().all(|cue| *cue == [-1.0]));
    }
}
