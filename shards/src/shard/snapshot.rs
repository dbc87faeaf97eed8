//! The shard as what is copied while it goes on: what a snapshot holds, and what waits for it.
//!
//! A snapshot is *cut* first and copied later, so that the cuts of all shards can be taken at
//! nearly the same moment. The cut notes the end of what is durable and which files the last
//! manifest names. Together they are a shard's folder that a start takes for one whose daemon
//! stopped there: the files as they are, the log from the manifest's place up to the cut, and
//! an anchor and a manifest that say just that.
//!
//! Writes go on: they go behind the cut. What would change a file that the cut names waits until
//! the copy is made: the manifest of a consolidation, behind which files and segments are let go,
//! and passes of the eraser, which write over the log. Both wait with everything else done.

use std::path::PathBuf;

use super::{Effect, Reply, Shard, Ticket};
use crate::consolidation::Published;
use crate::episode::Refusal;
use crate::format::{Anchor, LogPlace, Manifest};
use crate::io::{Copied, FolderCopy, Io, SLOT_FILE_BYTES, SegmentCopy, SlotFile};
use crate::limits::SECTOR_BYTES;

/// The hint that goes with a refusal while another snapshot is taken.
const RETRY_MS: u32 = 1_000;

/// How far a snapshot is.
#[derive(Debug)]
pub(super) enum Snapshot {
    /// Everything up to a sequence is to be in it.
    Wanted {
        ticket: Ticket,
        through: u64,
    },
    /// What is to be copied.
    Cut(Box<Cut>),
    Copying {
        ticket: Ticket,
    },
}

#[derive(Debug)]
pub(super) struct Cut {
    first_segment: u64,
    end: LogPlace,
    manifest: Option<Manifest>,
}

/// A file that has a block in every slot.
fn slots(block: &[u8; SECTOR_BYTES]) -> Box<[u8; SLOT_FILE_BYTES]> {
    let mut content = Box::new([0; SLOT_FILE_BYTES]);
    content.chunks_mut(SECTOR_BYTES).for_each(|slot| slot.copy_from_slice(block));
    content
}

impl<I: Io> Shard<I> {
    /// Asks for a cut with everything in it that is answered by now. The effect says up to which
    /// sequence it is; from then on it is held until it is [copied](Self::copy_snapshot) or
    /// [dropped](Self::drop_snapshot).
    pub fn cut_snapshot(&mut self, ticket: Ticket) -> Result<(), Refusal> {
        if let Some(reason) = self.log.latch() {
            return Err(Refusal::ReadOnly(reason.into()));
        }
        if self.snapshot.is_some() {
            return Err(Refusal::Busy {
                what: "the place for a snapshot",
                retry_after_ms: RETRY_MS,
            });
        }
        // A write that asked for no flush is answered when it is applied.
        self.snapshot = Some(Snapshot::Wanted { ticket, through: self.memory.applied });
        Ok(())
    }

    /// Copies what was cut into a folder, which must not exist though its parent does. The effect
    /// comes when it is complete and flushed, but for its own name.
    ///
    /// # Panics
    /// When there is no cut.
    pub fn copy_snapshot(&mut self, ticket: Ticket, into: PathBuf) {
        let Some(Snapshot::Cut(cut)) = self.snapshot.replace(Snapshot::Copying { ticket }) else {
            panic!("what is copied was cut");
        };
        let copy = self.folder_copy(*cut, into);
        self.log.io_mut().copy_folder(copy);
    }

    /// Lets go of a cut that will not be copied.
    pub fn drop_snapshot(&mut self) {
        if matches!(self.snapshot, Some(Snapshot::Cut(_))) {
            self.snapshot = None;
        }
    }

    /// Takes the cut that is asked for, once that can be.
    pub(super) fn advance_snapshot(&mut self, effects: &mut Vec<Effect>) {
        let Some(Snapshot::Wanted { ticket, through }) = self.snapshot else { return };
        let result = if let Some(reason) = self.log.latch() {
            self.snapshot = None;
            Err(Refusal::ReadOnly(reason.into()))
        } else {
            let is_still = !self.eraser.is_passing() && !self.consolidator.is_switching();
            if self.log.durable() < through || !is_still {
                return;
            }
            let end = *self.log.durable_place();
            let first_segment = self.log.first_segment();
            let manifest = self.consolidator.published().map(|published| self.manifest(published));
            self.snapshot = Some(Snapshot::Cut(Box::new(Cut { first_segment, end, manifest })));
            Ok(Reply::SnapshotCut { through_sequence: end.through_sequence })
        };
        effects.push(Effect::Answer { ticket, result });
    }

    /// What the last manifest says.
    fn manifest(&self, published: Published) -> Manifest {
        let Published { number, next_file, state, columns } = published;
        Manifest {
            store_id: *self.log.store_id(),
            shard: self.log.shard(),
            number,
            place: *self.log.start(),
            next_file,
            state,
            columns,
            written_at_us: self.log.io().wall_us(),
        }
    }

    fn folder_copy(&self, cut: Cut, into: PathBuf) -> FolderCopy {
        let Cut { first_segment, end, manifest } = cut;
        let segment_bytes = self.log.segment_bytes();
        let anchor = Anchor {
            store_id: *self.log.store_id(),
            shard: self.log.shard(),
            number: 1,
            durable_sequence: end.through_sequence,
            segment: end.segment,
            offset: end.offset,
            written_at_us: self.log.io().wall_us(),
        };
        let anchors = (SlotFile::Anchors, slots(&anchor.encode()));
        let segments = (first_segment..=end.segment).map(|segment| SegmentCopy {
            segment,
            bytes: if segment == end.segment { end.offset } else { segment_bytes },
        });
        FolderCopy {
            into,
            sealed: manifest.iter().flat_map(Manifest::files).collect(),
            segments: segments.collect(),
            segment_bytes,
            slots: std::iter::once(anchors)
                .chain(manifest.iter().map(|own| (SlotFile::Manifest, slots(&own.encode()))))
                .collect(),
        }
    }

    pub(super) fn take_copied(
        &mut self,
        result: std::io::Result<Copied>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(Snapshot::Copying { ticket }) = self.snapshot.take() else {
            unreachable!("a copy ends once")
        };
        let result = result.map(Reply::SnapshotCopied);
        let result = result.map_err(|error| Refusal::Snapshot(error.to_string()));
        effects.push(Effect::Answer { ticket, result });
    }
}
