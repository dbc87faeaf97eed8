//! Who takes the frames of a damaged log that is replayed, and knows what they should be.

use std::collections::BTreeSet;

use engram_shards::episode::SpaceNumber;
use engram_shards::format::{
    ErasePayload, Frame, FrameHead, Gap, GapReason, Operation, SpacePayload, StorePayload,
};
use engram_shards::log::Replay;

use super::history::{History, Written};

/// What is written after a recovery.
pub(super) const AFTER: FrameHead = FrameHead {
    operation: Operation::Forget as u16,
    recorded_at_us: 7,
    happened_at_us: 7,
    writer_uid: 7,
};

/// Compares each frame with the history. Like a shard, it cannot take a store into a space whose
/// creation did not come.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    history: &'a History,
    /// The frame that was written after an earlier recovery.
    after: Option<u64>,
    spaces: BTreeSet<SpaceNumber>,
    erased: BTreeSet<u64>,
    last: u64,
    /// The sequences that came as they were written.
    pub(super) seen: BTreeSet<u64>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(history: &'a History, after: Option<u64>) -> Self {
        let (spaces, erased, seen) = Default::default();
        Self { history, after, spaces, erased, last: 0, seen }
    }

    fn take_gap(&mut self, frame: &Frame<'_>) {
        let gap = Gap::decode(frame).expect("it verified");
        assert!(gap.through >= frame.sequence, "{gap:?}");
        if gap.reason == GapReason::Erased {
            assert!(self.history.is_erased(frame.sequence), "{} was not erased", frame.sequence);
        }
        self.last = gap.through;
    }

    /// The frame as it was written.
    fn written(&self, sequence: u64) -> &'a Written {
        let nth = usize::try_from(sequence - 1).expect("of a small log");
        self.history.frames.get(nth).expect("no more than was written")
    }
}

impl Replay for Judge<'_> {
    fn apply(&mut self, frame: Frame<'_>) -> Result<(), String> {
        assert_eq!(frame.sequence, self.last + 1, "neither a frame nor a gap");
        self.last = frame.sequence;
        let operation = Operation::from_u16(frame.head.operation).expect("none of ours");
        if operation == Operation::Gap {
            self.take_gap(&frame);
            return Ok(());
        }
        if Some(frame.sequence) == self.after {
            assert_eq!(frame.head, AFTER);
            self.seen.insert(frame.sequence);
            return Ok(());
        }
        let written = self.written(frame.sequence);
        assert_eq!(frame.head, written.head, "sequence {}", frame.sequence);
        assert!(frame.payload == written.payload, "sequence {} has changed", frame.sequence);
        let space = |payload| SpacePayload::decode(payload).expect("as it was written").space;
        match operation {
            Operation::SpaceCreate => drop(self.spaces.insert(space(frame.payload))),
            Operation::SpaceDrop => drop(self.spaces.remove(&space(frame.payload))),
            Operation::Store => {
                let store = StorePayload::decode(frame.payload).expect("as it was written");
                if !self.spaces.contains(&store.space) {
                    return Err("its memory space does not exist".into());
                }
            }
            Operation::Erase => {
                let erase = ErasePayload::decode(frame.payload).expect("as it was written");
                self.erased.extend(erase.sequences);
            }
            Operation::Forget
            | Operation::Link
            | Operation::Unlink
            | Operation::Supersede
            | Operation::Reinforce
            | Operation::Recalled
            | Operation::Lapse
            | Operation::Gap => {}
        }
        self.seen.insert(frame.sequence);
        Ok(())
    }

    fn is_erased(&self, sequence: u64) -> bool {
        self.erased.contains(&sequence)
    }
}
