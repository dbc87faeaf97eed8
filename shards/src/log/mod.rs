//! The write-ahead log of one shard: group commit with several batches in flight.
//!
//! The log does not know what it logs. It takes payloads, gives them sequences, and says when they
//! may be applied and when they are durable, always in the order of their sequences.
//!
//! A batch goes through the stages of [`Stage`]. Batching is natural: the open batch is sealed when
//! the ring has room for another write, so it stays small while the disk is idle and grows while it
//! is busy; no timer is involved unless `linger_us` asks for one. Writes in flight may end in any
//! order, but batch *n* + 1 is never called durable before batch *n*. A write or flush that fails
//! latches the log: everything unacknowledged fails, nothing more is taken, and nothing is tried
//! again, because after a failed flush the kernel may call pages clean that never reached the disk.
//!
//! A batch says what was durable before it, so that a later start can tell damage from a torn tail.
//! Behind the last batch the *anchor* says it: a sector in a file of its own, written a few times a
//! second while there is something new, and last of all when the log is closed.
//!
//! What was consolidated is let go, segment by segment, when a manifest says so.
//!
//! When no further segment can be made, the rest of the present one is a reserve: it takes what
//! makes room or sense of a full disk (forgets, drops, erases) and no stores.

mod basis;
mod mend;
mod progress;
mod read_ahead;
mod recovery;
mod release;
mod repair;
#[cfg(test)]
mod tests;
mod verdict;
mod walk;

use std::collections::VecDeque;
use std::io;

use thiserror::Error;

use self::release::Releasing;
use crate::arena::Region;
use crate::format::{
    Anchor, BatchBuilder, BatchPlace, BatchView, FrameHead, LogPlace, SEGMENT_HEADER_BYTES,
    SegmentHeader, StoreId,
};
use crate::io::{
    BatchWrite, Buffer, Completion, Copied, FileEvent, Io, Purpose, SlotFile, Transfer,
};
use crate::limits::{BATCH_BYTES_MAX, SECTOR_BYTES};

pub use basis::Basis;
pub use progress::RecoveryProgress;
pub use recovery::{Losses, Recovered, RecoveryError, RecoverySettings, Replay};
pub use walk::{AnchorState, Found, Loss, Obstacle, Reached, TornTail, Verdict, Walk};

/// Batch buffers of a shard. Those in flight are bounded by the settings; the others hold what
/// waits for them, and when all are taken the shard is busy.
pub const BUFFERS: usize = 16;
/// Batches that may be in flight; the ring has room for as many.
pub const IN_FLIGHT_MAX: usize = 8;
/// Every buffer keeps room in front of its batch for a segment header, so that the first batch of a
/// segment and the header go to disk in one write.
const BATCH_FROM: usize = SEGMENT_HEADER_BYTES;
/// How long to wait before a segment that could not be made is tried again.
const PREPARE_RETRY_NS: u64 = 1_000_000_000;
/// Segments that must fit on the disk before a log that had no room for one goes on. One would do;
/// two keep it from stopping again at once.
const RESUME_SEGMENTS: u64 = 2;
/// The part of a segment that is kept for frames which may use the reserve.
const RESERVE_SHARE: u64 = 8;

const _: () = assert!(IN_FLIGHT_MAX < BUFFERS);
const _: () = assert!(BATCH_FROM.is_multiple_of(SECTOR_BYTES));

/// What the operator may choose about a log.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// Batches in flight, 1 to [`IN_FLIGHT_MAX`].
    pub in_flight_max: usize,
    /// How long an open batch may wait for company; 0 never waits.
    pub linger_us: u64,
    /// Frames of a batch at most; 0 sets no bound, 1 turns group commit off.
    pub frames_max: u32,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { in_flight_max: 4, linger_us: 0, frames_max: 0 }
    }
}

/// Which log this is.
#[derive(Debug, Clone, Copy)]
pub struct LogIdentity {
    pub store_id: StoreId,
    pub shard: u32,
    pub segment_bytes: u64,
    /// Whether a folder without segments is a log that was never begun. Once the store is complete
    /// it is a log that was lost.
    pub may_be_empty: bool,
}

/// The life of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Takes frames.
    Open,
    /// Full, waiting for the ring or for a segment.
    Sealed,
    /// With the kernel.
    Submitted,
    /// In the file; the flush is under way.
    Written,
    /// Flushed, and so are all before it.
    Durable,
}

/// When a batch passed its stages, on the monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct StageTimes {
    /// First frame appended.
    pub opened_ns: u64,
    pub submitted_ns: u64,
    pub written_ns: u64,
    pub durable_ns: u64,
}

/// What the log tells the shard, in order.
#[derive(Debug)]
pub enum LogEvent {
    /// The frames of this batch may be applied. Give the buffer back with [`Log::recycle`].
    Apply(ReadyBatch),
    /// Everything up to here is durable.
    Durable { through: u64, frames: u32, bytes: u64, times: StageTimes },
    /// There is no room on the disk for what was taken from this sequence on: it is forgotten, and
    /// the sequences are given again.
    Refused { from: u64, reason: String },
    /// A transfer that [`Log::read`] began has ended.
    Read { transfer: Transfer, result: io::Result<()> },
    /// A transfer that [`Log::overwrite`] began has ended well. If it fails, the log latches.
    Overwritten { transfer: Transfer },
    /// The manifest that [`Log::write_manifest`] was given is what the next start will find.
    ManifestWritten { number: u64 },
    /// A segment that [`Log::release`] let go is gone; if it could not be removed, that is tried
    /// again, and the next start does it at the latest.
    Released { segment: u64, result: io::Result<()> },
    /// What became of a columns or state file that was asked of the log's [`Io`].
    File(FileEvent),
    /// What became of a copy of the folder that was asked of the log's [`Io`].
    Copied { result: io::Result<Copied> },
    /// Memory that was asked of the log's [`Io`] is there, or comes when it is used.
    BroughtIn { purpose: Purpose },
    /// The log has latched: nothing that was not durable will be acknowledged.
    Failed { reason: String },
}

/// A batch whose frames may be applied.
#[derive(Debug)]
pub struct ReadyBatch {
    buffer: Buffer,
    store_id: StoreId,
}

impl ReadyBatch {
    pub fn view(&self) -> BatchView<'_> {
        BatchView::trusted(&self.buffer.region[BATCH_FROM..], &self.store_id)
    }
}

/// How a frame is to be taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Appending {
    /// Apply it when it is written, before it is flushed.
    pub eager: bool,
    /// Take it also when only the reserve of a full disk is left.
    pub uses_reserve: bool,
    /// Not if it would open a batch behind one that waits for the disk: who can wait elsewhere
    /// leaves the way free for what is urgent.
    pub is_patient: bool,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    #[error("every log batch is full or in flight")]
    Busy,
    #[error("{0}")]
    ReadOnly(String),
}

#[derive(Debug)]
struct Batch {
    stage: Stage,
    buffer: Option<Buffer>,
    builder: BatchBuilder,
    /// Apply as soon as it is written: someone asked for an acknowledgement without the flush.
    eager: bool,
    applied: bool,
    bytes: u64,
    /// Segment and offset behind it, once it has its place.
    end: (u64, u64),
    times: StageTimes,
}

#[derive(Debug)]
enum NextSegment {
    Preparing,
    Ready,
    Failed { reason: String, since_ns: u64 },
}

/// What was last noted in the file of anchors.
#[derive(Debug)]
struct Anchored {
    number: u64,
    durable: u64,
    /// What is being noted.
    under_way: Option<u64>,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounters {
    pub frames: u64,
    pub batches: u64,
    pub bytes: u64,
    pub flushes: u64,
    pub segments_released: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub struct Log<I> {
    /// Declared before the buffers: dropped first, it waits for what the kernel still does to them.
    io: I,
    identity: LogIdentity,
    settings: LogSettings,
    free: Vec<Buffer>,
    /// In order of sequence: submitted ones, then sealed ones, then at most one open one.
    batches: VecDeque<Batch>,
    /// Number of the first of `batches`; completions name batches by number.
    first_batch: u64,
    segment: u64,
    /// Where the next batch goes in `segment`.
    offset: u64,
    next_segment: NextSegment,
    next_sequence: u64,
    chain: u32,
    /// Chain value behind the last submitted batch: what a new segment's header carries on from.
    submitted_chain: u32,
    /// Behind the last durable batch.
    durable: LogPlace,
    anchor: Anchored,
    released: Releasing,
    /// Transfers that have ended and were not told yet.
    transferred: VecDeque<LogEvent>,
    /// Nothing more will be appended.
    is_closing: bool,
    latch: Option<String>,
    latch_told: bool,
    counters: LogCounters,
}

impl<I: Io> Log<I> {
    fn new(
        io: I,
        identity: LogIdentity,
        settings: LogSettings,
        at: &Recovered,
        read_only: Option<String>,
    ) -> io::Result<Self> {
        let buffer = |index: usize| -> io::Result<Buffer> {
            let region = Region::new(BATCH_FROM + BATCH_BYTES_MAX)?;
            Ok(Buffer { region, index: u16::try_from(index).expect("BUFFERS is small") })
        };
        let free = (0..BUFFERS).map(buffer).collect::<io::Result<Vec<_>>>()?;
        let mut log = Self {
            io,
            identity,
            settings,
            free,
            batches: VecDeque::with_capacity(BUFFERS),
            first_batch: 0,
            segment: at.segment,
            offset: at.offset,
            next_segment: NextSegment::Preparing,
            next_sequence: at.next_sequence,
            chain: at.chain,
            submitted_chain: at.chain,
            durable: LogPlace {
                through_sequence: at.next_sequence - 1,
                chain: at.chain,
                segment: at.segment,
                offset: at.offset,
            },
            anchor: Anchored {
                number: at.anchor.newest().map_or(0, |anchor| anchor.number),
                durable: at.anchor.newest().map_or(0, |anchor| anchor.durable_sequence),
                under_way: None,
            },
            released: Releasing::new(at.start),
            transferred: VecDeque::new(),
            is_closing: false,
            latch_told: read_only.is_some(),
            latch: read_only,
            counters: LogCounters::default(),
        };
        log.io.register(&log.free);
        if log.latch.is_none() {
            log.io.prepare(log.segment + 1, identity.segment_bytes);
            let noted = matches!(at.anchor, AnchorState::Sound(_)).then_some(log.anchor.durable);
            if noted != Some(log.durable()) {
                log.write_anchor();
            }
        }
        Ok(log)
    }

    pub fn io(&self) -> &I {
        &self.io
    }

    pub fn io_mut(&mut self) -> &mut I {
        &mut self.io
    }

    pub fn counters(&self) -> LogCounters {
        self.counters
    }

    /// The last sequence that survives a power loss.
    pub fn durable(&self) -> u64 {
        self.durable.through_sequence
    }

    /// Whether nothing waits to become durable, or nothing can any more.
    pub fn is_idle(&self) -> bool {
        let is_anchored = self.anchor.under_way.is_none() && self.anchor.durable == self.durable();
        self.batches.is_empty() && (is_anchored || !self.is_closing) || self.latch_told
    }

    pub fn shard(&self) -> u32 {
        self.identity.shard
    }

    pub fn store_id(&self) -> &StoreId {
        &self.identity.store_id
    }

    pub fn segment_bytes(&self) -> u64 {
        self.identity.segment_bytes
    }

    /// Starts to read what is durable; the event comes in its time. Of a segment that was let go
    /// nothing can be read.
    pub fn read(&mut self, transfer: Transfer) {
        match self.begin_transfer(&transfer) {
            true => self.io.read(transfer),
            false => {
                let result = Err(io::ErrorKind::NotFound.into());
                self.transferred.push_back(LogEvent::Read { transfer, result });
            }
        }
    }

    /// Starts to overwrite what is durable; the event comes in its time. In a segment that was let
    /// go there is nothing left to overwrite.
    pub fn overwrite(&mut self, transfer: Transfer) {
        match self.begin_transfer(&transfer) {
            true => self.io.overwrite(transfer),
            false => self.transferred.push_back(LogEvent::Overwritten { transfer }),
        }
    }

    /// Says that nothing more will be appended: once idle, the log has noted where it ends.
    pub fn close(&mut self) {
        self.is_closing = true;
    }

    /// Why the log takes no more, if it does not.
    pub fn latch(&self) -> Option<&str> {
        self.latch.as_deref()
    }

    /// The segment that is being written and how far.
    pub fn position(&self) -> (u64, u64) {
        (self.segment, self.offset)
    }

    /// Takes a frame into the open batch and answers its sequence.
    pub fn append(
        &mut self,
        head: &FrameHead,
        payload_bytes: usize,
        how: Appending,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64, AppendError> {
        if let Some(reason) = &self.latch {
            return Err(AppendError::ReadOnly(reason.clone()));
        }
        self.check_room(payload_bytes, how)?;
        self.open_batch_for(payload_bytes, how)?;
        let batch = self.batches.back_mut().expect("just opened");
        let buffer = batch.buffer.as_mut().expect("an open batch has its buffer");
        let sequence = batch.builder.next_sequence();
        batch.builder.push(&mut buffer.region[BATCH_FROM..], head, payload_bytes, fill);
        batch.eager |= how.eager;
        self.next_sequence = sequence + 1;
        self.chain = batch.builder.chain();
        self.counters.frames += 1;
        Ok(sequence)
    }

    /// Leaves an open batch at the back that has room for the payload.
    fn open_batch_for(&mut self, payload_bytes: usize, how: Appending) -> Result<(), AppendError> {
        if let Some(batch) = self.batches.back_mut().filter(|batch| batch.stage == Stage::Open) {
            let frames_max = self.settings.frames_max;
            let counts = frames_max == 0 || batch.builder.frames() < frames_max;
            if counts && batch.builder.fits(payload_bytes) {
                return Ok(());
            }
            batch.stage = Stage::Sealed;
        }
        if how.is_patient && self.is_backed_up() {
            return Err(AppendError::Busy);
        }
        let buffer = self.free.pop().ok_or(AppendError::Busy)?;
        self.batches.push_back(Batch {
            stage: Stage::Open,
            buffer: Some(buffer),
            builder: BatchBuilder::new(self.next_sequence, self.chain),
            eager: false,
            applied: false,
            bytes: 0,
            end: (0, 0),
            times: StageTimes { opened_ns: self.io.monotonic_ns(), ..StageTimes::default() },
        });
        Ok(())
    }

    /// Whether a full batch waits for the disk.
    pub fn is_backed_up(&self) -> bool {
        self.latch.is_none() && self.batches.iter().any(|batch| batch.stage == Stage::Sealed)
    }

    /// While no further segment can be made, nothing is taken that the present one has no room for.
    fn check_room(&self, payload_bytes: usize, how: Appending) -> Result<(), AppendError> {
        let NextSegment::Failed { reason, .. } = &self.next_segment else { return Ok(()) };
        let segment_bytes = self.identity.segment_bytes;
        let reserve = if how.uses_reserve { 0 } else { segment_bytes / RESERVE_SHARE };
        // At worst the frame opens a batch of its own behind a sector that is nearly empty.
        let frame = (payload_bytes + 2 * SECTOR_BYTES).next_multiple_of(SECTOR_BYTES) as u64;
        match self.offset + self.waiting_bytes() + frame + reserve > segment_bytes {
            true => Err(AppendError::ReadOnly(reason.clone())),
            false => Ok(()),
        }
    }

    /// What the batches that were not submitted will take of a segment.
    fn waiting_bytes(&self) -> u64 {
        let waiting = self.batches.iter().filter(|batch| batch.stage < Stage::Submitted);
        waiting.map(|batch| batch.builder.bytes().next_multiple_of(SECTOR_BYTES) as u64).sum()
    }

    /// Submits what may be submitted. Answers the time at which to call again if a batch lingers.
    pub fn pump(&mut self) -> Option<u64> {
        if self.is_closing && self.batches.is_empty() {
            self.note_durable();
        }
        loop {
            if self.latch.is_some() {
                return None;
            }
            let in_flight = self.batches.iter().filter(|b| b.stage >= Stage::Submitted).count();
            if in_flight >= self.settings.in_flight_max || in_flight == self.batches.len() {
                return None;
            }
            let batch = &self.batches[in_flight];
            if batch.stage == Stage::Open && self.settings.linger_us > 0 {
                let ripe_ns = batch.times.opened_ns + self.settings.linger_us * 1000;
                if self.io.monotonic_ns() < ripe_ns {
                    return Some(ripe_ns);
                }
            }
            if !self.submit(in_flight) {
                return None;
            }
        }
    }

    /// Gives one batch its place and hands it to the disk; false when no segment has room.
    fn submit(&mut self, nth: usize) -> bool {
        let bytes = self.batches[nth].builder.bytes().next_multiple_of(SECTOR_BYTES) as u64;
        if self.offset + bytes > self.identity.segment_bytes && !self.next_segment() {
            return false;
        }
        let header = (self.offset == 0).then(|| SegmentHeader {
            store_id: self.identity.store_id,
            shard: self.identity.shard,
            segment: self.segment,
            segment_bytes: self.identity.segment_bytes,
            first_sequence: self.batches[nth].builder.first_sequence(),
            activated_at_us: self.io.wall_us(),
            chain: self.submitted_chain,
        });
        let batch = &mut self.batches[nth];
        let mut buffer =
            batch.buffer.take().expect("a batch that was not submitted has its buffer");
        let (room, frames) = buffer.region.split_at_mut(BATCH_FROM);
        let header_bytes = header.map_or(0, |header| {
            room.copy_from_slice(&header.encode());
            SEGMENT_HEADER_BYTES
        });
        let place = BatchPlace {
            store_id: self.identity.store_id,
            shard: self.identity.shard,
            segment: self.segment,
            offset: self.offset + header_bytes as u64,
            durable_sequence: self.durable.through_sequence,
        };
        let bytes = header_bytes + batch.builder.seal(frames, &place);
        batch.stage = Stage::Submitted;
        batch.bytes = bytes as u64;
        batch.end = (self.segment, self.offset + bytes as u64);
        batch.times.submitted_ns = self.io.monotonic_ns();
        self.submitted_chain = batch.builder.chain();
        self.io.write(BatchWrite {
            batch: self.first_batch + nth as u64,
            segment: self.segment,
            offset: self.offset,
            buffer,
            from: BATCH_FROM - header_bytes,
            bytes,
        });
        self.offset += bytes as u64;
        self.counters.batches += 1;
        self.counters.bytes += bytes as u64;
        true
    }

    /// Moves on to the prepared segment and starts to prepare the one after it.
    fn next_segment(&mut self) -> bool {
        match &self.next_segment {
            NextSegment::Preparing | NextSegment::Failed { .. } => return false,
            NextSegment::Ready => {}
        }
        self.segment += 1;
        self.offset = 0;
        self.next_segment = NextSegment::Preparing;
        self.io.prepare(self.segment + 1, self.identity.segment_bytes);
        true
    }

    /// Why the disk had no room for another segment when last tried, if it had none.
    pub fn out_of_space(&self) -> Option<&str> {
        match &self.next_segment {
            NextSegment::Failed { reason, .. } => Some(reason),
            NextSegment::Preparing | NextSegment::Ready => None,
        }
    }

    /// Notes what is durable, and asks again for a segment that could not be made. To be called a
    /// few times a second.
    pub fn tick(&mut self) {
        self.note_durable();
        self.remove_staying();
        let NextSegment::Failed { since_ns, .. } = &mut self.next_segment else { return };
        let now = self.io.monotonic_ns();
        if self.latch.is_some() || now < *since_ns + PREPARE_RETRY_NS {
            return;
        }
        let wanted = RESUME_SEGMENTS * self.identity.segment_bytes;
        match self.io.free_bytes() {
            Ok(free) if free < wanted => *since_ns = now,
            // Where nobody knows how much room there is, trying tells.
            _ => {
                self.next_segment = NextSegment::Preparing;
                self.io.prepare(self.segment + 1, self.identity.segment_bytes);
            }
        }
    }

    /// Writes an anchor if more is durable than the last one says.
    fn note_durable(&mut self) {
        let is_new = self.durable() > self.anchor.durable && self.anchor.under_way.is_none();
        if is_new && self.latch.is_none() {
            self.write_anchor();
        }
    }

    fn write_anchor(&mut self) {
        self.anchor.number += 1;
        self.anchor.under_way = Some(self.durable());
        let anchor = Anchor {
            store_id: self.identity.store_id,
            shard: self.identity.shard,
            number: self.anchor.number,
            durable_sequence: self.durable(),
            segment: self.durable.segment,
            offset: self.durable.offset,
            written_at_us: self.io.wall_us(),
        };
        let slot = usize::from(!self.anchor.number.is_multiple_of(2));
        self.io.write_slot(SlotFile::Anchors, slot, &anchor.encode());
    }

    /// What happened since the last call; call until `None`.
    pub fn poll(&mut self) -> Option<LogEvent> {
        loop {
            if let Some(event) = self.next_event() {
                return Some(event);
            }
            let completion = self.io.complete()?;
            self.take(completion);
        }
    }

    fn take(&mut self, completion: Completion) {
        let now = self.io.monotonic_ns();
        match completion {
            Completion::Prepared { segment, result } => {
                let wanted = RESUME_SEGMENTS * self.identity.segment_bytes;
                self.next_segment = match result {
                    Ok(()) => NextSegment::Ready,
                    Err(error) => NextSegment::Failed {
                        reason: format!(
                            "log segment {segment} cannot be made ({error}); free disk space, \
                             writing resumes by itself when {wanted} bytes are free"
                        ),
                        since_ns: now,
                    },
                };
            }
            Completion::Written { batch, buffer, result } => {
                let entry = &mut self.batches[at(batch, self.first_batch)];
                entry.buffer = Some(buffer);
                entry.stage = Stage::Written;
                entry.times.written_ns = now;
                self.latch_on(result, "write");
            }
            Completion::Flushed { batch, result } => {
                let entry = &mut self.batches[at(batch, self.first_batch)];
                entry.stage = Stage::Durable;
                entry.times.durable_ns = now;
                self.counters.flushes += 1;
                self.latch_on(result, "flush");
            }
            Completion::SlotWritten { file: SlotFile::Manifest, result } => {
                self.take_manifest_slot(result);
            }
            Completion::SlotWritten { file: SlotFile::Anchors, result } => {
                let noted = self.anchor.under_way.take().expect("one anchor at a time");
                self.anchor.durable = noted;
                self.latch_on(result, "anchor");
            }
            Completion::File(event) => self.take_file(event),
            Completion::Copied { result } => {
                self.transferred.push_back(LogEvent::Copied { result });
            }
            Completion::BroughtIn { purpose, .. } => {
                self.transferred.push_back(LogEvent::BroughtIn { purpose });
            }
            Completion::Read { transfer, result } => {
                self.end_transfer(&transfer);
                self.transferred.push_back(LogEvent::Read { transfer, result });
            }
            Completion::Overwritten { transfer, result } => {
                self.end_transfer(&transfer);
                if result.is_ok() {
                    self.transferred.push_back(LogEvent::Overwritten { transfer });
                }
                self.latch_on(result, "overwrite");
            }
        }
    }

    fn latch_on(&mut self, result: io::Result<()>, what: &str) {
        if let Err(error) = result
            && self.latch.is_none()
        {
            self.latch = Some(format!(
                "a log {what} of shard {} failed ({error}); restart engramd once the disk is sound",
                self.identity.shard
            ));
        }
    }

    fn next_event(&mut self) -> Option<LogEvent> {
        if let Some(ended) = self.transferred.pop_front() {
            return Some(ended);
        }
        if let Some(reason) = &self.latch {
            let told = std::mem::replace(&mut self.latch_told, true);
            return (!told).then(|| LogEvent::Failed { reason: reason.clone() });
        }
        if let Some(refused) = self.refuse_what_has_no_room() {
            return Some(refused);
        }
        for batch in &mut self.batches {
            let eager = batch.stage == Stage::Written && batch.eager;
            if !batch.applied && (eager || batch.stage == Stage::Durable) {
                batch.applied = true;
                let buffer = batch.buffer.take().expect("written, so its buffer is back");
                let store_id = self.identity.store_id;
                return Some(LogEvent::Apply(ReadyBatch { buffer, store_id }));
            }
            if !batch.applied {
                break;
            }
        }
        let first = self.batches.front()?;
        if first.stage != Stage::Durable || !first.applied {
            return None;
        }
        let batch = self.batches.pop_front().expect("just seen");
        self.first_batch += 1;
        let (segment, offset) = batch.end;
        let through_sequence = batch.builder.next_sequence() - 1;
        let chain = batch.builder.chain();
        self.durable = LogPlace { through_sequence, chain, segment, offset };
        Some(LogEvent::Durable {
            through: through_sequence,
            frames: batch.builder.frames(),
            bytes: batch.bytes,
            times: batch.times,
        })
    }

    /// When the next segment could not be made, what was taken in the hope for it must be given up:
    /// nobody knows how long the disk stays full.
    fn refuse_what_has_no_room(&mut self) -> Option<LogEvent> {
        let NextSegment::Failed { reason, .. } = &self.next_segment else { return None };
        if self.offset + self.waiting_bytes() <= self.identity.segment_bytes {
            return None;
        }
        let reason = reason.clone();
        let first = self.batches.iter().position(|batch| batch.stage < Stage::Submitted)?;
        let from = self.batches[first].builder.first_sequence();
        for batch in self.batches.drain(first..) {
            self.free.extend(batch.buffer);
        }
        self.next_sequence = from;
        self.chain = self.submitted_chain;
        Some(LogEvent::Refused { from, reason })
    }

    /// Takes the buffer of an applied batch back.
    pub fn recycle(&mut self, batch: ReadyBatch) {
        self.free.push(batch.buffer);
    }

    /// Blocks until the disk has done something; events stay to be polled.
    pub fn wait(&mut self) -> io::Result<()> {
        self.io.wait()
    }
}

fn at(batch: u64, first: u64) -> usize {
    usize::try_from(batch - first).expect("completions name batches in flight")
}
