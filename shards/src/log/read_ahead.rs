//! Reading segments from front to back, with the next reads under way while the last is looked at.
//!
//! Whoever walks a log looks at it in order, a batch at a time. Windows of [`WINDOW_BYTES`] are
//! read [`AHEAD`] deep, across the ends of segments. What a batch leaves over at the end of a
//! window is copied in front of the next one, so that every batch lies in one piece. Looking
//! elsewhere is possible and begins anew.

use std::collections::VecDeque;
use std::io;

use crate::arena::Region;
use crate::io::{Completion, Io, Transfer};
use crate::limits::{BATCH_BYTES_MAX, SECTOR_BYTES};

const WINDOW_BYTES: usize = 2 << 20;
/// Windows under way. With [`WINDOW_BYTES`] enough to keep a disk busy that moves gigabytes in a
/// second and answers in milliseconds.
const AHEAD: usize = 6;
/// Room in front of every window for what the one before it leaves over.
const CARRY_BYTES: usize = BATCH_BYTES_MAX;

const _: () = assert!(WINDOW_BYTES.is_multiple_of(SECTOR_BYTES));
// A batch that begins in the rest of a window ends in the next one.
const _: () = assert!(BATCH_BYTES_MAX <= WINDOW_BYTES);

/// Bytes of one segment in memory: `bytes` of them from `offset`, at `at` in the region.
#[derive(Debug)]
struct Window {
    region: Region,
    segment: u64,
    offset: u64,
    at: usize,
    bytes: usize,
}

impl Window {
    fn end(&self) -> u64 {
        self.offset + self.bytes as u64
    }

    fn get(&self, segment: u64, offset: u64, bytes: usize) -> Option<&[u8]> {
        let inside =
            self.segment == segment && self.offset <= offset && offset + bytes as u64 <= self.end();
        let from = self.at + usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        inside.then(|| &self.region[from..from + bytes])
    }
}

/// A window that is being read, or was.
#[derive(Debug)]
struct Ahead {
    ticket: u64,
    segment: u64,
    offset: u64,
    bytes: usize,
    read: Option<(Region, io::Result<()>)>,
}

/// See the top of the file.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    window: Option<Window>,
    ahead: VecDeque<Ahead>,
    free: Vec<Region>,
    next_ticket: u64,
}

impl ReadAhead {
    /// The bytes at a place, up to `bytes` of them, fewer at the end of the segment. `segments`
    /// are their numbers, without gaps, and sizes.
    pub(super) fn get<I: Io>(
        &mut self,
        io: &mut I,
        segments: &[(u64, u64)],
        segment: u64,
        offset: u64,
        bytes: usize,
    ) -> io::Result<&[u8]> {
        let left = size_of_segment(segments, segment).saturating_sub(offset);
        let bytes = usize::try_from(left).map_or(bytes, |left| left.min(bytes));
        let has = |window: &Window| window.get(segment, offset, bytes).is_some();
        while bytes > 0 && !self.window.as_ref().is_some_and(has) {
            self.advance(io, segments, segment, offset)?;
        }
        let window = self.window.as_ref().filter(|_| bytes > 0);
        Ok(window.and_then(|window| window.get(segment, offset, bytes)).unwrap_or_default())
    }

    /// Moves the window forward to a place, or begins anew there.
    fn advance<I: Io>(
        &mut self,
        io: &mut I,
        segments: &[(u64, u64)],
        segment: u64,
        offset: u64,
    ) -> io::Result<()> {
        let next = self.ahead.front().map(|ahead| (ahead.segment, ahead.offset));
        let carries = self.window.as_ref().is_some_and(|window| {
            next == Some((segment, window.end()))
                && window.segment == segment
                && (window.offset..window.end()).contains(&offset)
        });
        if !carries {
            let here = |ahead: &Ahead| (ahead.segment, ahead.offset) == (segment, offset);
            match self.ahead.iter().position(here) {
                Some(nth) => self.skip(io, nth)?,
                None => {
                    self.forget(io);
                    self.plan(io, segments, segment, offset)?;
                }
            }
        }
        while self.ahead.front().is_some_and(|ahead| ahead.read.is_none()) {
            self.collect(io)?;
        }
        let Ahead { offset: from, bytes, read, .. } = self.ahead.pop_front().expect("planned");
        let (mut region, result) = read.expect("waited for it");
        if let Err(error) = result {
            self.free.push(region);
            self.forget(io);
            return Err(error);
        }
        let mut carried = 0;
        if let Some(window) = self.window.take() {
            if carries {
                carried = usize::try_from(window.end() - offset).expect("inside the window");
                let rest = window.at + window.bytes - carried..window.at + window.bytes;
                region[CARRY_BYTES - carried..CARRY_BYTES].copy_from_slice(&window.region[rest]);
            }
            self.free.push(window.region);
        }
        let (at, bytes) = (CARRY_BYTES - carried, bytes + carried);
        let offset = from - carried as u64;
        self.window = Some(Window { region, segment, offset, at, bytes });
        self.plan(io, segments, segment, offset + bytes as u64)
    }

    /// Drops the first reads under way.
    fn skip<I: Io>(&mut self, io: &mut I, reads: usize) -> io::Result<()> {
        while self.ahead.iter().take(reads).any(|ahead| ahead.read.is_none()) {
            self.collect(io)?;
        }
        let reads = self.ahead.drain(..reads).filter_map(|ahead| ahead.read);
        self.free.extend(reads.map(|(region, _)| region));
        Ok(())
    }

    /// Keeps [`AHEAD`] windows under way, from behind the last one or from the place given.
    fn plan<I: Io>(
        &mut self,
        io: &mut I,
        segments: &[(u64, u64)],
        segment: u64,
        offset: u64,
    ) -> io::Result<()> {
        let last = self.ahead.back();
        let (mut segment, mut offset) =
            last.map_or((segment, offset), |last| (last.segment, last.offset + last.bytes as u64));
        while self.ahead.len() < AHEAD {
            let last = segments.last().map_or(0, |(last, _)| *last);
            while segment <= last && offset >= size_of_segment(segments, segment) {
                (segment, offset) = (segment + 1, 0);
            }
            let left = size_of_segment(segments, segment).saturating_sub(offset);
            if left == 0 {
                return Ok(());
            }
            let bytes = usize::try_from(left).map_or(WINDOW_BYTES, |left| left.min(WINDOW_BYTES));
            let region = match self.free.pop() {
                Some(region) => region,
                None => Region::new(CARRY_BYTES + WINDOW_BYTES)?,
            };
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            io.read(Transfer { ticket, segment, offset, region, from: CARRY_BYTES, bytes });
            self.ahead.push_back(Ahead { ticket, segment, offset, bytes, read: None });
            offset += bytes as u64;
        }
        Ok(())
    }

    /// Takes the reads that have ended, or waits until one may have.
    fn collect<I: Io>(&mut self, io: &mut I) -> io::Result<()> {
        let Some(completion) = io.complete() else { return io.wait() };
        let Completion::Read { transfer, result } = completion else {
            unreachable!("nothing else is under way before a log is open: {completion:?}")
        };
        let Transfer { ticket, region, .. } = transfer;
        let ahead = self.ahead.iter_mut().find(|ahead| ahead.ticket == ticket);
        ahead.expect("every read was planned").read = Some((region, result));
        Ok(())
    }

    /// Waits for the reads under way and drops what they brought.
    pub(super) fn forget<I: Io>(&mut self, io: &mut I) {
        while self.ahead.iter().any(|ahead| ahead.read.is_none()) {
            if self.collect(io).is_err() {
                // The ring itself is broken and not used any more; its end waits for the rest.
                break;
            }
        }
        let reads = self.ahead.drain(..).filter_map(|ahead| ahead.read);
        self.free.extend(reads.map(|(region, _)| region));
        self.free.extend(self.window.take().map(|window| window.region));
    }
}

/// The size of one of these segments, which are numbered without gaps; of another one 0.
pub(super) fn size_of_segment(segments: &[(u64, u64)], segment: u64) -> u64 {
    let first = segments.first().map_or(0, |(first, _)| *first);
    let nth = segment.checked_sub(first).and_then(|nth| usize::try_from(nth).ok());
    nth.and_then(|nth| segments.get(nth)).map_or(0, |(_, size)| *size)
}
