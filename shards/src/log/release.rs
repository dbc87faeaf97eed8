//! Letting the log go: the manifest that says from where on it is needed, and the segments before.
//!
//! A manifest goes into both slots of its file, one after the other: until the first is flushed the
//! second keeps what was true before, and afterwards each is enough. Only then may anything be let
//! go that it does not name. A write that fails latches the log: nobody knows which manifest the
//! next start will find, so neither the old files nor the new ones may be touched.
//!
//! Segments are removed one at a time, beside everything else. One that is being read or
//! overwritten is waited for; none can be begun to be read once it was let go.

use std::collections::VecDeque;
use std::io;

use super::{Log, LogEvent};
use crate::format::{FileId, FileKind, LogPlace, Manifest, SLOTS};
use crate::io::{FileEvent, Io, SlotFile, Transfer};
use crate::limits::SECTOR_BYTES;

/// The manifest that is being written.
#[derive(Debug)]
struct Writing {
    number: u64,
    block: Box<[u8; SECTOR_BYTES]>,
    /// Slots that have it.
    done: usize,
}

/// What is being let go.
#[derive(Debug)]
pub(super) struct Releasing {
    /// From where on the log is needed, as far as it was told.
    start: LogPlace,
    /// The first segment that was not let go.
    first_segment: u64,
    /// Segments to remove; the first of them may be on its way out.
    waiting: VecDeque<u64>,
    is_removing: bool,
    /// Those that could not be removed and are to be tried again.
    staying: Vec<u64>,
    /// Segments that a transfer is under way to, each as often.
    in_use: Vec<u64>,
    manifest: Option<Writing>,
}

impl Releasing {
    pub(super) fn new(start: LogPlace) -> Self {
        Self {
            start,
            first_segment: start.segment.max(1),
            waiting: VecDeque::new(),
            is_removing: false,
            staying: Vec::new(),
            in_use: Vec::new(),
            manifest: None,
        }
    }
}

impl<I: Io> Log<I> {
    /// From where on the log is needed: what the last [`release`](Self::release) said, or the
    /// manifest at the start.
    pub fn start(&self) -> &LogPlace {
        &self.released.start
    }

    /// The first segment that can be read. All before it were let go.
    pub fn first_segment(&self) -> u64 {
        self.released.first_segment
    }

    /// The end of what is durable: with all of it in files that are sealed, a manifest may name
    /// this place.
    pub fn durable_place(&self) -> &LogPlace {
        &self.durable
    }

    /// Starts to write a manifest; the event comes when it is safe. If it fails, or the log has
    /// latched before, the log is latched and the event never comes.
    ///
    /// # Panics
    /// When another one is being written.
    pub fn write_manifest(&mut self, manifest: &Manifest) {
        assert!(self.released.manifest.is_none(), "one manifest at a time");
        if self.latch.is_some() {
            return;
        }
        let block = Box::new(manifest.encode());
        self.released.manifest = Some(Writing { number: manifest.number, block, done: 0 });
        self.write_manifest_slot();
    }

    fn write_manifest_slot(&mut self) {
        let Some(Writing { number, block, done }) = &self.released.manifest else { return };
        let first = usize::from(!number.is_multiple_of(2));
        let slot = (first + done) % SLOTS;
        self.io.write_slot(SlotFile::Manifest, slot, block);
    }

    pub(super) fn take_manifest_slot(&mut self, result: io::Result<()>) {
        let is_written = result.is_ok();
        self.latch_on(result, "manifest");
        let writing = self.released.manifest.as_mut().expect("one manifest at a time");
        writing.done += 1;
        if !is_written {
            self.released.manifest = None;
        } else if writing.done < SLOTS {
            self.write_manifest_slot();
        } else {
            let number = writing.number;
            self.released.manifest = None;
            self.transferred.push_back(LogEvent::ManifestWritten { number });
        }
    }

    /// Lets the segments before a place go, which a manifest that is written names. Each is told
    /// when it is gone; how many there are.
    ///
    /// # Panics
    /// When the place is behind what is durable, or before the last one.
    pub fn release(&mut self, place: &LogPlace) -> u64 {
        let through = place.through_sequence;
        assert!(through <= self.durable.through_sequence, "what is not durable is needed");
        assert!(through >= self.released.start.through_sequence, "what was let go is gone");
        self.released.start = *place;
        let segments = self.released.first_segment..place.segment;
        let count = segments.end.saturating_sub(segments.start);
        self.released.first_segment = segments.end.max(segments.start);
        self.released.waiting.extend(segments);
        self.remove_next();
        count
    }

    /// Whether every segment that was let go is gone.
    pub fn is_settled(&self) -> bool {
        self.released.waiting.is_empty() && self.released.staying.is_empty()
    }

    /// Tries again to remove what could not be.
    pub(super) fn remove_staying(&mut self) {
        if self.latch.is_none() {
            let staying = self.released.staying.drain(..);
            self.released.waiting.extend(staying);
            self.remove_next();
        }
    }

    /// Removes the next segment that was let go and is not in use.
    pub(super) fn remove_next(&mut self) {
        let Releasing { waiting, is_removing, in_use, .. } = &mut self.released;
        let next = waiting.front().filter(|segment| !*is_removing && !in_use.contains(segment));
        if let Some(&segment) = next {
            *is_removing = true;
            self.io.remove_file(FileId::log(segment));
        }
    }

    pub(super) fn take_file(&mut self, event: FileEvent) {
        let event = match event {
            FileEvent::Removed { file, result } if file.kind == FileKind::Log => {
                let removed = self.released.waiting.pop_front();
                self.released.is_removing = false;
                if result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                    self.released.staying.extend(removed);
                }
                self.counters.segments_released += u64::from(result.is_ok());
                self.remove_next();
                LogEvent::Released { segment: file.number, result }
            }
            other => LogEvent::File(other),
        };
        self.transferred.push_back(event);
    }

    /// Notes a transfer; false when its segment was let go.
    pub(super) fn begin_transfer(&mut self, transfer: &Transfer) -> bool {
        let is_there = transfer.segment >= self.released.first_segment;
        if is_there {
            self.released.in_use.push(transfer.segment);
        }
        is_there
    }

    pub(super) fn end_transfer(&mut self, transfer: &Transfer) {
        let in_use = &mut self.released.in_use;
        let nth = in_use.iter().position(|segment| *segment == transfer.segment);
        in_use.swap_remove(nth.expect("it was begun"));
        self.remove_next();
    }
}
