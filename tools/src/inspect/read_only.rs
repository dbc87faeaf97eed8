//! A shard's folder that is read and never written.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use engram_shards::format::segment_file_name;
use engram_shards::io::{BatchWrite, Buffer, Completion, Io, IoFacts, LogFolder, Transfer};
use engram_shards::limits::SECTOR_BYTES;

/// The engine's [`Io`] without its writing half. What the engine asks to be prepared, erased or
/// removed when it opens a log stays as it is; it is told otherwise and never looks again.
///
/// Reads bypass the page cache where the file system can, as the daemon's writes do.
#[derive(Debug)]
pub(crate) struct ReadOnlyIo {
    folder: PathBuf,
    /// The segment read last.
    open: Option<(u64, File)>,
    /// Behind this segment and offset there is nothing.
    end: Option<(u64, u64)>,
    done: VecDeque<Completion>,
}

impl ReadOnlyIo {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, open: None, end: None, done: VecDeque::new() }
    }

    /// The same folder as if nothing had been written behind a place, though a daemon goes on.
    pub(crate) fn ending_at(self, segment: u64, offset: u64) -> Self {
        Self { end: Some((segment, offset)), ..self }
    }

    fn file(&mut self, segment: u64) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(number, _)| *number != segment) {
            let path = self.folder.join(segment_file_name(segment));
            let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
            let file = match OpenOptions::new().read(true).custom_flags(direct).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => File::open(&path)?,
                other => other?,
            };
            self.open = Some((segment, file));
        }
        Ok(&self.open.as_ref().expect("just opened").1)
    }
}

impl ReadOnlyIo {
    fn fill(&mut self, transfer: &mut Transfer) -> io::Result<()> {
        let Transfer { segment, offset, from, bytes, ref mut region, .. } = *transfer;
        let target = &mut region[from..from + bytes];
        self.file(segment)?.read_exact_at(target, offset)?;
        if let Some((_, end)) = self.end.filter(|(last, _)| *last == segment) {
            let kept = usize::try_from(end.saturating_sub(offset)).unwrap_or(bytes).min(bytes);
            target[kept..].fill(0);
        }
        Ok(())
    }
}

impl Io for ReadOnlyIo {
    fn facts(&self) -> IoFacts {
        IoFacts::default()
    }

    /// Nothing that is read asks for the time.
    fn wall_us(&self) -> i64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn register(&mut self, _buffers: &[Buffer]) {}

    fn prepare(&mut self, segment: u64, _bytes: u64) {
        self.done.push_back(Completion::Prepared { segment, result: Ok(()) });
    }

    fn write(&mut self, write: BatchWrite) {
        unreachable!("nobody stores anything in what is inspected: {write:?}")
    }

    fn complete(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn segments(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut segments = LogFolder::open(&self.folder)?.segments()?;
        segments.retain(|(segment, _)| self.end.is_none_or(|(last, _)| *segment <= last));
        Ok(segments)
    }

    fn read(&mut self, mut transfer: Transfer) {
        let result = self.fill(&mut transfer);
        self.done.push_back(Completion::Read { transfer, result });
    }

    fn overwrite(&mut self, transfer: Transfer) {
        unreachable!("nobody erases anything from what is inspected: {transfer:?}")
    }

    fn anchors(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.end {
            // The anchor of a running daemon may be ahead of the place that is looked at.
            Some(_) => Ok(None),
            None => LogFolder::open(&self.folder)?.anchors(),
        }
    }

    fn make_anchors(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write_anchor(&mut self, _slot: usize, _anchor: &[u8; SECTOR_BYTES]) {
        self.done.push_back(Completion::Anchored { result: Ok(()) });
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn flush(&mut self, _segment: u64) -> io::Result<()> {
        Ok(())
    }

    fn erase_from(&mut self, _segment: u64, _offset: u64) -> io::Result<()> {
        Ok(())
    }

    fn replace(&mut self, _segment: u64, _bytes: &[u8]) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn remove(&mut self, _segment: u64) -> io::Result<()> {
        Ok(())
    }
}
